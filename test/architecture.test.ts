/**
 * The rules of the building, as tests: each import rule of .dependency-cruiser.cjs catches a planted
 * violation (`npm run lint` applies the rules to the tree itself), and a scan of all sources holds what
 * an import rule cannot say: deciding is pure, rooms have a subject, files stay readable, every proto
 * field is explained.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const rooms = ['config', 'release', 'controller', 'node-agent', 'plexictl'];

/** A file that breaks a rule, each line `rule <- file`; the file imports what stands behind it. */
const planted: { rule: string; file: string; text: string }[] = [
  { rule: 'no-cycle', file: 'config/around.ts', text: "import { a } from './around.js';\nexport { a };\n" },
  plant('resolvable', 'config/lost.ts', './nowhere.js'),
  plant('config-stands-alone', 'config/a.ts', '../release/target.js'),
  plant('release-imports-config-only', 'release/a.ts', '../controller/target.js'),
  plant('controller-alone', 'controller/a.ts', '../plexictl/target.js'),
  plant('controller-alone', 'controller/rooms.test.ts', '../node-agent/target.js'),
  plant('node-agent-alone', 'node-agent/a.ts', '../controller/target.js'),
  plant('plexictl-alone', 'plexictl/dev/a.ts', '../../node-agent/target.js'),
  plant('deciding-is-pure', 'controller/rollout/a.ts', '../state/target.js'),
  plant('deciding-is-pure', 'controller/rollout/b.ts', 'node:fs'),
  plant('deciding-is-pure', 'controller/rollout/c.ts', '../../gen/target.js'),
  plant('etcd-behind-two-rooms', 'controller/api/a.ts', 'etcd3'),
  plant('no-test-in-the-program', 'node-agent/b.ts', 'fast-check'),
  plant('no-test-in-the-program', 'controller/b.ts', './rooms.test.js'),
];
const allowed = [
  plant('', 'controller/rollout/d.ts', '../../release/version.js'),
  plant('', 'controller/state/a.ts', 'etcd3'),
  plant('', 'controller/rollout/e.test.ts', 'fast-check'),
  {
    file: 'controller/rollout/f.ts',
    text: "import type { x } from '../state/target.js';\nexport type X = typeof x;\n",
  },
];
const targets = [
  'release/target',
  'release/version',
  'controller/target',
  'controller/state/target',
  'gen/target',
];
targets.push('plexictl/target', 'node-agent/target');

function plant(rule: string, file: string, imported: string) {
  return { rule, file, text: `import * as it from '${imported}';\nexport const x = it;\n` };
}

test('each import rule catches what it forbids, and nothing else', async (t) => {
  const tree = await mkdtemp(join(tmpdir(), 'plexi-architecture-'));
  t.after(() => rm(tree, { recursive: true, force: true }));
  const files = [
    ...planted,
    ...allowed,
    ...targets.map((name) => ({ file: `${name}.ts`, text: 'export const x = 1;\n' })),
  ];
  for (const { file, text } of files) {
    await mkdir(dirname(join(tree, file)), { recursive: true });
    await writeFile(join(tree, file), text);
  }
  for (const name of ['tsconfig.json', '.dependency-cruiser.cjs'])
    await copyFile(join(root, name), join(tree, name));
  await symlink(join(root, 'node_modules'), join(tree, 'node_modules'));
  const expected = planted.map(({ rule, file }) => `${rule} <- ${file}`);
  assert.deepEqual(await brokenRules(tree), expected.sort());
});

/** `rule <- file` of every broken import rule in a tree, sorted. */
async function brokenRules(tree: string): Promise<string[]> {
  const cruiser = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const options = ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', ...rooms];
  const output = await run(process.execPath, [cruiser, ...options], tree);
  const result: { summary: { violations: { rule: { name: string }; from: string }[] } } = JSON.parse(output);
  return result.summary.violations.map(({ rule, from }) => `${rule.name} <- ${from}`).sort();
}

/** What the program printed; its exit status is of no interest here. */
function run(program: string, words: string[], cwd: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(program, words, { cwd, maxBuffer: 64 * 1024 * 1024 }, (_error, stdout) => resolve(stdout));
  });
}

interface Source {
  path: string;
  lines: string[];
}

async function sources(folders: string[], isWanted: (path: string) => boolean): Promise<Source[]> {
  const found: Source[] = [];
  for (const folder of folders.filter((name) => existsSync(join(root, name)))) {
    for (const name of await readdir(join(root, folder), { recursive: true })) {
      const path = `${folder}/${name}`;
      if (!isWanted(path)) continue;
      found.push({ path, lines: (await readFile(join(root, path), 'utf8')).split('\n') });
    }
  }
  return found;
}

/** `path:line: text` of each line that matches. */
function matches(files: Source[], pattern: RegExp): string[] {
  return files.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

const isSource = (path: string): boolean => path.endsWith('.ts') && !path.endsWith('.test.ts');

describe('the sources keep the rules', () => {
  test('deciding has no clock, no randomness and no input or output', async () => {
    const files = await sources(['controller/rollout'], isSource);
    const impure =
      /Date\.now|new Date\(\)|Math\.random|\bperformance\.|\bset(Timeout|Interval|Immediate)\b|['"]node:|\bprocess\./;
    assert.deepEqual(matches(files, impure), []);
  });

  test('randomness comes from a cryptographic source, or from main.ts', async () => {
    const files = await sources(rooms, (path) => isSource(path) && !path.endsWith('/main.ts'));
    assert.deepEqual(matches(files, /Math\.random/), []);
  });

  test('no file switches a check of the compiler or the linter off', async () => {
    const files = await sources([...rooms, 'test'], (path) => path.endsWith('.ts'));
    const switchedOff = new RegExp(
      ['@ts-(ignore|expect-error|nocheck)', 'biome-' + 'ignore', 'as unknown ' + 'as'].join('|'),
    );
    const others = files.filter(({ path }) => path !== 'test/architecture.test.ts');
    assert.deepEqual(matches(others, switchedOff), []);
  });

  test('no source file has more than 400 lines', async () => {
    const files = await sources(rooms, isSource);
    assert.deepEqual(
      files.filter(({ lines }) => lines.length > 401).map(({ path }) => path),
      [],
    );
  });

  test('every room has a subject', async () => {
    const files = await sources([...rooms, 'test', 'deploy'], () => true).catch(() => []);
    const subjectless = /(^|\/)(utils?|commons?|helpers?|libs?|misc|shared)(\/|\.)/;
    assert.deepEqual(
      files.map(({ path }) => path).filter((path) => subjectless.test(path)),
      [],
    );
  });

  test('every field, value and method of the protocol is explained', async () => {
    const files = await sources(['proto'], (path) => path.endsWith('.proto'));
    assert.ok(files.length > 0, 'there is no proto file');
    assert.deepEqual(files.flatMap(unexplained), []);
  });
});

/** Fields, enum values and methods without a comment in the line before. */
function unexplained({ path, lines }: Source): string[] {
  return lines.flatMap((line, index) => {
    if (!/^\s*rpc |= \d+( \[.*\])?;/.test(line)) return [];
    return /^\s*\/\//.test(lines[index - 1] ?? '') ? [] : [`${path}:${index + 1}: ${line.trim()}`];
  });
}
