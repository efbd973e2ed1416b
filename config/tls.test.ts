/**
 * Channels that share what was made of the same certificate files: each still expects its own server,
 * and files that were replaced count from the next channel on.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Client, Server } from '@grpc/grpc-js';
import { createAuthority, issueCertificate } from './certificate-authority.js';
import type { Role } from './identity.js';
import { type ExpectedIdentity, grpcChannel, grpcServerCredentials, type TlsFiles } from './tls.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-channels-'));
const agent = (name: string): ExpectedIdentity => ({ cluster: 'dev', role: 'agent', name });
const server = new Server();
let address = '';

before(async () => {
  for (const authority of ['one', 'two']) await createAuthority(join(folder, authority), { cluster: 'dev' });
  await issue('one', 'agent', 'node-1');
  await issue('one', 'controller', 'controller-0');
  await issue('two', 'controller', 'controller-0');
  const credentials = grpcServerCredentials(files('one', 'node-1'));
  address = await new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, port) =>
      error === null ? resolve(`127.0.0.1:${port}`) : reject(error),
    ),
  );
});
after(() => {
  server.forceShutdown();
  rmSync(folder, { recursive: true });
});

function files(authority: string, name: string): TlsFiles {
  const place = join(folder, authority);
  return { ca: join(place, 'ca.pem'), cert: join(place, `${name}.pem`), key: join(place, `${name}.key`) };
}

function issue(authority: string, role: Role, name: string): Promise<unknown> {
  return issueCertificate(join(folder, authority), {
    identity: { cluster: 'dev', role, name },
    hosts: ['127.0.0.1'],
    out: files(authority, name),
  });
}

/** Whether a channel with these files gets through to a server with this identity. */
async function connects(own: TlsFiles, expected: ExpectedIdentity): Promise<boolean> {
  const { credentials, options } = grpcChannel(own, expected);
  const client = new Client(address, credentials, options);
  try {
    return await new Promise((resolve) =>
      client.waitForReady(Date.now() + 1_000, (error) => resolve(error === undefined)),
    );
  } finally {
    client.close();
  }
}

test('channels with the same files each expect their own server', async () => {
  const own = files('one', 'controller-0');
  assert.equal(await connects(own, agent('node-1')), true);
  assert.equal(await connects(own, agent('node-2')), false);
  assert.equal(await connects(own, agent('node-1')), true);
});

test('files that were replaced count from the next channel on', async () => {
  const own = files('one', 'controller-0');
  assert.equal(await connects(own, agent('node-1')), true);
  const other = files('two', 'controller-0');
  for (const part of ['ca', 'cert', 'key'] as const) copyFileSync(other[part], own[part]);
  assert.equal(await connects(own, agent('node-1')), false, 'it still trusts the authority of before');
});
