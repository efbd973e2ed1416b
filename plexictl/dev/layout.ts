/**
 * What stands where in the folder of a dev cluster, and its shape: how many of what, on which ports.
 * The contract (section 5) fixes client.yml, processes.json, etcd.env, releases/ and nodes/. The shape
 * is chosen once; every later `dev up` keeps it.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { PlexiError } from '../../config/errors.js';

/** The cluster's name. */
export const clusterName = 'dev';

/** The version that the nodes of a new cluster run. */
export const firstVersion = '0a1';

const port = z.int().min(1).max(65_535);
const shapeSchema = z.object({
  schema: z.literal(1),
  soakMs: z.int().min(0),
  /** False until the cluster was ready once: until then its ports may still be changed. */
  settled: z.boolean(),
  etcd: z.array(z.object({ name: z.string(), client: port, peer: port })),
  controllers: z.array(z.object({ name: z.string(), grpc: port, http: port })),
  nodes: z.array(z.object({ name: z.string(), grpc: port, service: port, zone: z.string() })),
});

/** How many of what, on which ports. */
export type Shape = z.infer<typeof shapeSchema>;
export type EtcdMember = Shape['etcd'][number];
export type ControllerReplica = Shape['controllers'][number];
export type DevNode = Shape['nodes'][number];

/** The paths inside the folder of a dev cluster. */
export class Layout {
  constructor(readonly folder: string) {}

  get clientFile(): string {
    return join(this.folder, 'client.yml');
  }
  get etcdEnvironment(): string {
    return join(this.folder, 'etcd.env');
  }
  get processes(): string {
    return join(this.folder, 'processes.json');
  }
  get shape(): string {
    return join(this.folder, 'shape.json');
  }
  get releases(): string {
    return join(this.folder, 'releases');
  }
  /** The cluster's authority and certificates. */
  get pki(): string {
    return join(this.folder, 'pki');
  }
  /** etcd's own authority: no node agent and no operator has a certificate of it. */
  get etcdPki(): string {
    return join(this.folder, 'pki-etcd');
  }
  get updateFile(): string {
    return join(this.folder, 'config', 'update.yml');
  }
  /** The configuration of one controller or node agent. */
  config(name: string): string {
    return join(this.folder, 'config', `${name}.yml`);
  }
  log(name: string): string {
    return join(this.folder, 'logs', `${name}.log`);
  }
  etcdData(name: string): string {
    return join(this.folder, 'etcd', name);
  }
  nodeRoot(name: string): string {
    return join(this.folder, 'nodes', name);
  }
}

/** Reads the shape; undefined when the folder is absent or empty. Errors: USAGE for a folder of something else. */
export function readShape(layout: Layout): Shape | undefined {
  const text = readIfThere(layout.shape);
  if (text !== undefined) return parseFile(layout.shape, text, shapeSchema);
  if (entries(layout.folder).length === 0) return undefined;
  throw new PlexiError(
    'USAGE',
    `${layout.folder} is not empty and holds no dev cluster; name another folder with --dir`,
  );
}

/** Writes the shape, making the folder when there is none. */
export function writeShape(layout: Layout, shape: Shape): void {
  mkdirSync(layout.folder, { recursive: true });
  replaceFile(layout.shape, `${JSON.stringify(shape, null, 2)}\n`);
}

/** Replaces a file as a whole, so that a reader never sees half of it. */
export function replaceFile(file: string, content: string): void {
  const temporary = `${file}.new`;
  writeFileSync(temporary, content);
  renameSync(temporary, file);
}

/** The text of a file; undefined when there is none. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  }
}

/** Reads JSON of our own. Errors: CONFIG_INVALID when somebody changed it to something else. */
export function parseFile<Value>(file: string, text: string, schema: z.ZodType<Value>): Value {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${file} cannot be understood; remove the folder and start again`,
      { cause },
    );
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (thrown) {
    if (isMissing(thrown)) return [];
    throw thrown;
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT';
}
