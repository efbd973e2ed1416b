/**
 * The certificates of a dev cluster: mTLS from the first start, as in a real one. Two authorities: the
 * cluster's (controllers, agents, the operator), and etcd's, of which only etcd, the controllers and
 * etcdctl have certificates. What is there already is kept.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { authorityFiles, createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { Role, TlsFiles } from '../../config/tls.js';
import { clusterName, type Layout, type Shape } from './layout.js';

const loopback = ['localhost', '127.0.0.1'];

/** The files of one certificate of the cluster's authority. */
export function clusterTls(layout: Layout, name: string): TlsFiles {
  return tlsIn(layout.pki, name);
}

/** The files of one certificate of etcd's authority. */
export function etcdTls(layout: Layout, name: string): TlsFiles {
  return tlsIn(layout.etcdPki, name);
}

function tlsIn(folder: string, name: string): TlsFiles {
  return {
    ca: authorityFiles(folder).ca,
    cert: join(folder, `${name}.pem`),
    key: join(folder, `${name}.key`),
  };
}

/** Makes both authorities and every certificate that is missing. */
export async function createCertificates(layout: Layout, shape: Shape): Promise<void> {
  for (const folder of [layout.pki, layout.etcdPki]) {
    if (!existsSync(authorityFiles(folder).ca)) await createAuthority(folder, { cluster: clusterName });
  }
  for (const { name } of shape.controllers) await issueForCluster(layout, 'controller', name);
  for (const { name } of shape.nodes) await issueForCluster(layout, 'agent', name);
  await issueForCluster(layout, 'operator', 'operator');
  for (const { name } of [...shape.etcd, ...shape.controllers, { name: 'etcdctl' }])
    await issueForEtcd(layout, name);
}

async function issueForCluster(layout: Layout, role: Role, name: string): Promise<void> {
  const { cert, key } = clusterTls(layout, name);
  if (existsSync(cert)) return;
  const identity = { cluster: clusterName, role, name };
  const hosts = role === 'operator' ? [] : loopback;
  await issueCertificate(layout.pki, { identity, hosts, out: { cert, key } });
}

async function issueForEtcd(layout: Layout, name: string): Promise<void> {
  const { cert, key } = etcdTls(layout, name);
  if (existsSync(cert)) return;
  await issueCertificate(layout.etcdPki, { commonName: name, hosts: loopback, out: { cert, key } });
}
