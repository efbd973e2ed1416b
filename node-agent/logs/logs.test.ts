/**
 * The logs of a node through a real agent: what a rollout did stands in the node's own log, what its
 * programs printed in a log for each, and a controller can read and follow them, and nothing else.
 */
import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { limits } from '../../config/limits.js';
import { createTinyCluster, type TinyCluster } from '../tiny-node.test.part.js';
import { buildChecked, CheckedNode } from '../upgrade/checked-node.test.part.js';
import { appendHookLog, hookLogNames, hookLogPath } from './hook-log.js';
import { tailLog } from './tail.js';
import { openNodeLog, updateLogName } from './update-log.js';

let folder = '';
let cluster: TinyCluster;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-logs-'));
  cluster = await createTinyCluster();
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await rm(cluster.folder, { recursive: true, force: true });
});

describe('the logs of a node', () => {
  test('tell what a rollout did, and can be read over the wire', async (t) => {
    const release = await buildChecked(cluster, '0b3', {
      prints: 'it is ready',
      yaml: 'tests:\n  - {name: smoke, command: [echo, all good], timeout_seconds: 5}\n',
    });
    const checked = await CheckedNode.start(t, cluster, {
      maintenance: { enter: ['echo', 'drained'], leave: ['echo', 'back again'] },
    });
    await checked.caller.adopt([1, 5, 1]);
    const { result } = await checked.stageAndUpgrade(cluster.releases['0a1'], release);
    assert.equal(result.outcome, 'done', result.failure?.message);

    assert.equal((await checked.readLog({ source: 'service', tailLines: 1 })).text, 'it is ready\n');
    assert.match(
      (await checked.readLog({ source: 'hook', name: 'smoke' })).text,
      /^# \S+Z c-3 test smoke: echo ended with exit code 0 after \d+ ms\nall good\n$/,
    );
    const { text } = await checked.readLog({ source: 'agent', tailLines: 1_000 });
    const lines = text
      .trim()
      .split('\n')
      .map((line): Record<string, unknown> => JSON.parse(line));
    assert.ok(lines.every(({ node, time }) => node === 'node-1' && typeof time === 'string'));
    const said = lines.map(({ msg, step, what, outcome }) => [msg, step ?? what ?? outcome].join(' '));
    const wanted = [
      /^adopted/,
      /^command/,
      /maintenance enter hook$/,
      /^step stop$/,
      /test smoke$/,
      /^result done$/,
    ];
    let at = 0;
    for (const pattern of wanted) {
      at = said.findIndex((line, index) => index >= at && pattern.test(line));
      assert.notEqual(at, -1, `${pattern} in ${said.join('; ')}`);
    }
    const { mode } = await stat(checked.node.at('agent', updateLogName));
    assert.equal(mode & 0o777, 0o600);
  });

  test('are refused by sentences: what there is not, and what may not be asked', async (t) => {
    const checked = await CheckedNode.start(t, cluster, { version: 'none' });
    const refused: [Parameters<CheckedNode['readLog']>[0], string, RegExp][] = [
      [{ source: 'hook', name: 'enter' }, 'NOT_FOUND', /no hook, migration or test has run yet/],
      [{ source: 'hook', name: '../../journal/0000000001' }, 'NOT_FOUND', /no log of the hook/],
      [{ source: 'service', name: 'other' }, 'NOT_FOUND', /there are: service/],
      [{ source: 'service' }, 'NOT_FOUND', /there is no .*service\.log yet/],
      [{ source: 'journal' }, 'USAGE', /ask for agent, service or hook/],
      [{ source: 'service', tailLines: limits.logTailLines + 1 }, 'LIMIT_EXCEEDED', /too many/],
    ];
    for (const [request, code, message] of refused)
      await assert.rejects(checked.readLog(request), { code, message });
    await checked.caller.execute(
      checked.next({ $case: 'maintenance', value: { on: true, reason: '', timeoutMs: 5_000n } }),
    );
    await assert.rejects(checked.readLog({ source: 'hook', name: 'leave' }), { message: /there are: enter/ });
  });

  test('are followed over a rotation, until the caller goes away', async (t) => {
    const checked = await CheckedNode.start(t, cluster, { version: 'none' });
    const log = checked.node.at('run', 'service.log');
    await writeFile(log, 'zero\none\n');
    const steps: Record<string, () => Promise<void>> = {
      'one\n': () => appendFile(log, 'two\n'),
      'one\ntwo\n': async () => {
        await rename(log, `${log}.1`);
        await appendFile(`${log}.1`, 'three\n');
        await writeFile(log, 'four\n');
      },
    };
    const followed = await checked.readLog(
      { source: 'service', tailLines: 1, follow: true },
      (text, cancel) => {
        steps[text]?.().catch(cancel);
        if (text.endsWith('four\n')) cancel();
      },
    );
    assert.equal(followed.text, 'one\ntwo\nthree\nfour\n');
  });

  test('that are long come in pieces, and only the lines that were asked for', async (t) => {
    const checked = await CheckedNode.start(t, cluster, { version: 'none' });
    const lines = Array.from({ length: 9_000 }, (_, index) => `${index} ${'x'.repeat(90)}`);
    await writeFile(checked.node.at('run', 'service.log'), lines.map((line) => `${line}\n`).join(''));
    const { text, longestPiece } = await checked.readLog({ source: 'service', tailLines: 5_000 });
    assert.equal(
      text,
      lines
        .slice(-5_000)
        .map((line) => `${line}\n`)
        .join(''),
    );
    assert.ok(longestPiece <= limits.logPieceBytes);
  });
});

describe('the last lines of a file', () => {
  for (const [content, lines, expected] of [
    ['', 3, ''],
    ['a', 3, 'a'],
    ['a\nb\n', 1, 'b\n'],
    ['a\nb', 1, 'b'],
    ['a\nb\n\n', 2, 'b\n\n'],
    ['a\nb\n', 2, 'a\nb\n'],
  ] as const) {
    test(`${lines} of ${JSON.stringify(content)}`, async () => {
      const path = join(folder, 'few');
      await writeFile(path, content);
      const pieces: Buffer[] = [];
      const order = { path, lines, follow: false, signal: new AbortController().signal };
      for await (const piece of tailLog(order)) pieces.push(piece);
      assert.equal(Buffer.concat(pieces).toString(), expected);
    });
  }
});

describe("a program's own log", () => {
  test('keeps its newer half when it grows too long', async () => {
    const hooks = join(folder, 'hooks');
    const output = 'y'.repeat(limits.hookOutputBytes);
    const entry = { at: new Date(0), commandId: 'c', what: 'test long', sentence: 'ended', output };
    for (let run = 1; run <= 40; run++)
      await appendHookLog(hooks, 'long', { ...entry, commandId: `c-${run}` });
    const path = hookLogPath(hooks, 'long');
    const { size, mode } = await stat(path);
    assert.ok(size <= limits.hookLogBytes && size > limits.hookLogBytes / 4, String(size));
    assert.equal(mode & 0o777, 0o600);
    const text = await readFile(path, 'utf8');
    assert.match(text, /# 1970-01-01T00:00:00.000Z c-40 test long: ended\n/);
    assert.doesNotMatch(text, / c-1 /);
    assert.match(text, /^# /);
    assert.deepEqual(await readdir(hooks), ['long.log']);
    assert.deepEqual(await hookLogNames(hooks), ['long']);
    await assert.rejects(appendHookLog(hooks, '../x', entry), { code: 'LIMIT_EXCEEDED' });
  });
});

describe("a node's own log", () => {
  test('is set aside by size, a few times and no more; every line goes to the program as well', async () => {
    const agent = await mkdtemp(join(folder, 'agent-'));
    let lines = 0;
    const outer = pino({ level: 'warn' }, { write: () => void lines++ });
    const { log, close } = openNodeLog(agent, 'node-1', outer);
    const filler = 'z'.repeat(64 * 1024);
    const enough = Math.ceil((limits.updateLogBytes * (limits.updateLogsKept + 2)) / filler.length);
    for (let line = 1; line <= enough; line++) log.info({ line, filler }, 'step');
    log.warn('the last one');
    await close();
    log.warn('after the end');
    assert.equal(lines, 2, 'what the program does not want it does not get');
    const files = (await readdir(agent)).sort();
    assert.deepEqual(files, [
      updateLogName,
      ...Array.from({ length: limits.updateLogsKept }, (_, index) => `${updateLogName}.${index + 1}`),
    ]);
    for (const file of files) {
      const { size } = await stat(join(agent, file));
      assert.ok(size <= limits.updateLogBytes + filler.length + 1_000, `${file}: ${size}`);
    }
    assert.match(await readFile(join(agent, updateLogName), 'utf8'), /"msg":"the last one"/);
  });

  test('that cannot be written is told to the program, and stops nothing', async () => {
    const said: string[] = [];
    const outer = pino({}, { write: (line: string) => void said.push(line) });
    await writeFile(join(folder, 'no-folder'), '');
    const { log, close } = openNodeLog(join(folder, 'no-folder'), 'node-1', outer);
    log.info('step');
    await close();
    log.info('next step');
    assert.match(said.join(''), /cannot be written/);
    assert.match(said.at(-1) ?? '', /next step/);
  });
});
