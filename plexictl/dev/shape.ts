/**
 * Chooses the shape of a new dev cluster, and holds an existing one to it: a cluster that is started
 * again keeps its number of processes and its ports.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { Shape } from './layout.js';
import { freePorts } from './ports.js';

/** What somebody asked for; absent is "as it is", or the default in a new cluster. */
export interface ShapeWishes {
  readonly nodes?: number;
  readonly controllers?: number;
  readonly etcd?: number;
  readonly soakMs?: number;
}

const defaults = { nodes: 3, controllers: 1, etcd: 1, soakMs: 2_000 };
const zones = ['a', 'b', 'c'] as const;

/** A shape with free ports. Errors: USAGE for a number that makes no cluster. */
export async function newShape(wishes: ShapeWishes): Promise<Shape> {
  const wanted = { ...defaults, ...wishes };
  checkCounts(wanted);
  const ports = await freePorts(2 * (wanted.etcd + wanted.controllers + wanted.nodes));
  const port = (): number => {
    const next = ports.pop();
    if (next === undefined) throw new PlexiError('INTERNAL', 'fewer ports than processes');
    return next;
  };
  return {
    schema: 1,
    soakMs: wanted.soakMs,
    settled: false,
    etcd: range(wanted.etcd).map((index) => ({ name: `etcd-${index}`, client: port(), peer: port() })),
    controllers: range(wanted.controllers).map((index) => ({
      name: `controller-${index}`,
      grpc: port(),
      http: port(),
    })),
    nodes: range(wanted.nodes).map((index) => {
      const zone = zones[index % zones.length] ?? zones[0];
      return { name: `node-${index + 1}`, grpc: port(), service: port(), zone };
    }),
  };
}

/** The same shape on other free ports. */
export function withNewPorts(shape: Shape): Promise<Shape> {
  const { etcd, controllers, nodes, soakMs } = shape;
  return newShape({ etcd: etcd.length, controllers: controllers.length, nodes: nodes.length, soakMs });
}

/** Errors: USAGE when an existing cluster was asked to become another one. */
export function refuseOtherShape(folder: string, shape: Shape, wishes: ShapeWishes): void {
  const now = {
    nodes: shape.nodes.length,
    controllers: shape.controllers.length,
    etcd: shape.etcd.length,
    soakMs: shape.soakMs,
  };
  for (const key of ['nodes', 'controllers', 'etcd', 'soakMs'] as const) {
    if (wishes[key] === undefined || wishes[key] === now[key]) continue;
    const option = key === 'soakMs' ? '--soak' : `--${key}`;
    const existing = key === 'soakMs' ? `${now[key]} ms` : String(now[key]);
    throw new PlexiError(
      'USAGE',
      `${option}: the cluster in ${folder} has ${existing} and keeps its shape; leave the option out, or name another folder with --dir`,
    );
  }
}

function checkCounts(wanted: { nodes: number; controllers: number; etcd: number }): void {
  if (![1, 3, 5].includes(wanted.etcd))
    throw new PlexiError('USAGE', `--etcd: ${wanted.etcd} is not 1, 3 or 5`);
  const bounds = [
    { option: '--nodes', value: wanted.nodes, most: limits.devNodes },
    { option: '--controllers', value: wanted.controllers, most: limits.devControllers },
  ];
  for (const { option, value, most } of bounds) {
    if (Number.isInteger(value) && value >= 1 && value <= most) continue;
    throw new PlexiError('USAGE', `${option}: ${value} is not a whole number from 1 to ${most}`);
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
