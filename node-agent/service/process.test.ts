import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { loader } from '../../test/loader.test.part.js';
import { bootedAtMs } from '../disk/boot-file.js';
import { ProcessService } from './process.js';
import { isAlive, liveProcess, signalGroups } from './process-table.js';
import type { ServiceSpec } from './service.js';

let root = '';
let service: ProcessService;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-service-'));
  service = new ProcessService(root);
});
afterEach(async () => {
  if (existsSync(join(root, 'run/service.json'))) await service.stop(0).catch(() => undefined);
  rmSync(root, { recursive: true, force: true });
});

/** A service that says "up <pid>" in a file of its root once it listens to signals. */
function nodeService(program: string, env: Record<string, string> = {}): ServiceSpec {
  const ready = `require('fs').writeFileSync(${JSON.stringify(join(root, 'ready'))}, String(process.pid));`;
  const argv = [process.execPath, '-e', `${program};${ready}setInterval(() => {}, 1e6)`];
  return { argv, cwd: root, env: { PATH: process.env.PATH ?? '', ...env }, stopSignal: 'SIGTERM' };
}

/** Waits until a file of the root has content, and returns it. */
async function contentOf(name: string): Promise<string> {
  const file = join(root, name);
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(new Error(`${name} did not come`)), 10_000);
  const changes = watch(root);
  try {
    for (;;) {
      const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
      if (text !== '') return text;
      await once(changes, 'change', { signal: ended.signal });
    }
  } finally {
    clearTimeout(timer);
    changes.close();
  }
}

async function startAndWait(spec: ServiceSpec): Promise<number> {
  await service.start(spec);
  return Number(await contentOf('ready'));
}

describe('the process adapter', () => {
  test('starts in a session of its own with exactly the given environment, and writes to the log', async () => {
    const spec = nodeService("console.log(JSON.stringify(process.env)); console.error('to stderr')", {
      PORT: '1',
    });
    const pid = await startAndWait(spec);
    assert.equal(liveProcess(pid)?.group, pid);
    const described = await service.describe();
    assert.equal(described.running, true);
    assert.equal(described.pid, pid);
    assert.ok(Math.abs((described.sinceMs ?? 0) - Date.now()) < 60_000);
    const [first = '', second] = readFileSync(join(root, 'run/service.log'), 'utf8').split('\n');
    const { PLEXI_SERVICE_TOKEN: token, ...env } = JSON.parse(first);
    assert.deepEqual(env, spec.env);
    assert.match(token, /^[0-9a-f]{24}\.[0-9a-f]{24}$/);
    assert.equal(second, 'to stderr');
    await service.stop(5_000);
    assert.deepEqual(await service.describe(), { running: false, ended: 'signal SIGTERM' });
    assert.equal(liveProcess(pid), undefined);
    await service.stop(5_000);
  });

  test('does not start a second one', async () => {
    const pid = await startAndWait(nodeService(''));
    const again = new ProcessService(root).start(nodeService(''));
    await assert.rejects(again, {
      code: 'APPLY_FAILED',
      message: new RegExp(`runs already \\(process ${pid}\\)`),
    });
  });

  test('a new agent finds the service of one that was killed, and stops it', async () => {
    const file = new URL('./process.ts', import.meta.url).href;
    const program = `const { ProcessService } = await import('${file}');
      await new ProcessService(process.argv[1]).start(JSON.parse(process.argv[2]));
      process.kill(process.pid, 'SIGKILL');`;
    const words = [...loader, '--input-type=module', '-e', program, root, JSON.stringify(nodeService(''))];
    const agent = spawn(process.execPath, words, { stdio: 'inherit' });
    const [, signal] = await once(agent, 'exit');
    assert.equal(signal, 'SIGKILL');
    const pid = Number(await contentOf('ready'));
    assert.deepEqual((await service.describe()).pid, pid);
    await service.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
    assert.equal(await service.isRunning(), false);
  });

  test('a service that was started and not yet recorded is found by its token', async () => {
    const pid = await startAndWait(nodeService(''));
    const file = join(root, 'run/service.json');
    const { process: _lost, ...beforeTheStart } = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify(beforeTheStart));
    const later = new ProcessService(root);
    assert.equal((await later.describe()).pid, pid);
    await assert.rejects(later.start(nodeService('')), { code: 'APPLY_FAILED' });
    await later.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
  });

  test('even without any record a running service of this root is not started again', async () => {
    const pid = await startAndWait(nodeService(''));
    rmSync(join(root, 'run/service.json'));
    const later = new ProcessService(root);
    await assert.rejects(later.start(nodeService('')), { code: 'APPLY_FAILED', message: /runs already/ });
    await later.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
  });

  test('a service is found also behind a very long environment', async () => {
    const long = Object.fromEntries([1, 2, 3].map((n) => [`LONG_${n}`, 'x'.repeat(100_000)]));
    const pid = await startAndWait(nodeService('', long));
    rmSync(join(root, 'run/service.json'));
    const again = new ProcessService(root);
    assert.deepEqual(await again.pids(), [pid]);
    await again.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
  });

  test('another process with the recorded id is not taken for the service', async () => {
    await service.start(nodeService(''));
    await service.stop(5_000);
    const stranger = liveProcess(process.pid);
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const record = {
      schema: 1,
      token: 'none.none',
      bootId,
      startedAt: new Date().toISOString(),
      stopSignal: 'SIGKILL',
      argv: ['x'],
      process: { pid: process.pid, startTicks: (stranger?.startTicks ?? 0) - 1 },
    };
    const file = join(root, 'run/service.json');
    writeFileSync(file, JSON.stringify(record));
    assert.equal(await service.isRunning(), false);
    writeFileSync(file, JSON.stringify({ ...record, bootId: 'an earlier boot', process: stranger }));
    assert.equal(await service.isRunning(), false);
    // Would end this very test, if it took the stranger for the service.
    await service.stop(1_000);
    assert.equal(await service.isRunning(), false);
  });

  test('one that ended by itself is not running, also before anybody collected it', async () => {
    await service.start({ ...nodeService(''), argv: [process.execPath, '-e', 'process.exit(3)'] });
    const { pid } = JSON.parse(readFileSync(join(root, 'run/service.json'), 'utf8')).process;
    // This process is its parent: as long as the event loop does not turn, nobody collects it.
    while (!readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')) spawnSync('true');
    assert.equal(liveProcess(pid), undefined);
    assert.equal(await service.isRunning(), false);
    assert.match((await service.describe()).ended ?? 'exit code 3', /exit code 3/);
    await startAndWait(nodeService(''));
  });

  test('one that ignores the signal is killed when the time is over, with its children', async () => {
    const child = `process.on('SIGTERM', () => {}); require('fs').writeFileSync('${join(root, 'child')}', String(process.pid)); setInterval(() => {}, 1e6)`;
    const program = `process.on('SIGTERM', () => {}); require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}])`;
    const pid = await startAndWait(nodeService(program));
    const childPid = Number(await contentOf('child'));
    const begunAt = performance.now();
    await service.stop(200);
    assert.ok(performance.now() - begunAt >= 195);
    assert.equal(liveProcess(pid), undefined);
    assert.equal(liveProcess(childPid), undefined);
  });

  test('what a dead service left behind in a session of its own is stopped too', async () => {
    const child = `require('fs').writeFileSync('${join(root, 'child')}', String(process.pid)); setInterval(() => {}, 1e6)`;
    const program = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { detached: true, stdio: 'ignore' })`;
    const pid = await startAndWait(nodeService(program));
    const childPid = Number(await contentOf('child'));
    process.kill(pid, 'SIGKILL');
    assert.equal(liveProcess(childPid)?.group, childPid);
    await service.stop(5_000);
    assert.equal(liveProcess(childPid), undefined);
  });

  test('uses the recorded signal, and returns as soon as the service has ended', async () => {
    const program = `process.on('SIGINT', () => { require('fs').writeFileSync('${join(root, 'asked')}', 'SIGINT'); process.exit(0) })`;
    await startAndWait({ ...nodeService(program), stopSignal: 'SIGINT' });
    await new ProcessService(root).stop(30_000);
    assert.equal(readFileSync(join(root, 'asked'), 'utf8'), 'SIGINT');
  });

  for (const [what, change, message] of [
    [
      'program',
      { argv: ['/nowhere/program'] },
      /\/nowhere\/program could not be started: there is no such program/,
    ],
    ['folder', { cwd: '/nowhere' }, /its folder \/nowhere does not exist/],
    ['right to execute', { argv: ['/etc/passwd'] }, /may not be executed/],
    ['name of a program', { argv: [] }, /names no program/],
  ] as const) {
    test(`a missing ${what} is told in a sentence, and nothing counts as running`, async () => {
      await assert.rejects(service.start({ ...nodeService(''), ...change }), {
        code: 'APPLY_FAILED',
        message,
      });
      assert.deepEqual(await service.describe(), { running: false });
      await startAndWait(nodeService(''));
    });
  }

  test('sets a log aside that has grown too long', async () => {
    await service.start(nodeService(''));
    await service.stop(5_000);
    truncateSync(join(root, 'run/service.log'), limits.serviceLogBytes + 1);
    await service.start(nodeService(''));
    assert.equal(readFileSync(join(root, 'run/service.log.1')).length, limits.serviceLogBytes + 1);
    assert.ok(readFileSync(join(root, 'run/service.log')).length < 1_000);
  });

  test('after a stop it is still seen when somebody else has started the service since', async () => {
    await startAndWait(nodeService(''));
    await service.stop(5_000);
    rmSync(join(root, 'ready'));
    await new ProcessService(root).start(nodeService(''));
    const pid = Number(await contentOf('ready'));
    await assert.rejects(service.start(nodeService('')), { code: 'APPLY_FAILED', message: /runs already/ });
    await service.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
  });

  test('names every process of the service, also one with a session of its own', async () => {
    const child = `require('fs').writeFileSync('${join(root, 'child')}', String(process.pid)); setInterval(() => {}, 1e6)`;
    const program = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { detached: true, stdio: 'ignore' })`;
    const pid = await startAndWait(nodeService(program));
    const childPid = Number(await contentOf('child'));
    assert.deepEqual((await service.pids()).sort(), [pid, childPid].sort());
    await service.stop(5_000);
    assert.deepEqual(await service.pids(), []);
    assert.equal(liveProcess(childPid), undefined);
  });

  test('a signal to a process spares the group that somebody else leads', async () => {
    const words = `sleep 600 & echo $! > ${join(root, 'ready')}; wait; echo ended > ${join(root, 'ended')}; exec sleep 600`;
    const shell = spawn('sh', ['-c', words], { detached: true, stdio: 'ignore' });
    const member = liveProcess(Number(await contentOf('ready')));
    assert.equal(member?.group, shell.pid);
    signalGroups(member === undefined ? [] : [member], 'SIGTERM');
    assert.equal((await contentOf('ended')).trim(), 'ended');
    assert.ok(liveProcess(shell.pid ?? 0));
    shell.kill('SIGKILL');
  });

  test('a record that cannot be understood is never guessed at', async () => {
    const pid = await startAndWait(nodeService(''));
    const file = join(root, 'run/service.json');
    const good = readFileSync(file);
    writeFileSync(file, Buffer.alloc(good.length));
    await assert.rejects(service.isRunning(), {
      code: 'STOP_FAILED',
      message: /service\.json cannot be understood/,
    });
    await assert.rejects(service.start(nodeService('')), { code: 'STOP_FAILED' });
    assert.equal(isAlive({ pid, startTicks: JSON.parse(good.toString()).process.startTicks }), true);
    writeFileSync(file, good);
  });

  test('what a power cut has left of a record tells of nothing, and the service starts', async () => {
    const file = join(root, 'run/service.json');
    mkdirSync(join(root, 'run'));
    writeFileSync(file, Buffer.alloc(300));
    const beforeBoot = new Date(bootedAtMs() - 1_000);
    utimesSync(file, beforeBoot, beforeBoot);
    assert.deepEqual(await service.describe(), { running: false });
    const pid = await startAndWait(nodeService(''));
    assert.equal((await new ProcessService(root).describe()).pid, pid);
    assert.deepEqual(readdirSync(join(root, 'run')).sort(), ['service.json', 'service.log']);
  });

  test('what is left of a record does not hide a service that runs', async () => {
    const pid = await startAndWait(nodeService(''));
    const file = join(root, 'run/service.json');
    writeFileSync(file, '');
    utimesSync(file, 0, 0);
    const again = new ProcessService(root);
    await assert.rejects(again.start(nodeService('')), { code: 'APPLY_FAILED', message: /runs already/ });
    await again.stop(5_000);
    assert.equal(liveProcess(pid), undefined);
    assert.equal(existsSync(file), false);
  });
});
