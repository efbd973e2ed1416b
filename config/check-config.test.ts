/**
 * What `--check-config` and a start look at: real certificates of a real authority, real files with
 * their modes. All problems come at once, each at the key that names the file, and none holds a secret.
 */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { createAuthority, issueCertificate } from './certificate-authority.js';
import { checkControllerConfig, checkNodeAgentConfig, fineOrThrow, mayPassSentence } from './check-config.js';
import type { Role } from './identity.js';
import { limits } from './limits.js';
import { ConfigInvalidError } from './problems.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-check-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const secret = 'correct horse battery staple';
const secretFile = join(folder, 'db-password');
const controllerFile = join(folder, 'controller.yml');
const agentFile = join(folder, 'node-agent.yml');

before(async () => {
  for (const [pki, cluster] of [
    ['pki', 'production'],
    ['other-pki', 'production'],
  ] as const)
    await createAuthority(join(folder, pki), { cluster });
  await issue('pki', 'controller', 'controller-0');
  await issue('pki', 'agent', 'node-1');
  await issue('pki', 'agent', 'node-2');
  await issue('other-pki', 'agent', 'stranger');
  await issueCertificate(join(folder, 'pki'), {
    commonName: 'etcd-client',
    hosts: [],
    out: { cert: join(folder, 'etcd.pem'), key: join(folder, 'etcd.key') },
  });
  mkdirSync(join(folder, 'releases'));
});

beforeEach(() => writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 }));

async function issue(pki: string, role: Role, name: string): Promise<void> {
  await issueCertificate(join(folder, pki), {
    identity: { cluster: 'production', role, name },
    hosts: ['127.0.0.1'],
    out: { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) },
  });
}

/** Writes a controller.yml, with the words replaced, and returns what is wrong with it. */
function controller(changes: Record<string, string> = {}): string[] {
  const text = `cluster: production
id: controller-0
listen: 127.0.0.1:7400
tls:
  ca: pki/ca.pem
  cert: controller-0.pem
  key: controller-0.key
etcd:
  endpoints: ["https://127.0.0.1:2379"]
  tls:
    ca: pki/ca.pem
    cert: etcd.pem
    key: etcd.key
repository: releases
`;
  writeFileSync(controllerFile, replaced(text, changes));
  return problemsOf(() => fineOrThrow(controllerFile, checkControllerConfig(controllerFile)));
}

function agent(changes: Record<string, string> = {}): string[] {
  const text = `cluster: production
node: node-1
root: root
listen: 127.0.0.1:7500
controllers: ["127.0.0.1:7400"]
tls:
  ca: pki/ca.pem
  cert: node-1.pem
  key: node-1.key
repository: releases
service: {adapter: process}
probes:
  - {kind: grpc, address: "127.0.0.1:1", tls: {ca: pki/ca.pem}}
secrets:
  DB_PASSWORD:
    file: db-password
`;
  writeFileSync(agentFile, replaced(text, changes));
  return problemsOf(() => fineOrThrow(agentFile, checkNodeAgentConfig(agentFile)));
}

function replaced(text: string, changes: Record<string, string>): string {
  return Object.entries(changes).reduce((all, [from, to]) => {
    assert.ok(all.includes(from), from);
    return all.replace(from, to);
  }, text);
}

function problemsOf(check: () => string): string[] {
  try {
    assert.match(check(), /: fine\n$/);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigInvalidError, error instanceof Error ? error.stack : String(error));
    assert.equal(error.exitCode, 2);
    assert.ok(!error.message.includes(secret), 'a secret is never told');
    return error.problems.map(({ line, key, message }) => `${line}: ${key}: ${message}`);
  }
}

describe('a controller', () => {
  test('whose files are all there is fine', () => assert.deepEqual(controller(), []));

  test('missing files, wrong keys and a missing repository come together, each at its key', () => {
    const found = controller({
      'key: controller-0.key': 'key: none.key',
      'ca: pki/ca.pem\n    cert': 'ca: db-password\n    cert',
      'repository: releases': 'repository: nowhere',
      'listen: 127.0.0.1:7400': 'listn: 127.0.0.1:7400',
    });
    assert.deepEqual(found.map((line) => line.split(': ').slice(0, 2).join(' ')).sort(), [
      '1 listen',
      '11 etcd.tls.ca',
      '14 repository',
      '3 listn',
      '7 tls.key',
    ]);
    assert.match(found.join('\n'), /tls\.key: .*none\.key: does not exist; issue a certificate/);
    assert.match(found.join('\n'), /etcd\.tls\.ca: .*db-password: holds no PEM certificate/);
    assert.match(
      found.join('\n'),
      /repository: .*nowhere does not exist; make it with 'plexictl release build --repository [^ ]*nowhere …'/,
    );
  });

  test('with the key of another certificate, and with a certificate for somebody else', () => {
    assert.match(
      controller({ 'key: controller-0.key': 'key: etcd.key' }).join('\n'),
      /^6: tls\.cert: .*etcd\.key is not the key of .*controller-0\.pem/,
    );
    assert.match(
      controller({
        'cert: controller-0.pem': 'cert: node-1.pem',
        'key: controller-0.key': 'key: node-1.key',
      }).join(),
      /names agent node-1 of cluster production, not controller controller-0 of cluster production/,
    );
    assert.match(
      controller({ 'id: controller-0': 'id: controller-1' }).join('\n'),
      /names controller controller-0 of cluster production, not controller controller-1/,
    );
    assert.match(
      controller({
        'cert: controller-0.pem': 'cert: etcd.pem',
        'key: controller-0.key': 'key: etcd.key',
      }).join(),
      /names no plexi identity .* must name controller controller-0/,
    );
  });

  test('a repository behind a URL is not asked', () => {
    assert.deepEqual(controller({ 'repository: releases': 'repository: https://releases.example.net' }), []);
  });

  test('a repository that is a file', () => {
    assert.match(controller({ 'repository: releases': 'repository: etcd.pem' }).join('\n'), /is no folder/);
  });
});

describe('a node agent', () => {
  test('whose files are all there is fine', () => assert.deepEqual(agent(), []));

  test('with a certificate of another authority', () => {
    assert.match(
      agent({ 'cert: node-1.pem': 'cert: stranger.pem', 'key: node-1.key': 'key: stranger.key' }).join('\n'),
      /was not signed by the authority in .*\n.*names agent stranger/,
    );
  });

  test('with the certificate of another node', () => {
    assert.match(
      agent({ 'cert: node-1.pem': 'cert: node-2.pem', 'key: node-1.key': 'key: node-2.key' }).join('\n'),
      /^8: tls\.cert: .* names agent node-2 of cluster production, not agent node-1/,
    );
  });

  test("a grpc probe's authority that is missing", () => {
    assert.match(
      agent({ 'tls: {ca: pki/ca.pem}': 'tls: {ca: none.pem}' }).join('\n'),
      /^13: probes\[0\]\.tls\.ca: .*none\.pem: does not exist/,
    );
  });

  test('a secret that others may read', () => {
    chmodSync(secretFile, 0o640);
    assert.match(agent().join('\n'), /^16: secrets\.DB_PASSWORD\.file: .* has mode 0640, .*run 'chmod 600 /);
  });

  test('a secret of somebody else', (context) => {
    if (process.getuid?.() !== 0) return context.skip('only root can give a file away');
    chownSync(secretFile, 65_534, 65_534);
    assert.match(agent().join('\n'), /belongs to user 65534, not to root or to this user; run 'chown/);
    rmSync(secretFile);
  });

  test('a secret that is missing, empty, too big, or a folder', () => {
    writeFileSync(secretFile, '');
    assert.match(agent().join('\n'), /is empty/);
    writeFileSync(secretFile, 'x'.repeat(limits.secretBytes + 1));
    assert.match(agent().join('\n'), /is bigger than/);
    rmSync(secretFile);
    assert.match(agent().join('\n'), /db-password does not exist/);
    assert.match(agent({ 'file: db-password': 'file: releases' }).join('\n'), /is not a regular file/);
  });

  test('starts without its repository and its secret, and says so; it does not start without its key', () => {
    rmSync(secretFile);
    agent({ 'repository: releases': 'repository: nowhere' });
    const { config, mayPass } = checkNodeAgentConfig(agentFile);
    assert.equal(config.node, 'node-1');
    assert.match(mayPassSentence(mayPass) ?? '', /2 problems .*\n.*:10: repository: .*\n.*:16: secrets\./);
    agent({ 'key: node-1.key': 'key: none.key' });
    assert.throws(() => checkNodeAgentConfig(agentFile), /:9: tls\.key: .*\n.*:16: secrets\.DB_PASSWORD/);
  });
});
