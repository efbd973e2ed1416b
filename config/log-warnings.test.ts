/** A warning of Node.js is a line of the log, in the program that logs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { programWords } from '../test/loader.test.part.js';

test('every line of the log can be read by a program, whatever Node.js warns of', () => {
  const words = programWords(new URL('warning-program.test.part.ts', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const lines: { level: number; code?: string; msg: string }[] = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ level, code, msg }) => [level, code, msg]),
    [
      [40, 'DEP0001', 'gone soon'],
      [40, undefined, 'too many listeners'],
    ],
  );
});
