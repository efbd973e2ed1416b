/**
 * Every method against every role (security.md: matrix test). The expectation stands here a second
 * time, by hand, so that a slip in the table is a failing test; the list of methods comes from the
 * generated service definitions, so that a new method without a row is one too. Then the same over
 * real connections with mutual TLS, where a refused call must never reach its handler.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client, Server, type ServiceError, status } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { AuditServiceService } from '../gen/plexi/v1/audit.js';
import { ClusterServiceService } from '../gen/plexi/v1/cluster.js';
import { NodeAgentServiceService } from '../gen/plexi/v1/node_agent.js';
import { NodesServiceService } from '../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../gen/plexi/v1/rollouts.js';
import { allowedRoles, authorize, grpcAuthorization } from './authorization.js';
import { createAuthority, issueCertificate } from './certificate-authority.js';
import { PlexiError } from './errors.js';
import { type Role, roles } from './identity.js';
import { grpcChannel, grpcServerCredentials, type TlsFiles } from './tls.js';

const services = [
  ClusterServiceService,
  AuditServiceService,
  NodeAgentServiceService,
  NodesServiceService,
  RolloutsServiceService,
  healthService,
];
const methods = services.flatMap((service) => Object.values(service).map((method) => method.path));

/** c controller, a agent, o operator, v viewer. */
const expectation: Record<string, string> = {
  '/plexi.v1.NodeAgentService/Describe': 'c',
  '/plexi.v1.NodeAgentService/Adopt': 'c',
  '/plexi.v1.NodeAgentService/Execute': 'c',
  '/plexi.v1.NodeAgentService/WatchStatus': 'c',
  '/plexi.v1.NodeAgentService/ReadLog': 'c',
  '/plexi.v1.NodesService/List': 'ov',
  '/plexi.v1.NodesService/Register': 'a',
  '/plexi.v1.NodesService/Add': 'o',
  '/plexi.v1.NodesService/Remove': 'o',
  '/plexi.v1.NodesService/SetMaintenance': 'o',
  '/plexi.v1.NodesService/SetHold': 'o',
  '/plexi.v1.NodesService/TakeOver': 'o',
  '/plexi.v1.NodesService/Logs': 'o',
  '/plexi.v1.ClusterService/Get': 'ov',
  '/plexi.v1.ClusterService/SetFreeze': 'o',
  '/plexi.v1.AuditService/List': 'ov',
  '/plexi.v1.ClusterService/ReEpoch': 'o',
  '/plexi.v1.RolloutsService/Plan': 'ov',
  '/plexi.v1.RolloutsService/Start': 'o',
  '/plexi.v1.RolloutsService/Get': 'ov',
  '/plexi.v1.RolloutsService/List': 'ov',
  '/plexi.v1.RolloutsService/Watch': 'ov',
  '/plexi.v1.RolloutsService/Pause': 'o',
  '/plexi.v1.RolloutsService/Resume': 'o',
  '/plexi.v1.RolloutsService/Abort': 'o',
  '/plexi.v1.RolloutsService/Retry': 'o',
  '/plexi.v1.RolloutsService/Skip': 'o',
  '/plexi.v1.RolloutsService/Rollback': 'o',
  '/grpc.health.v1.Health/Check': 'caov',
  '/grpc.health.v1.Health/Watch': 'caov',
  '/grpc.health.v1.Health/List': 'caov',
};

function isAllowed(method: string, role: Role, cluster = 'dev'): boolean {
  try {
    authorize(method, { cluster, role, name: 'x' }, 'dev');
    return true;
  } catch (error) {
    assert.ok(error instanceof PlexiError && error.code === 'FORBIDDEN', String(error));
    return false;
  }
}

describe('the table', () => {
  test('has a row for every generated method', () => {
    assert.ok(methods.length >= 20);
    assert.deepEqual(
      methods.filter((method) => !Object.hasOwn(allowedRoles, method)),
      [],
    );
    assert.deepEqual(
      methods.filter((method) => !Object.hasOwn(expectation, method)),
      [],
    );
  });

  for (const [method, letters] of Object.entries(expectation)) {
    test(method, () => {
      for (const role of roles) {
        assert.equal(isAllowed(method, role), letters.includes(role.charAt(0)), role);
        assert.equal(isAllowed(method, role, 'prod'), false, `${role} of another cluster`);
      }
      assert.throws(() => authorize(method, undefined, 'dev'), /names no plexi identity/);
    });
  }

  test('what is not in it is refused to everybody', () => {
    for (const method of [
      '/plexi.v1.RolloutsService/Nuke',
      '',
      'constructor',
      '__proto__',
      '/plexi.v1.RolloutsService/start',
    ]) {
      for (const role of roles) assert.equal(isAllowed(method, role), false, `${method} ${role}`);
    }
  });

  test('a refusal says who, what and what it needs', () => {
    assert.throws(
      () =>
        authorize('/plexi.v1.RolloutsService/Start', { cluster: 'dev', role: 'viewer', name: 'desk' }, 'dev'),
      /viewer desk of cluster dev may not call \/plexi\.v1\.RolloutsService\/Start; it needs the role operator/,
    );
  });
});

describe('over real connections', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plexi-authorization-'));
  const handled: string[] = [];
  const server = new Server({ interceptors: [grpcAuthorization('dev')] });
  let target = '';

  async function issue(name: string, role: Role | undefined, cluster = 'dev'): Promise<TlsFiles> {
    const out = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
    const who = role === undefined ? { commonName: name } : { identity: { cluster, role, name } };
    await issueCertificate(join(folder, cluster), { ...who, hosts: [], out });
    return { ca: join(folder, cluster, 'ca.pem'), ...out };
  }

  before(async () => {
    await createAuthority(join(folder, 'dev'), { cluster: 'dev' });
    for (const service of services) server.addService(service, recorders(service, handled));
    target = await new Promise<string>((resolve, reject) => {
      issue('controller-0', 'controller').then((files) => {
        server.bindAsync('127.0.0.1:0', grpcServerCredentials(files), (error, port) =>
          error === null ? resolve(`127.0.0.1:${port}`) : reject(error),
        );
      }, reject);
    });
  });
  after(() => {
    server.forceShutdown();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Calls every method with this certificate; the status code of each, by path. */
  async function callAll(files: TlsFiles): Promise<Map<string, ServiceError | undefined>> {
    const { credentials, options } = grpcChannel(files, { cluster: 'dev', role: 'controller' });
    const client = new Client(target, credentials, options);
    const outcomes = new Map<string, ServiceError | undefined>();
    for (const method of methods) outcomes.set(method, await callOnce(client, method));
    client.close();
    return outcomes;
  }

  for (const role of roles) {
    test(`a certificate in the role ${role} reaches just its methods`, async () => {
      handled.length = 0;
      const outcomes = await callAll(await issue(`one-${role}`, role));
      const mine = methods.filter((method) => isAllowed(method, role));
      assert.deepEqual([...handled].sort(), [...mine].sort());
      for (const [method, error] of outcomes) {
        if (mine.includes(method)) continue;
        assert.equal(error?.code, status.PERMISSION_DENIED, method);
        assert.match(error.details, /^FORBIDDEN: /, method);
      }
    });
  }

  test('a certificate that names nobody reaches nothing', async () => {
    handled.length = 0;
    for (const [method, error] of await callAll(await issue('plain', undefined))) {
      assert.equal(error?.code, status.UNAUTHENTICATED, method);
      assert.match(error.details, /^FORBIDDEN: .*names no plexi identity/, method);
    }
    assert.deepEqual(handled, []);
  });

  test('the same authority, another cluster: nothing either', async () => {
    handled.length = 0;
    const other = new Server({ interceptors: [grpcAuthorization('prod')] });
    for (const service of services) other.addService(service, recorders(service, handled));
    const files = await issue('stranger', 'operator');
    const port = await new Promise<number>((resolve, reject) => {
      issue('controller-1', 'controller').then((own) => {
        other.bindAsync('127.0.0.1:0', grpcServerCredentials(own), (error, bound) =>
          error === null ? resolve(bound) : reject(error),
        );
      }, reject);
    });
    const { credentials, options } = grpcChannel(files, { cluster: 'dev', role: 'controller' });
    const client = new Client(`127.0.0.1:${port}`, credentials, options);
    const error = await callOnce(client, '/plexi.v1.RolloutsService/Start');
    client.close();
    other.forceShutdown();
    assert.equal(error?.code, status.PERMISSION_DENIED);
    assert.match(error.details, /operator stranger of cluster dev may not call .* this is cluster prod/);
    assert.deepEqual(handled, []);
  });
});

/** Handlers that write down that they ran, and end the call with OK and nothing else. */
function recorders(
  service: (typeof services)[number],
  handled: string[],
): Record<string, (...args: unknown[]) => void> {
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => [
      name,
      (call: unknown, callback: unknown) => {
        handled.push(method.path);
        if (typeof callback === 'function') callback({ code: status.ABORTED, details: 'handled' });
        else if (typeof call === 'object' && call !== null && 'end' in call && typeof call.end === 'function')
          call.end();
      },
    ]),
  );
}

/** Sends one empty message to a method of any kind; resolves to the error it ended with, if any. */
function callOnce(client: Client, method: string): Promise<ServiceError | undefined> {
  return new Promise((resolve) => {
    const bytes = (value: Buffer): Buffer => value;
    const stream = client.makeServerStreamRequest(method, bytes, bytes, Buffer.alloc(0), {
      deadline: Date.now() + 5_000,
    });
    let failure: ServiceError | undefined;
    stream.on('data', () => {});
    stream.on('error', (error: ServiceError) => {
      failure = error;
    });
    stream.on('status', () => setImmediate(() => resolve(failure)));
  });
}
