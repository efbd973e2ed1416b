/** The looks at a door can fail: at one that lets in whoever comes, they do. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { refusedAt } from './door.test.part.js';

let folder = '';
let ca: Buffer;
let own: { cert: Buffer; key: Buffer };
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-hostile-'));
  await createAuthority(folder, { cluster: 'hostile' });
  ca = await readFile(join(folder, 'ca.pem'));
  const out = { cert: join(folder, 'door.pem'), key: join(folder, 'door.key') };
  const identity = { cluster: 'hostile', role: 'controller', name: 'door' } as const;
  await issueCertificate(folder, { identity, hosts: ['127.0.0.1'], out });
  own = { cert: await readFile(out.cert), key: await readFile(out.key) };
});
after(() => rm(folder, { recursive: true, force: true }));

/** A server that asks for a certificate. @param rejectUnauthorized and demands a good one */
async function doorThat({ rejectUnauthorized }: { rejectUnauthorized: boolean }): Promise<Http2SecureServer> {
  const server = createSecureServer({ ca, ...own, requestCert: true, rejectUnauthorized });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function look(server: Http2SecureServer): Promise<void> {
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  await refusedAt(address.port, { ca });
}

describe('a peer without a certificate', () => {
  test('passes the look where it is refused', async (t) => {
    const server = await doorThat({ rejectUnauthorized: true });
    t.after(() => server.close());
    await look(server);
  });

  test('fails it where it is let in', async (t) => {
    const server = await doorThat({ rejectUnauthorized: false });
    t.after(() => server.close());
    await assert.rejects(look(server), /the peer was let in, and was sent \d+ bytes/);
  });
});
