/**
 * Commands as agents get them. An agent refuses a command that it knows with other contents, so what a
 * second leader sends must be the first one's, but for the token.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { Command, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import { sampleInputs, sampleNode, sampleTarget } from '../../test/scenarios/sample-plan.test.part.js';
import { advance } from '../rollout/advance.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import { makePlan, partText } from '../rollout/plan.js';
import type { MigrationRef, OpenCommand, Rollout } from '../rollout/rollout.js';
import { buildCommand } from './commands.js';

const migrations = [
  { id: '002-pins', checksum: 'c2', direction: 'up' },
  { id: '003-bodies', checksum: 'c3', direction: 'up' },
] as const;
const { plan } = makePlan({
  ...sampleInputs({ nodes: [sampleNode('node-1', '0a1', { inMaintenance: true })], to: '0b1' }),
  targetOf: () => sampleTarget('0b1', { migrationsFrom: () => migrations }),
});

/** A rollout of that plan, as the engine begins it. */
function begun(): Rollout {
  const start = {
    kind: 'start',
    id: 'update_0a1_0b1_20241219_120000',
    plan,
    by: 'o',
    requestId: 'r',
  } as const;
  const { rollout } = advance(emptyWorld, [start], 1_000).world;
  assert.ok(rollout);
  return rollout;
}

type Planned = Exclude<OpenCommand['kind'], 'maintenance' | 'take_over'>;

function build(kind: Planned, term: bigint, rollout: Rollout = begun(), attempt = 1): Command {
  const [part] = plan.parts;
  assert.ok(part);
  const open = { kind, id: `${rollout.id}.node-1.${kind}.${attempt}`, attempt };
  return buildCommand(rollout, part, open, { epoch: 1n, term, seq: term * 10n }, new Date(2_000));
}

function upgradeOf(command: Command): UpgradeStep {
  assert.ok(command.step?.$case === 'upgrade');
  return command.step.value;
}

describe('buildCommand', () => {
  for (const kind of ['preflight', 'stage', 'upgrade', 'revert', 'roll_back'] as const) {
    test(`${kind}: another leader sends the same, but for the token`, () => {
      const first = build(kind, 7n);
      const second = build(kind, 8n);
      assert.deepEqual(first.token, { epoch: 1n, term: 7n, seq: 70n });
      assert.deepEqual(second.token, { epoch: 1n, term: 8n, seq: 80n });
      assert.deepEqual({ ...second, token: undefined }, { ...first, token: undefined });
      assert.equal(first.planDigest, plan.digest);
      assert.equal(first.rolloutId, 'update_0a1_0b1_20241219_120000');
    });
  }

  test('an upgrade carries the plan: releases, migrations, what the node was before', () => {
    const step = upgradeOf(build('upgrade', 7n));
    const [part] = plan.parts;
    assert.deepEqual([step.from, step.to], [part?.from, part?.to]);
    assert.deepEqual(step.migrations, migrations);
    assert.equal(step.backup, plan.parts[0]?.backup);
    assert.equal(step.timeouts?.rollbackMs, BigInt(plan.header.policy.timeouts.rollbackMs));
    assert.equal(step.probe?.goodInARow, plan.header.policy.probe.goodInARow);
  });

  test('with the restart left to a person, the way back still waits for nobody', () => {
    const rollout = begun();
    const header = { ...rollout.plan.header, policy: { ...rollout.plan.header.policy, restartByHand: true } };
    const byHand = { ...rollout, plan: { ...rollout.plan, header } };
    assert.equal(upgradeOf(build('upgrade', 7n, byHand)).restartByHand, true);
    assert.equal(upgradeOf(build('revert', 7n, byHand)).restartByHand, false);
  });

  test('a revert is the way back: releases exchanged, migrations inverted, the last first', () => {
    const forward = upgradeOf(build('upgrade', 7n));
    const back = upgradeOf(build('revert', 7n));
    assert.deepEqual([back.from, back.to], [forward.to, forward.from]);
    assert.deepEqual(back.migrations, [
      { id: '003-bodies', checksum: 'c3', direction: 'down' },
      { id: '002-pins', checksum: 'c2', direction: 'down' },
    ]);
    assert.deepEqual([back.timeouts, back.probe], [forward.timeouts, forward.probe]);
  });

  test('of the largest part of a plan fits a record of the journal, whatever else stands there', () => {
    const [part] = plan.parts;
    assert.ok(part);
    const checksum = 'c'.repeat(64);
    const many: MigrationRef[] = [];
    while (Buffer.byteLength(partText({ ...part, migrations: many })) < limits.planPartBytes)
      many.push({ id: `change-${many.length}`, checksum, direction: 'up' });
    const rollout = begun();
    for (const kind of ['upgrade', 'revert'] as const) {
      const open = { kind, id: 'i'.repeat(limits.commandIdChars), attempt: 1 };
      const large = { ...part, migrations: many };
      const token = { epoch: 1n, term: 7n, seq: 70n };
      const command = buildCommand(rollout, large, open, token, new Date(2_000));
      // Beside the command stand the names of four folders, a hash and the token again.
      const bytes = Buffer.byteLength(JSON.stringify(Command.toJSON(command))) + 4 * 1_024;
      assert.ok(bytes <= limits.journalRecordBytes, `${kind}: ${bytes}`);
    }
  });

  test('a rollback names the upgrade that was sent last, and why', () => {
    const rollout = begun();
    const node = rollout.nodes.get('node-1');
    assert.ok(node);
    const command = build('roll_back', 7n, {
      ...rollout,
      course: { kind: 'back', reason: 'node-3 failed at probe' },
      nodes: new Map([['node-1', { ...node, attempts: { upgrade: 2 } }]]),
    });
    assert.ok(command.step?.$case === 'rollBack');
    assert.deepEqual(command.step.value, {
      upgradeCommandId: 'update_0a1_0b1_20241219_120000.node-1.upgrade.2',
      reason: 'node-3 failed at probe',
    });
  });

  test('staging verifies what to go back to as well', () => {
    const command = build('stage', 7n);
    assert.ok(command.step?.$case === 'stage');
    const [part] = plan.parts;
    assert.deepEqual(command.step.value.back, part?.from);
    assert.deepEqual(command.step.value.release, part?.to);
    assert.equal(command.step.value.manifestSha256, part?.manifestSha256);
    assert.equal(command.step.value.artifactSha256, part?.artifactSha256);
  });
});
