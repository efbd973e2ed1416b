/**
 * State that is damaged in ways beside a torn file: a lost identity beside a fence that was raised, a folder in
 * the place of a file. The agent starts, answers Describe, holds, and says what to do; nothing is written over,
 * and the word that it names puts the node right (protocol, rule 6; guarantee 2).
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { environment } from './agent-node.test.part.js';
import { askAt, doorOf } from './by-hand/door.js';
import { restoreOffline, statusOffline } from './by-hand/offline.js';
import { byHandOutcome, nodeDocument, parseAnswer } from './by-hand/requests.js';
import { maintenance, TinyPlan } from './caller.test.part.js';
import { RunningNode } from './running-node.test.part.js';
import { createTinyCluster, type TinyCluster, type TinyNode } from './tiny-node.test.part.js';

const together = { concurrency: 2 };
const asItIs = { backupId: undefined, directory: undefined, by: 'ada', reason: 'a bad sector' };
const identityFile = ['agent', 'identity', 'install.json'];
const fenceFile = ['agent', 'fence.json'];

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function restore(node: TinyNode) {
  return restoreOffline(node.config, environment, asItIs, () => 'new-installation');
}

async function statusOf(node: TinyNode) {
  const asked = await askAt(doorOf(node.at('run')), { word: 'status' });
  return parseAnswer(asked?.answer, nodeDocument);
}

describe('an identity that is lost', together, () => {
  test('does not take the fence with it: what was refused before is refused again', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.adopt([1, 9, 9]);
    const fence = await readFile(node.at(...fenceFile), 'utf8');
    await running.restart(() => rm(node.at(...identityFile)));
    assert.equal(await readFile(node.at(...fenceFile), 'utf8'), fence);
    const { needsOperator } = await running.caller.describe();
    assert.equal(needsOperator?.code, 'CONFIG_INVALID');
    assert.match(needsOperator?.message ?? '', /install\.json is missing.*plexi-node-agent restore/);
    assert.match((await statusOf(node)).next ?? '', /restore --as-it-is/);
    await assert.rejects(running.caller.adopt([1, 9, 8]), { code: 'STALE_TOKEN' });
    await running.stop();
    await assert.rejects(readFile(node.at(...identityFile)), { code: 'ENOENT' });
    assert.equal((await statusOffline(node.config)).needsOperator?.code, 'CONFIG_INVALID');
    const { outcome, setAside } = await restore(node);
    assert.deepEqual([outcome, setAside], ['done', []]);
    await running.restart();
    await running.healthy();
    const status = await running.caller.describe();
    assert.deepEqual([status.needsOperator, status.installId], [undefined, 'new-installation']);
    await assert.rejects(running.caller.adopt([1, 9, 8]), { code: 'STALE_TOKEN' });
    await running.caller.adopt([1, 9, 10]);
  });

  test('beside a torn fence hides neither', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.adopt([1, 9, 9]);
    await running.restart(async () => {
      await rm(node.at(...identityFile));
      await writeFile(node.at(...fenceFile), '{');
    });
    assert.equal((await running.caller.describe()).needsOperator?.code, 'FENCE_UNREADABLE');
    assert.equal(await readFile(node.at(...fenceFile), 'utf8'), '{');
    await running.stop();
    assert.deepEqual((await restore(node)).setAside.length, 1);
    await running.restart();
    await running.healthy();
    await assert.rejects(running.caller.execute(maintenance('m', [9, 9, 9], true)), {
      code: 'FENCE_UNREADABLE',
    });
    await running.caller.adopt([2, 1, 1]);
  });

  test('with the fence, beside a journal, is no new node: it obeys nobody and asks', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 9, 9], true));
    const pid = node.servicePid();
    await running.restart(async () => {
      await rm(node.at(...identityFile));
      await rm(node.at(...fenceFile));
    });
    const { needsOperator, inMaintenance } = await running.caller.describe();
    assert.equal(needsOperator?.code, 'FENCE_UNREADABLE');
    assert.match(needsOperator?.message ?? '', /fence\.json is missing.*plexi-node-agent restore/);
    assert.equal(inMaintenance, true);
    await assert.rejects(running.caller.adopt([1, 9, 8]), { code: 'FENCE_UNREADABLE' });
    await assert.rejects(running.caller.execute(maintenance('off', [1, 9, 10], false)), {
      code: 'FENCE_UNREADABLE',
    });
    assert.equal(node.servicePid(), pid);
    await running.stop();
    for (const file of [identityFile, fenceFile])
      await assert.rejects(readFile(node.at(...file)), { code: 'ENOENT' }, 'nothing is made anew');
    assert.equal((await statusOffline(node.config)).needsOperator?.code, 'FENCE_UNREADABLE');
    assert.equal((await restore(node)).outcome, 'done');
    await running.restart();
    const status = await running.caller.describe();
    assert.deepEqual([status.needsOperator, status.installId], [undefined, 'new-installation']);
    await assert.rejects(running.caller.adopt([1, 9, 8]), { code: 'STALE_TOKEN' });
    await running.caller.adopt([1, 9, 10]);
  });

  test('with the fence, beside a journal that cannot be read, hides none of the three', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 9, 9], true));
    await running.restart(async () => {
      await rm(node.at(...identityFile));
      await rm(node.at(...fenceFile));
      await writeFile(node.at('agent', 'journal', '0000000002.json'), '{');
    });
    assert.equal((await running.caller.describe()).needsOperator?.code, 'JOURNAL_UNREADABLE');
    await running.stop();
    assert.equal((await restore(node)).outcome, 'done');
    await running.restart();
    assert.equal((await running.caller.describe()).installId, 'new-installation');
    await assert.rejects(running.caller.adopt([1, 9, 8]), { code: 'STALE_TOKEN' });
  });

  test('on a new root, where an operator has said restore before any agent ran, asks for nobody', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    const { node } = running;
    await running.restart(async () => {
      await rm(node.at('agent'), { recursive: true });
      assert.equal((await restore(node)).outcome, 'done');
    });
    assert.equal((await running.caller.describe()).needsOperator, undefined);
    await running.caller.adopt([1, 1, 1]);
  });

  test('before the fence was ever raised is made: the agent had died between the two', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    await running.restart(() => rm(running.node.at(...identityFile)));
    const { needsOperator, installId } = await running.caller.describe();
    assert.equal(needsOperator, undefined);
    assert.notEqual(installId, '');
    await running.caller.adopt([1, 1, 1]);
  });
});

describe('a folder in the place of a file', together, () => {
  const places: Record<string, { file: string[]; code: string; setAside: RegExp }> = {
    fence: { file: fenceFile, code: 'FENCE_UNREADABLE', setAside: /fence\.json$/ },
    identity: { file: identityFile, code: 'CONFIG_INVALID', setAside: /install\.json$/ },
    maintenance: {
      file: ['agent', 'maintenance.json'],
      code: 'STORE_INVALID',
      setAside: /maintenance\.json$/,
    },
    'a record of the journal': {
      file: ['agent', 'journal', '0000000002.json'],
      code: 'JOURNAL_UNREADABLE',
      setAside: /journal$/,
    },
  };
  for (const [what, { file, code, setAside }] of Object.entries(places))
    test(`${what}: the agent answers, holds and says so, and restore puts it right`, async (t) => {
      const running = await RunningNode.start(t, cluster);
      const { node } = running;
      await running.caller.execute(maintenance('on', [1, 5, 1], true));
      const pid = node.servicePid();
      await running.restart(async () => {
        await rm(node.at(...file));
        await mkdir(node.at(...file));
        await writeFile(join(node.at(...file), 'inside'), 'kept');
      });
      const { needsOperator, inMaintenance } = await running.caller.describe();
      assert.equal(needsOperator?.code, code);
      assert.match(needsOperator?.message ?? '', /plexi-node-agent restore/);
      assert.equal(inMaintenance, true, 'it does not serve by accident');
      assert.match((await statusOf(node)).next ?? '', /plexi-node-agent restore/);
      assert.equal(node.servicePid(), pid);
      await running.stop();
      const offline = await statusOffline(node.config);
      assert.equal(offline.needsOperator?.code, code);
      const restored = await restore(node);
      assert.equal(restored.outcome, 'done');
      assert.match(restored.setAside.join(), setAside);
      await running.restart();
      await running.healthy();
      assert.equal((await running.caller.describe()).needsOperator, undefined);
      const [kept = ''] = restored.setAside;
      const inside = what.includes('journal') ? [kept, '0000000002.json', 'inside'] : [kept, 'inside'];
      assert.equal(await readFile(node.at('agent', 'quarantine', ...inside), 'utf8'), 'kept');
    });
});

describe('a backup key that cannot be used', together, () => {
  for (const [name, content] of [
    ['backup.age', 'no key'],
    ['backup-sign.key', ''],
  ] as const)
    test(`${name}: the node serves on and says so; only what needs a backup fails`, async (t) => {
      const running = await RunningNode.start(t, cluster);
      const { node } = running;
      const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
      await running.caller.execute(plan.stage('s', [1, 5, 1]));
      const key = node.at('agent', 'identity', name);
      await running.restart(async () => {
        await rename(key, `${key}.copy`);
        await writeFile(key, content);
      });
      const { needsOperator } = await running.caller.describe();
      assert.equal(needsOperator?.code, 'BACKUP_INVALID');
      assert.match(needsOperator?.message ?? '', new RegExp(`${name} cannot be used .*; then start`));
      assert.match((await statusOf(node)).next ?? '', /^put the right key file back, or move it away/);
      process.kill(node.servicePid(), 'SIGKILL');
      await running.caller.statusWhen(({ health }) => health === 'unhealthy');
      await running.healthy();
      const { result } = await running.caller.execute(plan.upgrade('u', [1, 5, 2]));
      assert.deepEqual(
        [result.outcome, result.failedStep, result.failure?.code],
        ['rolled_back', 'backup', 'BACKUP_INVALID'],
      );
      await running.healthy();
      await running.stop();
      assert.equal((await statusOffline(node.config)).needsOperator?.code, 'BACKUP_INVALID');
      await mkdir(node.at('backups', 'some'), { recursive: true });
      const backup = { ...asItIs, backupId: 'some', directory: 'backups' };
      await assert.rejects(
        restoreOffline(node.config, environment, backup, () => 'new'),
        {
          code: 'BACKUP_INVALID',
          message: /cannot be used/,
        },
      );
      assert.equal(await readFile(key, 'utf8'), content, 'it is left as it is');
      await running.restart(() => rename(`${key}.copy`, key));
      assert.equal((await running.caller.describe()).needsOperator, undefined);
      const again = await running.caller.execute(plan.upgrade('again', [1, 5, 3]));
      assert.equal(again.result.outcome, 'done', again.result.failure?.message);
    });

  test('moved away makes room for a new one', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const key = running.node.at('agent', 'identity', 'backup.age');
    await running.restart(() => writeFile(key, 'no key'));
    assert.equal((await running.caller.describe()).needsOperator?.code, 'BACKUP_INVALID');
    await running.restart(() => rename(key, `${key}.damaged`));
    assert.equal((await running.caller.describe()).needsOperator, undefined);
  });
});

test('a damaged record of maintenance asks until it is ended, and not until a restart', async (t) => {
  const running = await RunningNode.start(t, cluster);
  const { node } = running;
  await running.caller.execute(maintenance('on', [1, 5, 1], true));
  await running.restart(() => writeFile(node.at('agent', 'maintenance.json'), '{"re'));
  assert.equal((await running.caller.describe()).needsOperator?.code, 'STORE_INVALID');
  const pid = node.servicePid();
  process.kill(pid, 'SIGKILL');
  await running.caller.statusWhen(({ health }) => health === 'unhealthy');
  assert.equal(node.servicePid(), pid, 'a node that asks starts nothing');
  const off = { word: 'maintenance_off', by: 'ada', reason: 'seen' };
  const asked = await askAt(doorOf(node.at('run')), off);
  assert.equal(parseAnswer(asked?.answer, byHandOutcome).outcome, 'done');
  const { needsOperator, inMaintenance } = await running.caller.describe();
  assert.deepEqual([needsOperator, inMaintenance], [undefined, false]);
  await running.healthy();
  assert.notEqual(node.servicePid(), pid, 'the keeper starts the service again');
});
