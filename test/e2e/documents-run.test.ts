/**
 * The walk-throughs are run as they stand: every block of a document in its order, in one shell, as a new
 * user pastes them. A block of text after a block of commands says what these print, line by line; each
 * line must occur in it. The ports in the documents are fixed ones, so each document has a network
 * namespace of its own; without the right to make one the test is skipped and says so.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** A document must be through after this many milliseconds. */
const deadlineMs = 240_000;

interface Block {
  readonly commands: string;
  /** Each of them must occur in what the commands print. */
  readonly prints: readonly string[];
}

/** The blocks of a document that a shell runs, each with what it is said to print. */
function blocksOf(text: string): Block[] {
  const fences = [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)];
  return fences.flatMap(([, kind, commands = ''], at) => {
    const next = fences[at + 1];
    const prints = next?.[1] === 'text' ? (next[2] ?? '').trim().split('\n') : [];
    return kind === 'sh' ? [{ commands, prints: prints.map((line) => line.trim()) }] : [];
  });
}

/** One script of all blocks; a line on stdout tells where each ends. */
function scriptOf(blocks: readonly Block[], change: (commands: string) => string): string {
  const parts = blocks.map(
    ({ commands }, at) =>
      `${change(commands)}\nset +x 2>/dev/null; printf '\n=== block ${at + 1} is over\n'\n`,
  );
  return `set -em\nip link set lo up\ncd '${root}'\n${parts.join('')}`;
}

/** What is missing here for a document to be run; undefined: nothing. */
function missing(): string | undefined {
  const without = ['unshare', 'ip', 'curl', 'pgrep', 'setsid'].filter(
    (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
  );
  if (without.length > 0) return `${without.join(', ')} missing`;
  return spawnSync('unshare', ['-n', '-p', '-f', 'true']).status === 0
    ? undefined
    : 'no right to make a network namespace';
}

function blocksIn(document: string): Block[] {
  return blocksOf(readFileSync(join(root, document), 'utf8'));
}

async function run(document: string, blocks: readonly Block[], folderInText: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'plexi-document-'));
  const script = scriptOf(blocks, (commands) =>
    commands
      .replace('npm ci && npm run build && ', '')
      // A test has no terminal to confirm on, and a comment that names an exit code is a promise.
      .replace(/(plexictl rollout --to \w+( --max-concurrent 2)?)$/gm, '$1 --yes')
      .replace(/^(.*?)\s+#.* exit (\d+).*$/gm, '$1 || test $? = $2')
      .replace(`mkdir ${folderInText}\n`, '')
      .replaceAll(folderInText, folder),
  );
  // A namespace of process ids too: whatever a block left behind ends with its shell.
  const shell = spawn('unshare', ['-n', '-p', '-f', '--mount-proc', 'bash', '-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', HOME: folder },
  });
  let printed = '';
  for (const stream of [shell.stdout, shell.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  const timer = setTimeout(() => shell.kill('SIGKILL'), deadlineMs);
  try {
    const code = await new Promise((resolve) => shell.once('close', resolve));
    const told = printed.split(/^=== block \d+ is over$/m);
    for (const [at, { commands, prints }] of blocks.entries()) {
      const isOver = told.length > at + 1;
      assert.ok(
        isOver,
        `block ${at + 1} of ${document} failed:\n${commands}\n---\n${told[at]?.slice(-4_000)}`,
      );
      for (const line of prints) {
        const words = line.split(/\s{2,}/);
        const isThere = (told[at] ?? '')
          .split('\n')
          .some((text) => words.every((word) => text.includes(word)));
        assert.ok(isThere, `block ${at + 1} of ${document} does not print "${line}":\n${told[at]}`);
      }
    }
    assert.equal(code, 0, printed.slice(-2_000));
  } finally {
    clearTimeout(timer);
    rmSync(folder, { recursive: true, force: true });
  }
}

const isDeep = process.env.PLEXI_DEEP_MINUTES !== undefined;
const notHere = isDeep ? false : 'by design: in the deep run';

describe('run as they stand', { concurrency: 2, skip: missing() ?? false }, () => {
  test('docs/getting-started.md', () => {
    const document = 'docs/getting-started.md';
    return run(document, blocksIn(document), '/tmp/chat');
  });

  test('docs/adopting.md', () => {
    const document = 'docs/adopting.md';
    return run(document, blocksIn(document), '/tmp/adopting');
  });

  // The demo and the end-to-end tests start such a cluster too.
  test('README.md: a cluster to play with', { skip: notHere }, () => {
    const blocks = blocksIn('README.md').filter(({ commands }) => commands.includes('plexictl dev up'));
    assert.equal(blocks.length, 1);
    return run('README.md', blocks, '/tmp/plexi');
  });

  // The same ten lines, but for the names, are the beginning of docs/getting-started.md.
  test('README.md: a real cluster in ten lines', { skip: notHere }, () => {
    const [programs, files] = blocksIn('docs/getting-started.md');
    const [lines, ...rest] = blocksIn('README.md').filter(({ commands }) => commands.includes('certs init'));
    assert.ok(programs && files && lines && rest.length === 0);
    assert.equal(lines.commands.trim().split('\n').length, 10);
    return run('README.md', [programs, files, lines], '/tmp/chat');
  });
});

test('a document that is wrong is found', () => {
  const [first, second] = blocksOf(
    '```sh\ntrue\n```\ntext\n```text\none  two\n```\n```yaml\na: 1\n```\n```sh\nls\n```\n',
  );
  assert.deepEqual(
    [first, second],
    [
      { commands: 'true\n', prints: ['one  two'] },
      { commands: 'ls\n', prints: [] },
    ],
  );
});
