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
import type { Etcd3 } from 'etcd3';
import { authorityFiles, createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { TlsFiles } from '../../config/tls.js';
import { connectEtcd, type EtcdConnection } from '../../controller/leadership/etcd.js';
import { freePorts } from '../../plexictl/dev/ports.js';

process.once('SIGTERM', () => process.exit(143));

async function etcdctl(words: readonly string[]): Promise<void> {
  await promisify(execFile)('etcdctl', words, { env: { ...process.env, ETCDCTL_API: '3' }, timeout: 30_000 });
}

export class RealEtcd {
  private member: ChildProcess | undefined;
  private frozen = false;
  private readonly clients = new Set<Etcd3>();

  private constructor(
    readonly folder: string,
    readonly port: number,
    private readonly peerPort: number,
    readonly tls: TlsFiles,
  ) {}

  /** Starts a member and waits until it serves. */
  static async start(): Promise<RealEtcd> {
    const folder = await mkdtemp(join(tmpdir(), 'plexi-etcd-'));
    const pki = join(folder, 'pki');
    await createAuthority(pki, { cluster: 'etcd' });
    const out = { cert: join(pki, 'etcd.pem'), key: join(pki, 'etcd.key') };
    await issueCertificate(pki, { commonName: 'etcd', hosts: ['localhost', '127.0.0.1'], days: 1, out });
    const [port = 0, peerPort = 0] = await freePorts(2);
    const etcd = new RealEtcd(folder, port, peerPort, { ca: authorityFiles(pki).ca, ...out });
    await etcd.run();
    return etcd;
  }

  /** A port on which nobody listens. */
  static async unusedPort(): Promise<number> {
    const [port = 0] = await freePorts(1);
    return port;
  }

  /** How to reach it, directly or through a proxy on another port. */
  connection(port = this.port): EtcdConnection {
    return { endpoints: [`https://127.0.0.1:${port}`], tls: this.tls };
  }

  /** A client that is closed when this etcd is removed. */
  client(port = this.port): Etcd3 {
    const client = connectEtcd(this.connection(port));
    this.clients.add(client);
    return client;
  }

  /** Starts the member (again) and waits until it serves. */
  async run(): Promise<void> {
    const member = spawn('etcd', this.flags(), { stdio: ['ignore', 'ignore', 'pipe'] });
    this.member = member;
    // A test that is ended from outside leaves no member behind.
    process.once('exit', () => member.kill('SIGKILL'));
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
    await rm(join(this.folder, 'data'), { recursive: true, force: true });
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
      ...['snapshot', 'restore', file, `--data-dir=${join(this.folder, 'data')}`, '--name=one'],
      ...[`--initial-cluster=one=${peer}`, `--initial-advertise-peer-urls=${peer}`],
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

  private flags(): string[] {
    const client = `https://127.0.0.1:${this.port}`;
    const peer = `http://127.0.0.1:${this.peerPort}`;
    return [
      '--name=one',
      `--data-dir=${join(this.folder, 'data')}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=one=${peer}`,
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
