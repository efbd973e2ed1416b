/** Wishes of operators for a rollout: each that would change nothing is refused in a sentence, and changes nothing. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { after, begun, finished, nodeOf, rolling } from '../../test/scenarios/paper-rollout.test.part.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { Wish } from './events.js';
import { wishRefusal } from './wishes.js';
import type { World } from './world.js';

const why = { reason: 'because' };
const failure = { code: 'PROBE_FAILED', message: 'sick' };
const pause: Wish = { kind: 'pause', ...why };
const resume: Wish = { kind: 'resume', ...why };
const back: Wish = { kind: 'abort', rollback: true, ...why };
const retry = (node: string): Wish => ({ kind: 'retry', node, ...why });
const skip = (node: string): Wish => ({ kind: 'skip', node, ...why });

const forward = rolling(3, { rollbackOnFailure: false });
const paused = after(forward, { kind: 'wish', wish: pause });
const goingBack = after(forward, { kind: 'wish', wish: back });
const soaking = after(forward, finished('node-1', 'upgrade'));
const stuck = after(forward, finished('node-1', 'upgrade', { outcome: 'rollback_failed', failure }));
const failed = after(forward, finished('node-1', 'upgrade', { outcome: 'rolled_back', failure }));
/** Node-2 fails while the rollout is paused for node-1 already. */
const twoFailed = after(
  after(rolling(3, { rollbackOnFailure: false, maxConcurrent: 2 }), failedNode('node-1')),
  failedNode('node-2'),
);

function failedNode(node: string) {
  return finished(node, 'upgrade', { outcome: 'rolled_back', failure });
}

/** More nodes have failed than a resume may put aside. */
const manyFailed = rolling(501, { rollbackOnFailure: false, maxConcurrent: 501, failureBudget: 500 });
const tooManyFailed = after(
  manyFailed,
  ...[...(manyFailed.rollout?.nodes.keys() ?? [])].map((node) => failedNode(node)),
);

describe('a wish is refused, and would change nothing', () => {
  const cases: [world: World, wish: Wish, sentence: RegExp][] = [
    [emptyWorld, pause, /^no rollout is active; start one/],
    [forward, resume, /^the rollout is under way, so it takes no resume; plexictl status shows it/],
    [paused, pause, /^the rollout is paused, so it takes no pause/],
    [goingBack, back, /^the rollout is going back, so it takes no abort/],
    [goingBack, retry('node-1'), /^the rollout is going back, so it takes no retry/],
    [forward, skip('node-9'), /^node-9 has no part in u; plexictl status lists its nodes/],
    [forward, retry('node-2'), /^node-2 is ready; only a node that failed and went back can be tried again/],
    [forward, skip('node-1'), /^node-1 is out of service \(entering_maintenance\), so it cannot be left out/],
    [stuck, skip('node-1'), /^node-1 needs an operator: .* plexictl node confirm node-1/],
    [stuck, retry('node-1'), /^node-1 needs an operator/],
    [
      twoFailed,
      { ...resume, seen: ['node-1'] },
      /^node-2 failed after this was said; look with plexictl status, then say plexictl resume again$/,
    ],
    [tooManyFailed, resume, /^more than 500 nodes have failed, .* plexictl abort --rollback$/],
    [
      after(failed, { kind: 'wish', wish: skip('node-1') }),
      skip('node-1'),
      /^node-1 is skipped, so there is/,
    ],
  ];
  for (const [world, wish, sentence] of cases) {
    const node = 'node' in wish ? ` ${wish.node}` : '';
    test(`${world.rollout?.course.kind ?? 'no rollout'}, ${wish.kind}${node}`, () => {
      assert.match(wishRefusal(world, wish) ?? 'it is taken', sentence);
      assert.deepEqual(after(world, { kind: 'wish', wish }), world);
    });
  }
});

describe('a wish is taken', () => {
  const cases: [title: string, world: World, wish: Wish, course: string][] = [
    ['pause', forward, pause, 'paused'],
    ['resume', paused, resume, 'forward'],
    ['abort --rollback of a paused one', paused, back, 'back'],
    ['retry of the failed node', failed, retry('node-1'), 'forward'],
    ['skip of the failed node', failed, skip('node-1'), 'forward'],
    ['skip of a node before its turn, which ends no pause', paused, skip('node-3'), 'paused'],
    ['skip of another node than the failed one, which ends no pause', failed, skip('node-3'), 'paused'],
  ];
  for (const [title, world, wish, course] of cases)
    test(title, () => {
      assert.equal(wishRefusal(world, wish), undefined);
      assert.equal(after(world, { kind: 'wish', wish }).rollout?.course.kind, course);
    });
});

test('an abort that is said again keeps the first reason for the way back', () => {
  assert.equal(nodeOf(soaking, 'node-1').state.phase, 'soaking');
  const first = after(soaking, { kind: 'wish', wish: back });
  const again = after(first, { kind: 'wish', wish: { ...back, reason: 'another' } });
  assert.equal(again.rollout?.course.kind === 'back' && again.rollout.course.reason, 'because');
});

test('a wish for a rollout that is over changes nothing', () => {
  const over = after(begun(1), { kind: 'wish', wish: back });
  assert.equal(over.rollout?.phase, 'aborted');
  assert.deepEqual(after(over, { kind: 'wish', wish: pause }), over);
});

test('what fails in a pause is told with what it was paused for, and is put aside by who could know of it', () => {
  assert.equal(twoFailed.rollout?.reason, 'node-1: sick; node-2: sick');
  const resumed = after(twoFailed, { kind: 'wish', wish: { ...resume, seen: ['node-1', 'node-2'] } });
  assert.deepEqual(
    [resumed.rollout?.course.kind, resumed.rollout?.forgiven],
    ['forward', ['node-1', 'node-2']],
  );
});
