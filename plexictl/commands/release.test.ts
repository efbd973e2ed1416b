/**
 * `plexictl release` as an operator uses it, on real folders: a release is built, listed in the order
 * of versions, and refused where the words or the folder are wrong.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { inForm, type OutputFormat } from '../context.js';
import { registerRelease } from './release.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-release-command-'));
const repository = join(folder, 'releases');
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs one command line and returns what it printed. */
async function run(format: OutputFormat, ...words: string[]): Promise<string> {
  let printed = '';
  const context = {
    show: (document: object, asText: () => string): void => {
      printed += inForm(format, document, asText);
    },
  };
  const program = new Command('plexictl').version('9.9.9', '-V, --version');
  program.enablePositionalOptions().exitOverride();
  program.configureOutput({ writeErr: () => {} });
  registerRelease(program, context);
  await program.parseAsync(['release', ...words], { from: 'user' });
  return printed;
}

function source(version: string): string {
  const from = join(folder, `source-${version}`);
  mkdirSync(from, { recursive: true });
  writeFileSync(join(from, 'release.yml'), 'name: chat\nservice: {start: [node, server.mjs]}\n');
  writeFileSync(join(from, 'server.mjs'), `export const version = '${version}';\n`);
  writeFileSync(join(from, 'VERSION.txt'), `${version}\n`);
  return from;
}

function build(version: string, ...more: string[]): Promise<string> {
  return run(
    'text',
    'build',
    '--version',
    version,
    '--from',
    source(version),
    '--repository',
    repository,
    ...more,
  );
}

describe('plexictl release', () => {
  test('builds releases and lists them by version', async () => {
    for (const version of ['0a10', '0b1', '0a9', '1a1+2']) {
      assert.match(
        await build(version),
        new RegExp(`^${version.replace('+', '\\+')} published: 2 files, \\d+ bytes`),
      );
    }
    assert.match(await build('0b1'), /^0b1 is published already, with the same contents/);
    const json: unknown = JSON.parse(await run('json', 'list', '--repository', repository));
    assert.ok(
      typeof json === 'object' && json !== null && 'releases' in json && Array.isArray(json.releases),
    );
    // All numbers of major and minor come before the type: 0b1 is older than 0a9.
    assert.deepEqual(
      json.releases.map((release) => release.version),
      ['0b1', '0a9', '0a10', '1a1+2'],
    );
    const [first] = json.releases;
    assert.deepEqual(Object.keys(first), ['version', 'createdAt', 'sourceCommit', 'platforms', 'migrations']);
    assert.deepEqual(first.platforms, ['any/any']);
    const text = await run('text', 'list', '--repository', repository);
    assert.match(text, /^VERSION +BUILT +COMMIT +PLATFORMS +MIGRATIONS\n0b1 +20\d\d-/);
  });

  test('builds for a platform, as JSON', async () => {
    const words = [
      '--version',
      '2a1',
      '--from',
      source('2a1'),
      '--repository',
      repository,
      '--platform',
      'linux/x64',
    ];
    const { release } = JSON.parse(await run('json', 'build', ...words));
    assert.equal(release.version, '2a1');
    assert.equal(release.archive.platform, 'linux/x64');
    assert.equal(release.archive.file, 'chat-2a1-linux-x64.tar.gz');
    assert.equal(release.already, false);
  });

  test('refuses wrong words, versions and folders with a sentence', async () => {
    const refused = async (work: Promise<string>, code: string): Promise<void> => {
      await assert.rejects(work, (thrown) => thrown instanceof PlexiError && thrown.code === code);
    };
    await refused(build('0b1.5'), 'VERSION_INVALID');
    await refused(build('3a1', '--platform', 'linux'), 'USAGE');
    await refused(run('text', 'list', '--repository', join(folder, 'nothing')), 'RELEASE_NOT_FOUND');
    await refused(run('text', 'list', '--repository', 'ftp://127.0.0.1/x'), 'CONFIG_INVALID');
    const from = ['--from', source('0b1'), '--repository', repository];
    await refused(run('text', 'build', '--version', '0b2', ...from), 'RELEASE_INVALID');
    await assert.rejects(run('text', 'build', '--version', '0b2'), /required option '--from/);
  });
});
