/**
 * Makes real certificates and reads them with Node's own parser. What is shown: what they say, how
 * long they last, who may read the key, and what the authority refuses to do.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  authorityCluster,
  createAuthority,
  describeCertificate,
  issueCertificate,
} from './certificate-authority.js';
import { type ErrorCode, PlexiError } from './errors.js';
import { readOwnIdentity } from './tls.js';

const dayMs = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), 'plexi-ca-'));
const authority = join(folder, 'ca');
after(() => rmSync(folder, { recursive: true, force: true }));
before(async () => {
  await createAuthority(authority, { cluster: 'dev' });
});

function outOf(name: string) {
  return { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
}

function load(file: string): X509Certificate {
  return new X509Certificate(readFileSync(file));
}

async function refused(work: Promise<unknown>, code: ErrorCode, words: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof PlexiError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, words);
    return true;
  });
}

const identity = { cluster: 'dev', role: 'agent', name: 'node-1' } as const;

describe('the authority', () => {
  test('says its cluster, signs itself, lasts ten years, and keeps its key to itself', () => {
    const ca = load(join(authority, 'ca.pem'));
    assert.equal(authorityCluster(authority), 'dev');
    assert.ok(ca.ca && ca.verify(ca.publicKey));
    const years = (Date.parse(ca.validTo) - Date.parse(ca.validFrom)) / dayMs / 365.25;
    assert.ok(years > 9.99 && years < 10.01, `${years} years`);
    assert.equal(statSync(join(authority, 'ca.key')).mode & 0o777, 0o600);
    assert.equal(statSync(join(authority, 'ca.pem')).mode & 0o777, 0o644);
    assert.equal(statSync(authority).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(authority).sort(), ['ca.key', 'ca.pem']);
  });

  test('is never replaced', async () => {
    const earlier = readFileSync(join(authority, 'ca.pem'), 'utf8');
    await refused(
      createAuthority(authority, { cluster: 'dev' }),
      'CONFLICT',
      /ca\.key, .*ca\.pem exists already/,
    );
    assert.equal(readFileSync(join(authority, 'ca.pem'), 'utf8'), earlier);
  });

  test('has a cluster with a proper name', async () => {
    await refused(
      createAuthority(join(folder, 'x'), { cluster: 'My Cluster' }),
      'USAGE',
      /cannot name a cluster/,
    );
  });
});

describe('a certificate', () => {
  test('says who, where, for what and for how long', async () => {
    const out = { ...outOf('node-1'), ca: join(folder, 'copy', 'ca.pem') };
    await issueCertificate(authority, {
      identity,
      hosts: ['10.0.0.1', '::1', 'node-1.example.net'],
      days: 30,
      out,
    });
    const certificate = load(out.cert);
    const names = certificate.subjectAltName ?? '';
    for (const name of [
      'URI:plexi://dev/agent/node-1',
      'DNS:node-1.agent.dev.plexi',
      'IP Address:10.0.0.1',
      'IP Address:0:0:0:0:0:0:0:1',
      'DNS:node-1.example.net',
    ]) {
      assert.ok(names.split(', ').includes(name), `${name} in ${names}`);
    }
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.equal(Date.parse(certificate.validTo) - Date.parse(certificate.validFrom), 30 * dayMs);
    assert.equal(certificate.ca, false);
    assert.ok(certificate.checkIssued(load(join(authority, 'ca.pem'))));
    assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.equal(statSync(out.key).mode & 0o777, 0o600);
    assert.equal(statSync(out.cert).mode & 0o777, 0o644);
    assert.deepEqual(readOwnIdentity({ ...out, ca: out.ca }), identity);
    const description = describeCertificate(out.cert);
    assert.deepEqual(description.identity, identity);
    assert.equal(description.daysLeft, 29);
    assert.equal(description.fingerprint, certificate.fingerprint256);
    assert.ok(description.hosts.includes('10.0.0.1'));
  });

  test('for etcd has no identity, only a common name and hosts', async () => {
    const out = outOf('etcd');
    await issueCertificate(authority, { commonName: 'etcd-0', hosts: ['127.0.0.1', 'localhost'], out });
    assert.equal(describeCertificate(out.cert).identity, undefined);
    assert.equal(load(out.cert).subject, 'CN=etcd-0');
    assert.throws(
      () => readOwnIdentity({ ca: join(authority, 'ca.pem'), ...out }),
      (error: PlexiError) =>
        error.code === 'CERTIFICATE_REFUSED' && /names no plexi identity/.test(error.message),
    );
  });

  test('is replaced only when told', async () => {
    const out = outOf('again');
    await issueCertificate(authority, { identity, hosts: [], out });
    const earlier = readFileSync(out.cert, 'utf8');
    await refused(
      issueCertificate(authority, { identity, hosts: [], out }),
      'CONFLICT',
      /again\.key.*exists already/,
    );
    assert.equal(readFileSync(out.cert, 'utf8'), earlier);
    await issueCertificate(authority, { identity, hosts: [], out, overwrite: true });
    assert.notEqual(readFileSync(out.cert, 'utf8'), earlier);
    assert.equal(statSync(out.key).mode & 0o777, 0o600);
  });

  test('never outlives its authority', async () => {
    const out = outOf('late');
    const end = new Date(load(join(authority, 'ca.pem')).validTo);
    await issueCertificate(authority, {
      identity,
      hosts: [],
      out,
      notBefore: new Date(end.getTime() - dayMs),
      days: 90,
    });
    assert.equal(Date.parse(load(out.cert).validTo), end.getTime());
  });

  test('is refused for what is not allowed', async () => {
    const out = outOf('refused');
    const ask = (change: object) => issueCertificate(authority, { identity, hosts: [], out, ...change });
    await refused(ask({ days: 91 }), 'USAGE', /1 to 90 days, not for 91/);
    await refused(ask({ days: 0 }), 'USAGE', /1 to 90 days/);
    await refused(
      ask({ notBefore: new Date(0), notAfter: new Date(91 * dayMs) }),
      'USAGE',
      /at most 90 days/,
    );
    await refused(ask({ identity: { ...identity, cluster: 'prod' } }), 'USAGE', /signs nothing for prod/);
    await refused(ask({ identity: { ...identity, name: 'a/b' } }), 'USAGE', /is no name/);
    await refused(ask({ hosts: ['a:1'] }), 'USAGE', /'a:1' is neither/);
    await refused(ask({ hosts: ['a, DNS:b'] }), 'USAGE', /is neither/);
    await refused(ask({ hosts: Array.from({ length: 33 }, (_, at) => `h${at}`) }), 'USAGE', /too many/);
    await refused(ask({ identity: undefined }), 'USAGE', /needs a common name/);
    await refused(
      issueCertificate(join(folder, 'none'), { identity, hosts: [], out }),
      'CONFIG_INVALID',
      /ca\.pem: does not exist/,
    );
    assert.equal(readdirSync(folder).includes('refused.pem'), false);
  });
});
