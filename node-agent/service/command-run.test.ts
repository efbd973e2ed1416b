import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { type CommandRun, runCommand } from './command-run.js';
import { liveProcess } from './process-table.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-command-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function program(code: string, change: Partial<CommandRun> = {}): CommandRun {
  return { argv: [process.execPath, '-e', code], cwd: folder, env: {}, timeoutMs: 20_000, ...change };
}

describe('a command', () => {
  test('runs with exactly the given environment, folder and words, and no input', async () => {
    const code = `console.log(JSON.stringify({ env: process.env, cwd: process.cwd(), words: process.argv.slice(1) }));
      process.stdin.on('data', () => {}).on('end', () => console.error('no input'))`;
    const run = program(code, { env: { ONE: '1' } });
    const result = await runCommand({ ...run, argv: [...run.argv, '$HOME; a b', '*'] });
    const [first = '', second] = result.output.split('\n');
    assert.deepEqual(JSON.parse(first), { env: { ONE: '1' }, cwd: folder, words: ['$HOME; a b', '*'] });
    assert.equal(second, 'no input');
    assert.equal(result.exitCode, 0);
    assert.equal(result.timedOut || result.cancelled || result.leftRunning, false);
  });

  test('tells how it ended', async () => {
    const failed = await runCommand(program('process.exit(3)'));
    assert.equal(failed.exitCode, 3);
    assert.match(failed.sentence, /ended with exit code 3 after \d+ ms$/);
    const killed = await runCommand(program("process.kill(process.pid, 'SIGKILL')"));
    assert.deepEqual([killed.exitCode, killed.signal], [null, 'SIGKILL']);
    assert.match(killed.sentence, /was ended by SIGKILL/);
  });

  test('keeps the end of a long output', async () => {
    const result = await runCommand(
      program("process.stdout.write('x'.repeat(1e6), () => process.stdout.write('the end'))"),
    );
    assert.equal(Buffer.byteLength(result.output), limits.hookOutputBytes);
    assert.match(result.output, /xthe end$/);
  });

  for (const [what, change, sentence] of [
    ['program', { argv: ['no-such-program'] }, 'no-such-program was not run: there is no such program'],
    ['folder', { cwd: '/nowhere' }, /was not run: its folder \/nowhere does not exist/],
    ['word', { argv: [] }, 'the command was not run: no program is named'],
    ['right', { argv: ['/etc/passwd'] }, /passwd was not run: it may not be executed/],
    ['sense in a word', { argv: ['true', '\0'] }, /true was not run: .*null bytes/],
  ] as const) {
    test(`a missing ${what} is a result`, async () => {
      const result = await runCommand(program('', { env: { PATH: '/usr/bin:/bin' }, ...change }));
      assert.equal(result.exitCode, null);
      if (typeof sentence === 'string') assert.equal(result.sentence, sentence);
      else assert.match(result.sentence, sentence);
    });
  }

  test('that takes too long is ended with everything it started, politely at first', async () => {
    const child = `process.on('SIGTERM', () => {}); require('fs').writeFileSync('${join(folder, 'pid')}', String(process.pid)); console.log('ready'); setInterval(() => {}, 1e6)`;
    const code = `process.on('SIGTERM', () => { console.log('asked to end'); process.exit(0) });
      require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: 'inherit' })`;
    const result = await runCommand(program(code, { timeoutMs: 600 }));
    assert.equal(result.timedOut, true);
    assert.match(result.output, /ready\nasked to end/);
    assert.match(result.sentence, /did not end within 600 ms and was stopped/);
    assert.ok(result.durationMs >= 600 + limits.commandKillGraceMs, String(result.durationMs));
    assert.equal(liveProcess(Number(readFileSync(join(folder, 'pid'), 'utf8'))), undefined);
  });

  test('that is cancelled ends at once when it listens', async () => {
    const cancel = new AbortController();
    const running = runCommand(program('setInterval(() => {}, 1e6)', { signal: cancel.signal }));
    setImmediate(() => cancel.abort());
    const result = await running;
    assert.deepEqual([result.cancelled, result.timedOut, result.signal], [true, false, 'SIGTERM']);
    assert.ok(result.durationMs < limits.commandKillGraceMs);
    const never = await runCommand(program('', { signal: cancel.signal }));
    assert.match(never.sentence, /was not run: it was cancelled before its start/);
  });

  test('that must end whole leaves nothing of its group, however it ended', async () => {
    const file = join(folder, 'whole');
    const child = `process.on('SIGTERM', () => {}); require('fs').writeFileSync('${file}', String(process.pid)); setInterval(() => {}, 1e6)`;
    for (const exit of ['process.exit(3)', 'process.exit(0)', "process.kill(process.pid, 'SIGKILL')"]) {
      rmSync(file, { force: true });
      const code = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: 'ignore' });
        setInterval(() => { if (require('fs').existsSync('${file}')) ${exit} }, 5)`;
      const result = await runCommand(program(code, { endsWhole: true }));
      assert.match(result.sentence, /ended with exit code [03] after|was ended by SIGKILL/);
      assert.equal(result.leftRunning, false);
      assert.equal(liveProcess(Number(readFileSync(file, 'utf8'))), undefined, exit);
    }
  });

  test('that leaves a program behind with its output open does not wait for it', async () => {
    const child = `require('fs').writeFileSync('${join(folder, 'left')}', String(process.pid)); setTimeout(() => {}, 60000)`;
    const code = `const child = require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
      child.on('exit', () => {}); const t = setInterval(() => { if (require('fs').existsSync('${join(folder, 'left')}')) process.exit(0) }, 5)`;
    const result = await runCommand(program(code));
    assert.equal(result.exitCode, 0);
    assert.ok(result.durationMs < 20_000);
    process.kill(Number(readFileSync(join(folder, 'left'), 'utf8')), 'SIGKILL');
  });
});
