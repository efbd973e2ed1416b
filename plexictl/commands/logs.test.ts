/**
 * `plexictl logs`: what is asked of the controllers, and what becomes of the bytes that come: lines for
 * people, the log as it stands for programs, and no control character on a terminal.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { parse } from 'yaml';
import {
  deadAddress,
  documentOf,
  errorOf,
  plexictl,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const agentLines = [
  '{"level":30,"time":1734609600000,"step":"stop","msg":"the service has ended"}',
  '{"level":50,"time":"2024-12-19T12:00:01.500Z","msg":"größer\\u001b[2J","error":"no disk"}',
  'no JSON at all',
];
const agentLog = Buffer.from(`${agentLines.join('\n')}\n`);
const serviceLog = Buffer.from('\u001b[31mred\u001b[0m\r\n  at deep\nlast');

/** Cut in the middle of lines and characters, as a file is. */
async function* cut(bytes: Buffer) {
  for (let from = 0; from < bytes.length; from += 1) yield bytes.subarray(from, from + 1);
}

describe('plexictl logs', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  let log = agentLog;
  const interrupt = { now: (): void => {}, armed: false };
  before(async () => {
    cluster = await scriptedCluster();
    controller = await cluster.controller({
      logs: async function* () {
        yield* cut(log);
        if (!interrupt.armed) return;
        setImmediate(interrupt.now);
        await new Promise(() => {});
      },
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());
  beforeEach(() => {
    controller.asked.splice(0);
    interrupt.armed = false;
    log = agentLog;
  });

  test("an agent's log is time, step and text for people", async () => {
    const ran = await plexictl(['logs', 'node-2', '--tail', '20'], { config });
    assert.equal(
      ran.stdout,
      '2024-12-19 12:00:00Z stop the service has ended\n2024-12-19 12:00:01Z - größer [2J: no disk\nno JSON at all\n',
    );
    const request = { nodeId: 'node-2', source: 'agent', name: '', tailLines: 20, follow: false };
    assert.deepEqual(controller.asked, [{ word: 'logs', request }]);
  });

  test('-o jsonl gives the lines as they stand, -o json and yaml one document', async () => {
    const raw = await plexictl(['logs', 'node-2', '-o', 'jsonl'], { config });
    assert.equal(raw.stdout, agentLog.toString());
    const document = { cluster: 'dev', node: 'node-2', source: 'agent', name: null, lines: agentLines };
    assert.deepEqual(documentOf(await plexictl(['logs', 'node-2', '-o', 'json'], { config })), document);
    assert.deepEqual(parse((await plexictl(['logs', 'node-2', '-o', 'yaml'], { config })).stdout), document);
  });

  test("a service's bytes reach a pipe untouched and a terminal without control characters", async () => {
    log = serviceLog;
    const piped = await plexictl(['logs', 'node-2', '--service', 'web'], { config });
    assert.equal(piped.stdout, serviceLog.toString());
    const asked = Object(controller.asked[0]?.request);
    assert.deepEqual([asked.source, asked.name], ['service', 'web']);
    const shown = await plexictl(['logs', 'node-2', '--service'], { config, stdoutIsTerminal: true });
    assert.equal(shown.stdout, ' [31mred [0m\n  at deep\nlast\n');
    const lines = await plexictl(['logs', 'node-2', '--service', '-o', 'jsonl'], { config });
    assert.deepEqual(
      lines.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
      [{ line: '\u001b[31mred\u001b[0m' }, { line: '  at deep' }, { line: 'last' }],
    );
  });

  test("a hook's log is asked for by its name", async () => {
    await plexictl(['logs', 'node-2', '--hook', '001-rooms'], { config });
    const { source, name } = Object(controller.asked[0]?.request);
    assert.deepEqual([source, name], ['hook', '001-rooms']);
  });

  test('Ctrl-C ends a followed log with 130, after all that had come', async () => {
    const stop = new AbortController();
    interrupt.armed = true;
    interrupt.now = () => stop.abort();
    const words = ['logs', 'node-2', '-f', '-o', 'json'];
    const ran = await plexictl(words, { config, interrupt: stop.signal });
    assert.equal(ran.exitCode, 130);
    assert.equal(Object(controller.asked[0]?.request).follow, true);
    assert.equal(Object(documentOf(ran)).source, 'agent');
    assert.equal(errorOf(ran).code, 'INTERRUPTED');
    assert.deepEqual(errorOf(ran).details, { cluster: 'dev', node: 'node-2', source: 'agent' });
  });

  test('a controller that is down is passed over; one that dies in the middle ends the log with 6', async () => {
    const around = await cluster.clientFile([await deadAddress(), controller.address]);
    assert.equal((await plexictl(['logs', 'node-2'], { config: around })).exitCode, 0);
    const dying = await cluster.controller({
      logs: async function* () {
        yield Buffer.from('first line\n');
        setImmediate(() => dying.kill());
        await new Promise(() => {});
      },
    });
    const both = await cluster.clientFile([dying.address, controller.address]);
    const ran = await plexictl(['logs', 'node-2', '-f'], { config: both });
    assert.deepEqual([ran.exitCode, ran.stdout], [6, 'first line\n']);
    assert.match(ran.stderr, /broke in the middle; ask again/);
  });

  test('a node that is not known is one sentence', async () => {
    const other = await cluster.controller({});
    const ran = await plexictl(['logs', 'node-9', '-o', 'json'], {
      config: await cluster.clientFile([other.address]),
    });
    assert.deepEqual([ran.exitCode, ran.stdout, errorOf(ran).code], [3, '', 'NOT_FOUND']);
  });
});
