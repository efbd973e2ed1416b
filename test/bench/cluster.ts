/**
 * A cluster to measure: a real etcd that syncs to its disk, a real controller process, mutual TLS,
 * and N real agents in one process of their own, each with its own port, journal, root and service.
 * Every program runs as it is built into dist/, as it does for an operator.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { TlsFiles } from '../../config/tls-files.js';
import { freePorts } from '../../plexictl/dev/ports.js';
import { type EtcdPlace, etcdCommand } from './etcd.js';
import { listening, Processes } from './processes.js';
import { publish, type Workload } from './workload.js';

export interface BenchNode {
  readonly id: string;
  readonly root: string;
  readonly servicePort: number;
}

export interface BenchCluster {
  readonly folder: string;
  readonly nodes: readonly BenchNode[];
  readonly controllerPid: number;
  readonly agentsPid: number;
  readonly stubPort: number;
  readonly etcd: EtcdPlace;
  /** The client file for plexictl. */
  readonly clientFile: string;
  /** Where the CPU profiles of controller and agents appear once they have ended; undefined: none are made. */
  readonly profiles: { readonly controller: string; readonly agents: string } | undefined;
  /** Ends every process. */
  end(): Promise<void>;
  /** Removes the folder. */
  remove(): Promise<void>;
}

export interface BenchOptions {
  readonly workload: Workload;
  readonly nodes: number;
  readonly profile: boolean;
}

const cluster = 'bench';

type Certificates = (name: string) => TlsFiles;

interface Settings {
  readonly folder: string;
  readonly controllers: readonly string[];
  readonly releases: string;
  readonly tls: Certificates;
  readonly workload: Workload;
}

/** Starts everything; resolves once the agents listen. Errors: those of a program that does not come up. */
export async function startBenchCluster(options: BenchOptions): Promise<BenchCluster> {
  const { workload } = options;
  const folder = await mkdtemp(join(tmpdir(), 'plexi-bench-'));
  const ports = await freePorts(2 * options.nodes + 4);
  const [etcdPort = 0, peerPort = 0, controllerPort = 0, stubPort = 0, ...ofNodes] = ports;
  const nodes = Array.from({ length: options.nodes }, (_, index) => ({
    id: `node-${index + 1}`,
    root: join(folder, 'nodes', `node-${index + 1}`),
    port: ofNodes[2 * index] ?? 0,
    servicePort: ofNodes[2 * index + 1] ?? 0,
  }));
  const tls = await certificates(folder, nodes);
  const controllers = [`127.0.0.1:${controllerPort}`];
  const releases = await publish(workload, folder);
  const settings = { folder, controllers, releases, tls, workload };
  const etcd = { folder: join(folder, 'etcd'), port: etcdPort, peerPort, tls: tls('etcd') };
  const profiles = options.profile
    ? { controller: join(folder, 'profile-controller'), agents: join(folder, 'profile-agents') }
    : undefined;

  const processes = new Processes();
  try {
    processes.start(etcdCommand(etcd), { quiet: true });
    processes.start([process.execPath, beside('stub.js'), String(stubPort)]);
    await Promise.all([listening(etcdPort), listening(stubPort)]);
    const controllerFile = await writeController(settings, etcd);
    const controllerPid = processes.start([
      ...node(profiles?.controller),
      'bin/plexi-controller',
      '--config',
      controllerFile,
    ]);
    await listening(controllerPort);
    const agentFiles = await Promise.all(nodes.map((it) => writeAgent(settings, it, stubPort)));
    const agentsPid = processes.start([...node(profiles?.agents), beside('agents.js'), ...agentFiles]);
    for (const { port } of nodes) await listening(port);
    for (const { root } of nodes) await workload.fillNode(root);

    const clientFile = join(folder, 'client.yml');
    await writeFile(clientFile, stringify({ controllers, tls: tls('operator') }));
    return {
      ...{ folder, nodes, controllerPid, agentsPid, stubPort, etcd, clientFile, profiles },
      end: () => processes.end(),
      remove: () => rm(folder, { recursive: true, force: true }),
    };
  } catch (thrown) {
    await processes.end();
    throw thrown;
  }
}

/** The command for a program of Node, which leaves a CPU profile when a folder is given. */
function node(profileFolder: string | undefined): string[] {
  const profile = ['--cpu-prof', '--cpu-prof-interval=500', `--cpu-prof-dir=${profileFolder}`];
  return [process.execPath, ...(profileFolder === undefined ? [] : profile)];
}

function beside(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

async function writeController(settings: Settings, etcd: EtcdPlace): Promise<string> {
  const { folder, controllers, releases, tls, workload } = settings;
  const updateFile = join(folder, 'update.yml');
  await writeFile(updateFile, stringify({ update_system: workload.update }));
  const file = join(folder, 'controller.yml');
  await writeFile(
    file,
    stringify({
      cluster,
      id: 'controller-0',
      listen: controllers[0],
      tls: tls('controller-0'),
      etcd: { endpoints: [`https://127.0.0.1:${etcd.port}`], tls: etcd.tls },
      repository: releases,
      update_file: updateFile,
      rollout: { soak_ms: 0, probe: { good_in_a_row: 1 } },
      log: { level: 'error' },
    }),
  );
  return file;
}

async function writeAgent(
  settings: Settings,
  it: BenchNode & { readonly port: number },
  stubPort: number,
): Promise<string> {
  const { folder, controllers, releases, tls, workload } = settings;
  const file = join(folder, `${it.id}.yml`);
  await writeFile(
    file,
    stringify({
      cluster,
      node: it.id,
      root: it.root,
      listen: `127.0.0.1:${it.port}`,
      controllers,
      tls: tls(it.id),
      repository: releases,
      log: { level: 'error' },
      ...workload.nodeConfig({ stub: stubPort, service: it.servicePort }),
    }),
  );
  return file;
}

async function certificates(folder: string, nodes: readonly { id: string }[]): Promise<Certificates> {
  const pki = join(folder, 'pki');
  await createAuthority(pki, { cluster });
  const hosts = ['localhost', '127.0.0.1'];
  const files = (name: string): TlsFiles => ({
    ca: join(pki, 'ca.pem'),
    cert: join(pki, `${name}.pem`),
    key: join(pki, `${name}.key`),
  });
  await issueCertificate(pki, { commonName: 'etcd', hosts, out: files('etcd') });
  const issue = (role: 'controller' | 'operator' | 'agent', name: string) =>
    issueCertificate(pki, {
      identity: { cluster, role, name },
      hosts: role === 'operator' ? [] : hosts,
      out: files(name),
    });
  await issue('controller', 'controller-0');
  await issue('operator', 'operator');
  for (const { id } of nodes) await issue('agent', id);
  return files;
}
