/** The live view: it never leaves its terminal, says what matters, and copes with many nodes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { cellsOf } from './cells.js';
import { estimateLeftMs } from './estimate.js';
import { nodePhasesInOrder } from './phases.js';
import { progressLines, type View } from './progress.js';
import { at, sampleNode, sampleStatus, startedAtMs } from './sample-status.test.part.js';

const view: View = { widthCells: 80, heightLines: 24, nowMs: startedAtMs + 30_000, colours: false };
const error = {
  code: 'PROBE_FAILED',
  message: 'node-2: /health answered 500 for 60 s; look at run/service.log',
};

const nodes = [
  sampleNode('node-1', 'done', { since: at(20), outSince: at(4), backAt: at(18) }),
  sampleNode('node-2', 'probing', { since: at(25), outSince: at(20) }),
  sampleNode('node-3', 'pending', {
    waitingOn: [{ reason: 'waits for a slot', since: at(0), unblock: 'node-2 is done' }],
  }),
];

describe('the live view', () => {
  test('shows one row a node and a total at 80 columns', () => {
    assert.deepEqual(progressLines(sampleStatus(nodes), view), [
      '0a1 → 0b1  update_0a1_0b1_20241219_120000  leader controller-0',
      'NODE   PHASE                PROGRESS     IN PHASE  OUT FOR NOTE',
      'node-1 done                 ████████████               14s',
      'node-2 probing              ████████░░░░       5s      10s',
      'node-3 pending              ░░░░░░░░░░░░                   waits for a slot',
      'rolling  ████░░░░░░░░  1 of 3 nodes, 30s, about 22s left',
    ]);
  });

  test('says an error in the row and once more in full width', () => {
    const failed = [sampleNode('node-2', 'rolling_back', { error, since: at(28), outSince: at(0) })];
    const lines = progressLines(
      sampleStatus(failed, { phase: 'rolling_back', reason: 'node-2 failed' }),
      view,
    );
    assert.match(lines[2] ?? '', /^node-2 rolling_back +◂{12} +2s +30s node-2: .*…$/);
    assert.match(lines[3] ?? '', /^rolling_back: node-2 failed .*0 of 1 nodes, 30s$/);
    assert.equal(lines[4], '! node-2: node-2: /health answered 500 for 60 s; look at run/service.log');
  });

  test('says a reason that does not fit beside the total in a line of its own', () => {
    const reason = 'node-2 did not stay healthy; look at its log before you go on with the others';
    const lines = progressLines(sampleStatus(nodes, { phase: 'paused', reason }), view);
    assert.match(lines.at(-2) ?? '', /^paused {2}█/);
    assert.equal(lines.at(-1), `  ${reason}`);
    const narrow = progressLines(sampleStatus(nodes, { phase: 'paused', reason }), {
      ...view,
      widthCells: 40,
    });
    assert.match(narrow.at(-1) ?? '', /^ {2}node-2 did .*…$/);
  });

  test('shows only the nodes at work when there are too many, and counts the rest', () => {
    const many = Array.from({ length: 200 }, (_, index) => {
      const phase = index < 90 ? 'done' : index < 93 ? 'applying' : 'pending';
      return sampleNode(`node-${index}`, phase);
    });
    const lines = progressLines(sampleStatus(many), view);
    assert.equal(lines.filter((line) => / applying /.test(line)).length, 3);
    assert.ok(lines.includes('and 90 done, 107 pending'));
    assert.ok(lines.length < 24);
  });

  test('colours change no width and are absent when off', () => {
    const plain = progressLines(sampleStatus(nodes), view);
    const coloured = progressLines(sampleStatus(nodes), { ...view, colours: true });
    const colour = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
    assert.notDeepEqual(coloured, plain);
    assert.deepEqual(
      coloured.map((line) => line.replace(colour, '').trimEnd()),
      plain.map((line) => line.trimEnd()),
    );
  });

  test('text from the cluster cannot move the cursor', () => {
    const nasty = [
      sampleNode('node-1', 'probing', { error: { code: 'X', message: 'a\u001b[2J\nb\u202e\tc' } }),
    ];
    const text = progressLines(sampleStatus(nasty, { reason: 'x\ry' }), view).join('');
    assert.doesNotMatch(text, /[\p{Cc}\p{Cf}]/u);
  });

  test('no line is ever wider than the terminal, and the lines fit its height', () => {
    fc.assert(
      fc.property(
        fc.array(arbitraryNode, { maxLength: 60 }),
        fc.integer({ min: 10, max: 200 }),
        fc.integer({ min: 6, max: 60 }),
        fc.string({ unit: 'grapheme', maxLength: 120 }),
        (some, widthCells, heightLines, reason) => {
          const lines = progressLines(sampleStatus(some, { reason }), { ...view, widthCells, heightLines });
          for (const line of lines)
            assert.ok(cellsOf(line) <= widthCells, `${cellsOf(line)} > ${widthCells}: ${line}`);
          assert.ok(lines.length < heightLines, `${lines.length} lines of ${heightLines}`);
        },
      ),
      { numRuns: 300 },
    );
  });
});

const arbitraryNode: fc.Arbitrary<RolloutNode> = fc
  .record({
    id: fc.stringMatching(/^[a-z][a-z0-9-]{0,60}[a-z]$/),
    phase: fc.constantFrom(
      ...nodePhasesInOrder,
      'rolling_back',
      'rolled_back',
      'rollback_failed',
      'skipped',
      'new_word',
    ),
    outSeconds: fc.option(fc.integer({ min: -1_000, max: 1_000_000 })),
    message: fc.option(fc.string({ unit: 'grapheme', maxLength: 100 })),
  })
  .map(({ id, phase, outSeconds, message }) =>
    sampleNode(id, phase, {
      outSince: outSeconds === null ? undefined : at(outSeconds),
      error: message === null ? undefined : { code: 'PROBE_FAILED', message },
    }),
  );

describe('the estimate', () => {
  const rollout = (status: ReturnType<typeof sampleStatus>) => status.rollout ?? assert.fail('no rollout');

  test('comes from the nodes that are done', () => {
    // node-1 took 16 s, node-2 has had 10 of them, node-3 all of them before it.
    assert.equal(estimateLeftMs(rollout(sampleStatus(nodes)), view.nowMs), 22_000);
  });
  test('is shared by the nodes that go at the same time', () => {
    assert.equal(estimateLeftMs(rollout(sampleStatus(nodes, { maxConcurrent: 2 })), view.nowMs), 11_000);
  });
  test('comes from the plan as long as no node is done', () => {
    const early = sampleStatus(nodes.slice(1), { estimateMs: 100_000n });
    assert.equal(estimateLeftMs(rollout(early), view.nowMs), 70_000);
  });
  test('is not given when overdue, paused or going back', () => {
    assert.equal(
      estimateLeftMs(rollout(sampleStatus(nodes.slice(1), { estimateMs: 10_000n })), view.nowMs),
      undefined,
    );
    assert.equal(estimateLeftMs(rollout(sampleStatus(nodes, { phase: 'paused' })), view.nowMs), undefined);
    assert.equal(
      estimateLeftMs(rollout(sampleStatus(nodes, { phase: 'rolling_back' })), view.nowMs),
      undefined,
    );
  });
});
