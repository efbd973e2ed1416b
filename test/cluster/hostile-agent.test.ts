/**
 * An agent that was taken over says what it likes, at any length. The lead goes on and the next one is taken
 * up, the other nodes get what is theirs, and no value in etcd grows beyond what a controller can read.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import { reEpoch } from '../../controller/api/re-epoch.js';
import { readPrefix } from '../../controller/leadership/etcd.js';
import { decode, epochRecord } from '../../controller/state/records.js';
import { CommandResult, JournalJob, NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import type { Lies } from './scripted-agent.test.part.js';
import {
  agents,
  cluster,
  direct,
  lead,
  mirror,
  outcome,
  reaches,
  start,
  started,
  wish,
} from './term.test.part.js';

/** More than a value in etcd may hold; it ends in characters of two halves, wherever it is cut. */
const huge = `x${'\u{1f600}'.repeat(limits.etcdValueBytes / 2)}`;
/** What JSON writes with six bytes each. */
const control = '\u0001'.repeat(2 * limits.etcdValueBytes);

const maintain = async (node: string, on: boolean) => outcome(await wish({ kind: 'maintenance', node, on }));

/** What the audit record has of words on nodes. */
async function told(): Promise<string[]> {
  const { entries } = await readPrefix(direct, cluster.keys.audit);
  return entries
    .map(({ value }) => JSON.parse(value))
    .flatMap(({ what, commandId }) => (what === 'by_hand' ? [commandId] : []));
}

async function valuesAreBounded(): Promise<void> {
  const { entries } = await readPrefix(direct, cluster.keys.prefix);
  for (const { key, value } of entries) {
    assert.ok(Buffer.byteLength(value) <= limits.etcdValueBytes, key);
    assert.doesNotMatch(value, /\\ud[89a-f]|\ufffd/i, `${key} holds half a character`);
  }
}

test('words that are named like keys of etcd, or end in half a character, end no lead', async () => {
  const [agent] = await agents(1);
  assert.ok(agent);
  const ids = [
    'spec',
    'status',
    'hold',
    'order',
    'epoch',
    `${'x'.repeat(limits.commandIdChars - 1)}\u{1f600}`,
  ];
  for (const id of ids) agent.saysByHand(id);
  const first = await lead();
  assert.equal((await maintain('node-1', true)).error, null);
  assert.ok(
    await mirror.waitFor(() => mirror.under(cluster.keys.nodeWords('node-1')).length === ids.length, 10_000),
  );
  await first.lead.resign('another one leads');
  await first.over;
  const second = await lead();
  assert.equal((await maintain('node-1', false)).error, null);
  assert.deepEqual([second.isOver, (await told()).length], [false, ids.length]);
  await valuesAreBounded();
});

function resultOf(text: string, outcomeWord: string): CommandResult {
  const failure = { code: text, message: text };
  const release = { version: text, digest: text };
  const problems = [failure, failure, failure];
  const words = { failure, failedStep: text, release, problems, backupId: text };
  return CommandResult.fromPartial({ outcome: outcomeWord, ...words });
}

/** The same text in every field that has one. */
function liesOf(text: string): Partial<Lies> {
  const said = { commandId: text, rolloutId: text, step: text };
  const byHand = { ...said, by: text, reason: text, result: resultOf(text, text) };
  const needsOperator = { code: text, message: text };
  const words = { healthReason: text, agentVersion: text, os: text, arch: text, phase: text };
  return {
    status: (status) =>
      NodeStatus.fromPartial({ ...status, ...words, needsOperator, goodForMs: 2n ** 64n - 1n }),
    jobs: (jobs) => [
      JournalJob.fromPartial({ ...said, attempt: 2 ** 32 - 1 }),
      JournalJob.fromPartial({ ...byHand, commandId: `${text}1` }),
      ...jobs,
    ],
    progress: (progress) => ({ ...progress, message: text, waitsFor: text }),
    result: ({ release }) => ({ ...resultOf(text, 'done'), release }),
  };
}

for (const [what, text] of [
  ['too long', huge],
  ['too long once it is written', control],
] as const)
  test(`an agent whose every word is ${what} costs nobody the lead`, async () => {
    const both = await agents(2);
    const [first, second] = both;
    assert.ok(first && second);
    const lies = liesOf(text);
    for (const agent of both) agent.lies = lies;
    const term = await lead();
    await reaches(await started(await start(undefined, '0b1', ['node-1'])), 'succeeded');

    const isUpgrade = () => second.executed.at(-1)?.includes('.upgrade.') ?? false;
    const failed = (honest: CommandResult) => (isUpgrade() ? resultOf(text, 'rollback_failed') : honest);
    second.lies = { ...lies, result: failed };
    await reaches(await started(await start(undefined, '0b1', ['node-2'])), 'failed');

    first.lies = { ...lies, result: () => resultOf(text, text) };
    const slots = () => mirror.under(cluster.keys.slots).map(({ value }) => JSON.parse(value));
    await maintain('node-1', true);
    await mirror.waitFor(() => slots().some(({ maintenance }) => maintenance?.failed === true), 10_000);
    assert.deepEqual(
      slots().map(({ node, reason }) => [node, reason.length > 100]),
      [
        ['node-1', true],
        ['node-2', true],
      ],
    );
    assert.equal((await told()).length, 2, 'what was said on both nodes is recorded');
    await valuesAreBounded();
    assert.equal(term.isOver, false, 'the lead goes on');

    await term.lead.resign('another one leads');
    await term.over;
    first.lies = {};
    const next = await lead();
    assert.equal((await maintain('node-1', false)).error, null);
    await mirror.waitFor(() => slots().length === 1, 10_000);
    assert.deepEqual([slots().length, next.isOver], [1, false], 'and the next one is taken up');
  });

test('an epoch that no operator can have raised is passed over when one does, and somebody leads again', async () => {
  const [agent] = await agents(2);
  assert.ok(agent);
  agent.lies = { fence: (fence) => ({ ...fence, epoch: 2n ** 64n - 1n }) };
  const config = await cluster.config('controller-0', {});
  // Nobody leads yet, so nobody adopts: the word is in force all the same.
  const raising = reEpoch(
    { config, client: direct, keys: cluster.keys, mirror, wall: () => new Date() },
    'op',
    'it was meant',
  );
  const isRaised = () => mirror.get(cluster.keys.epoch) !== undefined;
  assert.ok(await mirror.waitFor(isRaised, 10_000));
  const { epoch } = decode(epochRecord, cluster.keys.epoch, mirror.get(cluster.keys.epoch)?.value ?? '');
  assert.ok(epoch <= Date.now() / 1_000);
  const term = await lead();
  assert.equal(term.lead.epoch, BigInt(epoch));
  agent.lies = {};
  await raising;
});
