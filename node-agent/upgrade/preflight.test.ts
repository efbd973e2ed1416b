/**
 * Preflight through a real agent: a good node passes, and one that is wrong in many ways is told all
 * of it at once, in sentences, with nothing touched.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { maintenance } from '../caller.test.part.js';
import { isAlive, liveProcess } from '../service/process-table.js';
import { backupDirectoryProblem } from './backup.js';
import { buildChecked, CheckedNode, clusterWith } from './checked-node.test.part.js';

const { cluster, old, next } = await clusterWith('0b3');

describe('preflight', () => {
  test('passes a good node, and touches nothing', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { result } = await checked.caller.execute(checked.preflightOrder(old, next));
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.deepEqual(result.problems, []);
    assert.deepEqual(await checked.node.journal(), {});
  });

  test('tells every problem at once', async (t) => {
    const folder = join(cluster.folder, 'wrong');
    await mkdir(folder);
    await writeFile(join(folder, 'open'), 'hunter2\n', { mode: 0o644 });
    await writeFile(join(folder, 'hook'), '#!/bin/sh\n', { mode: 0o644 });
    const checked = await CheckedNode.start(t, cluster, {
      maintenance: { enter: [join(folder, 'hook')], leave: ['no-such-program-anywhere'] },
      secrets: {
        TOKEN: { file: join(folder, 'open'), as: 'environment' },
        GONE: { file: join(folder, 'gone'), as: 'descriptor' },
      },
    });
    const order = checked.preflightOrder(next, next, {
      unpackedBytes: 2n ** 60n,
      controllerTime: new Date(Date.now() - 3_600_000),
      backupPolicy: { directory: 'data/backups', encryption: true, keep: 3, retentionDays: 30 },
      os: 'plan9',
      arch: process.arch,
    });
    const { result } = await checked.caller.execute(order);
    assert.equal(result.outcome, 'failed');
    assert.equal(result.failure?.code, 'PREFLIGHT_FAILED');
    const wanted = [
      /runs 0a1 .*, not 0b3 as planned/,
      /is linux\/\w+, and the artifact is for plan9\//,
      /is 3600 s off/,
      /maintenance hook .*hook on node-1 is missing or not executable/,
      /maintenance hook no-such-program-anywhere/,
      /secret TOKEN cannot be used: others may read .*chmod 600/,
      /secret GONE cannot be used: .* cannot be opened/,
      /backups cannot go to "data\/backups": it meets data/,
      /MB free under .*releases.* and needs \d+ MB/,
    ];
    const messages = result.problems.map(({ message }) => message);
    for (const pattern of wanted)
      assert.ok(
        messages.some((it) => pattern.test(it)),
        `${pattern}: ${messages}`,
      );
    assert.equal(messages.length, wanted.length, messages.join('\n'));
    assert.doesNotMatch(JSON.stringify(result), /hunter2/);
    await chmod(join(folder, 'open'), 0o600);
    const again = await checked.caller.execute(
      checked.preflightOrder(old, next, { maintenanceHooks: false }),
    );
    assert.deepEqual(
      again.result.problems.map(({ code }) => code),
      ['SECRET_UNREADABLE'],
    );
  });

  test('looks at each filesystem by itself, and names the one that is short', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('only root can mount a filesystem');
    const checked = await CheckedNode.start(t, cluster);
    const { caller, node } = checked;
    const mount = async (name: string, size: string): Promise<() => void> => {
      await mkdir(node.at(name), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', node.at(name)]);
      return () => execFileSync('umount', [node.at(name)]);
    };
    const problems = async (): Promise<string[]> => {
      const { result } = await caller.execute(checked.preflightOrder(old, next));
      return result.problems.map(({ message }) => message);
    };
    const unmount = await mount('backups', '64m');
    try {
      const [short = '', ...others] = await problems();
      assert.match(
        short,
        /^node-1 has \d+ MB free under .*\/backups \(backups\) and needs 501 MB; make room there$/,
      );
      assert.deepEqual(others, []);
      execFileSync('mount', ['-o', 'remount,size=600m', node.at('backups')]);
      assert.deepEqual(await problems(), []);
    } finally {
      unmount();
    }
    const unmountInData = await mount('config', '600m');
    try {
      const found = await problems();
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(
        found[0] ?? '',
        /^config on node-1 is a filesystem of its own; mount the node's root there/,
      );
    } finally {
      unmountInData();
    }
  });

  test('asks for room for backup, restore and release together, and for some that stays free', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { caller, node } = checked;
    await writeFile(node.at('data', 'big'), '');
    // It has a length and no content.
    await truncate(node.at('data', 'big'), 1024 ** 4);
    const { result } = await caller.execute(
      checked.preflightOrder(old, next, { unpackedBytes: BigInt(1024 ** 3) }),
    );
    const [message = '', ...others] = result.problems.map((problem) => problem.message);
    assert.deepEqual(others, []);
    const [, neededMb = ''] =
      /state, releases, data, config, backups\) and needs (\d+) MB/.exec(message) ?? [];
    const sumMb = 2 * 1024 ** 2 + 2 * 1024 + 500;
    assert.ok(Number(neededMb) > sumMb && Number(neededMb) < sumMb + 10, message);
  });

  test('refuses a service that is ill already, unless the operator goes on', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { caller, node } = checked;
    await writeFile(node.at('data', 'notes.json'), 'no JSON');
    const main = liveProcess(node.servicePid());
    assert.ok(main);
    process.kill(main.pid, 'SIGKILL');
    await caller.statusWhen(({ health }) => health === 'unhealthy' && !isAlive(main));
    const { result } = await caller.execute(checked.preflightOrder(old, next));
    assert.equal(result.problems.length, 1, JSON.stringify(result.problems));
    assert.match(result.problems[0]?.message ?? '', /not healthy before the rollout: .*--force/);
    const forced = await caller.execute(checked.preflightOrder(old, next, { allowUnhealthy: true }));
    assert.equal(forced.result.outcome, 'done', forced.result.failure?.message);
  });

  test('says of a damaged record of maintenance what a running agent takes notice of', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    await writeFile(checked.node.at('agent', 'maintenance.json'), '{"re');
    await checked.restart();
    await checked.healthy();
    const { result } = await checked.caller.execute(checked.preflightOrder(old, next));
    assert.equal(result.problems.length, 1, JSON.stringify(result.problems));
    assert.match(result.problems[0]?.message ?? '', /plexictl node maintenance off node-1$/);
    const off = maintenance('off', [1, 5, 90], false);
    assert.equal((await checked.caller.execute(off)).result.outcome, 'done');
    const again = { ...checked.preflightOrder(old, next), token: { epoch: 1n, term: 5n, seq: 91n } };
    assert.equal((await checked.caller.execute(again)).result.outcome, 'done');
  });

  test('refuses a node that asks for an operator', async (t) => {
    const broken = await buildChecked(cluster, '0b4', { isHealthy: false });
    const checked = await CheckedNode.start(t, cluster);
    const { caller, node } = checked;
    await caller.execute(checked.stageOrder(broken));
    await node.mark('maintenance.hold');
    const order = checked.upgradeOrder(old, broken, {
      timeouts: {
        ...{ maintenanceMs: 10_000n, stopMs: 5_000n, backupMs: 5_000n, migrateMs: 5_000n },
        ...{ applyMs: 5_000n, probeMs: 300n, testMs: 5_000n, rollbackMs: 300n },
      },
    });
    const { ended } = await caller.executeUntil(order, 'entering_maintenance');
    // The old version does not start on this.
    await writeFile(node.at('data', 'notes.json'), 'no JSON');
    await node.unmark('maintenance.hold');
    assert.equal((await ended).result.outcome, 'rollback_failed');
    const { result } = await caller.execute(checked.preflightOrder(old, next, { allowUnhealthy: true }));
    assert.equal(result.problems.length, 1, JSON.stringify(result.problems));
    assert.equal(result.problems[0]?.code, 'ROLLBACK_FAILED');
    assert.match(
      result.problems[0]?.message ?? '',
      /asks for an operator .* with plexictl node confirm node-1/,
    );
  });
});

describe("a backup's folder", () => {
  for (const directory of [
    '',
    '/backups',
    '../backups',
    'a/../..',
    'agent/backups',
    'current',
    'data',
    'data/b',
  ]) {
    test(`is not ${JSON.stringify(directory)}`, () => {
      assert.match(backupDirectoryProblem(directory, ['data', 'config/app']) ?? '', /^backups cannot go to/);
    });
  }

  test('is not around what is backed up, and may stand beside it', () => {
    assert.match(backupDirectoryProblem('config', ['data', 'config/app']) ?? '', /meets config\/app/);
    assert.equal(backupDirectoryProblem('backups/updates', ['data', 'config']), undefined);
  });
});
