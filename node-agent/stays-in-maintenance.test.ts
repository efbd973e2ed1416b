/**
 * A node that an operator had in maintenance before an upgrade is so after it, whatever way that takes:
 * success, a rollback, a cancellation, a word on the node, and agents that die in every step. No hook puts it
 * back in between.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { Command } from '../gen/plexi/v1/node_agent.js';
import { openTestNode } from './agent-node.test.part.js';
import { askAt, doorOf } from './by-hand/door.js';
import { byHandOutcome, parseAnswer } from './by-hand/requests.js';
import { maintenance, rollBack, TinyPlan } from './caller.test.part.js';
import { Journal } from './journal/journal.js';
import { MemoryJournalDisk } from './journal/memory-disk.test.part.js';
import type { AgentNode } from './node.js';
import { RunningNode } from './running-node.test.part.js';
import { createTinyCluster, type TinyCluster } from './tiny-node.test.part.js';
import { Executor } from './upgrade/executor.js';
import { ModelNode } from './upgrade/model-node.test.part.js';

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** A node in maintenance, whose hooks would tell if they were called again. */
async function heldNode(t: TestContext, to: '0b1' | '0b2') {
  const running = await RunningNode.start(t, cluster);
  await running.caller.execute(maintenance('on', [1, 5, 1], true, 'new disks'));
  const plan = new TinyPlan(cluster.releases, '0a1', to);
  await running.caller.execute(plan.stage('s', [1, 5, 2]));
  const assertHeld = (): void => {
    assert.deepEqual(running.node.isInMaintenance(), { record: true, hook: true });
  };
  return { running, plan, assertHeld };
}

describe('a node that was in maintenance before', { concurrency: 2 }, () => {
  for (const [to, outcome] of [
    ['0b1', 'done'],
    ['0b2', 'rolled_back'],
  ] as const) {
    test(`stays there when the upgrade ends ${outcome}, and is put back by its operator`, async (t) => {
      const { running, plan, assertHeld } = await heldNode(t, to);
      const { result, phases } = await running.caller.execute(plan.upgrade('u', [1, 5, 3]));
      assert.equal(result.outcome, outcome, result.failure?.message);
      assert.ok(!phases.includes('entering_maintenance') && !phases.includes('leaving_maintenance'));
      assertHeld();
      await running.restart();
      assertHeld();
      await running.caller.execute(maintenance('off', [1, 5, 4], false));
      assert.deepEqual(running.node.isInMaintenance(), { record: false, hook: false });
    });
  }

  for (const by of ['a controller', 'a word on the node'] as const) {
    test(`stays there when ${by} takes the upgrade back`, async (t) => {
      const { running, plan, assertHeld } = await heldNode(t, '0b1');
      await writeFile(running.node.at('run', 'hold-migration'), '');
      const { ended } = await running.caller.executeUntil(plan.upgrade('u', [1, 5, 3]), 'migrating');
      const taken =
        by === 'a controller'
          ? running.caller.execute(rollBack('r', [1, 5, 4], 'u'))
          : askAt(doorOf(running.node.at('run')), {
              ...{ word: 'rollback', forceAfterCommit: false },
              ...{ by: 'ada', reason: 'alone' },
            }).then((asked) => parseAnswer(asked?.answer, byHandOutcome));
      await running.node.unmark('hold-migration');
      assert.equal((await ended).result.outcome, 'rolled_back');
      await taken;
      assertHeld();
    });
  }
});

describe('agents that die in the upgrade of such a node', () => {
  let root = '';
  let node: AgentNode;
  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'plexi-held-'));
    node = await openTestNode(root);
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const ms = 60_000n;
  const order = Command.fromPartial({
    commandId: 'job',
    step: {
      $case: 'upgrade',
      value: {
        from: { version: '0a1', digest: 'a' },
        to: { version: '0b1', digest: 'b' },
        migrations: [{ id: '001', checksum: 'c', direction: 'up' }],
        backup: true,
        timeouts: {
          ...{ maintenanceMs: ms, stopMs: ms, backupMs: ms, migrateMs: ms, applyMs: ms },
          ...{ probeMs: ms, rollbackMs: ms, testMs: ms },
        },
      },
    },
  });
  const facts = {
    ...{ wasInMaintenance: true, folderBefore: '0a1-aaaaaaaaaaaa', previousBefore: null },
    ...{ folderAfter: '0b1-bbbbbbbbbbbb', backupId: 'job' },
  };

  for (const failing of [undefined, 'migrate', 'probe']) {
    test(`leave it there, at every record of ${failing === undefined ? 'a good one' : `one that fails at ${failing}`}`, async () => {
      let lives = 0;
      for (let call = 1; ; call++) {
        const model = new ModelNode();
        if (failing !== undefined) model.fail(failing);
        model.state.inMaintenance = true;
        const disk = new MemoryJournalDisk({ at: 'create', call, effect: 'kept' });
        const first = await Journal.open(disk, () => new Date(0));
        const executor = new Executor(node, first, model.forwardPhases, model.backPhases);
        const dies = await first
          .append({
            ...{
              kind: 'accepted',
              commandId: 'job',
              command: Object(Command.toJSON(order)),
              payloadHash: '',
            },
            ...{ token: { epoch: '1', term: '1', seq: '1' }, step: 'stop', facts },
          })
          .then((job) => executor.start(job))
          .then(
            () => false,
            () => true,
          );
        const journal = await Journal.open(disk.revived(), () => new Date(0));
        const next = new Executor(node, journal, model.forwardPhases, model.backPhases);
        await (await next.recover())?.ended;
        assert.ok(['done', 'rolled_back'].includes(journal.find('job')?.result?.outcome ?? ''));
        assert.equal(model.state.inMaintenance, true, `killed at record ${call}`);
        assert.ok(!model.ran.some((step) => step.includes('maintenance')), model.ran.join(' '));
        if (!dies) break;
        lives++;
      }
      assert.ok(lives > 5, `${lives} lives were cut off`);
    });
  }
});
