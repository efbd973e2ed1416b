/**
 * Whatever stands in a configuration file, an operator gets sentences with a place, in bounded time:
 * known hostile files, mistakes in spelling, and samples with random damage.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { limits } from './limits.js';
import { loadControllerConfig, loadNodeAgentConfig, loadUpdateConfig } from './load.js';
import { ConfigInvalidError, type ConfigProblem } from './problems.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-hostile-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const loaders = {
  'controller.yml': loadControllerConfig,
  'node-agent.yml': loadNodeAgentConfig,
  'update.yml': loadUpdateConfig,
};

function sample(name: string): string {
  return readFileSync(new URL(`samples/${name}`, import.meta.url), 'utf8');
}

/** What is wrong with a file of this content; none when it loads. Anything else than problems fails. */
function problemsOf(name: keyof typeof loaders, content: string | Buffer): readonly ConfigProblem[] {
  const file = join(folder, name);
  writeFileSync(file, content);
  return problemsWhile(() => loaders[name](file));
}

function problemsWhile(load: () => unknown): readonly ConfigProblem[] {
  try {
    load();
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigInvalidError, error instanceof Error ? error.stack : String(error));
    assert.equal(error.exitCode, 2);
    return error.problems;
  }
}

/** All problems of an update.yml as `line: key: message`. */
function told(content: string | Buffer): string {
  return problemsOf('update.yml', content)
    .map(({ line, key, message }) => `${line}: ${key}: ${message}`)
    .join('\n');
}

const head = 'update_system:\n  clustering:\n';

describe('a mistake is answered', () => {
  for (const [what, content, expected] of [
    ['a letter too few', `${head}    max_concurent_nodes: 1\n`, /3: .*did you mean max_concurrent_nodes\?/],
    ['two letters exchanged', `${head}    enabeld: true\n`, /did you mean enabled\?/],
    ['dashes', `${head}    rolling-updates: true\n`, /did you mean rolling_updates\?/],
    [
      'the wrong group',
      `${head}    retention_days: 3\n`,
      /did you mean update_system\.backup\.retention_days\?/,
    ],
    [
      'one level too high',
      'clustering: {}\nupdate_system: {}\n',
      /1: .*did you mean update_system\.clustering\?/,
    ],
    ['nothing like a key', `${head}    colour: red\n`, /is not a known key here; check its spelling/],
    ['yes', `${head}    enabled: yes\n`, /must be true or false, not text; write true or false/],
    ['a number in quotes', `${head}    coordination_timeout: "5"\n`, /not text; write it without quotes/],
    ['0b1 for a number', `${head}    coordination_timeout: 0b1\n`, /must be a whole number, not text/],
    [
      'half a number',
      `${head}    coordination_timeout: 1.5\n`,
      /coordination_timeout: must be a whole number/,
    ],
    ['infinity', `${head}    coordination_timeout: .inf\n`, /must be a whole number, not Infinity/],
    ['nothing', `${head}    coordination_timeout:\n`, /must be a whole number, not empty/],
    ['an empty group', 'update_system:\n', /1: update_system: must be a group of keys, not empty/],
    ['a list for a group', 'update_system: []\n', /must be a group of keys, not a list/],
    [
      'the same key twice',
      `${head}    enabled: true\n    enabled: false\n`,
      /4: : the same key stands here twice/,
    ],
  ] as const)
    test(what, () => assert.match(told(content), expected));
});

describe('a hostile file gets a sentence', () => {
  const escapeCharacter = String.fromCharCode(27);
  for (const [what, content, expected] of [
    [
      'more keys than can be compared',
      Array.from({ length: 60_000 }, (_, at) => `k${at}:`).join('\n'),
      /more than 1000 keys/,
    ],
    ['the same in braces', `a: {${'b,'.repeat(60_000)}}`, /more than 1000 keys/],
    ['NUL', 'update_system: "\\0"\n', /must be a group of keys, not text/],
    ['a NUL byte', 'update_system:\0 {}\n', /./],
    ['UTF-16', Buffer.from('\ufeffupdate_system: {}', 'utf16le'), /is not UTF-8 text/],
    [
      "a terminal's escape in a key",
      `"${escapeCharacter}[2J": 1\n`,
      /1: "\?u001b\[2J"|1: "\\u001b\[2J": is not/,
    ],
    ['a line end in a key', '"a\\nb": 1\n', /1: "a\\nb": is not a known key/],
    ['a key without end', `${'x'.repeat(500)}: 1\n`, /1: x{120}…: is not a known key/],
    ['a key called constructor', 'constructor: 1\n', /1: constructor: is not a known key/],
    ['deep groups', `${'{a: '.repeat(40)}1${'}'.repeat(40)}`, /nested deeper/],
    ['only a number', '7', /1: : must be a group of keys, not 7/],
    ['a document end and more', 'update_system: {}\n...\nfoo\n', /./],
  ] as const)
    test(what, () => {
      const text = told(content);
      assert.match(text, expected);
      assert.ok(!text.includes(escapeCharacter), 'no control character reaches a terminal');
    });

  test('a BOM and CRLF are no mistake', () => {
    assert.deepEqual(problemsOf('update.yml', '\ufeffupdate_system:\r\n  backup: {enabled: true}\r\n'), []);
  });

  test('more problems than are listed are counted', () => {
    const wrong = Array.from({ length: 200 }, (_, at) => `wrong_${at}: 1`).join('\n');
    const file = join(folder, 'update.yml');
    writeFileSync(file, `${wrong}\n`);
    assert.throws(() => loadUpdateConfig(file), new RegExp(`and ${201 - limits.configProblems} more$`));
  });

  test('a file that this user may not read, and one that the kernel does not give', () => {
    const file = join(folder, 'closed.yml');
    writeFileSync(file, 'update_system: {}\n');
    chmodSync(file, 0o000);
    chmodSync(folder, 0o755);
    const [problem] = asNobody(() => problemsWhile(() => loadUpdateConfig(file)));
    assert.equal(problem?.message, 'cannot be read: this user has no permission');
    const [strange] = problemsWhile(() => loadUpdateConfig('/proc/self/mem'));
    assert.match(strange?.message ?? '', /^cannot be read \(EIO\)/);
  });

  test('an update_file with a NUL is named at its key, and not opened', () => {
    const text = sample('controller.yml').replace('update_file: update.yml', 'update_file: "\\0"');
    const problems = problemsOf('controller.yml', text);
    assert.deepEqual(
      problems.map(({ key, message }) => `${key} ${message}`),
      ['update_file must not hold a NUL character'],
    );
  });

  test('an update_file that is a folder, and one that is missing', () => {
    for (const [named, expected] of [
      ['.', /not a regular file|is a folder/],
      ['none.yml', /does not exist/],
    ] as const) {
      const text = sample('controller.yml').replace('update_file: update.yml', `update_file: ${named}`);
      assert.match(problemsOf('controller.yml', text)[0]?.message ?? '', expected);
    }
  });
});

test('a sample with random damage loads, or every problem names the file and a line of it', () => {
  const damage = fc.array(
    fc.record({
      kind: fc.constantFrom('drop', 'twice', 'indent', 'outdent', 'value', 'cut', 'insert'),
      at: fc.nat(10_000),
      text: fc.oneof(
        fc.constantFrom(
          '0b1',
          '[',
          '{',
          '*a',
          '&a',
          '- ',
          '"',
          '\t',
          ':',
          '? ',
          '!!x ',
          '| ',
          '#',
          '~',
          '\0',
        ),
        fc.string({ maxLength: 6, unit: 'binary' }),
      ),
    }),
    { minLength: 1, maxLength: 4 },
  );
  const names = fc.constantFrom('controller.yml', 'node-agent.yml', 'update.yml');
  // A damaged controller.yml may name any update.yml, or the one that the last round left.
  fc.assert(
    fc.property(names, damage, (name, wounds) => {
      const text = wounds.reduce(damaged, sample(name));
      const linesMax = text.split(/\r\n|\r|\n/).length;
      for (const { file, line, key, message } of problemsOf(name, text)) {
        assert.ok(file.startsWith('/') && !file.includes('\0'), file);
        assert.ok(file !== join(folder, name) || line <= linesMax, `line ${line} of ${linesMax}`);
        assert.ok(line >= 1 || (key === '' && message !== ''), `${key}: ${message}`);
        assert.match(message, /^[^\n\0]+$/);
      }
    }),
    { numRuns: 250 },
  );
});

function damaged(text: string, wound: { kind: string; at: number; text: string }): string {
  const lines = text.split('\n');
  const at = wound.at % lines.length;
  const line = lines[at] ?? '';
  const changed: Record<string, string[]> = {
    drop: [],
    twice: [line, line],
    indent: [`  ${line}`],
    outdent: [line.replace(/^ {2}/, '')],
    value: [line.replace(/: .*$/, () => `: ${wound.text}`)],
    cut: [line.slice(0, wound.at % (line.length + 1))],
    insert: [
      line.slice(0, wound.at % (line.length + 1)) + wound.text + line.slice(wound.at % (line.length + 1)),
    ],
  };
  lines.splice(at, 1, ...(changed[wound.kind] ?? []));
  return lines.join('\n');
}

/** Root may read everything; so as root it is done with the rights of nobody. */
function asNobody<T>(act: () => T): T {
  if (process.getuid?.() !== 0) return act();
  process.seteuid?.(65_534);
  try {
    return act();
  } finally {
    process.seteuid?.(0);
  }
}
