/** The search for processes by what stands in their environment: none is missed, at whatever it is. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findProcesses } from './process-table.js';

const variable = 'PLEXI_SOUGHT';
/** Long enough for hundreds of searches, and bounded. */
const executions = 20_000;

async function started(t: TestContext, program: string, words: string[], env: Record<string, string>) {
  const child: ChildProcess = spawn(program, words, { env, stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  return child;
}

test('a process that executes one program after the other is found each time', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'plexi-exec-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const script = join(folder, 'again.sh');
  writeFileSync(script, 'n=$1\n[ "$n" -gt 0 ] || exec sleep 60\nexec sh "$0" $((n-1))\n');
  const value = randomBytes(8).toString('hex');
  const env = { PATH: process.env.PATH ?? '', [variable]: value };
  const child = await started(t, 'sh', [script, String(executions)], env);
  for (let search = 1; search <= 300; search++) {
    const found = await findProcesses({ groups: new Set(), environmentText: `${variable}=${value}` });
    assert.deepEqual(
      found.map(({ pid }) => pid),
      [child.pid],
      `search ${search}`,
    );
  }
});

test('processes without an environment keep no search waiting', async (t) => {
  const child = await started(t, 'sleep', ['60'], {});
  const search = findProcesses({ groups: new Set(), environmentText: `${variable}=nobody` });
  const isOver = await Promise.race([search.then(() => true), once(child, 'exit').then(() => false)]);
  assert.ok(isOver);
  assert.deepEqual(await search, []);
});
