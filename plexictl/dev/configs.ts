/**
 * The configuration files of a dev cluster: what an operator would write by hand, with short times. A
 * file that exists is kept, so that one may be edited and the process started again.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { etcdEndpoint, etcdEnvironment } from './etcd.js';
import {
  type ControllerReplica,
  clusterName,
  type DevNode,
  type Layout,
  replaceFile,
  type Shape,
} from './layout.js';
import { clusterTls, etcdTls } from './pki.js';

/** Writes the files that are missing; all of them when the ports have just been chosen anew. */
export function writeConfigs(layout: Layout, shape: Shape, overwrite: boolean): void {
  const write = (file: string, text: string): void => {
    if (existsSync(file) && !overwrite) return;
    mkdirSync(dirname(file), { recursive: true });
    replaceFile(file, text);
  };
  write(layout.updateFile, yaml(updatePolicy));
  for (const replica of shape.controllers)
    write(layout.config(replica.name), yaml(controllerConfig(layout, shape, replica)));
  for (const node of shape.nodes) {
    for (const folder of ['data', 'config', 'run'])
      mkdirSync(join(layout.nodeRoot(node.name), folder), { recursive: true });
    write(layout.config(node.name), yaml(nodeConfig(layout, shape, node)));
  }
  write(
    layout.clientFile,
    yaml({ controllers: controllerAddresses(shape), tls: clusterTls(layout, 'operator') }),
  );
  write(layout.etcdEnvironment, etcdEnvironment(layout, shape));
}

function yaml(document: object): string {
  return stringify(document, { lineWidth: 0 });
}

function controllerAddresses(shape: Shape): string[] {
  return shape.controllers.map(({ grpc }) => `127.0.0.1:${grpc}`);
}

/** What differs from the defaults; a confirmation is asked for, as in a real cluster. */
const updatePolicy = {
  update_system: { safety: { require_confirmation: true } },
};

function controllerConfig(layout: Layout, shape: Shape, replica: ControllerReplica): object {
  return {
    cluster: clusterName,
    id: replica.name,
    listen: `127.0.0.1:${replica.grpc}`,
    http: { listen: `127.0.0.1:${replica.http}` },
    tls: clusterTls(layout, replica.name),
    etcd: { endpoints: shape.etcd.map(etcdEndpoint), tls: etcdTls(layout, replica.name) },
    repository: layout.releases,
    version_scheme: 'plexi',
    update_file: layout.updateFile,
    zone_label: 'zone',
    leadership: { ttl_seconds: 3, margin_ms: 1_000 },
    rollout: { soak_ms: shape.soakMs, timeouts: { apply_ms: 30_000, probe_ms: 15_000 } },
    log: { level: 'info' },
  };
}

function nodeConfig(layout: Layout, shape: Shape, node: DevNode): object {
  const root = layout.nodeRoot(node.name);
  const marker = join(root, 'run', 'maintenance');
  const serviceAddress = `127.0.0.1:${node.service}`;
  return {
    cluster: clusterName,
    node: node.name,
    root,
    listen: `127.0.0.1:${node.grpc}`,
    controllers: controllerAddresses(shape),
    tls: clusterTls(layout, node.name),
    repository: layout.releases,
    version_scheme: 'plexi',
    service: { adapter: 'process', env: { PORT: String(node.service) } },
    probes: [
      { kind: 'http', url: `http://${serviceAddress}/health`, status: 200, version_field: 'version' },
      { kind: 'tcp', address: serviceAddress },
    ],
    probe_interval_ms: 200,
    maintenance: { enter: ['touch', marker], leave: ['rm', '-f', marker] },
    backup: { paths: ['data', 'config'] },
    register_interval_ms: 5_000,
    log: { level: 'info' },
  };
}
