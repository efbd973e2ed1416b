/**
 * A service that somebody started by hand becomes a node's own, through a real agent: it is not
 * touched by that, is upgraded and taken back like any other from then on, and whatever refuses the
 * taking over leaves the node as it was.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { CommandResult, TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { treeDifferences } from '../../release/tree.js';
import { TinyPlan, type TokenNumbers } from '../caller.test.part.js';
import { localRelease, nodePaths } from '../node.js';
import { RunningNode } from '../running-node.test.part.js';
import { isAlive, liveProcess } from '../service/process-table.js';
import { createTinyCluster, type TinyCluster, type TinyNode } from '../tiny-node.test.part.js';
import { firstData } from '../tiny-service.test.part.js';
import {
  everythingOf,
  HandStarted,
  type HandStartedOptions,
  oldData,
  takeOver,
} from './hand-started.test.part.js';

const together = { concurrency: 2 };
let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** A node without a release, and the service that runs there already. */
async function nodeWithService(
  t: TestContext,
  options: HandStartedOptions = {},
  changes: Parameters<typeof TinyNode.create>[1] = {},
) {
  const running = await RunningNode.start(t, cluster, { version: 'none', ...changes });
  await oldData(running.node);
  return { running, node: running.node, service: await HandStarted.start(t, cluster, running.node, options) };
}

/** Raised with each command, so that none is late. */
let term = 100;

async function adopt(running: RunningNode, changes: Partial<TakeOverStep>): Promise<CommandResult> {
  term += 1;
  return (await running.caller.execute(takeOver(`adopt-${term}`, [1, term, 1], changes))).result;
}

/** An order of a rollout from 3.0.0, which no repository knows. */
function rolloutFrom(from: { version: string; digest: string }, to: '0a1' | '0b2') {
  const plan = new TinyPlan(cluster.releases, 'none', to);
  return {
    stage(id: string, token: TokenNumbers) {
      const order = plan.stage(id, token);
      if (order.step?.$case === 'stage') order.step.value.back = from;
      return order;
    },
    upgrade(id: string, token: TokenNumbers) {
      const order = plan.upgrade(id, token);
      if (order.step?.$case === 'upgrade') order.step.value.from = from;
      return order;
    },
  };
}

describe('a service that nobody knows', together, () => {
  test('becomes own without being touched, is taken back to, and upgraded; the script that started it lives on', async (t) => {
    const { running, node, service } = await nodeWithService(t, { env: { LEAVES_CHILD: 'yes' } });
    const [child = 0] = await childrenOf(service.pid);
    const result = await adopt(running, { directory: service.directory });
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(result.release?.version, '3.0.0');
    assert.equal(node.servicePid(), service.pid, 'the same process');
    assert.ok(service.lives);
    const release = await localRelease(
      nodePaths(node.config.root),
      result.release && folderOf(result.release),
    );
    assert.deepEqual(release?.manifest.service, {
      start: ['node', 'server.mjs'],
      env: {},
      stopSignal: 'SIGTERM',
    });
    const files = release?.manifest.artifacts[0]?.files ?? [];
    assert.deepEqual(files.map(({ path }) => path).sort(), ['release.json', 'server.mjs']);
    await running.healthy();
    await running.restart();
    await running.healthy();
    assert.equal(node.servicePid(), service.pid, 'a restart of the agent does not touch it either');

    const from = { version: '3.0.0', digest: release?.digest ?? '' };
    const failing = rolloutFrom(from, '0b2');
    const staged = await running.caller.execute(failing.stage('s2', [1, 901, 2]));
    assert.equal(staged.result.outcome, 'done', staged.result.failure?.message);
    const back = (await running.caller.execute(failing.upgrade('u2', [1, 901, 3]))).result;
    assert.equal(back.outcome, 'rolled_back', back.failure?.message);
    assert.equal(service.lives, false);
    assert.equal(liveProcess(child), undefined, 'what it had started ended with it');
    assert.ok(service.scriptLives, 'the script shares its group and is not ours');
    assert.equal(await node.serviceVersion(), '3.0.0');
    assert.equal(
      await readlink(`/proc/${node.servicePid()}/cwd`),
      node.at('releases', release?.folder ?? ''),
    );
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);

    const good = rolloutFrom(from, '0a1');
    await running.caller.execute(good.stage('s1', [1, 901, 4]));
    const done = (await running.caller.execute(good.upgrade('u1', [1, 901, 5]))).result;
    assert.equal(done.outcome, 'done', done.failure?.message);
    assert.equal(await node.serviceVersion(), '0a1');
    assert.equal((await node.links()).previous, `releases/${release?.folder}`);
  });

  test('is found by its program, not by who stands in its folder, and started again from its release', async (t) => {
    const { running, node, service } = await nodeWithService(t, { fromElsewhere: true });
    const bystander = spawn('sleep', ['600'], { cwd: service.directory, stdio: 'ignore' });
    t.after(() => bystander.kill('SIGKILL'));
    const result = await adopt(running, { directory: `${service.directory}/` });
    assert.equal(result.outcome, 'done', result.failure?.message);
    await rm(service.directory, { recursive: true });
    await service.end();
    await startedAnew(node, service.pid);
    await running.healthy();
    assert.equal(
      await readlink(`/proc/${node.servicePid()}/cwd`),
      node.at('releases', folderOf(result.release)),
    );
  });

  test('release.yml says how it is started and what does not belong to it', async (t) => {
    const { running, node, service } = await nodeWithService(t);
    await writeFile(join(service.directory, 'noise.log'), 'what it printed');
    const yml =
      'name: chat\nservice: {start: [node, server.mjs, --quiet], stop_signal: SIGINT}\nexclude: [noise.log]\n';
    await writeFile(join(service.directory, 'release.yml'), yml);
    const result = await adopt(running, { directory: service.directory });
    assert.equal(result.outcome, 'done', result.failure?.message);
    const release = await localRelease(nodePaths(node.config.root), folderOf(result.release));
    assert.equal(release?.manifest.name, 'chat');
    assert.deepEqual(release?.manifest.service.start, ['node', 'server.mjs', '--quiet']);
    assert.match(await readFile(node.at('run', 'service.json'), 'utf8'), /"stopSignal":"SIGINT"/);
    assert.deepEqual(release?.manifest.artifacts[0]?.files.map(({ path }) => path).sort(), [
      'release.json',
      'server.mjs',
    ]);
  });

  test('links inside its folder stand for what they lead to', async (t) => {
    const { running, node, service } = await nodeWithService(t);
    await symlink('server.mjs', join(service.directory, 'main.mjs'));
    const result = await adopt(running, { directory: service.directory });
    assert.equal(result.outcome, 'done', result.failure?.message);
    const copy = node.at('releases', folderOf(result.release), 'main.mjs');
    assert.equal(await readFile(copy, 'utf8'), await readFile(join(service.directory, 'server.mjs'), 'utf8'));
  });
});

describe('a service of a release that the repository has', together, () => {
  test('gets exactly that release', async (t) => {
    const { running, node, service } = await nodeWithService(t, { version: '0a1' });
    const result = await adopt(running, { version: '0a1', directory: service.directory });
    assert.equal(result.outcome, 'done', result.failure?.message);
    const { artifact } = cluster.releases['0a1'];
    assert.deepEqual(result.release, { version: '0a1', digest: artifact.treeDigest });
    assert.deepEqual(
      await treeDifferences(node.at('releases', folderOf(result.release)), artifact.files),
      [],
    );
    assert.equal(node.servicePid(), service.pid);
  });

  test('is refused when its files are others, and the first ones are named', async (t) => {
    const { running, node, service } = await nodeWithService(t, { version: '0a1' });
    await writeFile(join(service.directory, 'extra.mjs'), '');
    await assertRefused(
      running,
      node,
      service,
      { version: '0a1' },
      /is not release 0a1 .*extra\.mjs: is not part/,
    );
  });
});

describe('a taking over', together, () => {
  test('is refused with a sentence, and leaves the node as it was', async (t) => {
    const { running, node, service } = await nodeWithService(t);
    const refused = (changes: Partial<TakeOverStep>, why: RegExp) =>
      assertRefused(running, node, service, changes, why);
    await refused(
      { version: '0a1' },
      /is not release 0a1 of the repository: release\.json: has other contents/,
    );
    await refused({ version: '3.0.1', timeoutMs: 5_000n }, /not healthy as 3\.0\.1: .*says version 3\.0\.0/);
    await refused({ version: 'V3' }, /V3/);
    await refused({ directory: '' }, /a process that runs from anywhere .*--dir/);
    await refused({ directory: join(service.directory, 'nowhere') }, /is no folder/);
    await refused({ directory: '/' }, /holds the agent's own folder/);
    await refused({ directory: cluster.folder }, /holds the agent's own folder/);
    await refused({ directory: node.at('agent') }, /is the agent's own/);
    await refused({ directory: node.at('data') }, /no process of this user runs from/);
    await refused({ version: '0b1', directory: '' }, /--dir/);
    const socket = createServer().listen(join(service.directory, 'control'));
    await refused({}, /"control" is a device, a socket or a pipe/);
    socket.close();
    await symlink('/etc', join(service.directory, 'etc'));
    await symlink('.', join(service.directory, 'round'));
    await refused({}, /"etc" is a link that leads out of the folder/);
    await refused({}, /"round" is a link that leads in a circle/);
    const good = { directory: service.directory };
    for (const name of ['etc', 'round']) await rm(join(service.directory, name));
    assert.equal((await adopt(running, good)).outcome, 'done');
    assert.equal((await adopt(running, good)).failure?.code, 'NODE_EXISTS');
    assert.equal(node.servicePid(), service.pid);
  });

  test('does not choose between two services', async (t) => {
    const { running, node, service } = await nodeWithService(t);
    const other = await HandStarted.start(t, cluster, node, {
      directory: service.directory,
      asItIs: true,
      env: { PORT: '0' },
    });
    await assertRefused(
      running,
      node,
      service,
      {},
      new RegExp(`2 processes run from .*${other.pid} \\(node`),
    );
  });

  test('is not for a node that has a release', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const before = await everythingOf(running.node);
    const result = await adopt(running, { version: '0a1' });
    assert.equal(result.outcome, 'failed');
    assert.equal(result.failure?.code, 'NODE_EXISTS');
    assert.match(result.failure?.message ?? '', /plexictl rollout.*plexictl node confirm/);
    assert.deepEqual(await everythingOf(running.node), before);
    assert.equal((await running.caller.describe()).needsOperator, undefined);
  });

  test('is told in order: shape first, and a repeated one only once', async (t) => {
    const { running, service } = await nodeWithService(t);
    for (const changes of [
      { directory: 'here' },
      { version: '../x' },
      { timeoutMs: 0n },
      { version: 'none/' },
    ])
      await assert.rejects(adopt(running, changes), { code: 'LIMIT_EXCEEDED' });
    const order = takeOver('twice', [1, 900, 1], { directory: service.directory });
    const first = await running.caller.execute(order);
    const second = await running.caller.execute(order);
    assert.deepEqual([second.known, second.result], [true, first.result]);
  });
});

async function assertRefused(
  running: RunningNode,
  node: TinyNode,
  service: HandStarted,
  changes: Partial<TakeOverStep>,
  why: RegExp,
): Promise<void> {
  const main = liveProcess(service.pid);
  const before = await everythingOf(node);
  const result = await adopt(running, { directory: service.directory, ...changes });
  assert.equal(result.outcome, 'failed', String(why));
  assert.equal(result.failure?.code, 'TAKE_OVER_FAILED', result.failure?.message);
  assert.match(result.failure?.message ?? '', why);
  assert.deepEqual(await everythingOf(node), before);
  assert.ok(main !== undefined && isAlive(main));
}
function folderOf(release: CommandResult['release']): string {
  return `${release?.version}-${release?.digest.slice(0, 12)}`;
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').map(Number);
}

/** Waits until the agent has started another process than the one that has died. */
async function startedAnew(node: TinyNode, before: number): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  // Between the end of the one and the start of the other there is no record.
  while (!existsSync(node.at('run', 'service.json')) || node.servicePid() === before) {
    assert.ok(performance.now() < deadlineMs, 'the agent did not start it when it had died');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
