import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { after, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { type Probe, type ProbeOrder, probeUntilGood, sampleProbe } from './probe.js';
import type { ProbeSubject } from './probe-sample.js';

const closing: (() => void)[] = [];
after(() => {
  for (const close of closing) close();
});

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`;
}

/** An address that nothing listens at. */
async function closedAddress(): Promise<string> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

/** For probes that ask an address, and nothing else. */
const subject: ProbeSubject = { cwd: '/', pids: async () => [], env: async () => ({}) };
const asking = (expectedVersion: string | undefined, tryMs: number) => ({ expectedVersion, tryMs, subject });

const asHttp = (url: string): Probe => ({ kind: 'http', url, status: 200, versionField: 'build.version' });

describe('one sample', () => {
  const cases: [string, number, string, 'good' | 'bad', RegExp][] = [
    ['the right version', 200, '{"build":{"version":"0b1"}}', 'good', /answered 200 with version 0b1/],
    ['another version', 200, '{"build":{"version":"0a1"}}', 'bad', /says version 0a1, not 0b1/],
    ['another status', 503, '{"build":{"version":"0b1"}}', 'bad', /answered 503, not 200/],
    ['a redirect', 302, '', 'bad', /answered 302, not 200/],
    ['no version', 200, '{"build":{}}', 'bad', /no JSON with the text field build\.version/],
    ['a number as version', 200, '{"build":{"version":1}}', 'bad', /no JSON with the text field/],
    ['an inherited field', 200, '{"build":"text"}', 'bad', /no JSON with the text field/],
    ['no JSON', 200, 'fine', 'bad', /no JSON with the text field/],
    ['endless text', 200, 'x'.repeat(limits.probeAnswerBytes + 1), 'bad', /answered more than/],
  ];
  for (const [what, status, body, result, reason] of cases) {
    test(`${what} is ${result}`, async () => {
      const url = await serve((_request, response) => {
        response.writeHead(status, { location: '/elsewhere' }).end(body);
      });
      const sample = await sampleProbe(asHttp(url), asking('0b1', 5_000));
      assert.equal(sample.result, result);
      assert.match(sample.reason, reason);
    });
  }

  test('where no version is expected the status is enough', async () => {
    const url = await serve((_request, response) => response.end('fine'));
    assert.equal((await sampleProbe(asHttp(url), asking(undefined, 5_000))).result, 'good');
  });

  test('silence is an error after the time of one try, also in the middle of an answer', async () => {
    const silent = await serve(() => undefined);
    const stuck = await serve((_request, response) => response.writeHead(200).write('{'));
    for (const url of [silent, stuck]) {
      const { result, reason } = await sampleProbe(asHttp(url), asking('0b1', 50));
      assert.equal(result, 'error');
      assert.match(reason, /no answer within 50 ms/);
    }
  });

  test('an answer that breaks off, and a closed port, are errors', async () => {
    const broken = await serve((request) => request.socket.destroy());
    assert.equal((await sampleProbe(asHttp(broken), asking('0b1', 5_000))).result, 'error');
    const address = await closedAddress();
    const closed = await sampleProbe(asHttp(`http://${address}/`), asking('0b1', 5_000));
    assert.deepEqual(closed, { result: 'error', reason: `http://${address}/: connection refused` });
    const tcp = await sampleProbe({ kind: 'tcp', address }, asking('0b1', 5_000));
    assert.deepEqual(tcp, { result: 'error', reason: `${address}: connection refused` });
  });

  test('tcp is good when somebody listens', async () => {
    const { host } = new URL(await serve(() => undefined));
    assert.equal(
      (await sampleProbe({ kind: 'tcp', address: host }, asking(undefined, 5_000))).result,
      'good',
    );
  });
});

/** A clock that stands still but for its sleeps, which it writes down. */
function fakeClock() {
  let nowMs = 1_000;
  const slept: number[] = [];
  return {
    slept,
    now: () => nowMs,
    async sleep(ms: number) {
      slept.push(Math.round(ms));
      nowMs += ms;
    },
  };
}

/** Probes a service that answers good (+) and bad (-) as in the text; the last sign goes on. */
async function probeAnswers(signs: string, change: Partial<ProbeOrder> = {}) {
  let asked = 0;
  const url = await serve((_request, response) => {
    const sign = signs[Math.min(asked++, signs.length - 1)];
    response.writeHead(sign === '+' ? 200 : 503).end('{}');
  });
  const clock = fakeClock();
  const outcome = await probeUntilGood({
    probes: [{ kind: 'http', url, status: 200, versionField: undefined }],
    policy: { goodInARow: 3, spacingMs: 100, intervalMaxMs: 60, tryMs: 5_000 },
    timeoutMs: 10_000,
    isRunning: async () => true,
    subject,
    clock,
    ...change,
  });
  return { ...outcome, slept: clock.slept };
}

describe('probing until good', () => {
  test('asks at once, densely and then less so, and keeps good samples apart', async () => {
    const { good, samples, firstGoodMs, slept } = await probeAnswers('----+++');
    assert.deepEqual([good, samples, firstGoodMs], [true, 7, 20 + 30 + 45 + 60]);
    assert.deepEqual(slept, [20, 30, 45, 60, 100, 100]);
  });

  test('counts anew after a bad sample', async () => {
    const told: string[] = [];
    const onSample = (good: number, needed: number) => void told.push(`${good}/${needed}`);
    const outcome = await probeAnswers('++-+++', { onSample });
    assert.deepEqual(told, ['1/3', '2/3', '0/3', '1/3', '2/3', '3/3']);
    assert.equal(outcome.firstGoodMs, 100 + 100 + 20);
  });

  test('ends with the last reason when the time is over', async () => {
    const { good, reason, samples } = await probeAnswers('-', { timeoutMs: 200 });
    assert.equal(good, false);
    assert.match(reason, /not good 3 times in a row within 200 ms \(0 at the end; last: .* answered 503/);
    assert.equal(samples, 5);
  });

  test('ends at once when the process has died, whoever answers in its place', async () => {
    for (const signs of ['-', '+']) {
      const { good, reason, samples } = await probeAnswers(signs, { isRunning: async () => false });
      assert.deepEqual([good, samples], [false, 1]);
      assert.match(reason, /its process has ended/);
    }
  });

  test('one bad probe among good ones makes the sample bad, and no probe at all is never good', async () => {
    const good = await serve((_request, response) => response.end());
    const address = await closedAddress();
    const probes: Probe[] = [
      { kind: 'http', url: good, status: 200, versionField: undefined },
      { kind: 'tcp', address },
    ];
    const mixed = await probeAnswers('', { probes, timeoutMs: 50 });
    assert.match(mixed.reason, new RegExp(`${address}: connection refused`));
    const none = await probeAnswers('', { probes: [], timeoutMs: 50 });
    assert.deepEqual([none.good, /no probe is configured/.test(none.reason)], [false, true]);
  });

  test('ends when it is cancelled, also in the middle of a try', async () => {
    const silent = await serve(() => cancel.abort());
    const cancel = new AbortController();
    const outcome = await probeAnswers('', {
      probes: [{ kind: 'http', url: silent, status: 200, versionField: undefined }],
      signal: cancel.signal,
    });
    assert.deepEqual([outcome.good, outcome.reason, outcome.samples], [false, 'it was cancelled', 1]);
  });

  test('that is cancelled tells what the service said before', async () => {
    const cancel = new AbortController();
    let asked = 0;
    const ill = await serve((_request, response) => {
      if (++asked === 2) cancel.abort();
      else response.writeHead(503).end();
    });
    const { good, reason } = await probeAnswers('', {
      probes: [{ kind: 'http', url: ill, status: 200, versionField: undefined }],
      signal: cancel.signal,
    });
    assert.equal(good, false);
    assert.match(reason, /^it was cancelled, and said before: .*503/);
  });
});
