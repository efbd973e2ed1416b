/**
 * What an upgrade leaves behind goes at the end of one that went well or went back: the newest releases stay, and
 * so does whatever a link, a process, a backup or a job of the journal may still need; likewise with backups. A
 * clean-up that cannot be made makes no job fail.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { completeMark } from '../../release/plain-path.js';
import type { BuiltRelease } from '../../release/repository/publish.js';
import { stageRelease } from '../../release/repository/stage.js';
import { eventually } from '../../test/cluster/asking.test.part.js';
import { openNode } from '../agent.js';
import { environment } from '../agent-node.test.part.js';
import { createBackup } from '../backup/create.js';
import { usableKeys } from '../backup/keys.js';
import { command } from '../caller.test.part.js';
import type { Job } from '../journal/journal.js';
import type { AgentNode } from '../node.js';
import { copiedManifest, copyRelease } from '../takeover/copied-release.js';
import { folderFiles } from '../takeover/folder-files.js';
import { TinyNode } from '../tiny-node.test.part.js';
import { buildChecked, CheckedNode, clusterWith, linkTo } from './checked-node.test.part.js';
import { cleanUpAfter } from './clean-up.js';

const { cluster, old, next } = await clusterWith('0c1');
const built: BuiltRelease[] = [next];
for (const version of ['0c2', '0c3', '0c4', '0c5']) built.push(await buildChecked(cluster, version, {}));
const broken = await buildChecked(cluster, '1a1', { isHealthy: false });

const never = new AbortController().signal;
const folderOf = (release: BuiltRelease): string => linkTo(release).replace('releases/', '');
const namesOf = (releases: readonly BuiltRelease[]): string[] => releases.map(folderOf).sort();

async function releasesOn(node: TinyNode): Promise<string[]> {
  const all = await readdir(node.at('releases'), { withFileTypes: true });
  const entries = all.filter(({ name }) => !name.startsWith('.'));
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const manifests = entries.filter(({ name }) => name.endsWith('.manifest.json')).map(({ name }) => name);
  const alone = manifests
    .map((name) => name.replace('.manifest.json', ''))
    .filter((name) => !folders.includes(name));
  assert.ok(manifests.length >= folders.length, 'each release has its manifest');
  // In the middle of a removal the folder is gone, and its manifest is not.
  return [...folders, ...alone.map((name) => `the manifest of ${name}`)].sort();
}

/** A node with 0a1 as `current`, and the other releases staged in their order. */
async function staged(t: TestContext): Promise<{ tiny: TinyNode; node: AgentNode }> {
  const tiny = await TinyNode.create(cluster);
  t.after(() => tiny.remove());
  const node = await openNode(tiny.config, environment);
  t.after(() => node.closeLog());
  for (const release of built) await stageOn(node, release);
  return { tiny, node };
}

function stageOn(node: AgentNode, { manifest, manifestSha256, artifact }: BuiltRelease) {
  return stageRelease({
    repository: node.repository,
    version: manifest.version,
    manifestSha256,
    artifactSha256: artifact.sha256,
    releasesDir: node.paths.releases,
    os: process.platform,
    arch: process.arch,
    signal: never,
  });
}

/** A job that has ended. */
function job(commandId: string, changes: Partial<Job> = {}): Job {
  const order = { $case: 'upgrade' as const, value: { backup: true, backupPolicy: policy } };
  return {
    commandId,
    command: Object(Command.toJSON(command(commandId, [1, 5, 1], Command.fromPartial({ step: order }).step))),
    payloadHash: '',
    token: { epoch: '1', term: '5', seq: '1' },
    begun: ['enter_maintenance'],
    facts: {
      ...{ wasInMaintenance: false, folderBefore: null, previousBefore: null },
      ...{ folderAfter: null, backupId: commandId },
    },
    committed: true,
    goingBack: undefined,
    resumed: 0,
    result: {
      ...{ outcome: 'done', failure: null, failedStep: '' },
      ...{ release: { version: '', digest: '' }, timings: [], backupId: commandId },
    },
    records: [],
    ...changes,
  };
}

const policy = { directory: 'backups', encryption: false, keep: 1, retentionDays: 0 };
const ended = job('ended');
const clean = (node: AgentNode, jobs: Job[] = [ended]): Promise<void> =>
  cleanUpAfter(node, jobs.at(-1) ?? ended, jobs, new AbortController().signal);

describe('a directory that no backup may go to', () => {
  for (const directory of ['', 'releases', 'data', 'agent', '../elsewhere', 'data/deep'])
    test(`'${directory}' is left alone, whatever the order says`, async (t) => {
      const { tiny, node } = await staged(t);
      const folder = join(tiny.config.root, directory);
      t.after(() => rm(join(tiny.config.root, '../elsewhere'), { recursive: true, force: true }));
      const own = join(folder, 'a-folder');
      await mkdir(own, { recursive: true });
      const before = (await readdir(folder)).sort();
      const value = { backup: true, backupPolicy: { ...policy, directory } };
      const { step } = Command.fromPartial({ step: { $case: 'upgrade', value } });
      const wrong = job('wrong', { command: Object(Command.toJSON(command('wrong', [1, 5, 1], step))) });
      await clean(node, [wrong]);
      const after = (await readdir(folder)).sort();
      assert.deepEqual(
        before.filter((name) => !after.includes(name) && !/^0c|manifest/.test(name)),
        [],
      );
      assert.ok(after.includes('a-folder'));
    });
});

describe('old releases', () => {
  test('go one by one as a node is upgraded, but for the newest', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    let before = old;
    for (const release of built) {
      const { result } = await checked.stageAndUpgrade(before, release);
      assert.equal(result.outcome, 'done', result.failure?.message);
      before = release;
    }
    // The last job may be asked what ran before it, and before that.
    assert.equal(limits.releasesKept, 3);
    await eventually(
      () => releasesOn(checked.node),
      (names) => isDeepStrictEqual(names, namesOf(built.slice(-3))),
      'the clean-up behind the last job',
    );
  });

  test('that were staged again are as young as new ones', async (t) => {
    const { tiny, node } = await staged(t);
    const [first, second] = built;
    assert.ok(first && second);
    const old = new Date(0);
    await utimes(tiny.at('releases', folderOf(first), completeMark), old, old);
    assert.equal((await stageOn(node, first)).already, true);
    await clean(node);
    const left = await releasesOn(tiny);
    assert.ok(left.includes(folderOf(first)), left.join());
    assert.ok(!left.includes(folderOf(second)), left.join());
  });

  test('that a link leads to, that a backup is of, or that were made on this node stay', async (t) => {
    const { tiny, node } = await staged(t);
    const [first, second] = built;
    assert.ok(first && second);
    await symlink(linkTo(first), node.paths.previous);
    await createBackup({
      ...{ root: node.paths.root, paths: ['data'], directory: 'backups', id: 'one', version: '0c2' },
      ...{ node: 'node-1', rollout: 'r', encryption: false, keys: usableKeys(node.backupKeys) },
      createdAt: new Date().toISOString(),
    });
    const directory = tiny.at('data', 'program');
    await mkdir(directory);
    await writeFile(join(directory, 'serve'), 'x');
    const files = await folderFiles(directory, [], never);
    const service = { start: ['serve'], stopSignal: 'SIGTERM', env: {} };
    const made = copiedManifest({
      ...{ version: '3.0.0', name: 'x', directory, service, files },
      createdAt: new Date(),
    });
    const own = await copyRelease(node.paths.releases, made, files, never);
    // As if it were the oldest.
    await utimes(join(node.paths.releases, own, completeMark), 0, 0);
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), [...namesOf([old, ...built]), own].sort());
    await rm(tiny.at('backups'), { recursive: true });
    await rm(node.paths.previous);
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), [...namesOf([old, ...built.slice(2)]), own].sort());
  });

  test('that a job of the journal came from or went to stay', async (t) => {
    const { tiny, node } = await staged(t);
    const [first, second] = namesOf(built);
    const facts = { ...ended.facts, folderAfter: first ?? '', previousBefore: second ?? '' };
    await clean(node, [job('back', { facts, committed: false, result: backResult })]);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built]));
    await clean(node, [
      job('failed', { committed: false, result: { ...backResult, outcome: 'rollback_failed' } }),
    ]);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built]), 'nothing goes while a node asks');
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built.slice(2)]));
  });

  test('that a process runs from stay, until it has ended', async (t) => {
    const { tiny, node } = await staged(t);
    const [first = ''] = namesOf(built);
    const child = spawn('sleep', ['600'], { cwd: join(node.paths.releases, first), stdio: 'ignore' });
    t.after(() => child.kill('SIGKILL'));
    await once(child, 'spawn');
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, next, ...built.slice(2)]));
    child.kill('SIGKILL');
    await once(child, 'exit');
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built.slice(2)]));
  });

  test('stay when `current` leads to no whole release', async (t) => {
    const { tiny, node } = await staged(t);
    await rm(node.paths.current);
    await clean(node);
    await symlink('releases/gone', node.paths.current);
    await clean(node);
    await rm(node.paths.current);
    await symlink(`${cluster.folder}/${folderOf(old)}`, node.paths.current);
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built]));
  });

  test('that cannot be removed, or looked at, make nothing fail', async (t) => {
    const { tiny, node } = await staged(t);
    await rm(tiny.at('backups'), { recursive: true, force: true });
    await writeFile(tiny.at('backups'), 'no folder');
    await clean(node);
    assert.deepEqual(await releasesOn(tiny), namesOf([old, ...built]));
  });
});

const backResult = {
  ...{ outcome: 'rolled_back' as const, failure: null, failedStep: 'probe' },
  ...{ release: { version: '', digest: '' }, timings: [], backupId: '' },
};

test('old backups go when tries fail, too; that of the last try and of the last commit stay', async (t) => {
  const checked = await CheckedNode.start(t, cluster);
  const backup = { backup: true, backupPolicy: policy };
  const good = await checked.stageAndUpgrade(old, next, backup);
  assert.equal(good.result.outcome, 'done', good.result.failure?.message);
  const made = [good.result.backupId];
  for (let tries = 0; tries < 3; tries++) {
    const { timeouts } = shortProbe(checked.upgradeOrder(next, broken));
    const { result } = await checked.stageAndUpgrade(next, broken, { ...backup, timeouts });
    assert.equal(result.outcome, 'rolled_back', result.failure?.message);
    made.push(result.backupId);
  }
  const kept = [made[0] ?? '', made.at(-1) ?? ''].sort();
  await eventually(
    async () => (await readdir(checked.node.at('backups'))).sort(),
    (left) => isDeepStrictEqual(left, kept),
    'the clean-up behind the last job',
  );
});

function shortProbe({ step }: Command) {
  assert.ok(step?.$case === 'upgrade' && step.value.timeouts);
  return { timeouts: { ...step.value.timeouts, probeMs: 500n } };
}
