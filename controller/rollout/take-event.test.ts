/** What is late, or meant for another command, changes nothing; and what a node's words mean for its slot. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  after,
  begun,
  finished,
  nodeOf,
  observed,
  paperNowMs,
  rolling,
} from '../../test/scenarios/paper-rollout.test.part.js';
import { releaseAt } from '../../test/scenarios/sample-plan.test.part.js';
import { advance } from './advance.js';
import { strand } from './change.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { EngineEvent } from './events.js';

const upgrading = rolling(2);
const node = 'node-1';
const fault = { code: 'BUSY', message: 'another command is under way' };
const progress = (commandId: string, phase: string, waitsFor = ''): EngineEvent => ({
  kind: 'progress',
  node,
  commandId,
  phase,
  waitsFor,
});

describe('of a command that the node no longer has', () => {
  const commandId = 'u.node-1.stage.1';
  const late: EngineEvent[] = [
    progress(commandId, 'applying'),
    { kind: 'stream_broken', node, commandId },
    { kind: 'refused', node, commandId, fault },
    finished(node, 'stage'),
    { ...progress(commandId, 'applying'), node: 'node-9' } as EngineEvent,
  ];
  for (const event of late)
    test(`${event.kind} changes nothing${'node' in event && event.node !== node ? ', nor of a stranger' : ''}`, () => {
      assert.deepEqual(after(upgrading, event), upgrading);
    });
});

test('a node looks never earlier than it is, whatever a replayed stream tells', () => {
  const ahead = after(upgrading, progress('u.node-1.upgrade.1', 'applying'));
  assert.equal(nodeOf(ahead, node).state.phase, 'applying');
  for (const phase of ['stopping', 'staging', 'unheard of'])
    assert.deepEqual(after(ahead, progress('u.node-1.upgrade.1', phase)), ahead);
  const waiting = after(ahead, progress('u.node-1.upgrade.1', 'applying', 'systemctl start it'));
  assert.equal(waiting.views.get(node)?.waitsFor, 'systemctl start it');
});

describe('a node that cannot be adopted', () => {
  test('and does not answer is tried again soon, and not counted as one that refuses', () => {
    const silent = { code: 'NODE_UNREACHABLE', message: 'no answer' };
    const world = after(begun(1), { kind: 'adoption_failed', node, fault: silent });
    assert.equal(world.views.get(node)?.refusal, null);
    assert.equal(world.views.get(node)?.retryAtMs, paperNowMs + 300);
    assert.equal(nodeOf(world, node).silence, null);
  });

  test('and answers counts as silent, though it says how it is, until it lets itself be adopted', () => {
    const refusal = { code: 'FENCE_UNREADABLE', message: 'its fence is gone' };
    const refused = after(begun(1), { kind: 'adoption_failed', node, fault: refusal }, observed(node));
    assert.equal(refused.views.get(node)?.retryAtMs, paperNowMs + 3_000);
    assert.notEqual(nodeOf(refused, node).silence, null);
    const adopted = after(refused, { kind: 'adopted', node }, observed(node));
    assert.equal(nodeOf(adopted, node).silence, null);
  });
});

describe('the end of an upgrade', () => {
  const failure = { code: 'LEAVE_MAINTENANCE_FAILED', message: 'the hook ended with 1' };

  test('that failed at a step is one behind the commit: the node is an operator’s', () => {
    const world = after(
      upgrading,
      finished(node, 'upgrade', { outcome: 'failed', failure, failedStep: 'leave_maintenance' }),
    );
    assert.equal(nodeOf(world, node).state.phase, 'rollback_failed');
    assert.deepEqual([...world.slots.keys()], ['stuck-node-1']);
  });

  test('that failed at none was refused before anything was touched: its slot is free', () => {
    const world = after(upgrading, finished(node, 'upgrade', { outcome: 'failed', failure: null }));
    assert.equal(nodeOf(world, node).state.phase, 'rolled_back');
    assert.equal(nodeOf(world, node).error?.message, 'the node gave no reason');
    assert.equal(world.slots.size, 0);
  });
});

test('a soak counts only what is seen of the release that was committed; when it is zero, one good report', () => {
  const soaking = after(rolling(1), finished(node, 'upgrade'));
  const later = (events: EngineEvent[]) => advance(soaking, events, paperNowMs + 2_000).world;
  assert.equal(nodeOf(later([observed(node, { goodForMs: 9_000 })]), node).state.phase, 'soaking');
  assert.equal(nodeOf(later([{ kind: 'unreachable', node }]), node).state.phase, 'soaking');
  const without = after(rolling(1, { soakMs: 0 }), finished(node, 'upgrade'));
  assert.equal(nodeOf(without, node).state.phase, 'soaking');
  const old = after(without, observed(node));
  assert.equal(nodeOf(old, node).state.phase, 'soaking');
  const good = after(without, observed(node, { release: releaseAt('0b1') }));
  assert.equal(good.rollout?.phase, 'succeeded');
});

test('a node that is removed is no member of a group any more, and needs nobody', () => {
  const labels = new Map([
    ['node-1', { role: 'db' }],
    ['node-2', { role: 'db' }],
  ]);
  const failed = finished(node, 'upgrade', { outcome: 'rollback_failed', failure: fault });
  const stuck = after({ ...upgrading, labels }, failed);
  assert.equal(nodeOf(stuck, node).state.phase, 'rollback_failed');
  const without = after(stuck, { kind: 'removed', node });
  assert.deepEqual([...without.labels.keys()], ['node-2']);
  assert.equal(nodeOf(without, node).state.phase, 'skipped');
  assert.equal(nodeOf(without, node).error, null);
});

test('a node that lets itself be adopted is silent no longer, before it tells how it is', () => {
  const refusal = { code: 'STALE_TOKEN', message: 'it knows a newer leader' };
  const silent = after(upgrading, { kind: 'adoption_failed', node, fault: refusal });
  assert.notEqual(nodeOf(silent, node).silence, null);
  assert.equal(nodeOf(after(silent, { kind: 'adopted', node }), node).silence, null);
});

test('a node that an operator has out, and that the rollout has not touched, is not lost by its silence', () => {
  const maintenance = { wanted: 'out', attempt: 2, reason: 'a disk', failed: false, done: false } as const;
  const slot = { node, reason: 'a disk', rollout: '', term: '3', sinceMs: 5, maintenance };
  const checking = { ...begun(2), slots: new Map([['0', slot]]) };
  const silent = after(checking, { kind: 'unreachable', node });
  const { world } = advance(silent, [{ kind: 'tick' }], paperNowMs + 10 * 60_000);
  assert.notEqual(nodeOf(world, node).state.phase, 'rollback_failed');
  assert.deepEqual([...world.slots.keys()], ['0']);
});

test('the end of a way back names whom it left as they are', () => {
  const world = rolling(1, { soakMs: 0 });
  assert.ok(world.rollout);
  const { plan } = world.rollout;
  const header = { ...plan.header, leftOut: ['node-9'] };
  const leaving = { ...world, rollout: { ...world.rollout, plan: { ...plan, header } } };
  const done = after(leaving, finished(node, 'upgrade'), observed(node, { release: releaseAt('0b1') }));
  assert.equal(
    done.rollout?.reason,
    'the one node runs 0b1; left as they are, because somebody must see to them first: node-9',
  );
});

test('a node that is stranded has its slot as stuck, also where no rollout is', () => {
  const stranded = strand(emptyWorld, nodeOf(upgrading, node), fault, paperNowMs);
  assert.deepEqual([...stranded.slots.keys()], [`stuck-${node}`]);
});

describe('a node that was through when the last one is', () => {
  const firstDone = after(
    rolling(2, { soakMs: 0 }),
    finished(node, 'upgrade'),
    observed(node, { release: releaseAt('0b1') }),
  );
  const lastDone = [finished('node-2', 'upgrade'), observed('node-2', { release: releaseAt('0b1') })];
  const endOf = ({ rollout }: ReturnType<typeof after>) => [rollout?.phase, rollout?.exitCode];

  test('and has lost what it ran, is told by name', () => {
    assert.equal(nodeOf(firstDone, node).state.phase, 'done');
    for (const [version, what] of [
      ['none', 'nothing'],
      ['', 'something that its agent cannot name'],
    ] as const) {
      const world = after(firstDone, observed(node, { release: { version, digest: '' } }), ...lastDone);
      assert.deepEqual(endOf(world), ['failed', 4]);
      const { message } = nodeOf(world, node).error ?? {};
      assert.match(message ?? '', new RegExp(`^it runs ${what}, though it was through with 0b1: `));
    }
  });

  test('and cannot be heard, runs what it said last', () => {
    assert.deepEqual(endOf(after(firstDone, { kind: 'unreachable', node }, ...lastDone)), ['succeeded', 0]);
  });
});
