import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { type Probe, sampleProbe } from './probe.js';
import type { ProbeSample, ProbeSubject } from './probe-sample.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-probe-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const PATH = process.env.PATH ?? '';

function ask(probe: Probe, change: Partial<ProbeSubject> & { tryMs?: number; signal?: AbortSignal } = {}) {
  const { tryMs = 10_000, signal, ...rest } = change;
  const subject = { cwd: folder, pids: async () => [], env: async () => ({ PATH }), ...rest };
  return sampleProbe(probe, { expectedVersion: '0b1', tryMs, subject, signal });
}

function matches(sample: ProbeSample, result: ProbeSample['result'], reason: RegExp): void {
  assert.match(sample.reason, reason);
  assert.equal(sample.result, result);
}

describe('the command probe', () => {
  const sh = (code: string): Probe => ({ kind: 'command', argv: ['sh', '-c', code] });

  test('is good with exit code 0, and is told the version and the environment of the node', async () => {
    const code = '[ "$PLEXI_EXPECTED_VERSION" = 0b1 ] && [ "$OWN" = 1 ] && pwd';
    const sample = await ask(sh(code), { env: async () => ({ PATH, OWN: '1' }) });
    assert.deepEqual(sample, { result: 'good', reason: `sh succeeded (${folder})` });
  });

  test('is bad with another, and says the last line', async () => {
    const sample = await ask(sh("echo first; printf 'lag is \\0339 s\\n\\n'; exit 2"));
    assert.deepEqual(sample, { result: 'bad', reason: 'sh ended with exit code 2 (lag is  9 s)' });
  });

  test('is an error when it says nothing: not run, not in time, ended by a signal, cancelled', async () => {
    matches(
      await ask({ kind: 'command', argv: ['/nowhere/check'] }),
      'error',
      /was not run: there is no such/,
    );
    matches(await ask(sh('exec sleep 60'), { tryMs: 100 }), 'error', /did not end within 100 ms/);
    matches(await ask(sh('kill -9 $$')), 'error', /^sh was ended by SIGKILL$/);
    matches(await ask(sh('sleep 60'), { signal: AbortSignal.abort() }), 'error', /was cancelled/);
    const noEnvironment = async () => Promise.reject(new Error('the release is unreadable'));
    matches(await ask(sh('true'), { env: noEnvironment }), 'error', /^sh: the release is unreadable$/);
  });
});

describe('the grpc probe', () => {
  let server: Server;
  let plain = '';
  let secure = '';
  const health = new HealthImplementation({ '': 'SERVING', chat: 'NOT_SERVING' });
  const tls = { ca: join(folder, 'ca/ca.pem'), cert: join(folder, 'a.pem'), key: join(folder, 'a.key') };
  const probe = (address: string, change: Partial<Extract<Probe, { kind: 'grpc' }>> = {}): Probe => ({
    kind: 'grpc',
    address,
    service: '',
    tls: undefined,
    ...change,
  });

  before(async () => {
    await createAuthority(join(folder, 'ca'), { cluster: 'test' });
    const identity = { cluster: 'test', role: 'agent', name: 'node-1' } as const;
    await issueCertificate(join(folder, 'ca'), { identity, hosts: ['127.0.0.1', 'chat.test'], out: tls });
    server = new Server();
    health.addToServer(server);
    plain = await bound(ServerCredentials.createInsecure());
    const pair = { cert_chain: readFileSync(tls.cert), private_key: readFileSync(tls.key) };
    secure = await bound(ServerCredentials.createSsl(null, [pair]));
  });
  after(() => server.forceShutdown());

  function bound(credentials: ServerCredentials): Promise<string> {
    return new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', credentials, (error, port) =>
        error === null ? resolve(`127.0.0.1:${port}`) : reject(error),
      );
    });
  }

  test('is good when the service says SERVING, in plain text and over TLS', async () => {
    matches(await ask(probe(plain)), 'good', / is SERVING$/);
    const byName = { ca: tls.ca, serverName: 'chat.test' };
    matches(await ask(probe(secure, { tls: { ca: tls.ca, serverName: undefined } })), 'good', /SERVING/);
    matches(await ask(probe(secure, { tls: byName })), 'good', /SERVING/);
  });

  test('is bad when it says something else, or does not know the service', async () => {
    matches(await ask(probe(plain, { service: 'chat' })), 'bad', /\(chat\) is NOT_SERVING, not SERVING/);
    matches(await ask(probe(plain, { service: 'mail' })), 'bad', /\(mail\) is not known/);
  });

  test('a server without the health service is bad', async () => {
    const other = new Server();
    const port = await new Promise<number>((resolve) => {
      other.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, it) => resolve(it));
    });
    matches(await ask(probe(`127.0.0.1:${port}`)), 'bad', /does not offer grpc\.health\.v1/);
    other.forceShutdown();
  });

  test('is an error when it cannot be asked: nobody there, silence, another certificate, no file', async () => {
    const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const at = silent.address();
    const address = `127.0.0.1:${typeof at === 'object' ? at?.port : 0}`;
    matches(await ask(probe(address), { tryMs: 100 }), 'error', /no answer within 100 ms/);
    silent.close();
    await once(silent, 'close');
    const first = await ask(probe(address));
    matches(first, 'error', new RegExp(`^${address}: connection refused$`));
    assert.deepEqual(await ask(probe(address)), first);
    const wrongName = { ca: tls.ca, serverName: 'mail.test' };
    matches(await ask(probe(secure, { tls: wrongName })), 'error', /mail\.test/);
    const noFile = { ca: join(folder, 'no.pem'), serverName: undefined };
    matches(await ask(probe(secure, { tls: noFile })), 'error', /there is no file .*no\.pem/);
  });
});

describe('the resources probe', () => {
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  const probe = (memoryMbMax: number | undefined, openFilesMax: number | undefined): Probe => ({
    kind: 'resources',
    memoryMbMax,
    openFilesMax,
  });

  /** A process that holds 100 MB and some files, once it has said so. */
  async function hungry(): Promise<number> {
    const code = `const held = Buffer.alloc(100 << 20, 1); const files = Array.from({ length: 50 }, () => require('fs').openSync('/dev/null')); console.log('ready'); setInterval(() => held.length + files.length, 1e6)`;
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await once(child.stdout, 'data');
    return child.pid ?? 0;
  }

  test('adds up what all processes use, and tells the figures that are too high', async () => {
    const pids = [await hungry(), await hungry()];
    const subject = { pids: async () => pids };
    const good = { result: 'good', reason: 'the service uses no more than it may' };
    assert.deepEqual(await ask(probe(10_000, 10_000), subject), good);
    // Each alone would be below both of these bounds.
    matches(
      await ask(probe(200, 100), subject),
      'bad',
      /uses \d{3} MB of memory, more than 200 and 1\d\d open files, more than 100/,
    );
    matches(await ask(probe(200, undefined), subject), 'bad', /memory, more than 200$/);
    matches(await ask(probe(undefined, 100), subject), 'bad', /^the service uses 1\d\d open files/);
  });

  test('is an error without a process to measure', async () => {
    matches(await ask(probe(10_000, undefined)), 'error', /no process of the service is known/);
    const child = spawn('true');
    await once(child, 'close');
    const ended = { pids: async () => [child.pid ?? 0] };
    matches(await ask(probe(10_000, 1_000), ended), 'error', /no process of the service is known/);
    const unknown = { pids: async () => Promise.reject(new Error('systemd does not answer')) };
    matches(
      await ask(probe(10_000, 1_000), unknown),
      'error',
      /what the service uses: systemd does not answer/,
    );
  });
});
