/**
 * A cluster to measure: a real etcd that syncs to its disk, a real controller process, mutual TLS,
 * and N real agents in one process of their own, each with its own port, journal and root. Their
 * release does nothing: its service sleeps, and one good answer of a stub is healthy.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { freePorts, isListening } from '../../plexictl/dev/ports.js';
import { buildRelease } from '../../release/repository/publish.js';

export interface BenchCluster {
  readonly folder: string;
  readonly nodes: readonly string[];
  /** The controller's gRPC address. */
  readonly controller: string;
  readonly controllerPid: number;
  readonly etcdEnvironment: Record<string, string>;
  /** The client file for plexictl. */
  readonly clientFile: string;
  stop(): Promise<void>;
}

const cluster = 'bench';

/** Starts everything; resolves once the agents listen. */
export async function startBenchCluster(nodeCount: number): Promise<BenchCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-bench-'));
  const [etcdPort = 0, peerPort = 0, controllerPort = 0, stubPort = 0, ...agentPorts] = await freePorts(
    nodeCount + 4,
  );
  const nodes = agentPorts.map((_, index) => `node-${index + 1}`);
  const tls = await certificates(folder, nodes);
  const releases = await publish(folder);
  const processes: ChildProcess[] = [];
  const start = (program: string, args: readonly string[]): ChildProcess => {
    const child = spawn(program, [...args], {
      stdio: ['ignore', 'ignore', program === 'etcd' ? 'ignore' : 'inherit'],
      cwd: process.cwd(),
    });
    processes.push(child);
    return child;
  };
  start('etcd', etcdArguments(folder, etcdPort, peerPort, tls('etcd')));
  await listening(etcdPort);

  const controllers = [`127.0.0.1:${controllerPort}`];
  const updateFile = join(folder, 'update.yml');
  await writeFile(
    updateFile,
    stringify({ update_system: { backup: { enabled: false }, behavior: { maintenance_mode: false } } }),
  );
  const controllerFile = join(folder, 'controller.yml');
  await writeFile(
    controllerFile,
    stringify({
      cluster,
      id: 'controller-0',
      listen: controllers[0],
      tls: tls('controller-0'),
      etcd: { endpoints: [`https://127.0.0.1:${etcdPort}`], tls: tls('etcd') },
      repository: releases,
      update_file: updateFile,
      rollout: { soak_ms: 0, probe: { good_in_a_row: 1 } },
      log: { level: 'error' },
    }),
  );
  const controller = start('bin/plexi-controller', ['--config', controllerFile]);
  await listening(controllerPort);

  const agentFiles: string[] = [];
  for (const [index, node] of nodes.entries()) {
    const file = join(folder, `${node}.yml`);
    agentFiles.push(file);
    await writeFile(
      file,
      stringify({
        cluster,
        node,
        root: join(folder, 'nodes', node),
        listen: `127.0.0.1:${agentPorts[index]}`,
        controllers,
        tls: tls(node),
        repository: releases,
        service: { adapter: 'process' },
        probes: [{ kind: 'http', url: `http://127.0.0.1:${stubPort}/` }],
        probe_interval_ms: 60_000,
        log: { level: 'error' },
      }),
    );
  }
  start(process.execPath, ['--import', 'tsx', 'test/bench/agents.ts', String(stubPort), '1', ...agentFiles]);
  for (const port of agentPorts) await listening(port);

  const clientFile = join(folder, 'client.yml');
  await writeFile(clientFile, stringify({ controllers, tls: tls('operator') }));
  return {
    folder,
    nodes,
    controller: controllers[0] ?? '',
    controllerPid: controller.pid ?? 0,
    clientFile,
    etcdEnvironment: {
      ETCDCTL_API: '3',
      ETCDCTL_ENDPOINTS: `https://127.0.0.1:${etcdPort}`,
      ETCDCTL_CACERT: tls('etcd').ca,
      ETCDCTL_CERT: tls('etcd').cert,
      ETCDCTL_KEY: tls('etcd').key,
    },
    async stop() {
      for (const child of processes.reverse()) await end(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function certificates(folder: string, nodes: readonly string[]) {
  const pki = join(folder, 'pki');
  await createAuthority(pki, { cluster });
  const hosts = ['localhost', '127.0.0.1'];
  const files = (name: string) => ({
    ca: join(pki, 'ca.pem'),
    cert: join(pki, `${name}.pem`),
    key: join(pki, `${name}.key`),
  });
  await issueCertificate(pki, { commonName: 'etcd', hosts, out: files('etcd') });
  await issueCertificate(pki, {
    identity: { cluster, role: 'controller', name: 'controller-0' },
    hosts,
    out: files('controller-0'),
  });
  await issueCertificate(pki, {
    identity: { cluster, role: 'operator', name: 'operator' },
    hosts: [],
    out: files('operator'),
  });
  for (const name of nodes) {
    await issueCertificate(pki, { identity: { cluster, role: 'agent', name }, hosts, out: files(name) });
  }
  return files;
}

/** Two releases that do nothing, and differ. */
async function publish(folder: string): Promise<string> {
  const repository = join(folder, 'releases');
  for (const version of ['0a1', '0b1']) {
    const from = join(folder, `source-${version}`);
    await mkdir(from, { recursive: true });
    await writeFile(join(from, 'VERSION.txt'), `${version}\n`);
    await writeFile(
      join(from, 'release.yml'),
      stringify({ name: 'nothing', service: { start: ['sleep', '100000'] } }),
    );
    await buildRelease({ version, from, repository, allowDirty: true });
  }
  return repository;
}

function etcdArguments(
  folder: string,
  port: number,
  peerPort: number,
  tls: { ca: string; cert: string; key: string },
): string[] {
  return [
    '--name=etcd-0',
    `--data-dir=${join(folder, 'etcd')}`,
    `--listen-client-urls=https://127.0.0.1:${port}`,
    `--advertise-client-urls=https://127.0.0.1:${port}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-cluster=etcd-0=http://127.0.0.1:${peerPort}`,
    `--cert-file=${tls.cert}`,
    `--key-file=${tls.key}`,
    `--trusted-ca-file=${tls.ca}`,
    '--client-cert-auth=true',
    '--logger=zap',
    '--log-level=error',
  ];
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await isListening(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port} of loopback after 30 s`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exited;
  clearTimeout(force);
}
