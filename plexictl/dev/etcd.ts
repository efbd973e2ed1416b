/**
 * The etcd of a dev cluster: real members on loopback, with client and peer certificates required, a
 * data folder of 0700 and automatic compaction, as a real cluster should have them.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { get } from 'node:https';
import type { EtcdMember, Layout, Shape } from './layout.js';
import { etcdTls } from './pki.js';
import type { ProcessSpec } from './processes.js';

/** The URL at which clients reach a member. */
export function etcdEndpoint(member: EtcdMember): string {
  return `https://127.0.0.1:${member.client}`;
}

/** How to start one member. */
export function etcdProcess(layout: Layout, shape: Shape, member: EtcdMember, program: string): ProcessSpec {
  const data = layout.etcdData(member.name);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const tls = etcdTls(layout, member.name);
  const peerUrl = (of: EtcdMember): string => `https://127.0.0.1:${of.peer}`;
  const settings: Record<string, string> = {
    name: member.name,
    'data-dir': data,
    'listen-client-urls': etcdEndpoint(member),
    'advertise-client-urls': etcdEndpoint(member),
    'listen-peer-urls': peerUrl(member),
    'initial-advertise-peer-urls': peerUrl(member),
    'initial-cluster': shape.etcd.map((of) => `${of.name}=${peerUrl(of)}`).join(','),
    'initial-cluster-token': 'plexi-dev',
    'cert-file': tls.cert,
    'key-file': tls.key,
    'trusted-ca-file': tls.ca,
    'client-cert-auth': 'true',
    'peer-cert-file': tls.cert,
    'peer-key-file': tls.key,
    'peer-trusted-ca-file': tls.ca,
    'peer-client-cert-auth': 'true',
    'auto-compaction-mode': 'periodic',
    'auto-compaction-retention': '1h',
    logger: 'zap',
  };
  const flags = Object.entries(settings).map(([key, value]) => `--${key}=${value}`);
  return { name: member.name, argv: [program, ...flags], endpoint: etcdEndpoint(member) };
}

/** Whether a member serves and its cluster has a leader. */
export function isEtcdHealthy(layout: Layout, member: EtcdMember): Promise<boolean> {
  const { ca, cert, key } = etcdTls(layout, 'etcdctl');
  const tls = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
  return new Promise((resolve) => {
    const request = get(
      `${etcdEndpoint(member)}/health`,
      { ...tls, agent: false, timeout: 2_000 },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      },
    );
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

/** The content of etcd.env: plain KEY=VALUE lines for etcdctl. */
export function etcdEnvironment(layout: Layout, shape: Shape): string {
  const { ca, cert, key } = etcdTls(layout, 'etcdctl');
  const variables = {
    ETCDCTL_API: '3',
    ETCDCTL_ENDPOINTS: shape.etcd.map(etcdEndpoint).join(','),
    ETCDCTL_CACERT: ca,
    ETCDCTL_CERT: cert,
    ETCDCTL_KEY: key,
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${shellWord(value)}\n`)
    .join('');
}

/** Quoted only where a shell would read more than the word itself. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
