/**
 * plexictl as a process: what a shell sees. Only what cannot be seen from within one process is here:
 * Ctrl-C, a closed pipe, the end of the process, and the sentence for wrong words.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { programWords } from '../test/loader.test.part.js';
import { at, sampleNode, sampleStatus } from './render/sample-status.test.part.js';
import {
  deadAddress,
  errorOf,
  plexictl,
  type Ran,
  type ScriptedCluster,
  scriptedCluster,
} from './scripted-controller.test.part.js';

const running = sampleStatus([sampleNode('node-1', 'probing')]);
const succeeded = sampleStatus([sampleNode('node-1', 'done')], { phase: 'succeeded', finishedAt: at(9) });
const main = programWords(new URL('main.ts', import.meta.url));

function start(words: readonly string[], config: string): ChildProcess {
  const environment = { ...process.env, PLEXI_CONFIG: config, NO_COLOR: '' };
  return spawn(process.execPath, [...main, ...words], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function ended(child: ChildProcess): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr?.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  const [exitCode] = await once(child, 'close');
  return { exitCode, stdout, stderr };
}

describe('plexictl as a process', () => {
  let cluster: ScriptedCluster;
  before(async () => {
    cluster = await scriptedCluster();
  });
  after(() => cluster.stop());

  test('ends by itself once its answer is written', async () => {
    const controller = await cluster.controller({
      watch: async function* () {
        yield running;
        yield succeeded;
      },
    });
    const ran = await ended(start(['watch', '-o', 'jsonl'], await cluster.clientFile([controller.address])));
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(ran.stdout.trimEnd().split('\n').length, 2);
  });

  test('Ctrl-C on a followed rollout detaches: exit 130, and how to attach again', async () => {
    const child: { process?: ChildProcess } = {};
    const controller = await cluster.controller({
      watch: async function* () {
        yield running;
        await new Promise(() => {});
      },
    });
    child.process = start(['watch'], await cluster.clientFile([controller.address]));
    child.process.stderr?.once('data', () => child.process?.kill('SIGINT'));
    const ran = await ended(child.process);
    assert.equal(ran.exitCode, 130);
    assert.match(
      ran.stderr,
      /detached; the rollout goes on. Attach again with: plexictl watch update_0a1_0b1/,
    );
  });

  test('Ctrl-C with -o json leaves one document and the error document', async () => {
    const controller = await cluster.controller({
      watch: async function* () {
        yield running;
        await new Promise(() => {});
      },
    });
    const child = start(['watch', '-o', 'json'], await cluster.clientFile([controller.address]));
    child.stderr?.once('data', () => child.kill('SIGINT'));
    const ran = await ended(child);
    const id = 'update_0a1_0b1_20241219_120000';
    assert.equal(ran.exitCode, 130);
    assert.equal(JSON.parse(ran.stdout).rollout.id, id);
    assert.equal(errorOf(ran).code, 'INTERRUPTED');
    assert.deepEqual(errorOf(ran).details, { cluster: 'dev', rollout: id });
  });

  test('a reader that goes away ends a followed rollout quietly', async () => {
    const gone = resolvers();
    const controller = await cluster.controller({
      watch: async function* () {
        yield running;
        await gone.promise;
        yield sampleStatus([sampleNode('node-1', 'soaking')]);
        yield sampleStatus([sampleNode('node-1', 'committing')]);
        await new Promise(() => {});
      },
    });
    const child = start(['watch', '-o', 'jsonl'], await cluster.clientFile([controller.address]));
    child.stdout?.once('data', () => {
      child.stdout?.destroy();
      gone.resolve(undefined);
    });
    const ran = await ended(child);
    assert.equal(ran.exitCode, 130);
    assert.doesNotMatch(ran.stderr, /EPIPE|at .*\.ts/);
  });

  test('a missing client file is exit 2, no controller is exit 6, with the error document last', async () => {
    const missing = await ended(start(['status', '-o', 'json'], '/nonexistent/client.yml'));
    assert.equal(missing.exitCode, 2);
    assert.equal(errorOf(missing).code, 'CONFIG_INVALID');
    const down = await ended(
      start(['status', '-o', 'json'], await cluster.clientFile([await deadAddress()])),
    );
    assert.equal(down.exitCode, 6);
    assert.deepEqual([down.stdout, errorOf(down).code], ['', 'NO_CONTROLLER']);
  });
});

/** A promise that is settled from outside; Node 20 has no `Promise.withResolvers`. */
function resolvers(): { promise: Promise<unknown>; resolve(value: unknown): void } {
  let resolve: (value: unknown) => void = () => {};
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

describe('wrong words', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['rolout --to 0b1', /^plexictl: unknown command 'rolout' \(Did you mean rollout\?\); see/],
    ['node mantenance', /Did you mean maintenance/],
    ['status --controler x', /Did you mean --controller/],
    ['status a b', /^plexictl: too many arguments/],
    ['status -o xml', /^plexictl: option '-o, --output <format>' argument 'xml' is invalid/],
    ['node maintenance up node-1', /neither on nor off/],
    ['node add Node_1', /no node's name/],
    ['node add n --address nowhere', /not HOST:PORT/],
    ['node add n --label zone', /key=value/],
    ['history --limit 0', /whole number from 1 to 1000/],
    ['version compare 0b1', /missing required argument 'b'/],
    ['version compare 0b1 x', /^plexictl: "x" is not a version/],
  ];
  for (const [words, sentence] of cases) {
    test(`"${words}" is one sentence and exit 2`, async () => {
      const ran = await plexictl(words.split(' '));
      assert.deepEqual([ran.exitCode, ran.stdout], [2, '']);
      assert.match(ran.stderr, sentence);
      assert.equal(ran.stderr.trimEnd().split('\n').length, 1);
    });
  }

  test('with -o json the last line of stderr is the error, also for wrong use', async () => {
    for (const words of [
      ['status', '-o', 'json', '--nope'],
      ['rolout', '--output=json'],
      ['version', 'compare', '0b1', 'x', '-ojson'],
    ]) {
      const ran = await plexictl(words);
      assert.equal(ran.exitCode, 2);
      assert.match(errorOf(ran).code, /^(USAGE|VERSION_INVALID)$/);
    }
  });
});
