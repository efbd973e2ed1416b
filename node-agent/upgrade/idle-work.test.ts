/** A job never meets what is done while the node is idle, and waits for none of it for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleWork } from './idle-work.js';

function gate() {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}

test('whoever ends it waits for all that is under way, also for what began first', async () => {
  const idle = new IdleWork();
  const [first, second] = [gate(), gate()];
  const order: string[] = [];
  const all = [first, second].map(({ passed }, index) =>
    idle.do(async () => {
      await passed;
      order.push(`work ${index + 1}`);
    }),
  );
  const ended = idle.end().then(() => order.push('end'));
  second.open();
  await all[1];
  first.open();
  await ended;
  assert.deepEqual(order, ['work 2', 'work 1', 'end']);
});

test('what throws is told to its caller, and nobody else', async () => {
  const idle = new IdleWork();
  await assert.rejects(
    idle.do(() => Promise.reject(new Error('no'))),
    /no/,
  );
  await idle.end();
});

test('what may take long is told to end, and its act is waited for', async () => {
  const idle = new IdleWork(60_000);
  const act = gate();
  let acts = 0;
  idle.begin(async (signal) => {
    while (!signal.aborted) {
      await act.passed;
      acts++;
    }
  });
  const ended = idle.end();
  act.open();
  await ended;
  assert.equal(acts, 1);
});

test('what hangs is left behind', async () => {
  const idle = new IdleWork(1);
  // Without it nothing would keep this process, whose only timer is one that nobody waits for.
  const held = setInterval(() => undefined, 1_000);
  idle.begin(() => new Promise<void>(() => undefined));
  await idle.end();
  clearInterval(held);
});
