/** What becomes of an agent's messages at the door: numbers that are none of ours count for nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import { AdoptResponse, CommandEvent, NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import { count } from '../state/records.js';
import { eventOf, observationOf, reportOf, statusOf } from './agent-words.js';

test('a try that a node counts is one that the next try can count on', () => {
  const counted = [0, 1, limits.commandAttempts, limits.commandAttempts + 1, 2 ** 32 - 1];
  const jobs = counted.map((attempt) => ({ commandId: `a.${attempt}`, attempt }));
  const heard = reportOf(AdoptResponse.fromPartial({ jobs })).jobs.map(({ attempt }) => attempt);
  assert.deepEqual(heard, [0, 1, limits.commandAttempts, 0, 0]);
  for (const attempt of heard) assert.ok(count.safeParse(attempt + 1).success);
});

test('of a journal without end the last jobs are looked at', () => {
  const jobs = Array.from({ length: 3 * limits.journalJobsHeard }, (_, at) => ({ commandId: `job-${at}` }));
  const heard = reportOf(AdoptResponse.fromPartial({ jobs })).jobs;
  assert.equal(heard.length, limits.journalJobsHeard);
  assert.equal(heard.at(-1)?.commandId, jobs.at(-1)?.commandId);
});

test('how long a node has been good is a number that counts exactly', () => {
  const goodFor = (goodForMs: bigint) => observationOf(NodeStatus.fromPartial({ goodForMs })).goodForMs;
  assert.deepEqual([goodFor(60_000n), goodFor(2n ** 64n - 1n)], [60_000, Number.MAX_SAFE_INTEGER]);
});

test('a health in a word that is not known is unknown, for the engine and in the record', () => {
  const status = NodeStatus.fromPartial({ health: 'splendid', healthReason: 'why' });
  assert.deepEqual([observationOf(status).health, statusOf(status).health], ['unknown', 'unknown']);
});

test('an end in a word that is not known needs an operator, and what is no news makes no event', () => {
  const finished = CommandEvent.fromPartial({
    commandId: 'c',
    event: { $case: 'finished', value: { outcome: 'half done', failure: { code: 'X', message: 'y' } } },
  });
  const event = eventOf('node-1', finished);
  assert.ok(event?.kind === 'finished');
  assert.equal(event.outcome.outcome, 'rollback_failed');
  assert.match(event.outcome.failure?.message ?? '', /ended as "half done"/);
  const accepted = CommandEvent.fromPartial({ event: { $case: 'accepted', value: { known: true } } });
  for (const none of [accepted, CommandEvent.fromPartial({})])
    assert.equal(eventOf('node-1', none), undefined);
});
