/**
 * The help of every word, found by walking the whole tree of commands: whoever adds a word cannot forget
 * to explain it, and nothing is wider than a terminal of 80 columns.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Command } from 'commander';
import { processContext } from './context.js';
import { program } from './program.js';
import { cellsOf } from './render/cells.js';
import { plexictl } from './scripted-controller.test.part.js';

interface Word {
  readonly path: readonly string[];
  readonly command: Command;
}

function wordsUnder(command: Command, path: readonly string[] = []): Word[] {
  return command.commands.flatMap((under) => {
    const its = [...path, under.name()];
    return [{ path: its, command: under }, ...wordsUnder(under, its)];
  });
}

const words = wordsUnder(program(processContext()));

describe('help', () => {
  test('is asked of every word of the contract', () => {
    const known = new Set(words.map(({ path }) => path.join(' ')));
    const promised = [
      ...['rollout', 'downgrade', 'status', 'watch', 'why', 'pause', 'resume', 'abort', 'retry', 'skip'],
      ...['rollback', 'history', 'nodes', 'logs', 'freeze', 'version', 'cordon', 'drain', 'uncordon'],
      ...['list', 'add', 'remove', 'adopt', 'confirm', 'reinstall', 'hold', 'release', 'maintenance'].map(
        (word) => `node ${word}`,
      ),
      ...['status', 'pause', 'resume', 'undo', 'history', 'restart'].map((word) => `rollout ${word}`),
      ...['upgrade', 'downgrade', 'version', 'status', 'history', 'rollback'].map((word) => `update ${word}`),
    ];
    assert.deepEqual(
      promised.filter((word) => !known.has(word)),
      [],
    );
  });

  for (const { path, command } of words) {
    const name = path.join(' ');
    test(`${name}: a summary, a description and an example, in 80 columns`, async () => {
      assert.notEqual(command.summary(), '', 'no summary');
      assert.notEqual(command.description(), '', 'no description');
      const ran = await plexictl([...path, '--help']);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, '']);
      assert.match(ran.stdout, /\nExamples?:\n {2}plexictl /);
      assert.ok(ran.stdout.includes(`plexictl ${name}`), 'its usage does not name it');
      const wide = ran.stdout.split('\n').filter((line) => cellsOf(line) > 80);
      assert.deepEqual(wide, []);
      if (command.commands.length === 0) assert.match(ran.stdout, /-o, --output/);
    });
  }

  test('of abort says what becomes of the nodes in flight', async () => {
    const { stdout } = await plexictl(['abort', '--help']);
    assert.match(stdout.replace(/\s+/g, ' '), /have not committed go back, the others finish/);
  });

  test('of plexictl itself names every word in 80 columns', async () => {
    const { stdout } = await plexictl(['--help']);
    for (const { path } of words.filter((word) => word.path.length === 1))
      assert.match(stdout, new RegExp(`^ {2}${path[0]}\\b`, 'm'));
    assert.deepEqual(
      stdout.split('\n').filter((line) => cellsOf(line) > 80),
      [],
    );
  });

  test('of a mistyped word says what was meant', async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ['rolout', /Did you mean rollout\?/],
      ['rollout stauts', /unknown word 'stauts' after plexictl rollout \(Did you mean status\?\)/],
      ['version cmopare', /Did you mean compare\?/],
      ['node realese x', /Did you mean release\?/],
      ['update upgrad', /Did you mean upgrade\?/],
      ['rollout --stage-olny', /Did you mean --stage-only\?/],
      ['node hold --resaon x node-1', /Did you mean --reason\?/],
      ['hold node-1', /unknown command 'hold'; it is `plexictl node hold`/],
      ['rollout xyzzy', /unknown word 'xyzzy' after plexictl rollout; see `plexictl rollout --help`/],
    ];
    for (const [line, sentence] of cases) {
      const ran = await plexictl(line.split(' '));
      assert.deepEqual([ran.exitCode, ran.stdout], [2, ''], line);
      assert.match(ran.stderr, sentence);
    }
  });
});
