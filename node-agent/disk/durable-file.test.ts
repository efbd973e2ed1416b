import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { loader } from '../../test/loader.test.part.js';
import {
  createDurably,
  ensureFolder,
  moveDurably,
  readBounded,
  removeDurably,
  removeLinkDurably,
  removeTreeDurably,
  setLinksDurably,
  swapLinkDurably,
  sweepTemporary,
  writeDurably,
} from './durable-file.js';
import { writeStreamDurably } from './durable-stream.js';
import { asPlainUser } from './plain-user.test.part.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-disk-'));
});
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true, force: true });
});
const at = (name: string) => join(folder, name);

describe('a durable file', () => {
  test('is made, replaced and removed, and leaves no other name', async () => {
    await writeDurably(at('a'), 'one');
    await writeDurably(at('a'), Buffer.from('two'), { mode: 0o640 });
    assert.equal(readFileSync(at('a'), 'utf8'), 'two');
    assert.equal(statSync(at('a')).mode & 0o777, 0o640);
    assert.deepEqual(readdirSync(folder), ['a']);
    assert.equal(await removeDurably(at('a')), true);
    assert.equal(await removeDurably(at('a')), false);
  });

  test('that cannot get its name leaves the folder as it was', async () => {
    mkdirSync(at('taken'));
    await assert.rejects(writeDurably(at('taken'), 'x'), { code: 'EISDIR' });
    await assert.rejects(createDurably(at('taken'), 'x'), { code: 'EEXIST' });
    assert.deepEqual(readdirSync(folder), ['taken']);
  });

  test('whose folder goes while it is flushed is told as missing, and nothing is left', async () => {
    mkdirSync(at('sub'));
    const writing = writeDurably(join(at('sub'), 'a'), 'x');
    // Until here it has opened and written, and waits for the flush.
    rmSync(at('sub'), { recursive: true });
    await assert.rejects(writing, { code: 'ENOENT', syscall: 'rename' });
    assert.deepEqual(readdirSync(folder), []);
  });

  test('that the system cuts short keeps its old content, and leaves no other name', async () => {
    await writeDurably(at('a'), 'old');
    await withFileSizeMax(4_096, () =>
      assert.rejects(writeDurably(at('a'), Buffer.alloc(10_000)), { code: 'EFBIG' }),
    );
    assert.equal(readFileSync(at('a'), 'utf8'), 'old');
    assert.deepEqual(readdirSync(folder), ['a']);
  });

  test('is removed only where it is one: what is a folder is told, and stays', async () => {
    mkdirSync(at('sub'));
    await assert.rejects(removeDurably(at('sub')), /EISDIR|EPERM/);
    assert.deepEqual(readdirSync(folder), ['sub']);
  });

  test('is private unless told otherwise', async () => {
    await writeDurably(at('a'), 'x');
    await createDurably(at('b'), 'x');
    assert.equal(statSync(at('a')).mode & 0o777, 0o600);
    assert.equal(statSync(at('b')).mode & 0o777, 0o600);
  });

  test('is created once: of many writers one wins, and its content stays', async () => {
    const tries = Array.from({ length: 20 }, (_, index) => createDurably(at('one'), `writer ${index}`));
    const outcomes = await Promise.allSettled(tries);
    const winners = outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []));
    assert.equal(winners.length, 1);
    assert.equal(readFileSync(at('one'), 'utf8'), `writer ${winners[0]}`);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'EEXIST');
    }
    assert.deepEqual(readdirSync(folder), ['one']);
  });

  test('whose name could not be made to last has none: the next try meets a free one', async () => {
    const sub = at('sub');
    mkdirSync(sub);
    await asPlainUser([folder, sub], async () => {
      // A folder that takes names, and cannot be opened to be flushed.
      chmodSync(sub, 0o300);
      await assert.rejects(createDurably(join(sub, 'a'), 'x'), { code: 'EACCES', syscall: 'open' });
      chmodSync(sub, 0o700);
      assert.deepEqual(readdirSync(sub), []);
      await createDurably(join(sub, 'a'), 'x');
      assert.deepEqual(readdirSync(sub), ['a']);
    });
  });

  test('is flushed before it gets its name, and the folder after it', (t) => {
    if (spawnSync('strace', ['-V']).error !== undefined) return t.skip('strace is not installed');
    const program = `import { writeDurably } from '${new URL('./durable-file.ts', import.meta.url).href}';
      await writeDurably('${at('state')}', 'content');`;
    const traced = spawnSync(
      'strace',
      [
        '-f',
        '-y',
        '-o',
        at('trace'),
        '-e',
        'trace=fsync,rename',
        process.execPath,
        ...loader,
        '--input-type=module',
        '-e',
        program,
      ],
      { encoding: 'utf8' },
    );
    assert.equal(traced.status, 0, traced.stderr);
    const calls = readFileSync(at('trace'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(folder) && !line.includes('resumed'))
      .map((line) =>
        line.includes('rename(') ? 'rename' : line.includes('.tmp-') ? 'fsync file' : 'fsync folder',
      );
    assert.deepEqual(calls, ['fsync file', 'rename', 'fsync folder']);
  });
});

describe('reading', () => {
  test('gives undefined for an absent file, all of one within the bound, and an error above it', async () => {
    assert.equal(await readBounded(at('none'), 10), undefined);
    writeFileSync(at('ten'), '0123456789');
    assert.equal((await readBounded(at('ten'), 10))?.toString(), '0123456789');
    await assert.rejects(readBounded(at('ten'), 9), {
      code: 'LIMIT_EXCEEDED',
      message: /more than 9 bytes/,
    });
    writeFileSync(at('empty'), '');
    assert.equal((await readBounded(at('empty'), 0))?.length, 0);
  });

  test('bounds a file that tells no size, and refuses a pipe without waiting for its writer', async () => {
    assert.match(String(await readBounded('/proc/version', 1_000)), /^Linux/);
    await assert.rejects(readBounded('/proc/version', 5), { code: 'LIMIT_EXCEEDED' });
    assert.equal(spawnSync('mkfifo', [at('pipe')]).status, 0);
    await assert.rejects(readBounded(at('pipe'), 10), {
      code: 'LIMIT_EXCEEDED',
      message: /not a regular file/,
    });
  });
});

describe('folders and links', () => {
  test('a new folder gets its mode whatever the umask; an existing one keeps its own', async () => {
    const umask = process.umask(0o077);
    try {
      await ensureFolder(at('a/b/c'), 0o755);
    } finally {
      process.umask(umask);
    }
    assert.equal(statSync(at('a/b/c')).mode & 0o777, 0o755);
    await ensureFolder(at('a/b'), 0o700);
    assert.equal(statSync(at('a/b')).mode & 0o777, 0o755);
    writeFileSync(at('file'), '');
    await assert.rejects(ensureFolder(at('file'), 0o700), { code: 'ENOTDIR' });
  });

  test('a folder below a file is refused, and so is a link in the place of a folder', async () => {
    writeFileSync(at('file'), '');
    await assert.rejects(ensureFolder(join(at('file'), 'sub'), 0o700), { code: 'ENOTDIR' });
    mkdirSync(at('taken'));
    await assert.rejects(swapLinkDurably(at('taken'), 'target'), { code: 'EISDIR' });
    assert.deepEqual(readdirSync(folder).sort(), ['file', 'taken']);
  });

  test('a link is made and swapped, and removed without its target', async () => {
    mkdirSync(at('releases'));
    await swapLinkDurably(at('current'), 'releases/one');
    await swapLinkDurably(at('current'), 'releases');
    assert.equal(readlinkSync(at('current')), 'releases');
    assert.equal(await removeLinkDurably(at('current')), true);
    assert.equal(await removeLinkDurably(at('current')), false);
    assert.deepEqual(readdirSync(folder), ['releases']);
  });

  test('links of one folder are set together, in order, and those without a target are gone', async () => {
    await setLinksDurably(folder, [
      ['previous', 'releases/one'],
      ['trial', 'releases/two'],
    ]);
    mkdirSync(at('current'));
    const failing = setLinksDurably(folder, [
      ['previous', 'releases/two'],
      ['current', 'releases/two'],
      ['trial', undefined],
    ]);
    await assert.rejects(failing, { code: 'EISDIR' });
    assert.equal(readlinkSync(at('previous')), 'releases/two');
    assert.equal(readlinkSync(at('trial')), 'releases/two');
    await setLinksDurably(folder, [
      ['trial', undefined],
      ['gone', undefined],
    ]);
    assert.deepEqual(readdirSync(folder).sort(), ['current', 'previous']);
  });

  test('a tree is moved and removed; an absent one is no error', async () => {
    mkdirSync(at('from/deep'), { recursive: true });
    mkdirSync(at('to'));
    await moveDurably(at('from'), at('to/here'));
    assert.deepEqual(readdirSync(at('to/here')), ['deep']);
    await removeTreeDurably(at('to'));
    await removeTreeDurably(at('to'));
    assert.deepEqual(readdirSync(folder), []);
  });

  test('the sweep removes what a crash left, and nothing else', async () => {
    writeFileSync(at('.tmp-abc'), 'half');
    symlinkSync('nowhere', at('.tmp-link'));
    writeFileSync(at('kept'), '');
    assert.deepEqual((await sweepTemporary(folder)).sort(), ['.tmp-abc', '.tmp-link']);
    assert.deepEqual(readdirSync(folder), ['kept']);
  });
});

/** While it works the system refuses to let a file of this process grow beyond a length in bytes, as a full disk does. */
async function withFileSizeMax(bytes: number, work: () => Promise<void>): Promise<void> {
  // Without a handler the signal that comes with the refusal ends the process.
  const onSignal = () => undefined;
  process.on('SIGXFSZ', onSignal);
  const limit = (soft: string) => execFileSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${soft}:`]);
  try {
    limit(`${bytes}`);
    await work();
  } finally {
    limit('unlimited');
    process.off('SIGXFSZ', onSignal);
  }
}

describe('a durable stream', () => {
  test('that the system cuts short in the middle of a write is told, and leaves no name', async () => {
    async function* pieces() {
      for (let index = 0; index < 20; index++) yield Buffer.alloc(100_000, index);
    }
    await withFileSizeMax(150_000, () =>
      assert.rejects(writeStreamDurably(at('long'), pieces()), { code: 'EFBIG' }),
    );
    assert.deepEqual(readdirSync(folder), []);
  });

  test('passes over pieces without a byte', async () => {
    async function* pieces() {
      for (const text of ['', 'one', '', '', 'two', '']) yield Buffer.from(text);
    }
    await writeStreamDurably(at('short'), pieces(), { mode: 0o644 });
    assert.equal(readFileSync(at('short'), 'utf8'), 'onetwo');
    assert.equal(statSync(at('short')).mode & 0o777, 0o644);
  });

  test('gets its name only when it is whole', async () => {
    async function* pieces(fails: boolean) {
      for (let index = 0; index < 40; index++) yield Buffer.alloc(100_000, index);
      assert.deepEqual(readdirSync(folder), ['long.part']);
      if (fails) throw new Error('the source broke');
    }
    await assert.rejects(writeStreamDurably(at('long'), pieces(true)), /the source broke/);
    assert.deepEqual(readdirSync(folder), []);
    await writeStreamDurably(at('long'), pieces(false));
    const bytes = readFileSync(at('long'));
    assert.equal(bytes.length, 4_000_000);
    for (let index = 0; index < 40; index++) assert.equal(bytes[index * 100_000], index);
  });
});
