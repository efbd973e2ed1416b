/**
 * Who may say what to whom, against the real servers: health checks and web endpoints, calls in the
 * wrong role, and certificates that are expired, foreign or missing. Each refusal is one sentence that
 * an operator can act on, and is told apart from a controller that is down.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client, type ServiceError, status } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { parse, stringify } from 'yaml';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { grpcChannel, type Role, type TlsFiles } from '../../config/tls.js';
import { NodeAgentServiceClient } from '../../gen/plexi/v1/node_agent.js';
import { DevCluster } from './cluster.test.part.js';
import { documentOf, errorOf, nodesDocument, statusDocument } from './documents.test.part.js';

let cluster: DevCluster;
let operator: TlsFiles;
before(async () => {
  cluster = await DevCluster.start('--nodes', '1', '--controllers', '2', '--soak', '300ms');
  const client: { tls: TlsFiles } = parse(readFileSync(cluster.clientFile, 'utf8'));
  operator = client.tls;
});
after(() => cluster?.stop());

const endpoint = (name: string): string => cluster.entry(name).endpoint;

/** A certificate of some authority, in a folder of its own. */
async function issue(
  authority: string,
  role: Role,
  name: string,
  validity: { readonly notBefore?: Date; readonly notAfter?: Date } = {},
): Promise<TlsFiles> {
  const folder = join(cluster.folder, 'certificates');
  mkdirSync(folder, { recursive: true });
  const out = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await issueCertificate(authority, {
    identity: { cluster: 'dev', role, name },
    hosts: [],
    out,
    ...validity,
  });
  return { ca: operator.ca, ...out };
}

/** A client file like the cluster's own, with other certificates. */
function clientFile(name: string, tls: TlsFiles): string {
  const file = join(cluster.folder, `${name}.yml`);
  const own: object = parse(readFileSync(cluster.clientFile, 'utf8'));
  writeFileSync(file, stringify({ ...own, tls }));
  return file;
}

/** Runs plexictl with other certificates; stderr must be one sentence. */
async function withCertificates(name: string, tls: TlsFiles, ...words: string[]) {
  const ended = await cluster.plexictl([...words, '--config', clientFile(name, tls)]);
  assert.match(ended.stderr, /^plexictl: [^\n]+\n$/, 'one sentence');
  assert.equal(ended.stdout, '');
  return ended;
}

describe('servers', () => {
  for (const name of ['controller-0', 'node-1']) {
    test(`${name} tells its health to an operator's certificate`, async () => {
      assert.equal(await health(name, operator), 'SERVING');
    });
  }

  test('a controller answers /livez and /readyz over https, with the host that its certificate names', async () => {
    for (const controller of ['controller-0', 'controller-1']) {
      const { http = '' } = cluster.entry(controller);
      for (const path of ['/livez', '/readyz']) assert.equal(await statusOf(`${http}${path}`), 200, path);
      assert.equal(await statusOf(`${http}/`), 404);
    }
  });

  test('a node obeys nobody but a controller', async () => {
    const viewer = await issue(join(cluster.root, 'pki'), 'viewer', 'victor');
    for (const files of [operator, viewer]) {
      const error = await executeWith(files);
      assert.equal(error.code, status.PERMISSION_DENIED);
      assert.match(error.details, /^FORBIDDEN: .*may not call .*Execute; it needs the role controller$/);
    }
  });

  test('a viewer looks and changes nothing', async () => {
    const files = await issue(join(cluster.root, 'pki'), 'viewer', 'vera');
    const looked = await cluster.plexictl(['status', '-o', 'json', '--config', clientFile('vera', files)]);
    assert.equal(documentOf(statusDocument, looked).rollout, null);
    const words = ['node', 'maintenance', 'on', 'node-1'];
    const refused = await withCertificates('vera', files, ...words);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /viewer vera .*may not call .*SetMaintenance; it needs the role operator/);
    assert.equal(await cluster.messagesStatus('node-1'), 200);
  });
});

describe('a certificate that will not do: exit 2 and what to do', () => {
  test('expired', async () => {
    const dayMs = 86_400_000;
    const notBefore = new Date(Date.now() - 10 * dayMs);
    const validity = { notBefore, notAfter: new Date(Date.now() - dayMs) };
    const files = await issue(join(cluster.root, 'pki'), 'operator', 'late', validity);
    const { code, stderr } = await withCertificates('late', files, 'nodes');
    assert.equal(code, 2);
    assert.match(stderr, /late\.pem.*expired/);
  });

  test('of another authority, with the ca.pem of the cluster or with its own', async () => {
    const foreign = join(cluster.folder, 'foreign');
    const { ca } = await createAuthority(foreign, { cluster: 'dev' });
    const files = await issue(foreign, 'operator', 'stranger');
    const mixed = await withCertificates('stranger', files, 'nodes');
    assert.equal(mixed.code, 2);
    assert.match(mixed.stderr, /stranger\.pem was not signed by the authority in .*pki.ca\.pem/);
    await assert.rejects(
      health('controller-0', files),
      { code: status.UNAVAILABLE },
      'nor does the server take it',
    );
    const weRefuse = await withCertificates('mistrust', { ...files, ca }, 'nodes');
    assert.equal(weRefuse.code, 2);
    assert.match(weRefuse.stderr, /the authority in .*foreign.ca\.pem did not sign/);
  });

  test('missing', async () => {
    const cert = join(cluster.folder, 'nowhere.pem');
    const { code, stderr } = await withCertificates('missing', { ...operator, cert }, 'nodes');
    assert.equal(code, 2);
    assert.match(stderr, /nowhere\.pem/);
  });

  test("a node's own, which stands for no operator", async () => {
    const files = await issue(join(cluster.root, 'pki'), 'agent', 'node-7');
    const { code, stderr } = await withCertificates('node-7', files, 'nodes');
    assert.equal(code, 2);
    assert.match(stderr, /agent node-7 .*may not call/);
  });
});

describe('controllers that are gone', () => {
  test('one: any other one answers; all: exit 6', async () => {
    cluster.kill('controller-0');
    const answer = await cluster.plexictl(['nodes', '-o', 'json']);
    assert.equal(answer.code, 0, answer.stderr);
    assert.equal(documentOf(nodesDocument, answer).nodes.length, 1);

    cluster.kill('controller-1');
    const ended = await cluster.plexictl(['rollout', '--to', '0b1', '--yes', '-o', 'json']);
    assert.equal(ended.code, 6, ended.stderr);
    assert.equal(errorOf(ended).code, 'NO_CONTROLLER');
    assert.ok(
      ended.stderr.includes(endpoint('controller-0')) && ended.stderr.includes(endpoint('controller-1')),
    );
    assert.equal(await cluster.serviceVersion('node-1'), '0a1', 'the service does not need them');
  });
});

/** The HTTP status, from a server whose certificate the cluster's authority signed. */
function statusOf(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const options = { ca: readFileSync(operator.ca), agent: false, timeout: 5_000 };
    const request = get(url, options, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on('timeout', () => request.destroy(new Error(`${url} did not answer`)));
    request.on('error', reject);
  });
}

/** What grpc.health.v1 says of a whole server. */
async function health(name: string, files: TlsFiles): Promise<string | undefined> {
  const role = name.startsWith('node') ? 'agent' : 'controller';
  const { credentials, options } = grpcChannel(files, { cluster: 'dev', role, name });
  const client = new Client(endpoint(name), credentials, options);
  const check = healthService.Check;
  assert.ok(check);
  const { requestSerialize, responseDeserialize, path } = check;
  const deadline = Date.now() + 10_000;
  const answer = new Promise<{ status?: string }>((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { service: '' },
      { deadline },
      (error, response) => (error === null && response ? resolve(response) : reject(error)),
    );
  });
  return (await answer.finally(() => client.close())).status;
}

/** What a node says to an empty command. */
function executeWith(files: TlsFiles): Promise<ServiceError> {
  const { credentials, options } = grpcChannel(files, { cluster: 'dev', role: 'agent', name: 'node-1' });
  const client = new NodeAgentServiceClient(endpoint('node-1'), credentials, options);
  return new Promise<ServiceError>((resolve, reject) => {
    const stream = client.execute({ command: undefined }, { deadline: Date.now() + 10_000 });
    stream.on('data', () => reject(new Error('the node obeyed')));
    stream.on('error', (error: ServiceError) => resolve(error));
    stream.on('end', () => reject(new Error('the node did not refuse')));
  }).finally(() => client.close());
}
