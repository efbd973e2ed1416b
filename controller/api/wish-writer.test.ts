/** Wishes that are stored at the same moment, on a real etcd: each has an outcome of its own. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { agents, cluster, direct, lead, mirror, start, started } from '../../test/cluster/term.test.part.js';
import type { Intent } from '../state/wish-records.js';
import { WishWriter } from './wish-writer.js';

const by = { by: 'op', at: new Date().toISOString(), reason: 'because' };
/** Pairs of wishes: in most of them both read the same revision of etcd before one of them writes. */
const pairs = 20;

test('of two wishes of one moment, one for a rollout and one for none, each is answered with its own outcome', async () => {
  const [agent] = await agents(1);
  const release = agent?.hold('stage');
  await lead();
  const id = await started(await start());
  const say = (intent: Intent, rollout?: string) =>
    new WishWriter(direct, cluster.keys, mirror, randomUUID).wish(intent, rollout);
  for (let pair = 0; pair < pairs; pair++) {
    const kind = pair % 2 === 0 ? 'pause' : 'resume';
    const [hold, word] = await Promise.allSettled([
      say({ kind: 'hold', node: 'node-9', on: true, ...by }),
      say({ kind, ...by }, id),
    ]);
    assert.ok(hold.status === 'rejected' && /node-9/.test(String(hold.reason)), 'there is no node-9');
    assert.ok(word.status === 'fulfilled', `${kind} got the refusal of the other`);
    assert.equal(word.value.rollout, id);
  }
  release?.();
});
