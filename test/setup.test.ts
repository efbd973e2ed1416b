/**
 * Set-up is shared by everything that may run at the same time in one checkout: its lock lets one in at
 * a time, also after a holder was killed in the middle; the launchers say what is missing.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
let copy = '';

before(async () => {
  copy = await mkdtemp(join(tmpdir(), 'plexi-setup-'));
  for (const folder of ['bin', 'deploy/setup'])
    await cp(join(root, folder), join(copy, folder), { recursive: true });
  await writeFile(join(copy, 'package.json'), '{"type":"module"}\n');
});
after(() => rm(copy, { recursive: true, force: true }));

/** A program that holds the lock while it appends `in` and `out` to a file. */
async function lockHolder(work: string): Promise<string> {
  const file = join(copy, 'holder.mjs');
  await writeFile(
    file,
    `import { appendFileSync } from 'node:fs';
     import { setTimeout as delay } from 'node:timers/promises';
     import { withLock } from './deploy/setup/checkout.mjs';
     await withLock('test', async () => {
       appendFileSync(process.argv[2], 'in ');
       process.stdout.write('held');
       ${work}
       appendFileSync(process.argv[2], 'out ');
     });`,
  );
  return file;
}

describe('the lock of set-up', () => {
  test('lets one in at a time', async () => {
    const holder = await lockHolder('await delay(20);');
    const journal = join(copy, 'one-at-a-time');
    await Promise.all(Array.from({ length: 5 }, () => run(process.execPath, [holder, journal])));
    assert.equal(await readFile(journal, 'utf8'), 'in out '.repeat(5));
  });

  test('a holder that was killed holds nobody up', async () => {
    const holder = await lockHolder('if (process.argv[3]) await delay(600_000);');
    const journal = join(copy, 'killed');
    const killed = spawn(process.execPath, [holder, journal, 'stay'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(killed.stdout, 'data');
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    await Promise.all(Array.from({ length: 4 }, () => run(process.execPath, [holder, journal])));
    assert.equal(await readFile(journal, 'utf8'), `in ${'in out '.repeat(4)}`);
  });
});

describe('the launchers', () => {
  const programs = {
    plexictl: 'plexictl',
    'plexi-controller': 'controller',
    'plexi-node-agent': 'node-agent',
  };

  for (const [program, room] of Object.entries(programs)) {
    test(`${program} says what to do when it is not built, and runs through a link when it is`, async () => {
      const launcher = join(copy, 'bin', program);
      const failure: { code: number; stderr: string } = await run(launcher, []).then(
        () => assert.fail('it ran without being built'),
        (thrown) => thrown,
      );
      assert.equal(failure.code, 2);
      assert.match(failure.stderr, /is not built: .*main\.js is missing; run `npm ci && npm run build` in /);
      await mkdir(join(copy, 'dist', room), { recursive: true });
      await writeFile(
        join(copy, 'dist', room, 'main.js'),
        'process.stdout.write(process.argv.slice(2).join(" "));\n',
      );
      const link = join(copy, `linked-${program}`);
      await symlink(launcher, link);
      assert.equal((await run(link, ['--to', '0b1'])).stdout, '--to 0b1');
    });
  }
});
