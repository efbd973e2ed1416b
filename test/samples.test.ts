/**
 * The samples are complete and can be used as they are: every key of the schema stands in its sample
 * below a comment, all of it loads, and with certificates issued as the samples say the real programs
 * call them fine. A start refuses what `--check-config` refuses, in the same words.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createAuthority, issueCertificate } from '../config/certificate-authority.js';
import {
  loadClientConfig,
  loadControllerConfig,
  loadNodeAgentConfig,
  loadUpdateConfig,
} from '../config/load.js';
import { clientSchema } from '../config/schema/client.js';
import { controllerSchema } from '../config/schema/controller.js';
import { schemaKeys } from '../config/schema/keys.js';
import { nodeAgentSchema } from '../config/schema/node-agent.js';
import { updateSchema } from '../config/schema/update.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const samples = [
  { name: 'controller.yml', schema: controllerSchema('/'), load: loadControllerConfig },
  { name: 'update.yml', schema: updateSchema, load: loadUpdateConfig },
  { name: 'node-agent.yml', schema: nodeAgentSchema('/'), load: loadNodeAgentConfig },
  { name: 'client.yml', schema: clientSchema('/'), load: loadClientConfig },
];

/** Parts of a sample that stand instead of one another. */
const alternativesOf: Readonly<Record<string, readonly string[]>> = {
  'node-agent.yml': ['service', 'services'],
  'client.yml': ['controllers|tls', 'contexts|current_context'],
};

const folder = mkdtempSync(join(tmpdir(), 'plexi-samples-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function sample(name: string): string {
  return readFileSync(join(root, 'config/samples', name), 'utf8');
}

/** A sample's text with everything put in that is left out: `#key:` becomes `key:`. */
function allPutIn(name: string): string {
  return sample(name).replace(/^( *)#(?=- |[A-Za-z_]+:)/gm, '$1');
}

/** The text without the parts (up to an empty line) that hold such a key at the beginning of a line. */
function without(text: string, keys: string): string {
  return text
    .split('\n\n')
    .filter((part) => !new RegExp(`^(${keys}):`, 'm').test(part))
    .join('\n\n');
}

interface SampleKey {
  readonly text: string;
  readonly line: number;
  readonly hasComment: boolean;
}

/** The keys of a sample by their indentation, also of what is left out. */
function keysIn(text: string): SampleKey[] {
  const keys: SampleKey[] = [];
  let above: { indent: number; path: string }[] = [];
  const lines = text.split('\n');
  for (const [at, line] of lines.entries()) {
    const match = /^( *)#?(- )?([A-Za-z_]+):( |$)/.exec(line);
    if (match === null) continue;
    const [, spaces = '', dash = '', name = ''] = match;
    const indent = spaces.length + dash.length;
    above = above.filter((group) => group.indent < indent);
    const group = above.at(-1);
    const isEntry = dash !== '' || group?.path.endsWith('[]') === true;
    if (dash !== '' && group !== undefined)
      above = [...above.slice(0, -1), { indent: group.indent, path: `${group.path.replace(/\[\]$/, '')}[]` }];
    const parent = above.at(-1)?.path;
    const path = parent === undefined ? name : `${parent}.${name}`;
    assert.ok(parent !== undefined || !isEntry, `${at + 1}: an entry of no list`);
    above.push({ indent, path });
    keys.push({ text: path, line: at + 1, hasComment: /^ *# /.test(lines[at - 1] ?? '') });
  }
  return keys;
}

describe('each sample', () => {
  for (const { name, schema, load } of samples) {
    test(`${name} has every key of the schema and no other, each below a comment`, () => {
      const found = keysIn(sample(name));
      const operatorNames = /(^secrets|^contexts|env|labels)\.[A-Za-z_]+/;
      const texts = found.map((key) => key.text.replace(operatorNames, '$1.NAME'));
      // What each adapter has is shown once, under `services`.
      const shown = new Set([
        ...texts,
        ...texts.map((text) => text.replace(/^services\[\]\.(?!name$)/, 'service.')),
      ]);
      const known = schemaKeys(schema).map((key) => key.text);
      assert.deepEqual([...shown].sort(), known.sort());
      assert.deepEqual(
        found.filter((key) => !key.hasComment),
        [],
      );
    });

    test(`${name} loads as it is, and with everything put in`, () => {
      cpSync(join(root, 'config/samples/update.yml'), join(folder, 'update.yml'));
      const whole = allPutIn(name);
      const alternatives = alternativesOf[name] ?? [];
      const isChoice = alternatives.every((keys) => new RegExp(`^(${keys}):`, 'm').test(whole));
      const texts = isChoice ? alternatives.map((keys) => without(whole, keys)) : [];
      if (texts.length === 0) texts.push(whole);
      for (const text of [sample(name), ...texts]) {
        writeFileSync(join(folder, name), text);
        load(join(folder, name));
      }
    });
  }

  test('that lacks a comment or a key would be found', () => {
    const text = sample('update.yml').replace(/^ *# age on or off.\n/m, '');
    assert.deepEqual(
      keysIn(text)
        .filter((key) => !key.hasComment)
        .map((key) => key.text),
      ['update_system.backup.encryption'],
    );
    assert.ok(keysIn(sample('node-agent.yml')).some((key) => key.text === 'probes[].tls.server_name'));
  });
});

describe('the programs, with certificates issued as the samples say', { concurrency: 2 }, () => {
  const work = join(folder, 'work');
  before(async () => {
    cpSync(join(root, 'config/samples'), work, { recursive: true });
    await createAuthority(join(folder, 'pki'), { cluster: 'production' });
    await createAuthority(join(folder, 'etcd-pki'), { cluster: 'etcd' });
    for (const [role, name] of [
      ['controller', 'controller-0'],
      ['agent', 'node-1'],
      ['operator', 'operations'],
    ] as const)
      await issueCertificate(join(folder, 'pki'), {
        identity: { cluster: 'production', role, name },
        hosts: ['10.0.0.11'],
        out: outFiles(name, 'ca'),
      });
    await issueCertificate(join(folder, 'etcd-pki'), {
      commonName: 'etcd-client',
      hosts: [],
      out: outFiles('etcd-client', 'etcd-ca'),
    });
  });

  function outFiles(name: string, ca: string) {
    const file = (end: string): string => join(work, 'tls', end);
    return { cert: file(`${name}.pem`), key: file(`${name}.key`), ca: file(`${ca}.pem`) };
  }

  for (const [program, name] of [
    ['plexi-controller', 'controller.yml'],
    ['plexi-node-agent', 'node-agent.yml'],
  ] as const) {
    test(`${program} --check-config calls its sample fine, writes nothing and ends`, async () => {
      const file = join(work, name);
      assert.deepEqual(await run(program, '--config', file, '--check-config'), {
        exitCode: 0,
        stdout: `${file}: fine\n`,
        stderr: '',
      });
    });

    test(`${program} tells its version, and ends with 2 after wrong words`, async () => {
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
      assert.deepEqual(await run(program, '--version'), {
        exitCode: 0,
        stdout: `${version}\n`,
        stderr: '',
      });
      const wrong = await run(program, '--config', 'x', '--chek-config');
      assert.deepEqual([wrong.exitCode, wrong.stdout], [2, '']);
      assert.match(wrong.stderr, /unknown option '--chek-config'\n\(Did you mean --check-config\?\)/);
    });

    test(`${program} says at a start what --check-config says, and ends with 2`, async () => {
      const file = join(work, `wrong-${name}`);
      writeFileSync(
        file,
        sample(name)
          .replace('log:', 'lok:')
          .replace(/key: tls\/\S+/, 'key: tls/none.key'),
      );
      const checked = await run(program, '--config', file, '--check-config');
      assert.deepEqual([checked.exitCode, checked.stdout], [2, '']);
      assert.match(
        checked.stderr,
        /: 2 problems in the configuration:\n.*:\d+: tls\.key: .*\n.*:\d+: lok: .*did you mean log\?/,
      );
      assert.deepEqual(await run(program, '--config', file), checked);
    });
  }

  test('a node agent with several services, every probe and a secret is fine', async () => {
    const file = join(work, 'whole.yml');
    writeFileSync(file, without(allPutIn('node-agent.yml'), 'service'));
    cpSync(join(work, 'tls/ca.pem'), join(work, 'tls/service-ca.pem'));
    mkdirSync(join(work, 'secrets'));
    writeFileSync(join(work, 'secrets/db-password'), 'swordfish\n', { mode: 0o600 });
    const { exitCode, stdout } = await run('plexi-node-agent', '--config', file, '--check-config');
    assert.deepEqual([exitCode, stdout], [0, `${file}: fine\n`]);
  });

  test('plexictl gets as far as the controllers with the sample of the client', async () => {
    const file = join(work, 'client.yml');
    const { exitCode, stderr } = await run(
      'plexictl',
      'nodes',
      '--config',
      file,
      '--controller',
      '127.0.0.1:1',
    );
    assert.equal(exitCode, 6, stderr);
  });
});

function run(program: string, ...words: string[]) {
  const argv = [join(root, 'bin', program), ...words];
  return new Promise<{ exitCode: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, argv, { timeout: 60_000 }, (_error, stdout, stderr) =>
      resolve({ exitCode: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}
