/**
 * A real etcd for tests: one member on loopback with client certificates required, in a folder of its
 * own. It can be frozen (SIGSTOP), killed, and started again on the same data or on none, because what
 * leaders and mirrors promise is about exactly that.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { authorityFiles, createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { TlsFiles } from '../../config/tls.js';
import { connectEtcd, type EtcdClient, type EtcdConnection } from '../../controller/leadership/etcd.js';
import { freePorts } from '../../plexictl/dev/ports.js';

process.once('SIGTERM', () => process.exit(143));

async function etcdctl(words: readonly string[]): Promise<void> {
  await promisify(execFile)('etcdctl', words, { env: { ...process.env, ETCDCTL_API: '3' }, timeout: 30_000 });
}

/** Members that run now: a test that is ended from outside leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const member of running) member.kill('SIGKILL');
});

/** Where a process runs: in which network, and under which address. */
export interface Place {
  readonly address: string;
  /** The words before its own that bring it there. */
  readonly prefix: readonly string[];
}

/** On this machine's loopback. */
export const here: Place = { address: '127.0.0.1', prefix: [] };

export class RealEtcd {
  private member: ChildProcess | undefined;
  private frozen = false;
  private readonly clients = new Set<EtcdClient>();

  private constructor(
    readonly folder: string,
    readonly port: number,
    private readonly peerPort: number,
    readonly tls: TlsFiles,
    private readonly name = 'one',
    /** The members of the cluster with their peer addresses, as etcd's own option has them. */
    private readonly members = `one=http://127.0.0.1:${peerPort}`,
    private readonly place: Place = here,
  ) {}

  /** Starts a member and waits until it serves. */
  static async start(): Promise<RealEtcd> {
    const { folder, tls } = await RealEtcd.prepared();
    const [port = 0, peerPort = 0] = await freePorts(2);
    const etcd = new RealEtcd(folder, port, peerPort, tls);
    await etcd.run();
    return etcd;
  }

  /** Starts three members of one etcd, each reachable by itself, and each in its place. */
  static async startThree(places: readonly Place[] = []): Promise<RealEtcd[]> {
    const at = (index: number): Place => places[index] ?? here;
    const { folder, tls } = await RealEtcd.prepared(places.map(({ address }) => address));
    const ports = await freePorts(6);
    const names = ['one', 'two', 'three'];
    const peers = names
      .map((name, index) => `${name}=http://${at(index).address}:${ports[index + 3]}`)
      .join(',');
    const members = names.map(
      (name, index) =>
        new RealEtcd(folder, ports[index] ?? 0, ports[index + 3] ?? 0, tls, name, peers, at(index)),
    );
    await Promise.all(members.map((member) => member.run()));
    return members;
  }

  /** A folder of its own, with certificates. */
  private static async prepared(
    addresses: readonly string[] = [],
  ): Promise<{ folder: string; tls: TlsFiles }> {
    const folder = await mkdtemp(join(tmpdir(), 'plexi-etcd-'));
    const pki = join(folder, 'pki');
    await createAuthority(pki, { cluster: 'etcd' });
    const out = { cert: join(pki, 'etcd.pem'), key: join(pki, 'etcd.key') };
    await issueCertificate(pki, {
      commonName: 'etcd',
      hosts: ['localhost', here.address, ...addresses],
      days: 1,
      out,
    });
    return { folder, tls: { ca: authorityFiles(pki).ca, ...out } };
  }

  /** A port on which nobody listens. */
  static async unusedPort(): Promise<number> {
    const [port = 0] = await freePorts(1);
    return port;
  }

  /** How to reach it, directly or through a proxy on another port. */
  connection(port = this.port): EtcdConnection {
    return { endpoints: [`https://${this.place.address}:${port}`], tls: this.tls };
  }

  /** Where it is asked, as host and port. */
  get address(): string {
    return `${this.place.address}:${this.port}`;
  }

  /** The id of its process; undefined: it does not run. */
  get pid(): number | undefined {
    return this.member?.pid;
  }

  /** The file that holds its data, which is another one after it was written anew. */
  get databaseFile(): string {
    return join(this.dataFolder, 'member', 'snap', 'db');
  }

  /** A client that is closed when this etcd is removed. */
  client(port = this.port): EtcdClient {
    const client = connectEtcd(this.connection(port));
    this.clients.add(client);
    return client;
  }

  /** Starts the member (again) and waits until it serves. */
  async run(): Promise<void> {
    const [program = 'etcd', ...words] = [...this.place.prefix, 'etcd', ...this.flags()];
    const member = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.member = member;
    running.add(member);
    member.once('exit', () => running.delete(member));
    await new Promise<void>((resolve, reject) => {
      let text = '';
      member.once('error', reject);
      member.once('exit', (code) => reject(new Error(`etcd ended with ${code}: ${text.slice(-2_000)}`)));
      member.stderr.setEncoding('utf8').on('data', (chunk: string) => {
        text = (text + chunk).slice(-20_000);
        if (text.includes('serving client traffic')) resolve();
      });
    });
  }

  freeze(): void {
    this.frozen = true;
    this.member?.kill('SIGSTOP');
  }

  thaw(): void {
    this.frozen = false;
    this.member?.kill('SIGCONT');
  }

  /** Kills the member as a power cut does; its data stays. */
  async kill(): Promise<void> {
    const { member } = this;
    this.member = undefined;
    this.frozen = false;
    if (member === undefined || member.exitCode !== null || member.signalCode !== null) return;
    const exit = once(member, 'exit');
    member.kill('SIGKILL');
    await exit;
  }

  /** Takes the data away; the member must not run. */
  async wipe(): Promise<void> {
    await rm(this.dataFolder, { recursive: true, force: true });
  }

  /** Saves what the member holds now into a file, as an operator does. */
  async snapshot(file: string): Promise<void> {
    const { ca, cert, key } = this.tls;
    const tls = [`--cacert=${ca}`, `--cert=${cert}`, `--key=${key}`];
    await etcdctl([...tls, `--endpoints=https://127.0.0.1:${this.port}`, 'snapshot', 'save', file]);
  }

  /** Kills the member, puts a snapshot in the place of its data, and starts it again. */
  async restore(file: string): Promise<void> {
    await this.kill();
    await this.wipe();
    const peer = `http://127.0.0.1:${this.peerPort}`;
    await etcdctl([
      ...['snapshot', 'restore', file, `--data-dir=${this.dataFolder}`, `--name=${this.name}`],
      ...[`--initial-cluster=${this.members}`, `--initial-advertise-peer-urls=${peer}`],
    ]);
    await this.run();
  }

  /** Stops everything and removes the folder. */
  async remove(): Promise<void> {
    if (this.frozen) this.thaw();
    for (const client of this.clients) client.close();
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  private get dataFolder(): string {
    return join(this.folder, `data-${this.name}`);
  }

  private flags(): string[] {
    const client = `https://${this.place.address}:${this.port}`;
    const peer = `http://${this.place.address}:${this.peerPort}`;
    return [
      `--name=${this.name}`,
      `--data-dir=${this.dataFolder}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${this.members}`,
      `--cert-file=${this.tls.cert}`,
      `--key-file=${this.tls.key}`,
      `--trusted-ca-file=${this.tls.ca}`,
      '--client-cert-auth=true',
      // Short, so that a restarted member serves at once; leases may be as short as one second.
      '--heartbeat-interval=20',
      '--election-timeout=200',
      '--logger=zap',
    ];
  }
}
