/**
 * A real agent over real mutual TLS, with a real (tiny) service: who may command it, in which order
 * of tokens, what a repeated, late or contradicting command does, and that an upgrade ends with the
 * new version and its data, or with the old one and its own, byte for byte.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rename, rm, rmdir, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { status as grpcStatus } from '@grpc/grpc-js';
import { createAuthority, issueCertificate } from '../config/certificate-authority.js';
import { PlexiError } from '../config/errors.js';
import { isServiceError } from '../config/grpc-status.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import type { TlsFiles } from '../config/tls.js';
import { Command } from '../gen/plexi/v1/node_agent.js';
import { serveFolder } from '../release/repository/server.test.part.js';
import { openNode, type RunningAgent, startAgent } from './agent.js';
import { environment } from './agent-node.test.part.js';
import { Caller, command, maintenance, rollBack, TinyPlan, type TokenNumbers } from './caller.test.part.js';
import { installRelease } from './install.js';
import { accepted } from './journal/job-records.test.part.js';
import { Journal } from './journal/journal.js';
import { isAlive, liveProcess } from './service/process-table.js';
import { journalDisk } from './state-disk.js';
import { createTinyCluster, type TinyCluster, TinyNode } from './tiny-node.test.part.js';
import { firstData } from './tiny-service.test.part.js';

const upgradePhases = [
  'entering_maintenance',
  'stopping',
  'backing_up',
  'migrating',
  'applying',
  'probing',
  'committing',
  'leaving_maintenance',
];
/** Two nodes at a time: each waits for its disk and its service more than it works. */
const together = { concurrency: 2 };
const inService = { record: false, hook: false };

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** A node with its agent running and, unless nothing is installed, its service healthy. */
class Running {
  agent: RunningAgent | undefined;
  caller: Caller;
  private readonly callers: Caller[] = [];

  private constructor(
    readonly node: TinyNode,
    agent: RunningAgent,
  ) {
    this.agent = agent;
    this.caller = this.as(cluster.tls('controller', 'controller-0'));
  }

  static async start(t: TestContext, options: Parameters<typeof TinyNode.create>[1] = {}): Promise<Running> {
    const node = await TinyNode.create(cluster, options);
    const running = new Running(node, await startAgent(node.config, environment));
    t.after(async () => {
      await running.stop();
      await node.remove();
    });
    if (options.version !== 'none') await running.healthy();
    return running;
  }

  /** A connection with another certificate. */
  as(files: TlsFiles): Caller {
    const caller = new Caller(this.agent?.port ?? 0, files);
    this.callers.push(caller);
    return caller;
  }

  healthy(): Promise<unknown> {
    return this.caller.statusWhen(({ health }) => health === 'healthy');
  }

  async stop(): Promise<void> {
    for (const caller of this.callers) caller.close();
    await this.agent?.stop();
    this.agent = undefined;
  }

  /** The agent's next life, after what is done between the two. */
  async restart(between: () => unknown = () => undefined): Promise<void> {
    await this.stop();
    await between();
    this.agent = await startAgent(this.node.config, environment);
    this.caller = this.as(cluster.tls('controller', 'controller-0'));
  }
}

function plan(from: '0a1' | '0b1' | 'none', to: '0b1' | '0b2'): TinyPlan {
  return new TinyPlan(cluster.releases, from, to);
}

/** The name of a release's folder, as a link shows it. */
function target(version: '0a1' | '0b1' | '0b2'): string {
  return `releases/${version}-${cluster.releases[version].artifact.treeDigest.slice(0, 12)}`;
}

const stale = { code: 'STALE_TOKEN' };

describe('who may command a node', together, () => {
  test('Describe tells what it is and runs, needs no token and changes nothing', async (t) => {
    const { node, caller } = await Running.start(t);
    const fence = await readFile(node.at('agent', 'fence.json'), 'utf8');
    const status = await caller.describe();
    assert.equal(status.nodeId, 'node-1');
    assert.equal(status.cluster, 'test');
    assert.deepEqual(status.release, { version: '0a1', digest: cluster.releases['0a1'].artifact.treeDigest });
    assert.equal(status.health, 'healthy');
    assert.equal(status.phase, 'idle');
    assert.equal(status.runningCommandId, '');
    assert.equal(status.inMaintenance, false);
    assert.equal(status.needsOperator, undefined);
    assert.ok(status.installId.length > 10);
    assert.equal(await readFile(node.at('agent', 'fence.json'), 'utf8'), fence);
    assert.deepEqual(await node.journal(), {});
  });

  for (const [role, name] of [
    ['operator', 'ada'],
    ['viewer', 'bob'],
    ['agent', 'node-2'],
    ['agent', 'node-1'],
  ] as const) {
    test(`the ${role} ${name} may not`, async (t) => {
      const running = await Running.start(t, { version: 'none' });
      const caller = running.as(cluster.tls(role, name));
      const denied = (error: unknown) => {
        assert.ok(error instanceof PlexiError);
        assert.equal(error.code, 'FORBIDDEN');
        assert.ok(isServiceError(error.cause));
        assert.equal(error.cause.code, grpcStatus.PERMISSION_DENIED);
        return true;
      };
      await assert.rejects(caller.describe(), denied);
      await assert.rejects(caller.adopt([9, 9, 9]), denied);
      await assert.rejects(caller.execute(maintenance('m', [9, 9, 9], true)), denied);
      await assert.rejects(
        caller.statusWhen(() => true),
        ({ cause }: Error) => denied(cause instanceof Error ? cause : new Error('no cause')),
      );
      assert.deepEqual(await running.node.journal(), {});
      await running.caller.adopt([1, 1, 1]);
    });
  }

  test('a controller of another cluster may not, and one of another authority is not even heard', async (t) => {
    const running = await Running.start(t, { version: 'none', cluster: 'elsewhere' });
    await assert.rejects(running.caller.adopt([1, 1, 1]), { code: 'FORBIDDEN' });
    await assert.rejects(running.caller.execute(maintenance('m', [1, 1, 1], true)), { code: 'FORBIDDEN' });
    const folder = running.node.at('foreign');
    await createAuthority(folder, { cluster: 'test' });
    const files = { cert: join(folder, 'c.pem'), key: join(folder, 'c.key') };
    const identity = { cluster: 'test', role: 'controller', name: 'controller-0' } as const;
    await issueCertificate(folder, { identity, hosts: [], out: files });
    const foreign = running.as({ ca: cluster.tls('agent', 'node-1').ca, ...files });
    await assert.rejects(foreign.adopt([1, 1, 1]), { code: grpcStatus.UNAVAILABLE });
    assert.deepEqual(await running.node.journal(), {});
  });

  test('a command without a token is refused, and so is one without an order', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    const without = { ...maintenance('m', [1, 1, 1], true), token: undefined };
    await assert.rejects(caller.execute(without), stale);
    await assert.rejects(caller.execute(command('x', [1, 1, 1], undefined)), { code: 'COMMAND_CONFLICT' });
    assert.deepEqual(await node.journal(), {});
  });
});

describe('tokens', together, () => {
  test('before any adoption a command is obeyed when its token is high enough', async (t) => {
    const { caller } = await Running.start(t, { version: 'none' });
    assert.equal((await caller.execute(maintenance('on', [1, 1, 1], true))).result.outcome, 'done');
    await assert.rejects(caller.execute(maintenance('off', [0, 9, 9], false)), stale);
  });

  test('an older epoch, term or seq is refused, and so is an equal one of another command', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    await running.caller.adopt([2, 20, 200]);
    const refused: TokenNumbers[] = [
      [1, 99, 999],
      [2, 19, 999],
      [2, 20, 199],
      [2, 20, 200],
    ];
    for (let start = 1; start <= 2; start++) {
      for (const token of refused) {
        await assert.rejects(running.caller.execute(maintenance('m', token, true)), stale);
        await assert.rejects(running.caller.execute(plan('none', '0b1').stage('s', token)), stale);
        await assert.rejects(running.caller.execute(rollBack('r', token, 'u')), stale);
      }
      await assert.rejects(running.caller.adopt([2, 20, 199]), stale);
      await running.caller.adopt([2, 20, 200]);
      await running.restart();
    }
    assert.deepEqual(await running.node.journal(), {});
    assert.deepEqual(running.node.isInMaintenance(), inService);
    await running.caller.execute(maintenance('m', [2, 20, 201], true));
    await assert.rejects(running.caller.execute(maintenance('n', [2, 20, 201], false)), stale);
  });

  test('a late command of an older term is refused after an adoption, which tells what was before', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    assert.deepEqual((await caller.adopt([1, 5, 1], 'five')).previousToken, { epoch: 0n, term: 0n, seq: 0n });
    await caller.execute(maintenance('on', [1, 5, 2], true));
    const adopted = await caller.adopt([1, 6, 3], 'six');
    assert.deepEqual(adopted.previousToken, { epoch: 1n, term: 5n, seq: 2n });
    assert.deepEqual(adopted.previousLineage, { term: 5n, nonce: 'five' });
    assert.equal(adopted.status?.inMaintenance, true);
    assert.deepEqual(
      adopted.jobs.map(({ commandId, step, result }) => [commandId, step, result?.outcome]),
      [['on', 'maintenance', 'done']],
    );
    const journal = await node.journal();
    await assert.rejects(caller.execute(maintenance('off', [1, 5, 99], false)), stale);
    assert.deepEqual(await node.journal(), journal);
    assert.equal(node.isInMaintenance().record, true);
  });

  test('a command that the journal holds is above the late ones after a restart too', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    await running.caller.adopt([1, 5, 1]);
    await running.caller.execute(maintenance('on', [1, 5, 4], true));
    await running.restart();
    await assert.rejects(running.caller.execute(maintenance('late', [1, 5, 3], false)), stale);
    await assert.rejects(running.caller.execute(maintenance('late', [1, 5, 4], false)), stale);
    assert.equal((await running.caller.execute(maintenance('on', [1, 5, 4], true))).known, true);
    assert.deepEqual((await running.caller.adopt([1, 6, 1])).previousToken, { epoch: 1n, term: 5n, seq: 4n });
    assert.equal(running.node.isInMaintenance().record, true);
  });

  test('a command that touches nothing, first of its term, keeps older terms out after a restart', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    await running.caller.adopt([1, 5, 1]);
    await running.caller.execute(plan('none', '0b1').stage('s', [1, 6, 1]));
    await running.caller.execute(plan('none', '0b1').stage('again', [1, 6, 4]));
    await assert.rejects(running.caller.execute(maintenance('late', [1, 6, 3], true)), stale);
    await running.restart();
    await assert.rejects(running.caller.execute(maintenance('late', [1, 5, 99], true)), stale);
    assert.deepEqual(await running.node.journal(), {});
  });

  test('commands that come at once are one critical section: the lower one never runs after the higher', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    const calls = [caller.adopt([1, 7, 5]), caller.execute(maintenance('late', [1, 6, 9], true))];
    const [, late] = await Promise.allSettled(calls);
    const ran = Object.keys(await node.journal()).length > 0;
    assert.equal(late?.status, ran ? 'fulfilled' : 'rejected');
    await assert.rejects(caller.execute(maintenance('later', [1, 6, 10], true)), stale);
  });
});

describe('a command that comes again', together, () => {
  test('gets the recorded result, and nothing is done; in other words it is refused', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    const { node } = running;
    const first = await running.caller.execute(maintenance('on', [1, 5, 5], true));
    assert.equal(first.known, false);
    assert.equal(first.result?.inMaintenance, true);
    await running.caller.execute(maintenance('off', [1, 5, 6], false));
    const journal = await node.journal();
    assert.equal(Object.keys(journal).length, 4);
    for (let start = 1; start <= 2; start++) {
      for (const token of [
        [1, 5, 5],
        [1, 1, 1],
        [1, 9, start],
      ] as const) {
        const again = await running.caller.execute(maintenance('on', token, true));
        assert.equal(again.known, true);
        // Beside the end as it was stands how the node is now.
        assert.deepEqual(again.result, { ...first.result, inMaintenance: false });
        assert.deepEqual(again.phases, []);
      }
      const fromAnother = maintenance('on', [1, 9, 10 + start], true);
      if (fromAnother.step?.$case === 'maintenance') fromAnother.step.value.timeoutMs += 1n;
      assert.equal((await running.caller.execute(fromAnother)).known, true, 'its time is no content');
      await assert.rejects(running.caller.execute(maintenance('on', [1, 9, 50], true, 'another reason')), {
        code: 'COMMAND_CONFLICT',
      });
      await running.restart();
    }
    assert.deepEqual(await node.journal(), journal);
    assert.deepEqual(node.isInMaintenance(), inService);
  });

  test('while it runs is attached to it; another one is told that the node is busy', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    await node.mark('maintenance.hold');
    const { ended } = await caller.executeUntil(maintenance('on', [1, 5, 5], true), 'entering_maintenance');
    assert.equal((await caller.describe()).runningCommandId, 'on');
    await assert.rejects(caller.execute(maintenance('off', [1, 5, 6], false)), {
      code: 'BUSY',
      message: /works on on$/,
    });
    await assert.rejects(caller.execute(plan('none', '0b1').upgrade('u', [1, 5, 6])), { code: 'BUSY' });
    await assert.rejects(caller.execute(maintenance('on', [1, 5, 5], false)), { code: 'COMMAND_CONFLICT' });
    let isAccepted: () => void = () => undefined;
    const accepted = new Promise<void>((resolve) => {
      isAccepted = resolve;
    });
    await caller.adopt([1, 6, 6]);
    await assert.rejects(caller.execute(maintenance('off', [1, 5, 99], false)), stale);
    const second = caller.execute(maintenance('on', [1, 6, 7], true), isAccepted);
    await accepted;
    await node.unmark('maintenance.hold');
    const [one, two] = await Promise.all([ended, second]);
    assert.equal(two.known, true);
    assert.deepEqual(two.result, one.result);
    assert.equal(Object.keys(await node.journal()).length, 2);
    assert.equal((await caller.execute(maintenance('off', [1, 6, 8], false))).result.outcome, 'done');
  });

  test('while the same staging runs for a leader that is gone joins it', async (t) => {
    const server = await serveFolder(cluster.repository);
    t.after(() => server.close());
    const { node, caller } = await Running.start(t, { repository: server.url });
    let answer: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      server.archiveAnswers.push((response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length / 2));
        answer = () => response.end(bytes.subarray(bytes.length / 2));
        resolve();
      });
    });
    const first = caller.execute(plan('0a1', '0b1').stage('stage-1', [1, 5, 5]));
    await asked;
    await caller.adopt([1, 6, 6]);
    let isAccepted: () => void = () => undefined;
    const accepted = new Promise<void>((resolve) => {
      isAccepted = resolve;
    });
    const second = caller.execute(plan('0a1', '0b1').stage('stage-1', [1, 6, 7]), isAccepted);
    await accepted;
    answer();
    assert.deepEqual((await second).result.failure, undefined);
    assert.deepEqual((await first).result, (await second).result);
    const archives = server.asked.filter((path) => path.includes('0b1-any-any.tar.gz'));
    assert.equal(archives.length, 1, archives.join(' '));
    assert.deepEqual(
      (await readdir(node.at('releases'))).filter((name) => name.startsWith('.')),
      [],
    );
  });
});

describe('an upgrade', together, () => {
  test('goes to the new version: data, links, backup, journal, status', async (t) => {
    const running = await Running.start(t);
    const { node, caller } = running;
    await caller.adopt([1, 5, 1]);
    const staged = await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 2]));
    assert.equal(staged.result.outcome, 'done');
    assert.deepEqual(await node.journal(), {}, 'staging touches nothing');
    const before = node.servicePid();
    const done = await caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 3]));
    assert.equal(done.result.outcome, 'done', done.result.failure?.message);
    assert.deepEqual(done.phases, upgradePhases);
    assert.deepEqual(done.result.release, plan('0a1', '0b1').release('0b1'));
    assert.equal(done.result.backupId, 'u');
    assert.equal(await node.serviceVersion(), '0b1');
    assert.equal(liveProcess(before), undefined);
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData.replace('1', '2'));
    assert.deepEqual(await node.links(), {
      current: target('0b1'),
      previous: target('0a1'),
      trial: undefined,
    });
    assert.deepEqual((await readdir(node.at('backups', 'u'))).sort(), [
      '.complete',
      'archive.tar.gz.age',
      'manifest.json',
      'manifest.sig',
    ]);
    assert.equal(Object.keys(await node.journal()).length, 9);
    assert.deepEqual(node.isInMaintenance(), inService);
    const status = await caller.statusWhen(({ health, phase }) => health === 'healthy' && phase === 'idle');
    assert.equal(status.release?.version, '0b1');
    assert.equal(status.inMaintenance, false);

    const journal = await node.journal();
    const pid = node.servicePid();
    await running.restart();
    await running.healthy();
    const again = await running.caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 3]));
    assert.deepEqual(again.result, done.result);
    assert.deepEqual(await node.journal(), journal);
    assert.equal(node.servicePid(), pid, 'the service ran on');
  });

  test('that never gets healthy goes back: data byte for byte, links, service', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b2').stage('s', [1, 5, 2]));
    const links = await node.links();
    const { mode, mtimeMs } = await stat(node.at('data', 'notes.json'));
    const { result, phases } = await caller.execute(plan('0a1', '0b2').upgrade('u', [1, 5, 3]));
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failedStep, 'probe');
    assert.equal(result.failure?.code, 'PROBE_FAILED');
    assert.match(result.failure?.message ?? '', /0b2 did not get healthy on node-1: .*answered 503/);
    assert.deepEqual(phases, [...upgradePhases.slice(0, 6), 'rolling_back']);
    assert.equal(result.release?.version, '0a1');
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
    assert.deepEqual(await readdir(node.at('data')), ['notes.json']);
    const restored = await stat(node.at('data', 'notes.json'));
    assert.deepEqual([restored.mode, Math.round(restored.mtimeMs)], [mode, Math.round(mtimeMs)]);
    assert.deepEqual(await node.links(), links);
    assert.equal(await node.serviceVersion(), '0a1');
    assert.deepEqual(node.isInMaintenance(), inService);
    const status = await caller.statusWhen(({ health, phase }) => health === 'healthy' && phase === 'idle');
    assert.equal(status.release?.version, '0a1');
    assert.equal(status.needsOperator, undefined);
  });

  test('whose migration fails half-way goes back, and the next try may succeed', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 2]));
    await node.mark('fail-migration');
    const failed = await caller.execute(plan('0a1', '0b1').upgrade('u.1', [1, 5, 3]));
    assert.equal(failed.result.outcome, 'rolled_back');
    assert.equal(failed.result.failure?.code, 'MIGRATION_FAILED');
    assert.deepEqual(await readdir(node.at('data')), ['notes.json']);
    assert.equal(await node.serviceVersion(), '0a1');
    await node.unmark('fail-migration');
    const done = await caller.execute(plan('0a1', '0b1').upgrade('u.2', [1, 5, 4]));
    assert.equal(done.result.outcome, 'done');
    assert.equal(await node.serviceVersion(), '0b1');
  });

  test('of a node that has changed since the plan is refused before anything is touched', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 2]));
    await assert.rejects(caller.execute(plan('none', '0b1').upgrade('u', [1, 5, 3])), {
      code: 'NODE_CHANGED',
    });
    assert.deepEqual(await node.journal(), {});
    assert.deepEqual(node.isInMaintenance(), inService);
  });

  test('of a node with nothing installed: one that fails leaves nothing, one that works the version', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    assert.deepEqual((await caller.describe()).release, { version: 'none', digest: '' });
    await caller.execute(plan('none', '0b2').stage('s2', [1, 5, 1]));
    await caller.execute(plan('none', '0b1').stage('s1', [1, 5, 2]));
    const noMigrations = (id: string, token: TokenNumbers, to: '0b1' | '0b2') => {
      const order = plan('none', to).upgrade(id, token);
      if (order.step?.$case === 'upgrade') order.step.value.migrations = [];
      return order;
    };
    const failed = await caller.execute(noMigrations('u2', [1, 5, 3], '0b2'));
    assert.equal(failed.result.outcome, 'rolled_back');
    assert.equal(failed.result.release?.version, 'none');
    assert.deepEqual(await node.links(), { current: undefined, previous: undefined, trial: undefined });
    assert.equal(await node.serviceVersion(), undefined);
    assert.deepEqual(node.isInMaintenance(), inService);
    const done = await caller.execute(noMigrations('u1', [1, 5, 4], '0b1'));
    assert.equal(done.result.outcome, 'done', done.result.failure?.message);
    assert.deepEqual(await node.links(), { current: target('0b1'), previous: undefined, trial: undefined });
    assert.equal(await node.serviceVersion(), '0b1');
  });

  test('of a node in maintenance leaves it there', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    await caller.execute(maintenance('on', [1, 5, 2], true, 'mine'));
    const done = await caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 3]));
    assert.equal(done.result.outcome, 'done');
    assert.deepEqual(node.isInMaintenance(), { record: true, hook: true });
    assert.match(await readFile(node.at('agent', 'maintenance.json'), 'utf8'), /"reason":"mine"/);
  });

  test('ends what a service that died has left running', async (t) => {
    const { node, caller } = await Running.start(t, { env: { LEAVES_CHILD: 'yes' } });
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    const pid = node.servicePid();
    const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'))
      .trim()
      .split(' ')
      .map(Number);
    const child = liveProcess(children[0] ?? 0);
    assert.ok(child);
    process.kill(pid, 'SIGKILL');
    await caller.statusWhen(
      ({ healthReason }) => healthReason !== '' && !healthReason.includes('answered 200'),
    );
    await node.mark('hold-migration');
    const { ended } = await caller.executeUntil(plan('0a1', '0b1').upgrade('u', [1, 5, 2]), 'migrating');
    assert.equal(isAlive(child), false, 'it would write beside the backup');
    await node.unmark('hold-migration');
    const { result } = await ended;
    assert.equal(result.outcome, 'done', result.failure?.message);
  });
});

describe('roll_back', together, () => {
  test('of the running upgrade takes it back, and both are told so', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    await node.mark('hold-migration');
    const { ended } = await caller.executeUntil(plan('0a1', '0b1').upgrade('u', [1, 5, 2]), 'migrating');
    const answered = caller.execute(rollBack('r', [1, 5, 3], 'u'));
    await caller.statusWhen(({ runningCommandId }) => runningCommandId === 'u');
    await node.unmark('hold-migration');
    const [upgrade, back] = await Promise.all([ended, answered]);
    assert.equal(upgrade.result.outcome, 'rolled_back');
    assert.deepEqual(upgrade.result.failure, { code: 'CANCELLED', message: 'the rollout turned back' });
    assert.deepEqual(back.result, upgrade.result);
    assert.deepEqual(await readdir(node.at('data')), ['notes.json']);
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
    assert.equal(await node.serviceVersion(), '0a1');
    assert.deepEqual(node.isInMaintenance(), inService);
    await assert.rejects(caller.execute(plan('0a1', '0b1').upgrade('u.late', [1, 5, 2])), stale);
  });

  test('interrupts a hook that would take long, before the service was stopped', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    const pid = node.servicePid();
    await node.mark('maintenance.hold');
    const { ended } = await caller.executeUntil(
      plan('0a1', '0b1').upgrade('u', [1, 5, 2]),
      'entering_maintenance',
    );
    const back = await caller.execute(rollBack('r', [1, 5, 3], 'u'));
    assert.deepEqual((await ended).result, back.result);
    assert.equal(back.result.outcome, 'rolled_back');
    assert.equal(node.servicePid(), pid);
    assert.deepEqual(node.isInMaintenance(), inService);
  });

  test('of an upgrade that never came answers rolled_back, and the late upgrade is refused', async (t) => {
    const running = await Running.start(t);
    const { node } = running;
    await running.caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    for (let times = 1; times <= 2; times++) {
      const { result } = await running.caller.execute(rollBack('r', [1, 5, 3], 'u'));
      assert.equal(result.outcome, 'rolled_back');
      assert.equal(result.release?.version, '0a1');
    }
    await assert.rejects(running.caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 2])), stale);
    await running.restart();
    await assert.rejects(running.caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 2])), stale);
    assert.deepEqual(await node.journal(), {});
  });

  test('of an upgrade that has committed says that it is done', async (t) => {
    const { node, caller } = await Running.start(t);
    await caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 1]));
    await caller.execute(plan('0a1', '0b1').upgrade('u', [1, 5, 2]));
    const { result } = await caller.execute(rollBack('r', [1, 5, 3], 'u'));
    assert.equal(result.outcome, 'done');
    assert.equal(await node.serviceVersion(), '0b1');
  });
});

describe('maintenance', together, () => {
  test('on and off: the record, the hook, the status as it is pushed; the service runs on', async (t) => {
    const running = await Running.start(t);
    const { node, caller } = running;
    const pid = node.servicePid();
    const isOut = caller.statusWhen(({ inMaintenance, phase }) => inMaintenance && phase === 'idle');
    const on = await caller.execute(maintenance('on', [1, 5, 1], true));
    assert.deepEqual(on.phases, ['entering_maintenance']);
    assert.equal(on.result.outcome, 'done');
    await isOut;
    assert.deepEqual(node.isInMaintenance(), { record: true, hook: true });
    await running.restart();
    assert.equal((await running.caller.describe()).inMaintenance, true);
    const off = await running.caller.execute(maintenance('off', [1, 5, 2], false));
    assert.deepEqual(off.phases, ['leaving_maintenance']);
    assert.deepEqual(node.isInMaintenance(), inService);
    assert.equal(Object.keys(await node.journal()).length, 4);
    assert.equal(node.servicePid(), pid);
  });

  test('whose hook fails has failed; the node counts as out until it is put back', async (t) => {
    const { node, caller } = await Running.start(t, { version: 'none' });
    await node.mark('maintenance.fail');
    const { result } = await caller.execute(maintenance('on', [1, 5, 1], true));
    assert.equal(result.outcome, 'failed');
    assert.equal(result.failure?.code, 'HOOK_FAILED');
    assert.equal((await caller.describe()).inMaintenance, true);
    await caller.execute(maintenance('off', [1, 5, 2], false));
    assert.deepEqual(node.isInMaintenance(), inService);
  });
});

describe('state that cannot be trusted', together, () => {
  test('without its fence the node answers Describe, and nothing else; the service runs on', async (t) => {
    const running = await Running.start(t);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 5, 1], true));
    await running.caller.execute(maintenance('off', [1, 5, 2], false));
    const journal = await node.journal();
    const pid = node.servicePid();
    for (const damage of [
      () => writeFile(node.at('agent', 'fence.json'), ''),
      () => rm(node.at('agent', 'fence.json')),
    ]) {
      await running.restart(damage);
      const status = await running.caller.describe();
      assert.equal(status.needsOperator?.code, 'FENCE_UNREADABLE');
      assert.equal(status.release?.version, '0a1');
      const refused = { code: 'FENCE_UNREADABLE' };
      await assert.rejects(running.caller.adopt([9, 9, 9]), refused);
      await assert.rejects(running.caller.execute(maintenance('new', [9, 9, 9], true)), refused);
      await assert.rejects(running.caller.execute(maintenance('on', [1, 5, 1], true)), refused);
      await assert.rejects(running.caller.execute(rollBack('r', [9, 9, 9], 'u')), refused);
      await assert.rejects(running.caller.execute(plan('0a1', '0b1').stage('s', [9, 9, 9])), refused);
    }
    assert.deepEqual(await node.journal(), journal);
    assert.equal(node.servicePid(), pid);
    assert.equal(await node.serviceVersion(), '0a1');
  });

  test('with a damaged journal the node refuses every command, asks for an operator, and leaves the service alone', async (t) => {
    const running = await Running.start(t);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 5, 1], true));
    const pid = node.servicePid();
    const last = node.at('agent', 'journal', '0000000002.json');
    await running.restart(() => truncate(last, 20));
    const journal = await node.journal();
    const refused = { code: 'JOURNAL_UNREADABLE', message: /0000000002\.json/ };
    const status = await running.caller.describe();
    assert.equal(status.needsOperator?.code, 'JOURNAL_UNREADABLE');
    await assert.rejects(running.caller.execute(maintenance('on', [1, 5, 1], true)), refused);
    await assert.rejects(running.caller.execute(maintenance('off', [1, 5, 2], false)), refused);
    await assert.rejects(running.caller.execute(rollBack('r', [1, 5, 3], 'u')), refused);
    await assert.rejects(running.caller.execute(plan('0a1', '0b1').stage('s', [1, 5, 4])), refused);
    assert.equal(node.servicePid(), pid);
    await running.restart(() => process.kill(pid, 'SIGKILL'));
    await running.caller.statusWhen(({ health }) => health === 'unhealthy');
    assert.equal(node.servicePid(), pid, 'a service that does not run is not started');
    assert.equal(liveProcess(pid), undefined);
    assert.deepEqual(await node.journal(), journal);
    assert.equal(node.isInMaintenance().record, true);
  });

  test('an agent that died before it had a fence starts anew', async (t) => {
    const node = await TinyNode.create(cluster, { version: 'none' });
    t.after(() => node.remove());
    await mkdir(node.at('agent', 'fence.json'), { recursive: true });
    const first = await startAgent(node.config, environment);
    await first.stop();
    const identity = await readdir(node.at('agent', 'identity'));
    assert.ok(!identity.includes('install.json'), 'with something in the place of its fence it holds');
    await rmdir(node.at('agent', 'fence.json'));
    const agent = await startAgent(node.config, environment);
    t.after(() => agent.stop());
    const caller = new Caller(agent.port, cluster.tls('controller', 'controller-0'));
    t.after(() => caller.close());
    assert.equal((await caller.describe()).needsOperator, undefined);
    await caller.adopt([1, 1, 1]);
  });
});

describe('the agent and its service', () => {
  test('only the agent starts it: again when it died, and after its own restart', async (t) => {
    const running = await Running.start(t);
    const first = running.node.servicePid();
    await running.restart(() => process.kill(first, 'SIGKILL'));
    await running.healthy();
    assert.notEqual(running.node.servicePid(), first);
  });

  test('an address that is taken is told in a sentence', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    const other = await TinyNode.create(cluster, { version: 'none' });
    t.after(() => other.remove());
    const second: NodeAgentConfig = { ...other.config, listen: `127.0.0.1:${running.agent?.port}` };
    await assert.rejects(startAgent(second, environment), {
      code: 'CONFIG_INVALID',
      message: /cannot listen on/,
    });
  });
});

describe('an agent that cannot listen', () => {
  test('leaves the open job to the next one, and nothing of its own is at work behind the door', async (t) => {
    const running = await Running.start(t);
    const { node } = running;
    await running.stop();
    const order = maintenance('on', [1, 5, 1], true);
    const journal = await Journal.open(journalDisk(node.at('agent', 'journal')), environment.clock.wall);
    const begun = accepted('on', 'maintenance');
    assert.ok(begun.kind === 'accepted');
    await journal.append({ ...begun, command: Object(Command.toJSON(order)) });
    const before = await node.journal();
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    t.after(() => taken.close());
    const listen = `127.0.0.1:${Object(taken.address()).port}`;
    await assert.rejects(startAgent({ ...node.config, listen }, environment), { code: 'CONFIG_INVALID' });
    assert.deepEqual(await node.journal(), before, 'it has not begun to work on the job');
    assert.deepEqual(node.isInMaintenance(), inService);
    await running.restart();
    await running.caller.statusWhen(({ inMaintenance, phase }) => inMaintenance && phase === 'idle');
  });
});

describe('two agents of one root', () => {
  test('the second one is refused before it counts, writes or takes up anything', async (t) => {
    const running = await Running.start(t, { version: 'none' });
    const identity = await readFile(running.node.at('agent', 'identity', 'install.json'), 'utf8');
    await assert.rejects(startAgent(running.node.config, environment), {
      code: 'CONFLICT',
      message: /another agent of this root/,
    });
    assert.equal(await readFile(running.node.at('agent', 'identity', 'install.json'), 'utf8'), identity);
    await running.restart();
    assert.equal((await running.caller.describe()).needsOperator, undefined);
  });
});

describe('install', () => {
  test('stages a release and makes it current, once', async (t) => {
    const node = await TinyNode.create(cluster, { version: 'none' });
    t.after(() => node.remove());
    const opened = await openNode(node.config, environment);
    await assert.rejects(installRelease(opened, '0r9'), { code: 'RELEASE_NOT_FOUND' });
    assert.equal((await node.links()).current, undefined);
    assert.equal(`releases/${await installRelease(opened, '0a1')}`, target('0a1'));
    assert.deepEqual(await node.links(), { current: target('0a1'), previous: undefined, trial: undefined });
    await assert.rejects(installRelease(opened, '0b1'), { code: 'NODE_EXISTS', message: /runs 0a1-/ });
    assert.equal((await node.links()).current, target('0a1'));
  });

  test('of a damaged archive changes nothing', async (t) => {
    const node = await TinyNode.create(cluster, { version: 'none' });
    t.after(() => node.remove());
    const { file } = cluster.releases['0a1'].artifact;
    const archive = join(cluster.repository, '0a1', file);
    const whole = await readFile(archive);
    await rename(archive, `${archive}.whole`);
    try {
      await writeFile(archive, whole.subarray(0, whole.length - 1));
      await assert.rejects(installRelease(await openNode(node.config, environment), '0a1'));
    } finally {
      await rename(`${archive}.whole`, archive);
    }
    assert.equal((await node.links()).current, undefined);
    assert.deepEqual(
      (await readdir(node.at('releases'))).filter((name) => !name.startsWith('.')),
      [],
    );
  });
});
