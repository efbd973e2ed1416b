/**
 * A node that asks for an operator is out of service: its record, what the agent says, and its hook. Also where
 * the disk refused the very write that the end of a job is, or has forgotten the record since.
 */
import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { describe, type TestContext, test } from 'node:test';
import type { NodeStatus } from '../gen/plexi/v1/node_agent.js';
import { maintenance } from './caller.test.part.js';
import { buildChecked, CheckedNode, clusterWith } from './upgrade/checked-node.test.part.js';

const { cluster, old, next } = await clusterWith('0b3');
const sick = await buildChecked(cluster, '0b4', { isHealthy: false });
const isOut = { record: true, hook: true };
const isIn = { record: false, hook: false };

const atEase = ({ inMaintenance, needsOperator }: NodeStatus): boolean =>
  !inMaintenance && needsOperator === undefined;

/** An upgrade that cannot go back, because the program of the old release is gone. */
async function failedRollback(t: TestContext): Promise<CheckedNode> {
  const checked = await CheckedNode.start(t, cluster);
  const { node } = checked;
  await rm(node.at((await node.links()).current ?? '', 'server.mjs'));
  const timeouts = { ...timeoutsOf(checked), probeMs: 300n, rollbackMs: 1_000n };
  const { result } = await checked.stageAndUpgrade(old, sick, { timeouts });
  assert.equal(result.outcome, 'rollback_failed', result.failure?.message);
  return checked;
}

function timeoutsOf(checked: CheckedNode) {
  const { step } = checked.upgradeOrder(old, sick);
  assert.ok(step?.$case === 'upgrade' && step.value.timeouts);
  return step.value.timeouts;
}

describe('a node that asks for an operator', { concurrency: 2 }, () => {
  test('because the end of its upgrade could not be written is out of service, and back when it can', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    await checked.caller.execute(checked.stageOrder(next));
    await node.mark('maintenance.hold');
    const order = checked.upgradeOrder(old, next);
    const { ended } = await checked.caller.executeUntil(order, 'entering_maintenance');
    ended.catch(() => undefined);
    // The last record of the job, behind the one that announces the end of maintenance.
    const taken = node.at('agent', 'journal', '0000000007.json');
    await mkdir(taken);
    await node.unmark('maintenance.hold');
    await assert.rejects(ended);
    const { needsOperator, inMaintenance } = await checked.caller.describe();
    assert.deepEqual([needsOperator?.code, inMaintenance], ['INTERNAL', true]);
    assert.deepEqual(node.isInMaintenance(), isOut);
    await rm(taken, { recursive: true });
    await checked.restart();
    await checked.caller.statusWhen(atEase);
    assert.deepEqual(node.isInMaintenance(), isIn);
    assert.equal(await node.serviceVersion(), '0b3');
  });

  test('is taken out again by the next start, when its record is gone; not when it was put back', async (t) => {
    const checked = await failedRollback(t);
    const { node } = checked;
    assert.deepEqual(node.isInMaintenance(), isOut);
    await checked.stop();
    await rm(node.at('agent', 'maintenance.json'));
    await rm(node.at('run', 'maintenance'));
    await checked.restart();
    const { needsOperator, inMaintenance } = await checked.caller.describe();
    assert.deepEqual([needsOperator?.code, inMaintenance], ['ROLLBACK_FAILED', true]);
    assert.deepEqual(node.isInMaintenance(), isOut);
    const { result } = await checked.caller.execute(maintenance('off', [1, 5, 50], false));
    assert.equal(result.outcome, 'done', result.failure?.message);
    await checked.restart();
    assert.equal((await checked.caller.describe()).inMaintenance, false);
    assert.deepEqual(node.isInMaintenance(), isIn);
  });

  test('was one in maintenance by hand: what could not be ended is as it was, its hook included', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    await checked.caller.execute(maintenance('on', [1, 5, 50], true));
    const record = node.at('agent', 'maintenance.json');
    await rm(record);
    await mkdir(record);
    const { result } = await checked.caller.execute(maintenance('off', [1, 5, 51], false));
    assert.equal(result.outcome, 'failed');
    assert.equal((await checked.caller.describe()).inMaintenance, true);
    assert.deepEqual(node.isInMaintenance(), isOut);
    await rm(record, { recursive: true });
    const again = await checked.caller.execute(maintenance('off2', [1, 5, 52], false));
    assert.equal(again.result.outcome, 'done', again.result.failure?.message);
    assert.deepEqual(node.isInMaintenance(), isIn);
  });
});
