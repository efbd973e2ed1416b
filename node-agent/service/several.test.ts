import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceConfig } from '../../config/schema/service.js';
import { openServices } from './adapters.js';
import { ProcessService } from './process.js';
import { isAlive, liveProcess } from './process-table.js';
import type { ServiceSpec } from './service.js';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-several-'));
});
afterEach(async () => {
  await new ProcessService(root).stop(0);
  rmSync(root, { recursive: true, force: true });
});

const PATH = process.env.PATH ?? '';
const spec = (): ServiceSpec => ({ argv: ['sleep', '600'], cwd: root, env: { PATH }, stopSignal: 'SIGTERM' });

/** A service that writes its name down when it starts and when it is asked to end. */
function worker(
  name: string,
  env: Record<string, string> = {},
  onStop = `write('story', 'stop ${name}\\n'); process.exit(0)`,
): ServiceConfig {
  const code = `const { appendFileSync: write } = require('fs');
    write('story', 'start ${name} ' + Object.keys(process.env).filter((key) => key.startsWith('OWN')) + '\\n');
    process.on('SIGTERM', () => { ${onStop} }); setInterval(() => {}, 1e6)`;
  return { name, adapter: 'process', start: [process.execPath, '-e', code], env };
}

function open(...services: ServiceConfig[]) {
  return openServices(services, root, async () => ({ cwd: root, env: { PATH }, installed: true }));
}

const story = () => (existsSync(join(root, 'story')) ? readFileSync(join(root, 'story'), 'utf8') : '');

/** Until both have written what they write when they listen. */
async function untilStarted(count: number): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (story().split('start').length <= count) {
    assert.ok(performance.now() < deadline, story());
    await sleep(10);
  }
}

/** What a service's record says of its process. */
function recorded(name: string): { pid: number; startTicks: number } {
  return JSON.parse(readFileSync(join(root, 'run', `${name}.json`), 'utf8')).process;
}

describe('several services', () => {
  test('start in order and stop in reverse, each with its own words, variables, record and log', async () => {
    const services = open(worker('web', { OWN_WEB: '1' }), worker('jobs', { OWN_JOBS: '1' }));
    await services.start(spec());
    await untilStarted(2);
    assert.ok(recorded('web').startTicks <= recorded('jobs').startTicks);
    assert.equal(await services.isRunning(), true);
    assert.equal((await services.describe()).pid, recorded('web').pid);
    assert.deepEqual((await services.pids()).sort(), [recorded('web').pid, recorded('jobs').pid].sort());
    await services.stop(5_000);
    const lines = story().trim().split('\n');
    assert.deepEqual(lines.slice(0, 2).sort(), ['start jobs OWN_JOBS', 'start web OWN_WEB']);
    assert.deepEqual(lines.slice(2), ['stop jobs', 'stop web']);
    assert.equal(await services.isRunning(), false);
  });

  test('when one has died they do not run, and may not be started before they were stopped', async () => {
    const services = open(worker('web'), worker('jobs'));
    await services.start(spec());
    await untilStarted(2);
    process.kill(recorded('jobs').pid, 'SIGKILL');
    // It is told how it ended once its parent, this process, has collected it.
    while ((await services.describe()).ended === undefined) await sleep(5);
    assert.equal(await services.isRunning(), false);
    await assert.rejects(services.start(spec()), { code: 'APPLY_FAILED', message: /web runs already/ });
    assert.match((await services.describe()).ended ?? '', /^jobs: signal SIGKILL$/);
    await services.stop(5_000);
    await services.start(spec());
    assert.equal(await services.isRunning(), true);
  });

  test('of which one has died: only that one is started when the others shall run on', async () => {
    const services = open(worker('db'), worker('web'), worker('jobs'));
    await services.start(spec());
    await untilStarted(3);
    const [db, web] = [recorded('db'), recorded('web')];
    process.kill(web.pid, 'SIGKILL');
    while (await services.isRunning()) await sleep(5);
    await services.startMissing?.(spec());
    assert.equal(await services.isRunning(), true);
    assert.deepEqual(recorded('db'), db);
    assert.notEqual(recorded('web').pid, web.pid);
    await assert.rejects(services.start(spec()), { code: 'APPLY_FAILED', message: /db runs already/ });
  });

  test('of which a missing one cannot be started: the others run on', async () => {
    const broken: ServiceConfig = { name: 'web', adapter: 'process', start: ['/nowhere/web'], env: {} };
    await open(worker('db'), worker('web')).start(spec());
    await untilStarted(2);
    process.kill(recorded('web').pid, 'SIGKILL');
    const services = open(worker('db'), broken);
    while (await services.isRunning()) await sleep(5);
    await assert.rejects(services.startMissing?.(spec()) ?? Promise.resolve(), {
      code: 'APPLY_FAILED',
      message: /^web: /,
    });
    assert.ok(isAlive(recorded('db')));
  });

  test('a slow one leaves the others time to end by themselves', async () => {
    const services = open(
      worker('web', {}, `setTimeout(() => { write('story', 'stop web\\n'); process.exit(0) }, 50)`),
      worker('jobs', {}, ''),
    );
    await services.start(spec());
    await untilStarted(2);
    await services.stop(1_600);
    assert.match(story(), /stop web/);
    assert.equal(await services.isRunning(), false);
  });

  test('a start that fails half way leaves none of them behind', async () => {
    const broken: ServiceConfig = { name: 'jobs', adapter: 'process', start: ['/nowhere/jobs'], env: {} };
    const services = open(worker('web'), broken);
    await assert.rejects(services.start(spec()), {
      code: 'APPLY_FAILED',
      message: /^jobs: .*\/nowhere\/jobs could not be started/,
    });
    assert.deepEqual(await services.pids(), []);
    assert.equal(existsSync(join(root, 'run/web.json')), false);
  });

  test('a stop that fails for one still stops the others, and says so', async () => {
    const unstoppable: ServiceConfig = {
      name: 'jobs',
      adapter: 'command',
      start: ['touch', 'runs'],
      stop: ['true'],
      status: ['test', '-e', 'runs'],
      env: {},
      logFile: undefined,
    };
    const services = open(worker('web'), unstoppable);
    await services.start(spec());
    const web = recorded('web');
    await assert.rejects(services.stop(100), { code: 'STOP_FAILED', message: /jobs still runs/ });
    assert.equal(isAlive(web), false);
    rmSync(join(root, 'runs'));
  });

  test('stopping one never ends another, and what is no longer configured ends with the first', async () => {
    const before = open(worker('old'));
    await before.start(spec());
    const old = recorded('old');
    const jobs = new ProcessService(root, { name: 'jobs', allBut: 'unnamed' });
    await jobs.start(spec());
    const web = new ProcessService(root, { name: 'web', allBut: ['jobs'] });
    await assert.rejects(web.start(spec()), {
      code: 'APPLY_FAILED',
      message: new RegExp(`process ${old.pid}`),
    });
    await web.stop(5_000);
    assert.deepEqual([isAlive(old), await jobs.isRunning()], [false, true]);
    await web.start(spec());
    await jobs.stop(5_000);
    assert.deepEqual([await web.isRunning(), await jobs.isRunning()], [true, false]);
    assert.ok(liveProcess(recorded('web').pid));
  });

  test('no service at all is refused', () => {
    assert.throws(() => open(), { code: 'CONFIG_INVALID', message: /no service is configured/ });
  });
});

test("the one service of a node has the release's words, unless it has its own", async () => {
  const services = open({ name: 'service', adapter: 'process', start: undefined, env: { OWN: '1' } });
  await services.start({ ...spec(), argv: ['sh', '-c', 'echo $OWN > told; exec sleep 600'] });
  while (!existsSync(join(root, 'told')) || readFileSync(join(root, 'told'), 'utf8') === '') await sleep(5);
  assert.equal(readFileSync(join(root, 'told'), 'utf8'), '1\n');
  await services.stop(5_000);
  writeFileSync(join(root, 'told'), '');
});
