/**
 * Which process of a folder is its service, with real processes beside it that only look like it: what
 * is found is the one that runs a program of the folder, and when that cannot be told, nothing is.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { freePort } from '../tiny-node.test.part.js';
import { processOf } from './running-process.js';

let folder = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'plexi-runs-')));
  writeFileSync(join(folder, 'server.log'), 'a line\n');
  writeFileSync(
    join(folder, 'server.js'),
    "const say = () => console.log('up'); const port = Number(process.env.PORT);" +
      "if (port) require('net').createServer().listen(port, '127.0.0.1', say); else setInterval(say, 20)",
  );
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    const ended = once(child, 'exit');
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await ended;
    }
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Starts it, and waits for its first word. */
async function start(argv: readonly string[], cwd: string, port?: number): Promise<number> {
  const [program = '', ...words] = argv;
  const env = { PATH: process.env.PATH ?? '', ...(port !== undefined && { PORT: String(port) }) };
  const child = spawn(program, words, { cwd, env, stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  await once(child.stdout, 'data');
  return child.pid ?? 0;
}

/** A program that belongs to nobody. */
const standing = "setInterval(() => console.log('up'), 20)";

const tcp = (port: number) => [{ kind: 'tcp', address: `127.0.0.1:${port}` } as const];

describe('the process of a folder', () => {
  test('is found behind the words for its interpreter, and no reader of its files is', async () => {
    const service = await start(['node', '--max-old-space-size=64', 'server.js'], folder);
    await start(['tail', join(folder, 'server.log'), '-f'], '/');
    assert.equal((await processOf(folder, [])).pid, service);
  });

  test('is found behind options that take a word of their own', async () => {
    writeFileSync(join(folder, 'first.cjs'), '');
    const words = [
      'node',
      '--require',
      join(folder, 'first.cjs'),
      '--no-warnings',
      join(folder, 'server.js'),
    ];
    const service = await start(words, '/');
    assert.equal((await processOf(folder, [])).pid, service);
  });

  test('is not chosen between one that runs a program of it and one that stands in it', async () => {
    const service = await start(['node', join(folder, 'server.js')], '/');
    const other = await start(['node', '-e', standing, 'x'], folder);
    await assert.rejects(processOf(folder, []), ({ message }: Error) => {
      for (const pid of [service, other]) assert.match(message, new RegExp(`${pid} \\(node\\)`));
      return true;
    });
  });

  test('is the one that listens where the probes ask, whoever stands beside it', async () => {
    const port = await freePort();
    await start(['node', '-e', standing], folder);
    const service = await start(['node', 'server.js'], folder, port);
    assert.equal((await processOf(folder, tcp(port))).pid, service);
  });

  test('is the one that listens, also when its words name no file of the folder', async () => {
    const port = await freePort();
    await start(['node', '-e', standing], folder);
    const service = await start(['node', '-e', "require('./server.js')"], folder, port);
    assert.equal((await processOf(folder, tcp(port))).pid, service);
  });

  test('is not chosen between two that run a program of it, though one listens', async () => {
    const port = await freePort();
    await start(['node', 'server.js'], folder);
    await start(['node', 'server.js'], folder, port);
    await assert.rejects(processOf(folder, tcp(port)), /2 processes run from/);
  });

  test('is none when somebody from elsewhere listens where the probes ask', async () => {
    const port = await freePort();
    const service = await start(['node', join(folder, 'server.js')], '/', port);
    const empty = realpathSync(mkdtempSync(join(tmpdir(), 'plexi-other-')));
    try {
      await start(['node', '-e', standing], empty);
      const why = new RegExp(`${service} \\(node\\) listens where the probes ask`);
      await assert.rejects(processOf(empty, tcp(port)), why);
    } finally {
      rmSync(empty, { recursive: true });
    }
  });

  test('is not the shell that it was started from, which stands there too', async () => {
    const shell = await start(['sh', '-c', 'node server.js & wait'], folder);
    const found = await processOf(folder, []);
    assert.equal(found.parent, shell);
    process.kill(found.pid, 'SIGKILL');
  });

  test('is refused without repeating its words, which may hold a secret', async () => {
    for (let twice = 0; twice < 2; twice++) await start(['node', 'server.js', '--password=hunter2'], folder);
    await assert.rejects(processOf(folder, []), ({ message }: Error) => {
      assert.match(message, /2 processes run from .*\(node\)/);
      assert.doesNotMatch(message, /hunter2|server\.js/);
      return true;
    });
  });
});
