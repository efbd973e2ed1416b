/**
 * The parts of a dev cluster that stand without our own programs: its etcd is a real one that demands
 * certificates, its configuration files are what the loaders accept, a process is never mistaken for
 * another one, and ports are free.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { loadClientConfig, loadControllerConfig, loadNodeAgentConfig } from '../../config/load.js';
import { readOwnIdentity } from '../../config/tls.js';
import { writeConfigs } from './configs.js';
import { etcdEndpoint, etcdProcess, isEtcdHealthy } from './etcd.js';
import { etcdBinaries } from './installation.js';
import { Layout, readShape, type Shape, writeShape } from './layout.js';
import { clusterTls, createCertificates } from './pki.js';
import { freePorts, isFree } from './ports.js';
import { identify, isAlive, processesWithVariable } from './process-identity.js';
import { ensureRunning, readProcesses, stopAll } from './processes.js';
import { type Waiting, waitUntilReady } from './ready.js';
import { newShape, refuseOtherShape } from './shape.js';
import { processStatuses } from './status.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-dev-'));
});
after(() => rm(folder, { recursive: true, force: true }));

function silentWaiting(layout: Layout): Waiting {
  return { layout, interrupt: new AbortController().signal, say: () => undefined };
}

async function preparedCluster(name: string, wishes: Parameters<typeof newShape>[0]) {
  const layout = new Layout(join(folder, name));
  const shape = await newShape(wishes);
  writeShape(layout, shape);
  await createCertificates(layout, shape);
  writeConfigs(layout, shape, true);
  return { layout, shape };
}

async function startMembers(layout: Layout, shape: Shape): Promise<string[]> {
  const { etcd } = await etcdBinaries(() => undefined);
  const started: string[] = [];
  for (const member of shape.etcd) {
    if (await ensureRunning(layout, etcdProcess(layout, shape, member, etcd))) started.push(member.name);
  }
  await waitUntilReady(
    silentWaiting(layout),
    shape.etcd.map(({ name }) => name),
    async () => {
      const healthy = await Promise.all(shape.etcd.map((member) => isEtcdHealthy(layout, member)));
      return shape.etcd
        .filter((_, index) => healthy[index] !== true)
        .map(({ name }) => ({ name, what: 'is not healthy' }));
    },
  );
  return started;
}

/** Runs etcdctl as an operator would, with nothing but etcd.env. */
async function etcdctl(layout: Layout, words: string): Promise<string> {
  const { etcdctl: program } = await etcdBinaries(() => undefined);
  const script = `set -a; . "$1"; exec "$2" ${words}`;
  return (await promisify(execFile)('sh', ['-c', script, 'sh', layout.etcdEnvironment, program])).stdout;
}

describe('etcd of a dev cluster', () => {
  test('serves etcdctl with etcd.env, refuses who has no certificate, and comes back with its data', async (t) => {
    const { layout, shape } = await preparedCluster('one-member', { etcd: 1 });
    t.after(() => stopAll(Object.values(readProcesses(layout)), 500));
    assert.deepEqual(await startMembers(layout, shape), ['etcd-0']);
    assert.equal((await etcdctl(layout, 'put greeting hello')).trim(), 'OK');

    const [member] = shape.etcd;
    assert.ok(member);

    await assert.rejects(
      promisify(execFile)(process.execPath, ['-e', withoutCertificate, `${etcdEndpoint(member)}/health`]),
    );
    assert.equal(statSync(layout.etcdData('etcd-0')).mode & 0o777, 0o700);

    assert.deepEqual(await startMembers(layout, shape), [], 'what runs is not started again');
    const before = readProcesses(layout)['etcd-0'];
    assert.ok(before);
    process.kill(before.pid, 'SIGKILL');
    await stopAll([before]);
    assert.deepEqual(processStatuses(layout, shape).map(({ name, running }) => [name, running])[0], [
      'etcd-0',
      false,
    ]);
    assert.deepEqual(await startMembers(layout, shape), ['etcd-0']);
    assert.match(await etcdctl(layout, 'get greeting'), /hello/);
    assert.equal(readProcesses(layout)['etcd-0']?.endpoint, before.endpoint, 'it keeps its port');
  });

  test('three members are one cluster, which goes on without one of them', async (t) => {
    const { layout, shape } = await preparedCluster('three-members', { etcd: 3 });
    t.after(() => stopAll(Object.values(readProcesses(layout)), 500));
    await startMembers(layout, shape);
    assert.equal((await etcdctl(layout, 'member list')).trim().split('\n').length, 3);
    const lost = readProcesses(layout)['etcd-1'];
    assert.ok(lost);
    process.kill(lost.pid, 'SIGKILL');
    await stopAll([lost]);
    await waitUntilReady(silentWaiting(layout), ['etcd-0', 'etcd-2'], async () => {
      // A put that meets the election of a new leader is refused, and may be repeated.
      const isStored = await etcdctl(layout, 'put still here').catch(() => undefined);
      return isStored === undefined ? [{ name: 'etcd-0', what: 'stores nothing' }] : [];
    });
    assert.deepEqual(await startMembers(layout, shape), ['etcd-1']);
  });
});

/** Ends with 1 when the server wants a certificate. */
const withoutCertificate = `
  require('node:https').get(process.argv[1], { rejectUnauthorized: false }, (r) => process.exit(r.statusCode === 200 ? 0 : 1))
    .on('error', () => process.exit(1));
`;

describe('the files of a dev cluster', () => {
  test('its configuration is what the programs load, with the identities they expect', async () => {
    const { layout } = await preparedCluster('files', { nodes: 4, controllers: 2, etcd: 3, soakMs: 700 });
    const controller = loadControllerConfig(layout.config('controller-1'));
    assert.equal(controller.id, 'controller-1');
    assert.equal(controller.etcd.endpoints.length, 3);
    assert.equal(controller.rollout.soakMs, 700);
    assert.equal(controller.leadership.ttlSeconds, 3);
    assert.equal(controller.update.safety.requireConfirmation, true);
    const agent = loadNodeAgentConfig(layout.config('node-4'));
    assert.equal(agent.root, layout.nodeRoot('node-4'));
    assert.equal(agent.probeIntervalMs, 200);
    assert.deepEqual(agent.controllers, loadClientConfig(layout.clientFile).controllers);
    assert.deepEqual(readOwnIdentity(agent.tls), { cluster: 'dev', role: 'agent', name: 'node-4' });
    assert.deepEqual(readOwnIdentity(clusterTls(layout, 'operator')).role, 'operator');
  });

  test('an edited configuration is kept by the next start', async () => {
    const { layout, shape } = await preparedCluster('edited', {});
    await writeFile(layout.updateFile, 'update_system: {}\n');
    writeConfigs(layout, shape, false);
    assert.equal(await readFile(layout.updateFile, 'utf8'), 'update_system: {}\n');
  });

  test('the shape is kept, another one is refused, and so is a folder of something else', async () => {
    const { layout, shape } = await preparedCluster('shape', { nodes: 4 });
    assert.deepEqual(readShape(layout), shape);
    assert.doesNotThrow(() => refuseOtherShape(layout.folder, shape, { nodes: 4 }));
    assert.throws(
      () => refuseOtherShape(layout.folder, shape, { nodes: 5 }),
      /--nodes: .* has 4 and keeps its shape/,
    );
    await writeFile(join(folder, 'stray.txt'), '');
    assert.throws(() => readShape(new Layout(folder)), /is not empty and holds no dev cluster/);
    await assert.rejects(newShape({ etcd: 2 }), /--etcd: 2 is not 1, 3 or 5/);
  });
});

describe('processes and ports', () => {
  test('a process is known by its start, so a recycled id is another process', async (t) => {
    const child = spawn('sleep', ['60'], { env: { ...process.env, PLEXI_ROOT: join(folder, 'a root') } });
    t.after(() => child.kill('SIGKILL'));
    await once(child, 'spawn');
    const identity = identify(child.pid ?? 0);
    assert.ok(identity);
    assert.equal(isAlive(identity), true);
    assert.equal(isAlive({ pid: identity.pid, started: `${identity.started}0` }), false);
    assert.deepEqual(processesWithVariable('PLEXI_ROOT', join(folder, 'a root')), [identity]);
    assert.deepEqual(processesWithVariable('PLEXI_ROOT', join(folder, 'a')), []);
    await stopAll([{ pid: identity.pid, started: 'another process' }]);
    assert.equal(isAlive(identity), true, 'somebody else is not stopped');
    assert.deepEqual(await stopAll([identity]), []);
    assert.equal(isAlive(identity), false);
  });

  test('a port that is taken is not chosen', async (t) => {
    const [port, ...others] = await freePorts(20);
    assert.ok(port);
    assert.equal(new Set([port, ...others]).size, 20);
    const server = createServer().listen(port, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    assert.equal(await isFree(port), false);
  });

  test('a process that cannot have its port is told from one that is merely broken', async () => {
    const { layout, shape } = await preparedCluster('taken', {});
    const start = (name: string, script: string) =>
      ensureRunning(layout, { name, argv: [process.execPath, '-e', script], endpoint: '' });
    await start(
      'etcd-0',
      'setTimeout(() => { console.error("listen EADDRINUSE 127.0.0.1"); process.exit(1) }, 300)',
    );
    await start('controller-0', 'setTimeout(() => { console.error("no such file"); process.exit(1) }, 300)');
    const never = async () => [{ name: 'etcd-0', what: 'is not healthy' }];
    await assert.rejects(waitUntilReady(silentWaiting(layout), ['etcd-0'], never), { code: 'CONFLICT' });
    await assert.rejects(
      waitUntilReady(silentWaiting(layout), ['controller-0'], never),
      /controller-0 ended right after/,
    );
    assert.equal(
      processStatuses(layout, shape).some(({ running }) => running),
      false,
    );
    assert.ok(existsSync(layout.log('controller-0')));
  });
});
