/**
 * What is measured: the releases that the nodes go from and to, and the settings that go with them.
 * `nothing` is orchestration alone: the service is `sleep`, nothing is backed up, a stub answers the
 * probe. `reference` is one fixed piece of real work on each node, the same for every tool.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { buildRelease } from '../../release/repository/publish.js';

export interface NodePorts {
  /** A stub that answers every request. */
  readonly stub: number;
  /** For the node's own service. */
  readonly service: number;
}

export interface Workload {
  readonly name: 'nothing' | 'reference';
  /** update.yml. */
  readonly update: object;
  /** The keys of node-agent.yml that belong to the work. */
  nodeConfig(ports: NodePorts): object;
  /** Writes one version's source folder. */
  writeSource(folder: string, version: string): Promise<void>;
  /** Puts into a node's root what is there before the upgrade. */
  fillNode(root: string): Promise<void>;
}

/** Steps that do nothing. */
export const nothing: Workload = {
  name: 'nothing',
  update: { backup: { enabled: false }, behavior: { maintenance_mode: false } },
  nodeConfig: ({ stub }) => ({
    service: { adapter: 'process' },
    probes: [{ kind: 'http', url: `http://127.0.0.1:${stub}/` }],
  }),
  writeSource: (folder, version) =>
    writeAll(folder, {
      'VERSION.txt': `${version}\n`,
      'release.yml': stringify({ name: 'nothing', service: { start: ['sleep', '100000'] } }),
    }),
  fillNode: async () => undefined,
};

/** Bytes of data to back up, and of files in the release beside the service. */
const dataFileBytes = 1_000_000;
const dataFiles = 10;
const releaseFileBytes = 1_050_000;
const releaseFiles = 20;

/** The smallest service that says its version, and the port it was given. */
export const referenceService = `import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
const version = readFileSync(new URL('VERSION.txt', import.meta.url), 'utf8').trim();
createServer((_request, response) => response.end(JSON.stringify({ version }))).listen(Number(process.env.PORT), '127.0.0.1');
`;

/**
 * Maintenance on, backup of 10 MB, one migration, a release of 21 MB, restart of a service, health by
 * the version that it says, maintenance off.
 */
export const reference: Workload = {
  name: 'reference',
  update: { backup: { enabled: true, encryption: false } },
  nodeConfig: ({ service }) => ({
    service: { adapter: 'process', env: { PORT: String(service) } },
    probes: [{ kind: 'http', url: `http://127.0.0.1:${service}/`, version_field: 'version' }],
    maintenance: { enter: ['true'], leave: ['true'] },
  }),
  async writeSource(folder, version) {
    const migration = { id: 'first', scope: 'node', up: ['sh', 'up.sh'], down: ['sh', 'down.sh'] };
    await writeAll(folder, {
      'VERSION.txt': `${version}\n`,
      'service.mjs': referenceService,
      'up.sh': 'echo 1 > "$PLEXI_DATA_DIR/migrated"\n',
      'down.sh': 'rm -f "$PLEXI_DATA_DIR/migrated"\n',
      'release.yml': stringify({
        name: 'reference',
        service: { start: [process.execPath, 'service.mjs'] },
        ...(version !== '0a1' && { migrations: [{ ...migration, timeout_seconds: 60 }] }),
      }),
    });
    await writeTexts(folder, 'asset', releaseFiles, releaseFileBytes, version);
  },
  fillNode: (root) => writeTexts(join(root, 'data'), 'data', dataFiles, dataFileBytes, 'data'),
};

/** Builds 0a1 and 0b1 into a repository below the folder. @returns the repository */
export async function publish(workload: Workload, folder: string): Promise<string> {
  const repository = join(folder, 'releases');
  for (const version of ['0a1', '0b1']) {
    const from = join(folder, `source-${version}`);
    await workload.writeSource(from, version);
    await buildRelease({ version, from, repository, allowDirty: true });
  }
  return repository;
}

async function writeAll(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
}

/** Files of text that gzip makes about a third of, the same in every run. */
async function writeTexts(
  folder: string,
  name: string,
  count: number,
  bytes: number,
  seed: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  let state = [...seed].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
  for (let file = 0; file < count; file++) {
    const text = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      // Eleven letters, so that there is something to compress, and not too much.
      text[at] = 97 + ((state >>> 16) % 11);
    }
    await writeFile(join(folder, `${name}-${file}.txt`), text);
  }
}
