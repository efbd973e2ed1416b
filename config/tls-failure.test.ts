/**
 * Real gRPC servers with mutual TLS, and each way in which a connection to them fails. What is shown:
 * a good client gets through under a plain IP address; every bad one gets code 14 from gRPC, and then
 * one sentence with the right code that says what is wrong.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import {
  Client,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { type CertificateRequest, createAuthority, issueCertificate } from './certificate-authority.js';
import type { ErrorCode } from './errors.js';
import {
  type ExpectedIdentity,
  explainTlsFailure,
  grpcChannel,
  grpcServerCredentials,
  grpcServerOptions,
  type TlsFiles,
} from './tls.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-tls-'));
const controller: ExpectedIdentity = { cluster: 'dev', role: 'controller' };
const hourMs = 3_600_000;
const expired = {
  notBefore: new Date(Date.now() - 48 * hourMs),
  notAfter: new Date(Date.now() - 24 * hourMs),
};
const notYet = {
  notBefore: new Date(Date.now() + 24 * hourMs),
  notAfter: new Date(Date.now() + 48 * hourMs),
};
const closers: (() => void)[] = [];

const echo = {
  echo: {
    path: '/test.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: (text: string) => Buffer.from(text),
    requestDeserialize: (bytes: Buffer) => bytes.toString(),
    responseSerialize: (text: string) => Buffer.from(text),
    responseDeserialize: (bytes: Buffer) => bytes.toString(),
  },
} satisfies ServiceDefinition;

before(async () => {
  await createAuthority(join(folder, 'ca'), { cluster: 'dev' });
  await createAuthority(join(folder, 'other'), { cluster: 'dev' });
});
after(() => {
  for (const close of closers) close();
  rmSync(folder, { recursive: true, force: true });
});

let issued = 0;
async function issue(change: Partial<CertificateRequest> = {}, ca = 'ca'): Promise<TlsFiles> {
  const base = join(folder, `cert-${++issued}`);
  const out = { cert: `${base}.pem`, key: `${base}.key` };
  const identity = { cluster: 'dev', role: 'controller', name: 'controller-0' } as const;
  await issueCertificate(join(folder, ca), { identity, hosts: [], out, ...change });
  return { ca: join(folder, ca, 'ca.pem'), ...out };
}

const operator = { identity: { cluster: 'dev', role: 'operator', name: 'op' } } as const;

async function serve(credentials: ServerCredentials): Promise<string> {
  const server = new Server(grpcServerOptions({ streamsMax: 10 }));
  server.addService(echo, {
    echo: (call: { request: string }, callback: (error: null, text: string) => void) =>
      callback(null, call.request),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  closers.push(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

/** One gRPC call; resolves to the answer or to the error. */
async function call(target: string, files: TlsFiles, expected = controller): Promise<string | ServiceError> {
  const { credentials, options } = grpcChannel(files, expected);
  const client = new Client(target, credentials, options);
  const { echo: method } = echo;
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        'hello',
        { deadline: Date.now() + 5_000 },
        (error, text) => resolve(error ?? text ?? ''),
      );
    });
  } finally {
    client.close();
  }
}

/** gRPC must fail with 14, and the explanation must have this code and these words. */
async function explained(
  target: string,
  files: TlsFiles,
  code: ErrorCode,
  words: RegExp,
  expected = controller,
): Promise<void> {
  const failure = await call(target, files, expected);
  assert.ok(typeof failure === 'object', 'the call went through');
  assert.equal(failure.code, status.UNAVAILABLE);
  const explanation = await explainTlsFailure(target, files, expected);
  assert.match(explanation.message, words);
  assert.equal(explanation.code, code);
}

describe('mutual TLS', () => {
  test('a good client reaches a good server under a plain address, without warnings', async () => {
    const warnings: string[] = [];
    const listen = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', listen);
    const target = await serve(grpcServerCredentials(await issue()));
    assert.equal(await call(target, await issue(operator)), 'hello');
    assert.equal(await call(target, await issue(operator), { ...controller, name: 'controller-0' }), 'hello');
    process.off('warning', listen);
    assert.deepEqual(warnings, []);
    const explanation = await explainTlsFailure(target, await issue(operator), controller);
    assert.equal(explanation.code, 'NO_CONTROLLER');
    assert.match(explanation.message, /both certificates are accepted/);
  });

  test('a server of another role, name or cluster is not talked to', async () => {
    const agent = { identity: { cluster: 'dev', role: 'agent', name: 'node-1' } } as const;
    const target = await serve(grpcServerCredentials(await issue(agent)));
    const files = await issue(operator);
    await explained(
      target,
      files,
      'CERTIFICATE_REFUSED',
      /is that of the agent node-1 of cluster dev, expected the controller of cluster dev/,
    );
    const other = { cluster: 'dev', role: 'agent', name: 'node-2' } as const;
    await explained(target, files, 'CERTIFICATE_REFUSED', /expected the agent node-2/, other);
    await explained(target, files, 'CERTIFICATE_REFUSED', /expected the agent of cluster prod/, {
      cluster: 'prod',
      role: 'agent',
    });
  });

  test('a server with a certificate that names nobody is not talked to', async () => {
    const out = { cert: join(folder, 'etcd.pem'), key: join(folder, 'etcd.key') };
    await issueCertificate(join(folder, 'ca'), { commonName: 'etcd', hosts: ['127.0.0.1'], out });
    const target = await serve(grpcServerCredentials({ ca: join(folder, 'ca', 'ca.pem'), ...out }));
    await explained(target, await issue(operator), 'CERTIFICATE_REFUSED', /names no plexi identity/);
  });
});

describe('why a connection failed', () => {
  test('the server is of another authority', async () => {
    const target = await serve(grpcServerCredentials(await issue({}, 'other')));
    await explained(
      target,
      await issue(operator),
      'CERTIFICATE_REFUSED',
      /that the authority in .*ca\.pem did not sign/,
    );
  });

  test('our certificate is of another authority, and the server drops us', async () => {
    const server = await issue();
    const target = await serve(grpcServerCredentials(server));
    const own = await issue(operator, 'other');
    // The client trusts both authorities, so only the server can object.
    const ca = join(folder, 'both.pem');
    writeFileSync(ca, readFileSync(own.ca, 'utf8') + readFileSync(server.ca, 'utf8'));
    await explained(
      target,
      { ...own, ca },
      'CERTIFICATE_REFUSED',
      /refused our certificate .* \(most likely another authority signed it/,
    );
  });

  test('a server that refuses with an alert is quoted', async () => {
    const files = await issue();
    const pem = (file: string): Buffer => readFileSync(file);
    const server = createTlsServer({
      ca: pem(files.ca),
      cert: pem(files.cert),
      key: pem(files.key),
      requestCert: true,
      maxVersion: 'TLSv1.2',
      ALPNCallback: () => undefined,
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const explanation = await explainTlsFailure(target, await issue(operator), controller);
    assert.equal(explanation.code, 'CERTIFICATE_REFUSED');
    assert.match(explanation.message, /it says: no application protocol/);
  });

  test('our certificate has expired, or is not valid yet', async () => {
    const target = await serve(grpcServerCredentials(await issue()));
    await explained(
      target,
      await issue({ ...operator, ...expired }),
      'CERTIFICATE_REFUSED',
      /cert-\d+\.pem expired on 20.*issue a new one/,
    );
    await explained(
      target,
      await issue({ ...operator, ...notYet }),
      'CERTIFICATE_REFUSED',
      /is not valid before .*clock/,
    );
  });

  test('the certificate of the server has expired', async () => {
    const target = await serve(grpcServerCredentials(await issue(expired)));
    await explained(
      target,
      await issue(operator),
      'CERTIFICATE_REFUSED',
      /the certificate of the controller at .* expired on/,
    );
  });

  test('files that are missing, mixed up or no PEM', async () => {
    const good = await issue(operator);
    const other = await issue(operator);
    const junk = join(folder, 'junk.pem');
    writeFileSync(junk, 'not a certificate');
    for (const [files, code, words] of [
      [
        { ...good, cert: join(folder, 'none.pem') },
        'CONFIG_INVALID',
        /none\.pem: does not exist; issue a certificate/,
      ],
      [{ ...good, ca: junk }, 'CONFIG_INVALID', /junk\.pem: holds no PEM certificate/],
      [{ ...good, key: junk }, 'CONFIG_INVALID', /junk\.pem: holds no PEM private key/],
      [{ ...good, key: folder }, 'CONFIG_INVALID', /is no PEM file/],
      [{ ...good, key: other.key }, 'CERTIFICATE_REFUSED', /is not the key of/],
      [
        { ...good, ca: join(folder, 'other', 'ca.pem') },
        'CERTIFICATE_REFUSED',
        /was not signed by the authority/,
      ],
    ] as const) {
      const explanation = await explainTlsFailure('127.0.0.1:9', files, controller);
      assert.match(explanation.message, words);
      assert.equal(explanation.code, code);
    }
  });

  test('a client without a certificate is refused by the server', async () => {
    const files = await issue();
    const target = await serve(grpcServerCredentials(files));
    const { credentials } = await import('@grpc/grpc-js');
    const client = new Client(target, credentials.createSsl(readFileSync(files.ca)), {
      'grpc.ssl_target_name_override': 'controller-0.controller.dev.plexi',
    });
    const failure = await new Promise<ServiceError | null>((resolve) => {
      const { echo: method } = echo;
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        'x',
        { deadline: Date.now() + 5_000 },
        (error) => resolve(error),
      );
    });
    client.close();
    assert.equal(failure?.code, status.UNAVAILABLE);
  });

  test('the server is down; the code is that of what was looked for', async () => {
    const listener = createServer();
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const target = `127.0.0.1:${(listener.address() as AddressInfo).port}`;
    listener.close();
    await once(listener, 'close');
    const files = await issue(operator);
    await explained(target, files, 'NO_CONTROLLER', /the controller at .* is down: nothing listens there/);
    await explained(target, files, 'NODE_UNREACHABLE', /the agent at .* is down/, {
      cluster: 'dev',
      role: 'agent',
    });
    const told = await explainTlsFailure(target, files, controller, { unreachable: 'NODE_UNREACHABLE' });
    assert.equal(told.code, 'NODE_UNREACHABLE');
    const nowhere = await explainTlsFailure('no-such-host.invalid:1', files, controller);
    assert.match(nowhere.message, /its host name is unknown here/);
    assert.equal((await explainTlsFailure('nonsense', files, controller)).code, 'CONFIG_INVALID');
  });

  test('what listens speaks no TLS', async () => {
    const target = await serve(ServerCredentials.createInsecure());
    await explained(target, await issue(operator), 'CERTIFICATE_REFUSED', /does not speak mutual TLS/);
  });

  test('what listens says nothing at all', async () => {
    const sockets: Socket[] = [];
    const listener = createServer((socket) => sockets.push(socket));
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    closers.push(() => {
      for (const socket of sockets) socket.destroy();
      listener.close();
    });
    const target = `127.0.0.1:${(listener.address() as AddressInfo).port}`;
    const explanation = await explainTlsFailure(target, await issue(operator), controller, {
      timeoutMs: 200,
    });
    assert.equal(explanation.code, 'NO_CONTROLLER');
    assert.match(explanation.message, /does not answer; check that it runs/);
  });
});
