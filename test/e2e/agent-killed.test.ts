/**
 * The real node agent, killed with SIGKILL as soon as its journal shows a step begun, and started
 * again: the same command then says `done` or `rolled_back`, and service, data and links are of one
 * version, with nobody left in maintenance (guarantees 3 and 4).
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, watch } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { Caller, TinyPlan } from '../../node-agent/caller.test.part.js';
import { findProcesses } from '../../node-agent/service/process-table.js';
import {
  createTinyCluster,
  freePort,
  type TinyCluster,
  TinyNode,
} from '../../node-agent/tiny-node.test.part.js';
import { firstData } from '../../node-agent/tiny-service.test.part.js';

const program = fileURLToPath(new URL('../../bin/plexi-node-agent', import.meta.url));

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

interface LastRecord {
  readonly kind: string;
  readonly step?: string;
}

/** A node whose agent is a process of its own. */
class KilledNode {
  private agent: ChildProcess | undefined;
  private port = 0;
  caller: Caller | undefined;

  private constructor(readonly node: TinyNode) {}

  static async create(t: TestContext): Promise<KilledNode> {
    const killed = new KilledNode(await TinyNode.create(cluster));
    t.after(() => killed.remove());
    killed.port = await freePort();
    const { root, tls, repository, maintenance, services, probes } = killed.node.config;
    const [probe] = probes;
    assert.ok(probe?.kind === 'http');
    const config = {
      cluster: 'test',
      node: 'node-1',
      root,
      listen: `127.0.0.1:${killed.port}`,
      controllers: ['127.0.0.1:1'],
      tls,
      repository,
      service: { adapter: 'process', env: services[0]?.env },
      probes: [{ kind: 'http', url: probe.url, status: 200, version_field: 'version' }],
      probe_interval_ms: 50,
      maintenance,
    };
    await writeFile(killed.node.at('node-agent.yml'), stringify(config, { lineWidth: 0 }));
    return killed;
  }

  /** Starts the program, and waits until it listens. */
  async start(): Promise<Caller> {
    const log = openSync(this.node.at('agent.log'), 'a');
    const agent = spawn(process.execPath, [program, '--config', this.node.at('node-agent.yml')], {
      stdio: ['ignore', 'ignore', log],
    });
    closeSync(log);
    this.agent = agent;
    this.caller?.close();
    const caller = new Caller(this.port, cluster.tls('controller', 'controller-0'));
    this.caller = caller;
    const ended = once(agent, 'exit').then(() => {
      throw new Error(`the agent ended:\n${readFileSync(this.node.at('agent.log'), 'utf8')}`);
    });
    // Its end is of interest until it listens.
    ended.catch(() => undefined);
    await Promise.race([caller.connected(), ended]);
    return caller;
  }

  /** Resolves once the agent is dead; it is killed when the journal has a record of this step. */
  async killedIn(step: string): Promise<LastRecord> {
    const { agent } = this;
    assert.ok(agent);
    const journal = this.node.at('agent', 'journal');
    const changes = watch(journal, () => {
      // Not the last record: a busy machine tells of a short step when the next one has begun.
      if (recordsIn(journal).some((record) => record.step === step)) agent.kill('SIGKILL');
    });
    try {
      assert.deepEqual(await once(agent, 'exit', { signal: AbortSignal.timeout(20_000) }), [null, 'SIGKILL']);
    } finally {
      changes.close();
    }
    const last = recordsIn(journal).at(-1);
    assert.ok(last !== undefined && last.kind !== 'finished', 'the agent was killed too late');
    return last;
  }

  private async remove(): Promise<void> {
    this.caller?.close();
    if (this.agent !== undefined && this.agent.exitCode === null && this.agent.signalCode === null) {
      this.agent.kill('SIGKILL');
      await once(this.agent, 'exit');
    }
    await this.node.remove();
  }
}

function recordsIn(journal: string): LastRecord[] {
  const names = readdirSync(journal).filter((entry) => entry.endsWith('.json'));
  return names.sort().map((name) => JSON.parse(readFileSync(join(journal, name), 'utf8')));
}

/** Everything there is to see of the node is of this one version. */
async function assertWhole(node: TinyNode, version: '0a1' | '0b1'): Promise<void> {
  const folder = `releases/${version}-${cluster.releases[version].artifact.treeDigest.slice(0, 12)}`;
  const { current, trial } = await node.links();
  const seen = {
    service: await node.serviceVersion(),
    current,
    trial,
    data: await readFile(node.at('data', 'notes.json'), 'utf8'),
    migrated: (await readdir(node.at('data'))).includes('migrated'),
    maintenance: node.isInMaintenance(),
  };
  const isNew = version === '0b1';
  assert.deepEqual(seen, {
    service: version,
    current: folder,
    trial: undefined,
    data: isNew ? firstData.replace('1', '2') : firstData,
    migrated: isNew,
    maintenance: { record: false, hook: false },
  });
  const ours = await findProcesses({
    groups: new Set(),
    environmentText: `PLEXI_ROOT=${node.config.root}\0`,
  });
  assert.deepEqual(
    ours.map(({ pid }) => pid),
    [node.servicePid()],
    'nothing runs but the service',
  );
}

/** What the last record before the death says about the end: a migration is never begun again. */
function expectedOutcome({ kind, step }: LastRecord): 'done' | 'rolled_back' {
  return kind === 'going_back' || backSteps.includes(step ?? '') || step === 'migrate'
    ? 'rolled_back'
    : 'done';
}

const forwardSteps = [
  'enter_maintenance',
  'stop',
  'backup',
  'migrate',
  'apply',
  'probe',
  'commit',
  'leave_maintenance',
];
const backSteps = ['stop_new', 'restore', 'switch_back', 'start_old', 'probe_old', 'leave_maintenance_back'];

/** `test/crash` kills at each system call without a cluster; here a few steps, and all of them in the deep run. */
const isDeep = process.env.PLEXI_DEEP_MINUTES !== undefined;
const sample = ['backup', 'migrate', 'apply', 'commit', 'restore'];

describe('an agent that is killed in', { concurrency: 2, timeout: 120_000 }, () => {
  for (const step of isDeep ? [...forwardSteps, ...backSteps] : sample) {
    test(`${step} ends old or new when it is started again`, async (t) => {
      const killed = await KilledNode.create(t);
      const { node } = killed;
      const plan = new TinyPlan(cluster.releases, '0a1', backSteps.includes(step) ? '0b2' : '0b1');
      const first = await killed.start();
      await first.statusWhen(({ health }) => health === 'healthy');
      await first.execute(plan.stage('stage', [1, 1, 1]));
      // The last step of both ways waits, so that the job is still open when the agent is killed.
      await node.mark('maintenance.hold-leave');
      const died = killed.killedIn(step);
      const broken = assert.rejects(first.execute(plan.upgrade('upgrade', [1, 1, 2])));
      const last = await died;
      await broken;
      await node.unmark('maintenance.hold-leave');

      const second = await killed.start();
      const { result } = await second.execute(plan.upgrade('upgrade', [1, 1, 2]));
      assert.equal(
        result.outcome,
        expectedOutcome(last),
        `killed in ${JSON.stringify(last)}: ${result.failure?.message}`,
      );
      const version = result.outcome === 'done' ? '0b1' : '0a1';
      assert.equal(result.release?.version, version);
      const status = await second.statusWhen(({ health, phase }) => health === 'healthy' && phase === 'idle');
      assert.equal(status.release?.version, version);
      assert.equal(status.needsOperator, undefined);
      assert.equal(status.inMaintenance, false);
      await assertWhole(node, version);
    });
  }
});
