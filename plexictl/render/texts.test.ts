/** Tables, plans, plain progress lines and summaries: the words that people read. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Node } from '../../gen/plexi/v1/nodes.js';
import { Plan } from '../../gen/plexi/v1/rollouts.js';
import { cellsOf, fit, printable, truncate, wrapped } from './cells.js';
import { historyText } from './history.js';
import { nodesText } from './nodes.js';
import { palette } from './palette.js';
import { changeLines } from './plain-lines.js';
import { planText } from './plan.js';
import { at, sampleNode, sampleStatus } from './sample-status.test.part.js';
import { statusText } from './status.js';
import { endSentence, summaryText } from './summary.js';
import { table } from './table.js';

const plain = palette(false);
const probeFailed = { code: 'PROBE_FAILED', message: '/health answered 500' };

describe('cells', () => {
  test('wide and combining characters are counted as a terminal shows them', () => {
    assert.equal(cellsOf('漢字'), 4);
    assert.equal(cellsOf('e\u0301'), 1);
    assert.equal(cellsOf('→ …'), 3);
  });
  test('a text is cut before a wide character that would not fit', () => {
    assert.equal(truncate('漢字', 3), '漢…');
    assert.equal(fit('漢字漢字', 4), '漢… ');
    assert.equal(fit('ab', 4), 'ab  ');
  });
  test('control and direction characters go', () =>
    assert.equal(printable(' a\u001b[31m\n\u202eb '), 'a [31m b'));
});

test('a table leaves out columns without content and pads no line', () => {
  const text = table(
    [{ heading: 'A' }, { heading: 'B' }, { heading: 'N', align: 'right' }, { heading: 'C' }],
    [
      ['1', '', '5', ''],
      ['22', '', '10', 'x'],
    ],
  );
  assert.equal(text, 'A    N  C\n1    5\n22  10  x\n');
});

describe('a page of 80 cells', () => {
  const long =
    'the disk of this node is full and has been for a very long time, so nothing can be staged there';
  const widest = (text: string) => Math.max(...text.split('\n').map(cellsOf));
  const status = sampleStatus([sampleNode('node-1', 'pending', { error: { code: 'X', message: long } })], {
    phase: 'paused',
    reason: long,
  });
  const rollout = { ...(status.rollout ?? assert.fail('no rollout')), id: `rollback_${'x'.repeat(70)}` };

  test('holds history and status, marks what it cuts, and wide cuts nothing', () => {
    const history = historyText([status.rollout ?? assert.fail('no rollout')], false);
    assert.ok(widest(history) <= 80, history);
    assert.match(history, /update_0a1_0b1_20241219_120000 {2}paused .*…\n$/);
    assert.ok(historyText([rollout], true).includes(long));
    const shown = statusText(status, at(9).getTime(), false);
    assert.ok(widest(shown) <= 80, shown);
    assert.match(shown, /Phase {4}paused: the disk[^…]*\n {9}\S/);
    assert.match(shown, /node-1 .*…\n\n`plexictl why NODE` or -o wide says all of it\.\n$/);
    assert.ok(statusText(status, at(9).getTime(), true).includes(long));
  });
  test('holds the nodes, with a note on what keeps them', () => {
    const node = Node.fromPartial({
      id: 'node-1',
      version: '0a1',
      health: 'healthy',
      phase: 'idle',
      since: at(0),
      address: '10.0.0.1:7400',
      inMaintenance: true,
      held: 'new disk',
    });
    const text = nodesText([node, { ...node, held: long }], false);
    assert.ok(widest(text) <= 80, text);
    assert.match(text, /in maintenance; held: new disk\n.*held: .*…\n\n`plexictl why NODE` says more/);
    assert.match(nodesText([node], true), /10\.0\.0\.1:7400 .*in maintenance; held: new disk\n$/);
  });
  test('is made room for in the last column first, because an id is of no use when it is cut', () => {
    const columns = [{ heading: 'ID' }, { heading: 'REASON' }];
    const text = table(columns, [['x'.repeat(50), 'y'.repeat(40)]], { widthCells: 80 });
    assert.equal(text.split('\n')[1], `${'x'.repeat(50)}  ${'y'.repeat(27)}…`);
  });
  test('holds an id that is longer than a line, with a mark', () => {
    const text = historyText([rollout], false);
    assert.ok(widest(text) <= 80, text);
    assert.match(text, /x…/);
  });
  test('is kept when text is wrapped, also with a long word', () => {
    assert.deepEqual(wrapped('one two three', 8, 2), ['one two', '  three']);
    assert.deepEqual(wrapped('abcdefghij k', 6, 1), ['abcdef', ' ghij', ' k']);
  });
});

test('a plan says everything before anything is touched', () => {
  const plan = Plan.fromPartial({
    cluster: 'dev',
    from: '0a1',
    to: '0b1',
    maxConcurrent: 1,
    steps: ['stop', 'apply'],
    estimateMs: 90_000n,
    warnings: ['node-2 has no backup'],
    problems: ['node-1 is unhealthy'],
    pointOfNoReturn: 'migration 002',
    nodes: [
      {
        id: 'node-1',
        from: '0a1',
        to: '0b1',
        strategy: 'upgrade',
        wave: 0,
        orderReason: 'unhealthy',
        migrations: ['001', '002'],
        estimateMs: 45_000n,
      },
      { id: 'node-2', from: '0b1', to: '0b1', strategy: 'none', wave: 1 },
    ],
  });
  assert.equal(
    planText(plan, plain),
    [
      'Rollout 0a1 → 0b1 in cluster dev: 1 node to change, 1 out of service at a time',
      '',
      '  #  NODE    FROM  TO   STRATEGY  WAVE  OUT FOR  BECAUSE    MIGRATIONS',
      '  1  node-1  0a1   0b1  upgrade      0      45s  unhealthy  001, 002',
      '  2  node-2  0b1   0b1  none         1',
      '',
      'Each node: stop, apply',
      'Point of no return: migration 002',
      'Estimate: about 1m 30s',
      '',
      'Warnings:',
      '  - node-2 has no backup',
      '',
      'Problems:',
      '  - node-1 is unhealthy',
      '',
    ].join('\n'),
  );
});

describe('a plan that changes no version', () => {
  const nodes = ['node-1', 'node-2'].map((id) => ({ id, from: '0b1', to: '0b1', strategy: 'restart' }));
  const restart = Plan.fromPartial({ cluster: 'dev', from: '0b1', to: '0b1', maxConcurrent: 1, nodes });

  test('says restart', () => {
    assert.match(planText(restart, plain), /^Restart of 0b1 in cluster dev: 2 nodes to change, 1 out of/);
  });
  test('says that staging touches no node, and nothing of a point of no return', () => {
    const staging = planText(Plan.fromPartial({ ...restart, stageOnly: true }), plain);
    assert.match(staging, /^Staging of 0b1 in cluster dev: 2 nodes to bring it to, none is touched\n/);
    assert.match(staging, /Stage only: it ends once the release lies on every node/);
    assert.doesNotMatch(staging, /no return/);
  });
});

function waiting(amount: number, reason: string) {
  const waitingOn = [{ reason, since: at(1), unblock: '' }];
  return sampleStatus(
    Array.from({ length: amount }, (_, index) => sampleNode(`node-${index}`, 'ready', { waitingOn })),
  );
}

describe('plain progress', () => {
  const first = sampleStatus([
    sampleNode('node-1', 'probing', { since: at(12) }),
    sampleNode('node-2', 'pending'),
  ]);

  test('begins with the rollout and the nodes that have begun', () => {
    assert.deepEqual(changeLines(undefined, first, at(15).getTime()), [
      '[    15s] update_0a1_0b1_20241219_120000 (0a1 → 0b1): rolling',
      '[    12s] node-1: probing',
    ]);
  });
  test('has a line for each change, in the order in which they happened', () => {
    const next = sampleStatus(
      [
        sampleNode('node-1', 'rolling_back', { since: at(75), error: probeFailed }),
        sampleNode('node-2', 'staging', { since: at(70) }),
      ],
      { phase: 'rolling_back', reason: 'node-1 failed' },
    );
    assert.deepEqual(changeLines(first, next, at(76).getTime()), [
      '[ 1m 10s] node-2: staging',
      '[ 1m 15s] node-1: rolling_back: /health answered 500',
      '[ 1m 16s] update_0a1_0b1_20241219_120000 (0a1 → 0b1): rolling_back: node-1 failed',
    ]);
  });
  test('says nothing when nothing that matters changed', () => {
    assert.deepEqual(changeLines(first, first, at(99).getTime()), []);
    const waits = waiting(14, 'x');
    assert.deepEqual(changeLines(waits, waits, at(99).getTime()), []);
  });
  test('says a new reason to wait once, for all nodes that have it', () => {
    assert.deepEqual(changeLines(waiting(14, 'x'), waiting(14, 'y'), at(99).getTime()), [
      `[ 1m 39s] ${Array.from({ length: 10 }, (_, index) => `node-${index}`).join(', ')} and 4 more: waits: y`,
    ]);
    assert.equal(
      changeLines(undefined, waiting(2, 'x'), at(1).getTime()).at(-1),
      '[     1s] node-0, node-1: waits: x',
    );
  });
  test('tells a node that cannot be reached', () => {
    const unknown = sampleStatus([
      sampleNode('node-1', 'probing', { since: at(12), unknown: true }),
      sampleNode('node-2', 'pending'),
    ]);
    assert.deepEqual(changeLines(first, unknown, at(20).getTime()), [
      '[    12s] node-1: probing, cannot be reached',
    ]);
  });
});

describe('the end of a rollout', () => {
  const rolloutOf = (status: ReturnType<typeof sampleStatus>) => status.rollout ?? assert.fail('no rollout');

  test('a good one counts its nodes', () => {
    const done = sampleStatus([sampleNode('node-1', 'done', { outSince: at(1), backAt: at(9) })], {
      phase: 'succeeded',
      finishedAt: at(62),
    });
    assert.equal(
      summaryText(rolloutOf(done), plain),
      'NODE    PHASE  FROM  NOW  OUT FOR\nnode-1  done   0a1   0b1       8s\n\nupdate_0a1_0b1_20241219_120000 succeeded after 1m 02s: 1 node at 0b1\n',
    );
  });
  test('a bad one names the node that needs somebody first', () => {
    const nodes = [
      sampleNode('node-1', 'rolled_back', { error: probeFailed }),
      sampleNode('node-2', 'rollback_failed', {
        error: { code: 'ROLLBACK_FAILED', message: 'cannot restore data/' },
      }),
    ];
    const failed = sampleStatus(nodes, {
      phase: 'failed',
      reason: 'node-2 needs an operator',
      finishedAt: at(5),
      exitCode: 4,
    });
    const sentence =
      'update_0a1_0b1_20241219_120000 failed after 5s; node-2 needs an operator; node-2: cannot restore data/';
    assert.equal(endSentence(rolloutOf(failed)), sentence);
  });
  test('nothing is said twice', () => {
    const failed = sampleStatus([sampleNode('node-1', 'rolled_back', { error: probeFailed })], {
      phase: 'rolled_back',
      reason: 'node-1: /health answered 500',
      finishedAt: at(5),
      exitCode: 1,
    });
    assert.equal(
      endSentence(rolloutOf(failed)),
      'update_0a1_0b1_20241219_120000 rolled_back after 5s; node-1: /health answered 500',
    );
  });
});
