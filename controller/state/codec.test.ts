/** Values in etcd: whatever the engine holds reads back the same, and what a newer controller wrote is kept. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { sampleNode, samplePlan } from '../../test/scenarios/sample-plan.test.part.js';
import {
  type NodeState,
  type Rollout,
  type RolloutCommand,
  type RolloutCommandKind,
  type RolloutNode,
  upgradingPhases,
} from '../rollout/rollout.js';
import type { Slot } from '../rollout/world.js';
import {
  countPhases,
  nodeValue,
  readHeader,
  readNode,
  readPart,
  readSlot,
  readState,
  slotValue,
  stateValue,
} from './codec.js';
import { encode } from './records.js';
import { put } from './world-writes.js';

const key = '/plexi/v1/dev/rollouts/update_0a1_0b1_20241219_120000/nodes/node-1';
const atMs = Date.UTC(2024, 11, 19, 12, 0, 0, 123);

function command(kind: RolloutCommandKind): RolloutCommand {
  return { kind, id: `update_0a1_0b1_20241219_120000.node-1.${kind}.2`, attempt: 2 };
}

const states: NodeState[] = [
  { phase: 'pending' },
  { phase: 'preflight', command: command('preflight') },
  { phase: 'staging', command: command('stage') },
  { phase: 'ready' },
  ...upgradingPhases.map((phase): NodeState => ({ phase, command: command('upgrade') })),
  { phase: 'soaking' },
  { phase: 'done' },
  { phase: 'skipped' },
  { phase: 'rolling_back', command: command('upgrade') },
  { phase: 'rolling_back', command: command('roll_back') },
  { phase: 'rolling_back', command: command('revert') },
  { phase: 'rolled_back' },
  { phase: 'rollback_failed' },
];

const node: RolloutNode = {
  id: 'node-1',
  state: { phase: 'pending' },
  attempts: { preflight: 1, upgrade: 2 },
  sinceMs: atMs,
  error: { code: 'PROBE_FAILED', message: 'at probe: GET /health says 503' },
  ended: { commandId: 'update_1.node-1.upgrade.1', outcome: 'rolled_back' },
  waitingOn: [{ reason: 'it cannot be reached', sinceMs: atMs - 1, unblock: 'its agent answers' }],
  silence: { sinceMs: atMs - 2, countedMs: 1, countedAtMs: atMs - 1 },
  checked: true,
  outSinceMs: atMs - 3,
  backAtMs: atMs - 4,
  release: { version: '0a1', digest: 'd1' },
  backupId: 'b1',
};
const bare: RolloutNode = {
  ...node,
  attempts: {},
  error: null,
  ended: null,
  waitingOn: [],
  silence: null,
  outSinceMs: null,
  backAtMs: null,
};

describe('a node in a rollout', () => {
  for (const state of states) {
    const kind = 'command' in state ? ` by ${state.command.kind}` : '';
    test(`${state.phase}${kind} reads back the same`, () => {
      for (const full of [
        { ...node, state },
        { ...bare, state },
      ]) {
        assert.deepEqual(readNode('node-1', key, JSON.stringify(nodeValue(full))), full);
      }
    });
  }

  test('a person can read it: times are RFC 3339 in UTC', () => {
    const value = JSON.parse(
      JSON.stringify(nodeValue({ ...node, state: { phase: 'applying', command: command('upgrade') } })),
    );
    assert.equal(value.since, '2024-12-19T12:00:00.123Z');
    assert.deepEqual(
      [value.phase, value.step, value.attempt, value.unknown],
      ['applying', 'upgrade', 2, true],
    );
  });
});

describe('a slot and a rollout', () => {
  const slot: Slot = {
    node: 'node-1',
    reason: 'upgrade to 0b1',
    rollout: 'update_0a1_0b1_20241219_120000',
    term: '7',
    sinceMs: atMs,
    maintenance: null,
  };

  test('a slot reads back the same, an operator’s too', () => {
    const maintenance = { wanted: 'in', attempt: 3, reason: 'new disks', failed: false, done: true } as const;
    for (const full of [slot, { ...slot, maintenance }])
      assert.deepEqual(readSlot(key, JSON.stringify(slotValue(full))), full);
  });

  test('a rollout’s state reads back the same, on every course', () => {
    const { plan } = samplePlan({ nodes: [sampleNode('node-1', '0a1')], to: '0b1' });
    const courses: Rollout['course'][] = [
      { kind: 'forward' },
      { kind: 'paused', by: 'operator', reason: 'lunch' },
      { kind: 'paused', by: 'failure', reason: 'node-1 failed' },
      { kind: 'aborting', reason: 'enough' },
      { kind: 'back', reason: 'node-1 failed' },
      { kind: 'called_off', reason: 'preflight failed' },
    ];
    for (const course of courses) {
      const rollout: Rollout = {
        id: 'update_0a1_0b1_20241219_120000',
        plan,
        phase: 'rolling',
        reason: 'why',
        course,
        startedAtMs: atMs,
        startedBy: 'operator',
        requestId: 'r1',
        finishedAtMs: course.kind === 'forward' ? null : atMs + 1,
        exitCode: course.kind === 'forward' ? null : 5,
        forgiven: ['node-3'],
        nodes: new Map([['node-1', bare]]),
      };
      const state = readState(key, JSON.stringify(stateValue(rollout, '7')));
      const { id: _id, plan: _plan, nodes: _nodes, startedAtMs, finishedAtMs, ...same } = rollout;
      assert.deepEqual(state, {
        ...same,
        startedAt: startedAtMs,
        finishedAt: finishedAtMs,
        counts: { pending: 1 },
        term: '7',
      });
    }
  });

  test('a plan reads back the same', () => {
    const { plan } = samplePlan({
      nodes: [sampleNode('node-1', '0a1'), sampleNode('node-2', 'none')],
      to: '0b1',
    });
    assert.deepEqual(readHeader(key, JSON.stringify(plan.header)), plan.header);
    for (const part of plan.parts) assert.deepEqual(readPart(key, JSON.stringify(part)), part);
  });

  test('nodes are counted by phase, in the order of the phases', () => {
    const nodes = (['done', 'ready', 'done', 'rollback_failed'] as const).map(
      (phase, index) => [`node-${index}`, { ...bare, state: { phase } }] as const,
    );
    const counts = countPhases({ nodes: new Map(nodes) });
    assert.deepEqual(Object.entries(counts), [
      ['ready', 1],
      ['done', 2],
      ['rollback_failed', 1],
    ]);
  });
});

describe('what is not ours, and what is wrong', () => {
  test('fields of a newer controller are kept, but not what is nested without end', () => {
    assert.equal(encode({ a: 1 }, '{"newer":{"b":2}}'), '{"newer":{"b":2},"a":1}');
    const deep = `{"newer":${'['.repeat(30_000)}${']'.repeat(30_000)}}`;
    assert.equal(encode({ a: 1 }, deep), '{"a":1}');
  });

  test('unknown fields are kept, ours win', () => {
    const before = JSON.stringify({ ...nodeValue(node), phase: 'ready', mood: { good: true } });
    const after: unknown = JSON.parse(encode(nodeValue(node), before));
    assert.deepEqual(after, { ...JSON.parse(JSON.stringify(nodeValue(node))), mood: { good: true } });
    const entry = { key, value: before, createRevision: 1n, modRevision: 1n, lease: '0' };
    const operation = put(key, nodeValue(node), (asked) => (asked === key ? entry : undefined));
    assert.deepEqual(operation.kind === 'put' && JSON.parse(operation.value), after);
    assert.deepEqual(readNode('node-1', key, JSON.stringify(after)), node);
  });

  test('a stored value that is no object is written over', () => {
    for (const before of ['[1]', 'null', 'no JSON']) assert.equal(encode({ max: 1 }, before), '{"max":1}');
  });

  const wrong: { title: string; value: string; says: RegExp }[] = [
    { title: 'no JSON', value: '{"phase":', says: /is not JSON/ },
    {
      title: 'an unknown phase',
      value: JSON.stringify({ ...nodeValue(node), phase: 'asleep' }),
      says: /phase/,
    },
    {
      title: 'a missing field',
      value: JSON.stringify({ ...nodeValue(node), release: undefined }),
      says: /release/,
    },
    {
      title: 'a time that is none',
      value: JSON.stringify({ ...nodeValue(node), since: 'noon' }),
      says: /since/,
    },
    {
      title: 'a phase that needs a command, and none',
      value: JSON.stringify({ ...nodeValue(node), phase: 'applying' }),
      says: /is applying but names no command/,
    },
  ];
  for (const { title, value, says } of wrong) {
    test(`${title}: STORE_INVALID names the key`, () => {
      assert.throws(
        () => readNode('node-1', key, value),
        (error: unknown) => {
          assert.ok(error instanceof PlexiError);
          assert.equal(error.code, 'STORE_INVALID');
          assert.ok(error.message.includes(key), error.message);
          assert.match(error.message, says);
          return true;
        },
      );
    });
  }
});

describe('a plan that an older controller has stored', () => {
  const header = {
    from: '0a1',
    to: '0b1',
    direction: 'forward',
    rollbackOf: null,
    policy: {
      maxConcurrent: 1,
      soakMs: 2_000,
      failureBudget: 0,
      rollbackOnFailure: true,
      backup: true,
      maintenanceHooks: true,
      unknownMaxMs: 300_000,
      timeouts: {
        preflightMs: 1,
        stageMs: 1,
        maintenanceMs: 1,
        stopMs: 1,
        backupMs: 1,
        migrateMs: 1,
        applyMs: 1,
        probeMs: 1,
        rollbackMs: 1,
      },
      probe: { goodInARow: 3, spacingMs: 100, intervalMaxMs: 1_000, tryMs: 5_000 },
    },
    nodeCount: 1,
    partsDigest: 'd',
    pointOfNoReturn: '',
    estimateMs: 1,
  };

  test('is read, and what it does not say is what it meant then', () => {
    const { policy, stageOnly } = readHeader('plan', JSON.stringify(header));
    assert.deepEqual(
      [stageOnly, policy.tests, policy.restartByHand, policy.allowUnhealthy],
      [false, false, false, false],
    );
    const release = { version: '0a1', digest: 'd' };
    const part = {
      node: 'node-1',
      index: 0,
      wave: 0,
      orderReason: 'zone',
      strategy: 'upgrade',
      from: release,
      to: release,
      manifestSha256: 'm',
      artifactSha256: 'a',
      unpackedBytes: 1,
      migrations: [],
      wasInMaintenance: false,
      estimateMs: 1,
    };
    assert.equal(readPart('part', JSON.stringify(part)).backup, true);
  });
});
