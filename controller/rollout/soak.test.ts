/** Soaks that time ends badly: what kept them from their end is said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  after,
  finished,
  nodeOf,
  observed,
  paperNowMs,
  rolling,
} from '../../test/scenarios/paper-rollout.test.part.js';
import { releaseAt } from '../../test/scenarios/sample-plan.test.part.js';
import { advance } from './advance.js';
import type { Observation } from './events.js';

/** What is said of a node that has been upgraded, and then says this for longer than its soak may take. */
function whyOf(soakMs: number, said: Partial<Observation>): string | undefined {
  const soaking = after(rolling(1, { soakMs }), finished('node-1', 'upgrade'));
  const { timeouts } = soaking.rollout?.plan.header.policy ?? assert.fail();
  const overdueMs = paperNowMs + 3 * soakMs + timeouts.probeMs + 1;
  const word = observed('node-1', { release: releaseAt('0b1'), ...said });
  return nodeOf(advance(soaking, [word], overdueMs).world, 'node-1').error?.message;
}

test('a node that is not done in time says what it says of itself, or what it did not', () => {
  const said = 'it did not stay healthy after the upgrade: ';
  assert.equal(whyOf(0, { health: 'unknown' }), `${said}it has not said once that it is healthy`);
  assert.equal(whyOf(1_000, { health: 'unknown' }), `${said}it was never good for 1 s on end`);
  assert.equal(whyOf(1_000, { health: 'unhealthy', healthReason: '503' }), `${said}503`);
  assert.equal(whyOf(1_000, { release: releaseAt('0a1') }), `${said}it runs 0a1 now, and was given 0b1`);
});

test('a node that waits for its turn and does not let itself be adopted is left out with its own words', () => {
  const fault = { code: 'FENCE_UNREADABLE', message: 'agent/fence.json cannot be read' };
  const refusing = after(rolling(2), { kind: 'adoption_failed', node: 'node-2', fault });
  const { unknownMaxMs } = refusing.rollout?.plan.header.policy ?? assert.fail();
  const node = nodeOf(advance(refusing, [], paperNowMs + unknownMaxMs + 1).world, 'node-2');
  assert.equal(node.state.phase, 'skipped');
  assert.equal(node.error?.code, 'FENCE_UNREADABLE');
  assert.match(
    node.error.message,
    /^node-2 did not let itself be adopted \(agent\/fence.json cannot be read\)/,
  );
});
