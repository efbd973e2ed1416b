import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { monotonicClock } from './clock.js';
import { HealthMonitor } from './monitor.js';

let monitor: HealthMonitor;
let server: ReturnType<typeof createServer>;
let nowMs = 0;
let alive: boolean | Error = true;
/** What the service answers; replaced by tests. */
let answer: (response: ServerResponse) => void;

const withVersion = (version: string) => (response: ServerResponse) =>
  void response.end(JSON.stringify({ version }));
const unwell = (response: ServerResponse) => void response.writeHead(503).end();

beforeEach(async () => {
  nowMs = 0;
  alive = true;
  answer = withVersion('0a1');
  server = createServer((_request, response) => answer(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  monitor = new HealthMonitor({
    probes: [{ kind: 'http', url, status: 200, versionField: 'version' }],
    intervalMs: 2,
    tryMs: 5_000,
    isRunning: async () => {
      if (typeof alive === 'boolean') return alive;
      throw alive;
    },
    subject: { cwd: '/', pids: async () => [], env: async () => ({}) },
    // Real waits, and a clock that goes on by 1,000 ms with each sample.
    clock: { sleep: monotonicClock.sleep, now: () => nowMs },
  });
  monitor.on('sample', () => {
    nowMs += 1_000;
  });
});
afterEach(async () => {
  await monitor.stop();
  server.close().closeAllConnections();
});

/** The health and the time that it was good for, after each of the next samples. */
async function samples(count: number): Promise<[string, number][]> {
  const seen: [string, number][] = [];
  while (seen.length < count) {
    await once(monitor, 'sample');
    seen.push([monitor.health, monitor.goodForMs()]);
  }
  return seen;
}

describe('the health monitor', () => {
  test('knows nothing before its first sample, then counts from it', async () => {
    assert.deepEqual([monitor.health, monitor.goodForMs()], ['unknown', 0]);
    monitor.start();
    assert.deepEqual(await samples(3), [
      ['healthy', 0],
      ['healthy', 1_000],
      ['healthy', 2_000],
    ]);
  });

  test('one bad sample ends the good time and not the health; three in a row end the health', async () => {
    monitor.start();
    await samples(3);
    answer = (response) => {
      answer = withVersion('0a1');
      unwell(response);
    };
    assert.deepEqual(await samples(3), [
      ['healthy', 0],
      ['healthy', 0],
      ['healthy', 1_000],
    ]);
    answer = unwell;
    assert.deepEqual(
      (await samples(3)).map(([health]) => health),
      ['healthy', 'healthy', 'unhealthy'],
    );
    assert.match(monitor.reason, /answered 503, not 200/);
    answer = withVersion('0a1');
    assert.deepEqual(await samples(1), [['healthy', 0]]);
  });

  test('another version than the expected one is bad, and expecting forgets what was before', async () => {
    monitor.start();
    await samples(2);
    monitor.expect('0b1');
    assert.deepEqual([monitor.health, monitor.goodForMs()], ['unknown', 0]);
    assert.deepEqual((await samples(3)).at(-1), ['unhealthy', 0]);
    assert.match(monitor.reason, /says version 0a1, not 0b1/);
  });

  test('a reset counts anew, and what was under way does not count', async () => {
    monitor.start();
    await samples(3);
    const asked = new Promise<ServerResponse>((resolve) => {
      answer = resolve;
    });
    const late = await asked;
    answer = unwell;
    monitor.reset();
    withVersion('0a1')(late);
    assert.deepEqual(await samples(1), [['unknown', 0]]);
    assert.match(monitor.reason, /503/);
  });

  test('time that no sample covers does not count as good', async () => {
    monitor.start();
    await samples(2);
    const good = monitor.goodForMs();
    answer = () => undefined;
    nowMs += 60_000;
    assert.equal(monitor.goodForMs(), good);
  });

  test('takes no sample while paused, and one at once afterwards', async () => {
    monitor.start();
    await samples(1);
    monitor.setInterval(60_000);
    monitor.pause();
    monitor.reset();
    assert.deepEqual([monitor.health, monitor.goodForMs()], ['unknown', 0]);
    assert.match(monitor.reason, /paused/);
    const next = samples(1);
    monitor.resume();
    assert.deepEqual(await next, [['healthy', 0]]);
  });

  test('a shorter interval is in force at once', async () => {
    monitor.setInterval(3_600_000);
    monitor.start();
    await samples(1);
    monitor.setInterval(1);
    assert.equal((await samples(3)).length, 3);
  });

  test('a good answer counts for nothing when the process of the service is gone', async () => {
    alive = false;
    monitor.start();
    assert.deepEqual((await samples(3)).at(-1), ['unhealthy', 0]);
    assert.match(monitor.reason, /process of the service does not run/);
    alive = new Error('the record is unreadable');
    await samples(1);
    assert.equal(monitor.reason, 'the record is unreadable');
  });

  test('tells a change, and only a change', async () => {
    let changes = 0;
    monitor.on('change', () => changes++);
    monitor.start();
    await samples(5);
    assert.equal(changes, 1);
  });

  test('stops in the middle of a try', async () => {
    const asked = new Promise<void>((resolve) => {
      answer = () => resolve();
    });
    monitor.start();
    await asked;
    await monitor.stop();
    assert.equal(monitor.health, 'unknown');
  });
});
