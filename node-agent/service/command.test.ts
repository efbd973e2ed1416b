import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandAdapter, type CommandServiceConfig } from './command.js';
import { bootId, liveProcess, startTicksOf } from './process-table.js';
import type { ServiceSpec } from './service.js';

/** A service's control program, as operators have them: `ctl start|stop|status`, with a file of its id. */
const control = `#!/bin/sh
case "$1" in
  start) echo "$PWD $PLEXI_VERSION $OWN" > told; sleep 600 > /dev/null 2>&1 & echo $! > "$RUN/pid"; echo started;;
  stop) [ -e "$RUN/pid" ] && kill "$(cat "$RUN/pid")"; exit 0;;
  status) [ -e "$RUN/pid" ] && kill -0 "$(cat "$RUN/pid")" 2>/dev/null || exit 3;;
esac
`;

let root = '';
let release = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-command-'));
  release = join(root, 'release');
  mkdirSync(release);
  mkdirSync(join(root, 'run'));
  writeFileSync(join(release, 'ctl'), control, { mode: 0o755 });
});
afterEach(() => {
  for (const pid of [pidOf('pid'), pidOf('starter')])
    if (pid !== undefined && liveProcess(pid) !== undefined) process.kill(pid, 'SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

function pidOf(name = 'pid'): number | undefined {
  const file = join(root, name);
  const pid = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  return pid > 0 ? pid : undefined;
}

const PATH = process.env.PATH ?? '';

function adapter(change: Partial<CommandServiceConfig> = {}, installed = true): CommandAdapter {
  const argv = (word: string): string[] => ['./ctl', word];
  const config = {
    name: 'chat',
    adapter: 'command',
    start: argv('start'),
    stop: argv('stop'),
    status: argv('status'),
    env: { OWN: 'own', RUN: root },
    logFile: undefined,
    ...change,
  } as const;
  return new CommandAdapter(config, root, async () => ({
    cwd: installed ? release : root,
    env: { PATH },
    installed,
  }));
}

const spec = (): ServiceSpec => ({
  argv: ['not', 'used'],
  cwd: release,
  env: { PATH, PLEXI_VERSION: '0b1' },
  stopSignal: 'SIGTERM',
});

describe('the command adapter', () => {
  test('starts, tells and stops through the programs, in the folder and environment of the release', async () => {
    const service = adapter();
    assert.equal(await service.isRunning(), false);
    await service.start(spec());
    assert.equal(readFileSync(join(release, 'told'), 'utf8'), `${release} 0b1 own\n`);
    assert.deepEqual(await service.describe(), { running: true });
    assert.deepEqual(await service.pids(), []);
    await assert.rejects(service.start(spec()), { code: 'APPLY_FAILED', message: /chat runs already/ });
    await service.stop(5_000);
    assert.equal(liveProcess(pidOf() ?? 0), undefined);
    assert.equal(await service.isRunning(), false);
    await service.stop(5_000);
  });

  test('a later agent finds what an earlier one started, and stops it', async () => {
    await adapter().start(spec());
    const later = adapter();
    assert.equal(await later.isRunning(), true);
    await later.stop(5_000);
    assert.equal(liveProcess(pidOf() ?? 0), undefined);
  });

  /** Begins to start the service, as an agent does that is killed then: its start program works on. */
  async function leftStarting(): Promise<{ starter: number; ended: Promise<void> }> {
    const file = join(root, 'starter');
    const slow = `trap '' TERM; echo $$ > "$RUN/next"; mv "$RUN/next" "$RUN/starter"; while [ ! -e "$RUN/go" ]; do sleep 0.01; done; exec ./ctl start`;
    const ended = adapter({ start: ['sh', '-c', slow] }).start(spec());
    ended.catch(() => undefined);
    while (!existsSync(file)) await sleep(5);
    return { starter: Number(readFileSync(file, 'utf8')), ended };
  }

  test('a start program that a killed agent has left is ended before the next stop or start', async () => {
    for (const word of ['stop', 'start'] as const) {
      const { starter, ended } = await leftStarting();
      const later = adapter();
      await (word === 'stop' ? later.stop(10_000) : later.start(spec()));
      assert.equal(liveProcess(starter), undefined, `it does not start the service behind a ${word}`);
      assert.equal(await later.isRunning(), word === 'start');
      await assert.rejects(ended, { code: 'APPLY_FAILED' });
      await later.stop(10_000);
      rmSync(join(root, 'starter'));
    }
  });

  test('the record of a start program is believed by start time and boot, and none that is damaged', async () => {
    const file = join(root, 'run', 'chat.starting');
    const boot = bootId();
    for (const [bootOfRecord, startTicks] of [
      [boot, 1],
      ['another', startTicksOf(process.pid)],
    ]) {
      const record = { schema: 1, bootId: bootOfRecord, process: { pid: process.pid, startTicks } };
      writeFileSync(file, JSON.stringify(record));
      await adapter().stop(1_000);
      assert.equal(existsSync(file), false);
    }
    writeFileSync(file, '{"sch');
    await assert.rejects(adapter().stop(1_000), { code: 'STOP_FAILED', message: /cannot be understood/ });
    await assert.rejects(adapter().start(spec()), { code: 'APPLY_FAILED', message: /cannot be understood/ });
    rmSync(file);
    rmSync(join(root, 'run'), { recursive: true });
    await assert.rejects(adapter().start(spec()), { code: 'APPLY_FAILED', message: /could not be noted/ });
    assert.equal(await adapter().isRunning(), false);
  });

  test('programs of the release are not missed before there is one', async () => {
    const service = adapter({}, false);
    assert.equal(await service.isRunning(), false);
    await service.stop(1_000);
    const absolute = adapter({ status: ['/nowhere/ctl', 'status'] }, false);
    await assert.rejects(absolute.isRunning(), { code: 'STOP_FAILED' });
  });

  test('a status that could not be told is an error, and never "not running"', async () => {
    const cases: [string[], RegExp][] = [
      [['/nowhere/ctl'], /chat runs is unknown: \/nowhere\/ctl was not run/],
      [['sh', '-c', 'kill -9 $$'], /was ended by SIGKILL/],
      [['sh', '-c', 'echo who knows; exit 4'], /exit code 4 .*\(who knows\)/],
      [['sh', '-c', 'no-such-program'], /exit code 127/],
    ];
    for (const [status, message] of cases) {
      const service = adapter({ status });
      await assert.rejects(service.isRunning(), { code: 'STOP_FAILED', message });
      await assert.rejects(service.start(spec()), { code: 'APPLY_FAILED', message });
      assert.equal(existsSync(join(release, 'told')), false);
    }
    assert.equal(await adapter({ status: ['sh', '-c', 'exit 1'] }).isRunning(), false);
  });

  test('a failed start and a failed stop have the last line of their program', async () => {
    const failing = ['sh', '-c', 'echo first; echo the port is taken >&2; exit 7'];
    await assert.rejects(adapter({ start: failing }).start(spec()), {
      code: 'APPLY_FAILED',
      message: /exit code 7 after \d+ ms \(the port is taken\)/,
    });
    await adapter().start(spec());
    await assert.rejects(adapter({ stop: failing }).stop(100), {
      code: 'STOP_FAILED',
      message: /chat still runs after 100 ms: .*\(the port is taken\)/,
    });
    await assert.rejects(adapter({ stop: ['/nowhere/ctl'] }).stop(60_000), { message: /was not run/ });
  });

  test('waits for a service that ends after its stop program', async () => {
    await adapter().start(spec());
    const slowly = ['sh', '-c', '(sleep 0.2; kill $(cat "$RUN/pid")) > /dev/null 2>&1 & exit 0'];
    await adapter({ stop: slowly }).stop(10_000);
    assert.equal(await adapter().isRunning(), false);
  });
});
