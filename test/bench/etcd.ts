/**
 * The etcd of a measurement: one member that syncs to the disk, with mutual TLS, on loopback. Its own
 * counters say how many transactions and reads it served, so that nothing is counted by guessing.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import type { TlsFiles } from '../../config/tls-files.js';

export interface EtcdPlace {
  readonly folder: string;
  readonly port: number;
  readonly peerPort: number;
  readonly tls: TlsFiles;
}

/** What etcd has counted since its start. */
export interface EtcdCounters {
  /** Transactions, those whose guards did not hold included. */
  readonly transactions: number;
  /** Reads outside of transactions. */
  readonly reads: number;
  /** Flushes of its log to the disk, and their time in milliseconds. */
  readonly syncs: number;
  readonly syncMs: number;
}

/** The command that starts it. */
export function etcdCommand({ folder, port, peerPort, tls }: EtcdPlace): string[] {
  return [
    'etcd',
    '--name=etcd-0',
    `--data-dir=${folder}`,
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

/** The variables with which etcdctl reaches it. */
export function etcdctlEnvironment({ port, tls }: EtcdPlace): Record<string, string> {
  return {
    ETCDCTL_API: '3',
    ETCDCTL_ENDPOINTS: `https://127.0.0.1:${port}`,
    ETCDCTL_CACERT: tls.ca,
    ETCDCTL_CERT: tls.cert,
    ETCDCTL_KEY: tls.key,
  };
}

/** Reads etcd's counters. Errors: those of the connection. */
export async function etcdCounters(place: EtcdPlace): Promise<EtcdCounters> {
  const text = await metrics(place);
  const handled = (method: string): number =>
    sum(text, `grpc_server_handled_total{[^}]*grpc_method="${method}"[^}]*}`);
  return {
    transactions: handled('Txn'),
    reads: handled('Range'),
    syncs: sum(text, 'etcd_disk_wal_fsync_duration_seconds_count'),
    syncMs: 1_000 * sum(text, 'etcd_disk_wal_fsync_duration_seconds_sum'),
  };
}

function sum(text: string, series: string): number {
  const lines = text.matchAll(new RegExp(`^${series} (\\S+)$`, 'gm'));
  return [...lines].reduce((total, line) => total + Number(line[1]), 0);
}

function metrics({ port, tls }: EtcdPlace): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        path: '/metrics',
        agent: false,
        ca: readFileSync(tls.ca),
        cert: readFileSync(tls.cert),
        key: readFileSync(tls.key),
      },
      (response) => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.once('end', () => resolve(Buffer.concat(pieces).toString('utf8')));
        response.once('error', reject);
      },
    );
    asked.once('error', reject);
    asked.end();
  });
}
