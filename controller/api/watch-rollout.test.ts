/** A watcher that reads slowly: it is told the newest state once it can take it, and nothing after the end. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { mock, test } from 'node:test';
import { ClusterStatus, type WatchResponse } from '../../gen/plexi/v1/rollouts.js';
import { watchRollout } from './watch-rollout.js';

/** A stream that takes one message, and the next only once it was let. */
function slowCall() {
  const told: string[] = [];
  let next = (): void => undefined;
  const stream = new Writable({
    objectMode: true,
    highWaterMark: 1,
    write({ status }: WatchResponse, _encoding, done) {
      told.push(status?.rollout?.phase ?? '');
      next = done;
    },
  });
  const call = Object.assign(stream, { request: { id: 'r' }, cancelled: false });
  return { call, told, take: () => next() };
}

function clusterAt() {
  let phase = 'rolling';
  const listeners = new Set<() => void>();
  const status = (): ClusterStatus => ClusterStatus.fromPartial({ rollout: { id: 'r', phase } });
  return {
    reader: { status: async () => status(), statusNow: status },
    mirror: {
      listen(listener: () => void) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    enter(entered: string): void {
      phase = entered;
      for (const listener of listeners) listener();
      mock.timers.tick(1_000);
    },
  };
}

test('a slow watcher waits with one listener, is told the newest state, and nothing after the end', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { call, told, take } = slowCall();
  const cluster = clusterAt();
  watchRollout(call, cluster.reader, cluster.mirror);
  await new Promise(setImmediate);
  for (const phase of ['rolling', 'paused', 'rolling', 'soaking', 'succeeded']) cluster.enter(phase);
  assert.equal(call.listenerCount('drain'), 1);
  const errors: Error[] = [];
  call.on('error', (error) => errors.push(error));
  const finished = new Promise((resolve) => call.once('finish', resolve));
  take();
  await new Promise(setImmediate);
  take();
  await finished;
  assert.deepEqual(told, ['rolling', 'succeeded']);
  assert.deepEqual(errors, []);
  mock.timers.reset();
});
