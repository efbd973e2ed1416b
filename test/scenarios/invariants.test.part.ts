/**
 * What must hold after every step of the engine, whatever has happened: the guarantees that can be told
 * from one step alone. Scenarios and histories are checked by the same sentences.
 */
import assert from 'node:assert/strict';
import type { EtcdCompare } from '../../controller/leadership/etcd.js';
import { isStuck } from '../../controller/rollout/budget.js';
import type { Effect } from '../../controller/rollout/events.js';
import {
  isFinal,
  isUpgrading,
  type PlanPart,
  type ReleaseRef,
  type Rollout,
  type RolloutNode,
} from '../../controller/rollout/rollout.js';
import type { Slot, World } from '../../controller/rollout/world.js';
import { AuditChain } from '../../controller/state/audit.js';
import type { ClusterKeys } from '../../controller/state/keys.js';
import type { WriteGroup } from '../../controller/state/world-writes.js';
import type { TakenRecord } from './deeds.test.part.js';
import type { ModelEtcd } from './model-etcd.test.part.js';

/** Guarantee 1: slots within the budget, one for each node, and exactly for the nodes that are out. */
export function checkSlots(world: World): void {
  const held = heldSlots(world);
  const max = maxOf(world);
  assert.ok(held.length <= max, `${held.length} slots with a budget of ${max}`);
  checkPlaces(world);
}

/** How many nodes may be out, by what was asked for; the budget that stands in etcd is the product's own word. */
export function maxOf({ rollout, configuredMax }: World): number {
  const isOver = rollout === undefined || isFinal(rollout.phase);
  return isOver ? configuredMax : rollout.plan.header.policy.maxConcurrent;
}

/** The slots that count against the budget. */
export function heldSlots(world: World): [string, Slot][] {
  return [...world.slots].filter(([key]) => !isStuck(key));
}

/** Guarantee 1 but for the number: who has a slot, and what an end leaves of them. */
export function checkPlaces(world: World): void {
  const held = heldSlots(world);
  const holders = [...world.slots.values()].map((slot) => slot.node);
  assert.equal(new Set(holders).size, holders.length, `a node holds two slots: ${holders.join(' ')}`);
  const { rollout } = world;
  if (rollout === undefined) return;
  const out = [...rollout.nodes.values()].filter(isOut).map((node) => node.id);
  const ours = held.filter(([, slot]) => slot.rollout === rollout.id).map(([, slot]) => slot.node);
  assert.deepEqual(ours.sort(), out.sort(), 'the slots of the rollout are those of its nodes out of service');
  if (isFinal(rollout.phase)) {
    assert.deepEqual(ours, [], 'a final rollout holds no slot but stuck ones');
    assert.equal(world.budget.max, world.configuredMax, 'the end gives the budget back');
    assert.notEqual(rollout.exitCode, null, 'a final rollout has an exit code');
  } else {
    assert.ok(
      rollout.exitCode === null || (rollout.exitCode === 5 && rollout.phase === 'paused'),
      `${rollout.phase} goes on, but a follower would exit with ${rollout.exitCode}`,
    );
  }
}

/** Out of service because of us, and not an operator's. */
export function isOut(node: RolloutNode): boolean {
  const { phase } = node.state;
  return isUpgrading(node.state) || phase === 'soaking' || phase === 'rolling_back';
}

/** Protocol, rule 15: what a transaction that takes a slot compares; and no record of a node is written over unseen. */
export function checkGuards(keys: ClusterKeys, store: ModelEtcd, groups: readonly WriteGroup[]): void {
  for (const { operations, guards } of groups) {
    for (const operation of operations) {
      if (operation.key.startsWith(keys.slots))
        assert.ok(
          compares(guards, 'modRevision', operation.key) || compares(guards, 'createRevision', operation.key),
          `${operation.key} is not compared`,
        );
      if (operation.kind !== 'put') continue;
      const isNode =
        operation.key.startsWith(keys.rollouts) &&
        /^[^/]+\/nodes\//.test(operation.key.slice(keys.rollouts.length));
      if (isNode)
        assert.ok(compares(guards, 'modRevision', operation.key), `${operation.key} is not compared`);
      if (!operation.key.startsWith(keys.slots)) continue;
      const before = store.get(operation.key);
      if (before !== undefined && slotIn(before.value).node === slotIn(operation.value).node) continue;
      const ranges = guards.flatMap((guard) => (guard.kind === 'rangeNotAfter' ? [guard.prefix] : []));
      assert.ok(compares(guards, 'createRevision', operation.key), `${operation.key} is not compared absent`);
      assert.ok(compares(guards, 'modRevision', keys.budget), 'the budget is not compared');
      assert.ok(ranges.includes(keys.slots), 'the other slots are not compared');
      assert.ok(ranges.includes(keys.intents), 'the wishes are not compared');
      assert.ok(ranges.includes(keys.labels), 'the labels are not compared');
      const isOfRollout = store.get(keys.active) !== undefined || slotIn(operation.value).rollout !== '';
      assert.ok(
        !isOfRollout ||
          ranges.some((prefix) => prefix.startsWith(keys.rollouts) && prefix.endsWith('/intents/')),
        'the wishes for the rollout are not compared',
      );
    }
  }
}

function compares(guards: readonly EtcdCompare[], kind: EtcdCompare['kind'], key: string): boolean {
  return guards.some((guard) => guard.kind === kind && 'key' in guard && guard.key === key);
}

function slotIn(value: string): { node: string; rollout: string } {
  return JSON.parse(value);
}

/** Persisted before sent: the node's record names the command that goes out. */
export function checkSent(
  keys: ClusterKeys,
  store: ModelEtcd,
  rollout: Rollout,
  effects: readonly Effect[],
): void {
  for (const effect of effects) {
    if (effect.kind !== 'send') continue;
    if (effect.command.kind === 'take_over') {
      const order = store.get(keys.nodeOrder(effect.node));
      assert.match(
        order?.value ?? '',
        /"state":"open"/,
        `${effect.command.id} is sent, but no order is stored`,
      );
      continue;
    }
    if (effect.command.kind === 'maintenance') {
      const slot = store.under(keys.slots).find(({ value }) => slotIn(value).node === effect.node);
      assert.match(
        slot?.value ?? '',
        /"maintenance":\{/,
        `${effect.command.id} is sent, but no slot of an operator's is stored`,
      );
      continue;
    }
    const key = keys.rolloutNode(rollout.id, effect.node);
    const entry = store.get(key);
    assert.ok(entry, `${effect.command.id} is sent, but ${key} is absent`);
    const record: { commandId: string; attempt: number } = JSON.parse(entry.value);
    assert.equal(record.commandId, effect.command.id, `${key} does not name what is sent`);
    assert.equal(record.attempt, effect.command.attempt);
    if (effect.command.kind !== 'preflight' && effect.command.kind !== 'stage') {
      assert.ok(
        store.under(keys.slots).some((slot) => slotIn(slot.value).node === effect.node),
        `${effect.command.id} is sent, but ${effect.node} has no slot in etcd`,
      );
    }
  }
}

/**
 * Guarantee 9: an unbroken chain, in which every command stands once, and after it its outcome, once.
 * @param isOver nothing is under way any more, so that every command has its outcome
 * @returns the records, oldest first
 */
export function checkAudit(keys: ClusterKeys, store: ModelEtcd, isOver: boolean): TakenRecord[] {
  const chain = new AuditChain();
  const open = new Set<string>();
  const seen = new Set<string>();
  const records = store.under(keys.audit).map((entry): TakenRecord => chain.take(entry));
  for (const { what, commandId } of records) {
    const id = String(commandId);
    if (what === 'command') {
      assert.ok(!seen.has(id), `${id} is commanded twice in the audit record`);
      seen.add(id);
      open.add(id);
    } else if (what === 'outcome') {
      assert.ok(open.delete(id), `${id} ends, and was not commanded, or had ended before`);
    }
  }
  if (isOver) assert.deepEqual([...open], [], 'commands without an outcome in the audit record');
  return records;
}

/** Guarantees 6 and 7: which step may start a node, or take one back. */
export function checkContainment(before: World, after: World): void {
  const { rollout } = after;
  if (rollout === undefined) return;
  const { policy, direction } = rollout.plan.header;
  for (const node of rollout.nodes.values()) {
    const was = before.rollout?.nodes.get(node.id);
    if ((node.attempts.upgrade ?? 0) > (was?.attempts.upgrade ?? 0)) {
      assert.equal(
        rollout.course.kind,
        'forward',
        `${node.id} starts in a rollout that goes ${rollout.course.kind}`,
      );
      const failed = [...rollout.nodes.values()].filter(
        (other) =>
          other.error !== null && other.state.phase !== 'skipped' && !rollout.forgiven.includes(other.id),
      );
      assert.ok(failed.length <= policy.failureBudget, `${node.id} starts after ${failed.length} failures`);
      assert.ok(was?.checked, `${node.id} starts without a preflight`);
    }
    if ((node.attempts.revert ?? 0) > (was?.attempts.revert ?? 0)) {
      assert.equal(rollout.course.kind, 'back', `${node.id} is taken back`);
      const isAsked = 'reason' in rollout.course && rollout.course.reason.startsWith('abort');
      assert.ok(
        direction === 'forward' || isAsked,
        'a rollback is never taken back unless an operator says so',
      );
      assert.notEqual(was?.outSinceMs ?? null, null, `${node.id} was never touched, and is taken back`);
    }
  }
}

/** A node as it is, whatever is believed of it. */
export interface NodeTruth {
  readonly id: string;
  readonly release: ReleaseRef;
  readonly inMaintenance: boolean;
  /** Some command has begun to change it. */
  readonly touched: boolean;
  /** Nothing is said of it any more. */
  readonly removed: boolean;
  /** Somebody changed what it runs, and no command did: its record and the plan need not be true of it. */
  readonly changed: boolean;
}

/** A node as it is, beside what a rollout says of it. */
interface CheckedNode {
  readonly truth: NodeTruth;
  readonly node: RolloutNode;
  readonly part: PlanPart;
}

/** Guarantee 10: the end and its exit code are what the nodes themselves would say. */
export function checkEnd(rollout: Rollout, truths: readonly NodeTruth[], leftOut: ReadonlySet<string>): void {
  const nodes = truths.flatMap((truth) => {
    const node = rollout.nodes.get(truth.id);
    const part = rollout.plan.parts.find((candidate) => candidate.node === truth.id);
    assert.ok(node && part);
    return truth.removed ? [] : [{ truth, node, part }];
  });
  for (const { truth, node } of nodes) {
    if (node.attempts.upgrade === undefined)
      assert.equal(truth.touched, false, `${truth.id} was touched unseen`);
    if (node.state.phase === 'rollback_failed') continue;
    if (!truth.changed)
      assert.deepEqual(node.release, truth.release, `${truth.id} runs something else than its record says`);
    assert.equal(truth.inMaintenance, false, `${truth.id} is left in maintenance`);
  }
  for (const checked of nodes) checkChanged(checked);
  const touched = nodes.filter(({ node }) => node.outSinceMs !== null);
  switch (rollout.exitCode) {
    case 0:
      assert.equal(rollout.phase, 'succeeded');
      for (const { truth, node, part } of nodes) {
        const { stageOnly } = rollout.plan.header;
        const isLeftOut = node.state.phase === 'skipped' && leftOut.has(truth.id);
        if (!isLeftOut)
          assert.equal(node.state.phase, stageOnly && part.strategy !== 'none' ? 'ready' : 'done');
        if (stageOnly) assert.equal(truth.touched, false, `${truth.id} was touched`);
        const expected = isLeftOut || stageOnly ? part.from : part.to;
        if (truth.changed) continue;
        assert.deepEqual(truth.release, expected, `${truth.id} runs something else than the end says`);
      }
      return;
    case 1:
      assert.equal(rollout.phase, 'rolled_back');
      for (const { truth, part } of touched)
        if (!truth.changed) assert.deepEqual(truth.release, part.from, `${truth.id} is not back`);
      return;
    case 3:
      for (const { truth } of nodes) assert.equal(truth.touched, false, `${truth.id} was touched`);
      return;
    case 4:
      assert.equal(rollout.phase, 'failed');
      assert.ok(
        [...rollout.nodes.values()].some((node) => needsHands(rollout, node)),
        `nobody needs an operator: ${rollout.reason}`,
      );
      return;
    case 5:
      assert.equal(rollout.phase, 'aborted');
      assert.ok(touched.length > 0 || truths.some(({ removed }) => removed));
      // One that was taken off the list and let back may run the new version beside the others.
      assert.ok(
        isOnPurpose(rollout) || nodes.some(isElsewhere) || truths.some(({ removed }) => removed),
        'every node is back, which is exit code 1',
      );
      return;
    default:
      throw new Error(`a rollout ended with ${rollout.exitCode}`);
  }
}

/** Contract, exit code 4: it did not go back, is lost, or somebody changed it; a rollback is a way back. */
function needsHands({ plan }: Rollout, { state, error }: RolloutNode): boolean {
  if (state.phase === 'rollback_failed' || error?.code === 'NODE_CHANGED') return true;
  return plan.header.direction === 'back' && error !== null;
}

/** Contract, exit code 5: an operator stopped it, or nodes were left as they are in the way of a rollback. */
function isOnPurpose({ course, plan }: Rollout): boolean {
  return course.kind === 'aborting' || plan.header.direction === 'back';
}

function isElsewhere({ truth, part }: CheckedNode): boolean {
  return truth.changed || truth.release.digest !== part.from.digest;
}

/** Who is called changed is not where his plan has him: at its target once he was through, before that at its start. */
function checkChanged({ truth, node, part }: CheckedNode): void {
  if (node.error?.code !== 'NODE_CHANGED' || truth.changed) return;
  const planned = node.state.phase === 'done' ? part.to : part.from;
  assert.notDeepEqual(truth.release, planned, `${truth.id} is called changed, and nobody changed it`);
}
