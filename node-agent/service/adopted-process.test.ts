/**
 * A process that somebody started by hand, taken over as it runs: it is known to every later agent,
 * nothing is started beside it, and its stop ends it with what it started, and nothing else.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ProcessService } from './process.js';
import { isAlive, type LiveProcess, liveProcess } from './process-table.js';
import type { ServiceSpec } from './service.js';

const spec: ServiceSpec = {
  argv: ['sleep', '600'],
  cwd: '/',
  env: { PATH: process.env.PATH ?? '' },
  stopSignal: 'SIGTERM',
};
/** Starts a child with a group of its own, and says both ids. */
const service = `const { spawn } = require('node:child_process');
  const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  if (process.argv[1]) process.on('SIGTERM', () => {});
  console.log(process.pid, child.pid);
  setInterval(() => {}, 1e6);`;

let root = '';
let started: ChildProcess[] = [];
let known: LiveProcess[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-adopted-'));
  started = [];
  known = [];
});
afterEach(async () => {
  await new ProcessService(root).stop(0);
  for (const it of known.filter(isAlive)) process.kill(it.pid, 'SIGKILL');
  for (const child of started) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(root, { recursive: true, force: true });
});

/** Starts by hand; returns the shell, or the service itself, and the processes of the service. */
async function byHand(how: 'script' | 'own session', stubborn = '') {
  const words = ['-e', service, stubborn];
  const shell =
    how === 'script'
      ? spawn('sh', ['-c', '"$@" & wait; exec sleep 600', 'start', process.execPath, ...words], {
          detached: true,
          stdio: ['ignore', 'pipe', 'inherit'],
        })
      : spawn(process.execPath, words, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(shell);
  const [line] = await once(shell.stdout, 'data');
  const [main, child] = String(line).trim().split(' ').map(Number).map(running);
  assert.ok(main !== undefined && child !== undefined);
  known.push(main, child);
  return { shell: running(shell.pid ?? 0), main, child };
}

function running(pid: number): LiveProcess {
  const found = liveProcess(pid);
  assert.ok(found, `process ${pid} lives`);
  return found;
}

function adopt(pid: number, by = 'job'): Promise<void> {
  return new ProcessService(root).adopt({ pid, argv: ['node'], stopSignal: 'SIGTERM', by });
}

describe('a process that was taken over', () => {
  test('is the service for every later agent, and nothing is started beside it', async () => {
    const { main } = await byHand('script');
    const before = Date.now();
    await adopt(main.pid);
    await adopt(main.pid, 'another job');
    const described = await new ProcessService(root).describe();
    assert.deepEqual([described.running, described.pid], [true, main.pid]);
    assert.ok(Math.abs((described.sinceMs ?? 0) - before) < 60_000);
    await assert.rejects(new ProcessService(root).start(spec), {
      code: 'APPLY_FAILED',
      message: /runs already/,
    });
    assert.ok(isAlive(main));
  });

  test('ends with what it started; the script in whose group it is lives on', async () => {
    const { shell, main, child } = await byHand('script');
    assert.equal(main.group, shell.pid);
    await adopt(main.pid);
    await new ProcessService(root).stop(5_000);
    assert.deepEqual([main, child, shell].map(isAlive), [false, false, true]);
    assert.deepEqual(await new ProcessService(root).describe(), { running: false });
    await new ProcessService(root).start(spec);
    assert.ok(isAlive(shell));
  });

  test('ends by SIGKILL when it does not by its signal, and its own group with it', async () => {
    const { main, child } = await byHand('own session', 'stubborn');
    assert.equal(main.group, main.pid);
    await adopt(main.pid);
    await new ProcessService(root).stop(100);
    assert.deepEqual([main, child].map(isAlive), [false, false]);
  });

  test('is given up only by the one who took it over, and runs on', async () => {
    const { main } = await byHand('script');
    await adopt(main.pid);
    const adapter = new ProcessService(root);
    await adapter.disown('another job');
    assert.equal(await adapter.isRunning(), true);
    await adapter.disown('job');
    assert.equal(await adapter.isRunning(), false);
    assert.equal(existsSync(join(root, 'run/service.json')), false);
    assert.ok(isAlive(main));
  });

  test('is refused beside another one of the service, and when it has ended', async () => {
    const { main } = await byHand('script');
    const adapter = new ProcessService(root);
    await adapter.start(spec);
    const own = (await adapter.describe()).pid;
    await assert.rejects(adopt(main.pid), {
      code: 'TAKE_OVER_FAILED',
      message: new RegExp(`beside .*${own}`),
    });
    assert.equal((await adapter.describe()).pid, own);
    const [script] = started;
    assert.ok(script);
    const gone = once(script, 'exit');
    script.kill('SIGKILL');
    await gone;
    await assert.rejects(adopt(script.pid ?? 0), { code: 'TAKE_OVER_FAILED', message: /has ended/ });
  });
});
