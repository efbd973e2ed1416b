/**
 * A write whose end nobody knows, and that is committed while the leader looks for it: whatever it comes to, the
 * leader goes on from what stands in etcd.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import { PlexiError } from '../../config/errors.js';
import { begun } from '../../test/scenarios/paper-rollout.test.part.js';
import { FencedStore } from '../leadership/fenced-store.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import { emptyHead } from '../state/audit.js';
import { clusterKeys } from '../state/keys.js';
import { RunLoop } from './run-loop.js';

const keys = clusterKeys('paper');
const log = pino({ level: 'silent' });

test('a start that is committed between the load and the look for it is in the world all the same', async () => {
  let isCommitted = false;
  const write = () => Promise.reject(new PlexiError('STORE_UNAVAILABLE', 'no answer'));
  const store = Object.assign(Object.create(FencedStore.prototype), { write });
  const loop: RunLoop = new RunLoop(
    {
      ...{ keys, store, log, ended: () => undefined, wishesWait: () => false, urgent: async () => undefined },
      ...{ intentsRevision: () => 0n, sideWrites: () => [], nowMs: () => 1, run: () => undefined },
      auditStamp: () => ({ at: new Date(0), term: '1' }),
      load: async () => {
        const world = isCommitted ? begun(2) : emptyWorld;
        return { world, entries: [], revision: 1n, auditHead: emptyHead };
      },
      // The late write arrives just before this is asked for.
      exists: async (key) => {
        isCommitted = true;
        return key === 'done';
      },
    },
    (error) => assert.fail(error),
  );
  await loop.load();
  const writes = { operations: [{ kind: 'put', key: 'done', value: '' }], guards: [] } as const;
  await loop.takeWish({ key: 'wish', doneKey: 'done', batch: async () => ({ events: [], writes }) });
  assert.equal(loop.world.rollout?.id, 'u');
  loop.stop();
});
