/**
 * Every scenario beside this file is played, and its transcript compared with the one below its
 * `----`. `node test/run.mjs scenarios --update` writes what happens now; read the difference before you commit it.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Scenario } from './scenario.test.part.js';

const folder = fileURLToPath(new URL('./', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));
const separator = '----\n';

describe('scenarios', () => {
  test('there are some', () => assert.ok(files.length >= 20, `only ${files.length}`));

  for (const file of files) {
    test(file.replace('.txt', '').replaceAll('-', ' '), () => {
      const text = readFileSync(folder + file, 'utf8');
      const [input = '', expected = ''] = text.split(separator, 2);
      const transcript = play(input);
      if (process.env.UPDATE_SCENARIOS === '1')
        writeFileSync(folder + file, `${input}${separator}${transcript}`);
      else
        assert.equal(
          transcript,
          expected,
          `${file}: node test/run.mjs scenarios --update writes what happens now`,
        );
    });
  }
});

/** Plays the lines that are neither empty nor remarks. */
function play(input: string): string {
  const scenario = new Scenario();
  for (const line of input.split('\n')) {
    if (line.trim() !== '' && !line.startsWith('#')) scenario.play(line.trim());
  }
  return scenario.transcript;
}
