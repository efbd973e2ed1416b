/**
 * The four configuration files, with damage of every kind: they load, or every problem is told with its
 * file, in bounded time and memory. `config/hostile.test.ts` has the known mistakes and what they answer.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import fc from 'fast-check';
import {
  loadClientConfig,
  loadControllerConfig,
  loadNodeAgentConfig,
  loadUpdateConfig,
} from '../../config/load.js';
import { ConfigInvalidError } from '../../config/problems.js';
import { type Wound, wounded, wounds } from './mutations.test.part.js';
import { codeOf } from './promise.test.part.js';
import { hostile } from './target.test.part.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-hostile-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const loaders = {
  'controller.yml': loadControllerConfig,
  'node-agent.yml': loadNodeAgentConfig,
  'update.yml': loadUpdateConfig,
  'client.yml': loadClientConfig,
} as const;
type Name = keyof typeof loaders;
const names = Object.keys(loaders) as Name[];
const samples = Object.fromEntries(
  names.map((name) => [name, readFileSync(new URL(`../../config/samples/${name}`, import.meta.url))]),
);

/** Milliseconds for one file; the slowest honest megabyte takes a tenth of it. */
const loadMs = 10_000;

/** `fine`, or the code with which the file was refused; each problem is a line with a place. */
function load(name: Name, content: Uint8Array | string): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  const startedMs = performance.now();
  try {
    loaders[name](file);
    return 'fine';
  } catch (thrown) {
    if (thrown instanceof ConfigInvalidError) {
      assert.ok(thrown.problems.length > 0);
      for (const problem of thrown.problems) {
        assert.ok(problem.file.startsWith('/') && problem.line >= 0, JSON.stringify(problem));
        assert.match(problem.message, /^[^\p{Cc}]{3,2000}$/u);
        assert.match(problem.key, /^[^\p{Cc}]*$/u);
      }
    }
    return codeOf(thrown);
  } finally {
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < loadMs, `${name} took ${tookMs} ms`);
  }
}

const nameOf = fc.constantFrom(...names);

hostile(import.meta.url, {
  name: 'a sample with damaged bytes loads or is refused with its places',
  cases: fc.record({ name: nameOf, wounds }),
  casesMin: 20,
  check: ({ name, wounds: all }: { name: Name; wounds: readonly Wound[] }) =>
    load(name, wounded(samples[name] ?? Buffer.alloc(0), all)),
});

/** What YAML is made of; random rows of it reach deeper into a parser than random bytes. */
const yamlWords = [
  ...['a', 'a:', 'b: ', '- ', '? ', ': ', '&x ', '*x', '<<: ', '!!map ', '!', '| ', '|+1\n', '> ', '"', "'"],
  ...['{', '}', '[', ']', ',', '#', '%YAML 1.1\n', '---\n', '...\n', '\t', ' ', '  ', '\n', '\r', '\r\n'],
  ...['\0', '\u0085', '\u2028', '\ufeff', '~', '.inf', '0o7', '1_000', '2001-01-01', '\\u0000', '"\\x'],
  ...['update_system:', 'cluster:', 'tls:', 'contexts:', 'services:', 'listen: 127.0.0.1:1\n', '__proto__:'],
] as const;

hostile(import.meta.url, {
  name: 'rows of the words of YAML load or are refused',
  cases: fc.record({
    name: nameOf,
    words: fc.array(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...yamlWords) }, fc.string({ unit: 'binary' })),
      {
        maxLength: 80,
        size: 'max',
      },
    ),
  }),
  casesMin: 50,
  check: ({ name, words }) => load(name, words.join('')),
});

/** Pieces that grow: repeated up to the bound of a file, and a little beyond it. */
const growing = [
  ...[
    '[',
    '{',
    '{a: ',
    '- ',
    '? ',
    '[[],',
    '&a [',
    '*a,',
    'a: &a\n',
    '&a a: *a\n',
    '!!x ',
    '"',
    "'",
    '#',
    ' ',
  ],
  ...['a: |\n ', '\n', '\t', 'k: ', ',', '---\n', '%A\n', '\\', '\r', 'a\n', '- - - ', '<<: ', '"\\', '\0'],
] as const;

/** As much as is read at all takes some seconds a case; in `npm test` it is less. */
const largestBytes = process.env.PLEXI_HOSTILE_MS === undefined ? 262_144 : 1_048_576;

hostile(import.meta.url, {
  name: 'one piece repeated up to a megabyte is refused in bounded time',
  cases: fc.record({
    name: nameOf,
    head: fc.constantFrom('', 'update_system:\n  backup:\n    paths: ', 'a: &a [x, x]\n', 'update_system: '),
    piece: fc.constantFrom(...growing),
    sizeBytes: fc.constantFrom(1_000, 1_000, 5_000, 20_000, 20_000, 200_000, largestBytes, 1_100_000),
  }),
  casesMin: 1,
  check: ({ name, head, piece, sizeBytes }) =>
    load(name, head + piece.repeat(Math.ceil(sizeBytes / piece.length))),
});
