/**
 * `plexictl certs` as an operator uses it, on real files: an authority, a certificate of it, and what
 * both are, in text and as JSON.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Command } from 'commander';
import type { PlexiError } from '../../config/errors.js';
import { readOwnIdentity } from '../../config/tls.js';
import { inForm, type OutputFormat, outputFormats } from '../context.js';
import { registerCerts } from './certs.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-certs-'));
const authority = join(folder, 'ca');
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs one command line and returns what it printed. */
async function run(...words: string[]): Promise<string> {
  let printed = '';
  const asked = words[words.indexOf('-o') + 1];
  const format: OutputFormat = words.includes('-o')
    ? (outputFormats.find((known) => known === asked) ?? 'text')
    : 'text';
  const context = {
    show: (document: object, asText: () => string): void => {
      printed += inForm(format, document, asText);
    },
  };
  const program = new Command('plexictl').exitOverride().configureOutput({ writeErr: () => {} });
  registerCerts(program, context);
  await program.parseAsync(['certs', ...words], { from: 'user' });
  return printed;
}

describe('plexictl certs', () => {
  test('init, issue and show', async () => {
    const init = await run('init', '--dir', authority, '--cluster', 'dev');
    assert.match(init, /^authority of cluster dev, valid until 20\d\d-/);
    assert.match(init, /ca\.key/);

    const issue = await run(
      'issue',
      '--dir',
      authority,
      '--role',
      'agent',
      '--name',
      'node-1',
      '--host',
      '10.0.0.1',
      '--host',
      'n1.example',
      '--days',
      '7',
      '--out',
      join(folder, 'n1'),
    );
    assert.match(issue, /^agent node-1 of cluster dev, valid until/);
    const files = {
      ca: join(folder, 'n1/ca.pem'),
      cert: join(folder, 'n1/node-1.pem'),
      key: join(folder, 'n1/node-1.key'),
    };
    assert.deepEqual(readdirSync(join(folder, 'n1')).sort(), ['ca.pem', 'node-1.key', 'node-1.pem']);
    assert.deepEqual(readOwnIdentity(files), { cluster: 'dev', role: 'agent', name: 'node-1' });

    const shown: unknown = JSON.parse(await run('show', files.cert, join(authority, 'ca.pem'), '-o', 'json'));
    assert.ok(
      typeof shown === 'object' &&
        shown !== null &&
        'certificates' in shown &&
        Array.isArray(shown.certificates),
    );
    const [leaf, ca] = shown.certificates;
    assert.equal(leaf.cluster, 'dev');
    assert.equal(leaf.role, 'agent');
    assert.equal(leaf.name, 'node-1');
    assert.equal(leaf.daysLeft, 6);
    assert.deepEqual(leaf.hosts, ['node-1.agent.dev.plexi', '10.0.0.1', 'n1.example']);
    assert.match(leaf.fingerprint, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    assert.equal(ca.isAuthority, true);
    assert.equal(ca.role, null);

    const text = await run('show', files.cert);
    for (const part of [
      'node-1.pem',
      'role         agent',
      'cluster      dev',
      '6 days left',
      leaf.fingerprint,
    ]) {
      assert.ok(text.includes(part), `${part} in ${text}`);
    }
  });

  test('a second certificate may go to the same folder; a name is not replaced', async () => {
    const words = [
      'issue',
      '--dir',
      authority,
      '--role',
      'viewer',
      '--name',
      'desk',
      '--out',
      join(folder, 'n1'),
    ];
    await run(...words);
    await assert.rejects(run(...words), (error: PlexiError) => error.code === 'CONFLICT');
  });

  test('wrong words are refused', async () => {
    const issue = ['issue', '--dir', authority, '--name', 'x'];
    await assert.rejects(run(...issue, '--role', 'root'), /invalid|Allowed choices/);
    await assert.rejects(
      run(...issue, '--role', 'agent', '--days', '91'),
      (error: PlexiError) => error.code === 'USAGE',
    );
    await assert.rejects(
      run('issue', '--dir', folder, '--role', 'agent', '--name', 'x'),
      (error: PlexiError) => error.code === 'CONFIG_INVALID',
    );
    await assert.rejects(
      run('show', join(folder, 'none.pem')),
      (error: PlexiError) => error.code === 'CONFIG_INVALID',
    );
    await assert.rejects(
      run('init', '--dir', authority, '--cluster', 'dev'),
      (error: PlexiError) => error.code === 'CONFLICT',
    );
  });
});
