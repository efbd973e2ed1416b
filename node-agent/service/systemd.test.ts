import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { runCommand } from './command-run.js';
import { liveProcess } from './process-table.js';
import type { ServiceSpec } from './service.js';
import { StandInSystemctl } from './systemctl.test.part.js';
import { SystemdAdapter } from './systemd.js';
import { systemdProblems } from './systemd-problems.js';

let systemctl: StandInSystemctl;
let root = '';
let service: SystemdAdapter;
const config = {
  name: 'chat',
  adapter: 'systemd',
  unit: 'chat.service',
  env: { OWN: 'a "b" $c `d` \\e\nf' },
} as const;
const spec = (): ServiceSpec => ({
  argv: ['of', 'the', 'release'],
  cwd: root,
  env: { PLEXI_VERSION: '0b1', HOME: '/of/the/agent' },
  stopSignal: 'SIGTERM',
});

beforeEach(() => {
  systemctl = new StandInSystemctl();
  root = mkdtempSync(join(tmpdir(), 'plexi-systemd-'));
  service = new SystemdAdapter(config, root);
});
afterEach(() => {
  systemctl.remove();
  rmSync(root, { recursive: true, force: true });
});

describe('the systemd adapter', () => {
  test('starts and stops the unit, and tells its process and since when', async () => {
    assert.equal(await service.isRunning(), false);
    await service.start(spec());
    const pid = systemctl.pid();
    const { sinceMs = 0, ...described } = await service.describe();
    assert.deepEqual(described, { running: true, pid });
    assert.ok(Math.abs(sinceMs - Date.now()) < 60_000, String(sinceMs));
    assert.deepEqual(await service.pids(), [pid]);
    await service.stop(5_000);
    assert.equal(await service.isRunning(), false);
    await service.stop(5_000);
    assert.deepEqual(systemctl.calls(), [
      'reset-failed chat.service',
      'start chat.service',
      'stop chat.service',
    ]);
  });

  test('does not start a unit that runs', async () => {
    await service.start(spec());
    await assert.rejects(service.start(spec()), {
      code: 'APPLY_FAILED',
      message: /chat\.service runs already/,
    });
  });

  test('gives the unit its environment in a file that systemd reads back as it is', async () => {
    await service.start(spec());
    const file = join(root, 'run/chat.env');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(readFileSync(file, 'utf8'), 'PLEXI_VERSION="0b1"\nOWN="a \\"b\\" \\$c \\`d\\` \\\\e\nf"\n');
  });

  test('kills a unit that does not stop in time', async () => {
    await service.start(spec());
    const pid = systemctl.pid() ?? 0;
    systemctl.mark('stubborn');
    const begunAt = performance.now();
    await service.stop(200);
    assert.ok(performance.now() - begunAt >= 195);
    assert.equal(liveProcess(pid), undefined);
    assert.equal(systemctl.calls().at(-1), 'kill --signal=SIGKILL chat.service');
  });

  test('a stop that is refused is told at once, and nothing is killed', async () => {
    await service.start(spec());
    systemctl.mark('denied');
    await assert.rejects(service.stop(60_000), {
      code: 'STOP_FAILED',
      message: /did not stop: .*\(Access denied\)/,
    });
    assert.equal(await service.isRunning(), true);
  });

  test('a failed start has the words of systemctl, and says where to look', async () => {
    systemctl.mark('refuses');
    await assert.rejects(service.start(spec()), {
      code: 'APPLY_FAILED',
      message: /could not be started: .*exit code 1.*\(Job failed\..*journalctl -u chat\.service/,
    });
  });

  test('a unit whose main process has ended is not running, and still has to be stopped', async () => {
    systemctl.set({ ActiveState: 'active', SubState: 'exited' });
    assert.equal(await service.isRunning(), false);
    systemctl.set({ ActiveState: 'deactivating', SubState: 'stop-sigterm' });
    assert.equal(await service.isRunning(), true);
  });

  test('an unknown unit, and a systemd that does not answer, are errors and never "not running"', async () => {
    systemctl.set({ LoadState: 'not-found' });
    await assert.rejects(service.isRunning(), {
      code: 'STOP_FAILED',
      message: /knows no unit chat\.service; install/,
    });
    await assert.rejects(service.start(spec()), { code: 'APPLY_FAILED' });
    systemctl.mark('broken');
    await assert.rejects(service.isRunning(), {
      code: 'STOP_FAILED',
      message: /unknown: .*\(Failed to connect to bus/,
    });
    const { PATH } = process.env;
    process.env.PATH = root;
    const asked = service.stop(1_000);
    process.env.PATH = PATH;
    await assert.rejects(asked, {
      code: 'STOP_FAILED',
      message: /systemctl was not run: there is no such program/,
    });
  });

  test('finds all processes of the unit by its control group, and of those below', async () => {
    const groups = join(root, 'groups');
    mkdirSync(join(groups, 'system.slice/chat.service/workers'), { recursive: true });
    writeFileSync(join(groups, 'system.slice/chat.service/cgroup.procs'), '11\n12\n');
    writeFileSync(join(groups, 'system.slice/chat.service/workers/cgroup.procs'), '13\n');
    systemctl.set({ ControlGroup: '/system.slice/chat.service' });
    const seen = new SystemdAdapter(config, root, undefined, [join(groups, 'missing'), groups]);
    assert.deepEqual(await seen.pids(), [11, 12, 13]);
  });
});

describe('the problems of units', () => {
  const problems = () => systemdProblems({ services: [config] });

  test('a unit that only the agent starts has none', async () => {
    assert.deepEqual(await problems(), []);
    const process = { name: 'a', adapter: 'process', start: undefined, env: {} } as const;
    assert.deepEqual(await systemdProblems({ services: [process] }), []);
  });

  test('everything that starts it by itself, or leaves something behind, is told at once', async () => {
    systemctl.set({ UnitFileState: 'enabled', Restart: 'always', KillMode: 'process' });
    const [enabled = '', restart = '', kill = '', ...more] = await problems();
    assert.match(enabled, /is enabled, .*systemctl disable chat\.service/);
    assert.match(restart, /has Restart=always/);
    assert.match(kill, /has KillMode=process/);
    assert.deepEqual(more, []);
  });

  test('a missing unit, and a systemd that does not answer, are problems', async () => {
    systemctl.set({ LoadState: 'not-found' });
    assert.match((await problems()).join(), /knows no unit chat\.service/);
    systemctl.mark('broken');
    assert.match((await problems()).join(), /the state of the unit chat\.service is unknown/);
  });
});

test('systemd accepts the unit file of docs/adapters.md, for which there is no problem', async (t) => {
  const text = readFileSync(new URL('../../docs/adapters.md', import.meta.url), 'utf8');
  const example = /```ini\n([^`]*ExecStart=[^`]*)```/.exec(text)?.[1] ?? '';
  assert.match(example, /^Restart=no$/m);
  assert.match(example, /^KillMode=mixed$/m);
  assert.doesNotMatch(example, /^\[Install\]/m);
  mkdirSync(join(root, 'current'));
  // It looks for the programs, which are not installed here.
  for (const program of ['current/server', 'plexi-node-agent'])
    writeFileSync(join(root, program), '#!/bin/sh\n', { mode: 0o755 });
  const file = join(root, 'chat.service');
  writeFileSync(
    file,
    example
      .replaceAll('/var/lib/plexi', root)
      .replaceAll('/usr/bin/plexi-node-agent', join(root, 'plexi-node-agent')),
  );
  const env = { PATH: process.env.PATH ?? '' };
  const argv = ['systemd-analyze', 'verify', '--man=no', file];
  const result = await runCommand({ argv, cwd: root, env, timeoutMs: 20_000 });
  if (result.sentence.includes('there is no such program')) return t.skip('systemd-analyze is not installed');
  assert.deepEqual([result.output, result.exitCode], ['', 0]);
});
