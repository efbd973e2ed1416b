/**
 * As many simulated rollouts as the time allows, two processes at once. PLEXI_SIMULATE_FROM: the first
 * seed; give another one to see other histories.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deepUntilMs, reportDeep } from './share.test.part.js';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const first = Number(process.env.PLEXI_SIMULATE_FROM ?? 10_001);
/** Histories in one process: so few that it ends soon, so many that its start does not matter. */
const chunk = 40;

interface Played {
  readonly rollouts: number;
  readonly faults: number;
  /** A sentence with its command for each seed that failed. */
  readonly failures: readonly string[];
}

test('whole clusters keep what is promised, seed after seed', async (t) => {
  const untilMs = deepUntilMs();
  const sum = { rollouts: 0, faults: 0, failures: [] as string[] };
  let next = first;
  const worker = async (): Promise<void> => {
    while (performance.now() < untilMs && sum.failures.length < 3) {
      const from = next;
      next += chunk;
      const { rollouts, faults, failures } = await play(from);
      sum.rollouts += rollouts;
      sum.faults += faults;
      sum.failures.push(...failures);
    }
  };
  await Promise.all([worker(), worker()]);
  const { rollouts: tried, faults, failures } = sum;
  reportDeep('simulated rollouts', { tried, passed: tried - failures.length, left: 0 });
  t.diagnostic(`${tried} rollouts from seed ${first} on, ${faults} faults`);
  assert.ok(tried > 0, 'no rollout was played');
  assert.deepEqual(failures, [], failures.join('\n'));
});

function play(from: number): Promise<Played> {
  const replay = join('dist', 'test', 'simulation', 'replay.test.part.js');
  const words = [replay, '--from', String(from), '--count', String(chunk)];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, words, { cwd: checkout, maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      const [, rollouts, faults] = /^(\d+) rollouts, (\d+) faults/m.exec(stdout) ?? [];
      if (rollouts === undefined || faults === undefined)
        return reject(new Error(`${error?.message ?? 'nothing was told'}\n${stderr}`));
      const failures = stdout.match(/^seed \d+, guarantee .*(\n {2}.*)?$/gm) ?? [];
      resolve({ rollouts: Number(rollouts), faults: Number(faults), failures });
    });
  });
}
