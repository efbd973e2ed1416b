/**
 * The real node agent, killed with SIGKILL in the middle of a taking over: the next one begins it
 * again, and the service is the same process all the time; the second time it is given up, and the
 * node is as it was.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { Caller } from '../caller.test.part.js';
import { createTinyCluster, freePort, type TinyCluster, TinyNode } from '../tiny-node.test.part.js';
import { everythingOf, HandStarted, oldData, takeOver } from './hand-started.test.part.js';

const program = fileURLToPath(new URL('../../bin/plexi-node-agent', import.meta.url));

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** The agent as a program of its own. */
class AgentProgram {
  private constructor(
    private readonly child: ChildProcess,
    readonly caller: Caller,
  ) {}

  /** Starts it, and waits until it listens. */
  static async start(t: TestContext, node: TinyNode, port: number): Promise<AgentProgram> {
    const child = spawn(process.execPath, [program, '--config', node.at('node-agent.yml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.after(() => end(child));
    const listens = new Promise<void>((resolve, reject) => {
      let log = '';
      child.stderr.on('data', (piece: Buffer) => {
        log += String(piece);
        if (log.includes('the node agent listens')) resolve();
      });
      child.once('exit', () => reject(new Error(`the agent ended:\n${log}`)));
    });
    await listens;
    return new AgentProgram(child, new Caller(port, cluster.tls('controller', 'controller-0')));
  }

  async kill(): Promise<void> {
    this.caller.close();
    await end(this.child);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** A node without a release, its agent's configuration, and a service that does not answer for now. */
async function nodeOnHold(t: TestContext) {
  const node = await TinyNode.create(cluster, { version: 'none' });
  t.after(() => node.remove());
  await oldData(node);
  const port = await freePort();
  const { root, tls, repository, services, probes } = node.config;
  const [probe] = probes;
  assert.ok(probe?.kind === 'http');
  const config = {
    ...{ cluster: 'test', node: 'node-1', root, listen: `127.0.0.1:${port}`, tls, repository },
    controllers: ['127.0.0.1:1'],
    service: { adapter: 'process', env: services[0]?.env },
    probes: [{ kind: 'http', url: probe.url, version_field: 'version' }],
  };
  await writeFile(node.at('node-agent.yml'), stringify(config, { lineWidth: 0 }));
  const service = await HandStarted.start(t, cluster, node);
  process.kill(service.pid, 'SIGSTOP');
  return { node, port, service };
}

describe('an agent that is killed while it takes over a service', { concurrency: 2 }, () => {
  test('does so when it is started again, and the service is the same process', async (t) => {
    const { node, port, service } = await nodeOnHold(t);
    const order = takeOver('adopt', [1, 5, 1], { directory: service.directory });
    const first = await AgentProgram.start(t, node, port);
    const { ended } = await first.caller.executeUntil(order, 'probing');
    ended.catch(() => undefined);
    assert.equal(node.servicePid(), service.pid, 'it is written down before it is asked');
    await first.kill();
    assert.equal((await node.links()).current, undefined);
    process.kill(service.pid, 'SIGCONT');
    const second = await AgentProgram.start(t, node, port);
    const { result, known } = await second.caller.execute(order);
    assert.equal(known, true);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(node.servicePid(), service.pid);
    assert.equal(await node.serviceVersion(), '3.0.0');
    await second.caller.statusWhen(({ health }) => health === 'healthy');
    await second.kill();
  });

  test('gives it up the second time, and the node is as it was', async (t) => {
    const { node, port, service } = await nodeOnHold(t);
    const order = takeOver('adopt', [1, 5, 1], { directory: service.directory });
    const first = await AgentProgram.start(t, node, port);
    const before = await everythingOf(node);
    const { ended } = await first.caller.executeUntil(order, 'probing');
    ended.catch(() => undefined);
    await first.kill();
    const second = await AgentProgram.start(t, node, port);
    await second.caller.statusWhen(({ phase }) => phase === 'probing');
    await second.kill();
    const third = await AgentProgram.start(t, node, port);
    const { result } = await third.caller.execute(order);
    assert.equal(result.failure?.code, 'INTERRUPTED');
    assert.equal((await third.caller.describe()).needsOperator, undefined);
    assert.deepEqual(await everythingOf(node), before);
    await third.kill();
    process.kill(service.pid, 'SIGCONT');
    assert.ok(service.lives);
  });
});
