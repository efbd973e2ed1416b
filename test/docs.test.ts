/**
 * The documents and the program agree: every link leads somewhere, every file that a document names is
 * there, every command that it shows is known with its options, and no dependency is unexplained. A
 * document that is wrong is worse than none, since somebody follows it.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { plexictl } from '../plexictl/scripted-controller.test.part.js';
import { programWords } from './loader.test.part.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const documents = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].sort();
const rooms = ['config', 'release', 'controller', 'node-agent', 'plexictl', 'proto', 'test', 'deploy', 'bin'];
/** The names of all files of ours, for those that are named without their folder. */
const names = new Set(
  [...rooms, 'docs'].flatMap((room) =>
    readdirSync(join(root, room), { recursive: true, encoding: 'utf8' }).map((path) => basename(path)),
  ),
);
/** A path that begins with one of the rooms, or a source file. */
const fileOfOurs = new RegExp(
  `^(${rooms.join('|')}|docs|\\.ci)/[\\w./-]*$|^[\\w-][\\w./-]*\\.(ts|mjs|cjs|md|proto)$|^\\.[\\w-]+\\.cjs$`,
);
/** Read when there is one. */
const mayBeAbsent = ['test/deep/'];

interface Words {
  readonly program: string;
  /** The words before the first option, and what stands behind them. */
  readonly words: readonly string[];
  readonly options: readonly string[];
}

describe('the documents', () => {
  for (const document of documents) {
    const text = readFileSync(join(root, document), 'utf8');
    test(`${document}: every link leads somewhere`, () => {
      assert.deepEqual(brokenLinks(document, text), []);
    });
    test(`${document}: every file it names is there`, () => {
      const named = [...prose(text).matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
      assert.deepEqual(
        named.filter((name) => fileOfOurs.test(name) && !isThere(name)),
        [],
      );
    });
    test(`${document}: every command it shows is known`, async () => {
      assert.deepEqual(await unknownCommands(text), []);
    });
  }

  test('would be found wrong: a link, a heading, a file, a command, an option, a script', async () => {
    assert.ok(
      ['controller/nowhere.ts', 'nowhere.ts', '.no-cruiser.cjs'].every((file) => fileOfOurs.test(file)),
    );
    assert.ok(!isThere('controller/nowhere.ts') && !isThere('nowhere.ts') && isThere('fence.test.ts'));
    assert.deepEqual(brokenLinks('README.md', '[a](nowhere.md) [b](ARCHITECTURE.md#no-such-part)'), [
      'nowhere.md',
      'ARCHITECTURE.md#no-such-part',
    ]);
    const text = '```sh\nplexictl rolout\nplexictl certs sue --dir x && plexictl rollout --too 0b1\n```\n';
    const more = '`plexictl node ad node-1`\n```sh\nplexi-node-agent unstall\nnpm run deno\n```\n';
    assert.deepEqual(await unknownCommands(text + more), [
      'plexictl rolout',
      'plexictl certs sue',
      'plexictl rollout --too',
      'plexictl node ad',
      'plexi-node-agent unstall',
      'npm run deno',
    ]);
  });

  test('docs/dependencies.md has a row for each package of package.json, and for no other', () => {
    const text = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] ?? '');
    const { dependencies, devDependencies } = packageFile();
    assert.deepEqual(rows, [...Object.keys(dependencies), ...Object.keys(devDependencies)]);
  });
});

describe("cases from other people's bugs", () => {
  test('each row of the table in docs/testing.md names a test that is there', () => {
    const text = readFileSync(join(root, 'docs/testing.md'), 'utf8');
    const part = text.split("## Cases from other people's bugs")[1]?.split('\n## ')[0] ?? '';
    const rows = [...part.matchAll(/^\| ([^|]+) \| `([^`|]+)` \| ([^|]+) \|$/gm)];
    const lines = part.split('\n').filter((line) => line.startsWith('|')).length;
    assert.equal(rows.length, lines - 2, 'a row is not of the form: case, file, test');
    assert.ok(rows.length > 20, `only ${rows.length} rows`);
    assert.deepEqual(
      rows.filter(([, , file = '', name = '']) => !hasTest(file, name)).map(([row]) => row),
      [],
    );
  });

  test('a name, a part of a name and a file that are not there would be found', () => {
    const file = 'controller/leadership/campaign.test.ts';
    assert.ok(hasTest(file, 'of A, B, C with B stopped, C follows A'));
    assert.ok(hasTest(file, '… the commit: it leads under the key that stands'));
    assert.ok(!hasTest(file, 'of A, B, C with B stopped'), 'the whole name is asked for');
    assert.ok(!hasTest(file, 'of A, B, D …'));
    assert.ok(!hasTest('controller/nowhere.test.ts', 'of A, B, C with B stopped, C follows A'));
    assert.ok(hasTest('test/scenarios/soak-flap.txt', 'soak flap'));
    assert.ok(!hasTest('test/scenarios/soak-flap.txt', 'soak'));
  });
});

/** Whether a file has a test, or a group of tests, of this name; … stands for what a loop fills in. */
function hasTest(file: string, name: string): boolean {
  if (!existsSync(join(root, file))) return false;
  if (file.startsWith('test/scenarios/')) return basename(file, '.txt').replaceAll('-', ' ') === name;
  const parts = name.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const title = new RegExp(`(?:test|describe)\\(\\s*(['"\`])${parts.join('\\$\\{[^}]+\\}')}\\1`);
  return title.test(readFileSync(join(root, file), 'utf8'));
}

interface PackageFile {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  scripts: Record<string, string>;
}

function packageFile(): PackageFile {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
}

function isThere(file: string): boolean {
  return existsSync(join(root, file)) || names.has(file) || mayBeAbsent.includes(file);
}

/** The text without its code blocks. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```$/gm, '');
}

/** Relative links whose file, or whose heading, is not there. */
function brokenLinks(document: string, text: string): string[] {
  const links = [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path = '', heading] = link.split('#', 2);
    const file = path === '' ? join(root, document) : join(root, dirname(document), path);
    if (!existsSync(file)) return true;
    return heading !== undefined && !headings(readFileSync(file, 'utf8')).includes(heading);
  });
}

/** The anchors of a document's headings, as they are commonly made. */
function headings(text: string): string[] {
  return [...prose(text).matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** What a document shows and the programs do not know, in its order. */
async function unknownCommands(text: string): Promise<string[]> {
  const unknown: string[] = [];
  for (const command of commandsIn(text)) {
    const problem = command.program === 'npm' ? npmProblem(command) : await programProblem(command);
    if (problem !== undefined) unknown.push(problem);
  }
  return unknown;
}

/** Commands of ours in code blocks and in code within a sentence. */
function commandsIn(text: string): Words[] {
  const code = [...text.matchAll(/^```(?:sh|text)\n([\s\S]*?)^```$|`([^`\n]+)`/gm)];
  const lines = code.flatMap((match) => (match[1] ?? match[2] ?? '').replaceAll('\\\n', ' ').split('\n'));
  return lines.flatMap((line) =>
    line
      .replace(/#.*$/, '')
      .split(/&&|\|\|?|;|\bdo\b|\buntil\b|^\$ /)
      .flatMap(commandOf),
  );
}

function commandOf(part: string): Words[] {
  const match = /^\s*(?:[A-Z_]+=\S+\s+)*(plexictl|plexi-controller|plexi-node-agent|npm)\s+(.+)$/.exec(part);
  if (match === null) return [];
  const [, program = '', rest = ''] = match;
  const all = rest.trim().split(/\s+/);
  const end = all.findIndex((word) => !/^[a-z][a-z-]*(:[a-z]+)?$/.test(word));
  const options = all.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/=.*$/, ''));
  return [{ program, words: end < 0 ? all : all.slice(0, end), options }];
}

function npmProblem({ words }: Words): string | undefined {
  const [verb, script = ''] = words;
  if (verb === 'ci') return undefined;
  const name = verb === 'run' ? script : (verb ?? '');
  return Object.hasOwn(packageFile().scripts, name) ? undefined : `npm ${words.join(' ')}`;
}

async function programProblem({ program, words, options }: Words): Promise<string | undefined> {
  const known: string[] = [];
  let help = await helpOf(program, known);
  for (const word of words) {
    const under = subcommands(help);
    if (under.length === 0) break;
    if (!under.includes(word)) {
      return [program, ...known, word].join(' ');
    }
    known.push(word);
    help = await helpOf(program, known);
  }
  const strange = options.find((option) => !new RegExp(`(^|[ ,])${option}\\b`, 'm').test(help));
  return strange === undefined ? undefined : [program, ...known, strange].join(' ');
}

/** The words that a help lists under `Commands:`. */
function subcommands(help: string): string[] {
  const list = /^Commands:\n((?: {2,}.*\n?)*)/m.exec(help)?.[1] ?? '';
  return [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map((match) => match[1] ?? '');
}

const helps = new Map<string, Promise<string>>();

/** A program's own help for some of its words. */
function helpOf(program: string, words: readonly string[]): Promise<string> {
  const key = [program, ...words].join(' ');
  const help = helps.get(key) ?? askForHelp(program, words);
  helps.set(key, help);
  return help;
}

async function askForHelp(program: string, words: readonly string[]): Promise<string> {
  if (program === 'plexictl') return (await plexictl([...words, '--help'])).stdout;
  const room = program === 'plexi-controller' ? 'controller' : 'node-agent';
  const main = programWords(new URL(`../${room}/main.ts`, import.meta.url));
  return new Promise((resolve, reject) => {
    const argv = [...main, ...words, '--help'];
    execFile(process.execPath, argv, { cwd: root }, (error, stdout) =>
      error === null ? resolve(stdout) : reject(error),
    );
  });
}
