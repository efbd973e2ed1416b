/**
 * A whole node for tests: certificates, the tiny releases, a root with 0a1 installed, and what there is
 * to see of it from outside. The agent itself is started by the test, in its process or as a program.
 */

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate } from '../config/certificate-authority.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import type { Role, TlsFiles } from '../config/tls.js';
import { openNode } from './agent.js';
import { agentConfig, environment } from './agent-node.test.part.js';
import { installRelease } from './install.js';
import { ProcessService } from './service/process.js';
import { buildTinyReleases, firstData, type TinyReleases } from './tiny-service.test.part.js';

export interface TinyCluster {
  readonly folder: string;
  readonly repository: string;
  readonly releases: TinyReleases;
  tls(role: Role, name: string): TlsFiles;
}

/** Makes the authority, a certificate of each role (and one agent more), and the releases. */
export async function createTinyCluster(): Promise<TinyCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-tiny-'));
  const authority = join(folder, 'ca');
  await createAuthority(authority, { cluster: 'test' });
  const tls = (role: Role, name: string): TlsFiles => ({
    ca: join(authority, 'ca.pem'),
    cert: join(folder, `${role}-${name}.pem`),
    key: join(folder, `${role}-${name}.key`),
  });
  const holders: [Role, string][] = [
    ['controller', 'controller-0'],
    ['agent', 'node-1'],
    ['agent', 'node-2'],
    ['operator', 'ada'],
    ['viewer', 'bob'],
  ];
  for (const [role, name] of holders) {
    const { cert, key } = tls(role, name);
    await issueCertificate(authority, {
      identity: { cluster: 'test', role, name },
      hosts: ['127.0.0.1'],
      out: { cert, key },
    });
  }
  return { folder, ...(await buildTinyReleases(folder)), tls };
}

/** A node's root, and what can be seen of it without its agent. */
export class TinyNode {
  private constructor(
    readonly config: NodeAgentConfig,
    readonly port: number,
  ) {}

  /** A root with 0a1 installed and data of its format; with nothing installed when `version` is none. */
  static async create(
    cluster: TinyCluster,
    {
      version = '0a1',
      env = {},
      ...changes
    }: { version?: '0a1' | 'none'; env?: Record<string, string> } & Partial<NodeAgentConfig> = {},
  ): Promise<TinyNode> {
    const root = await mkdtemp(join(cluster.folder, 'node-'));
    const port = await freePort();
    const marker = join(root, 'run', 'maintenance');
    const config = agentConfig(root, {
      tls: cluster.tls('agent', 'node-1'),
      repository: cluster.repository,
      services: [
        { name: 'service', adapter: 'process', start: undefined, env: { PORT: String(port), ...env } },
      ],
      probes: [
        { kind: 'http', url: `http://127.0.0.1:${port}/health`, status: 200, versionField: 'version' },
      ],
      maintenance: {
        enter: [
          'sh',
          '-c',
          'touch "$1"; while [ -e "$1.hold" ]; do sleep 0.01; done; [ ! -e "$1.fail" ]',
          'enter',
          marker,
        ],
        leave: ['sh', '-c', 'while [ -e "$1.hold-leave" ]; do sleep 0.01; done; rm -f "$1"', 'leave', marker],
      },
      ...changes,
    });
    const node = new TinyNode(config, port);
    await mkdir(join(root, 'data'));
    await mkdir(join(root, 'run'));
    await writeFile(
      join(root, 'data', 'notes.json'),
      version === 'none' ? firstData.replace('1', '2') : firstData,
      { mode: 0o640 },
    );
    if (version !== 'none') await installRelease(await openNode(config, environment), version);
    return node;
  }

  at(...path: string[]): string {
    return join(this.config.root, ...path);
  }

  /** Makes a hook or a migration wait, or fail, by its marker in run/; removing it lets it go on. */
  mark(
    name:
      | 'maintenance.hold'
      | 'maintenance.hold-leave'
      | 'maintenance.fail'
      | 'hold-migration'
      | 'fail-migration',
  ): Promise<void> {
    return writeFile(this.at('run', name), '');
  }

  unmark(name: string): Promise<void> {
    return rm(this.at('run', name), { force: true });
  }

  /** The version that the service says of itself; undefined when nobody answers. */
  async serviceVersion(): Promise<string | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}/health`);
      const { version }: { version: string } = JSON.parse(await response.text());
      return version;
    } catch {
      // Refused: nobody answers.
      return undefined;
    }
  }

  /** The id of the service's process, as the agent wrote it down. */
  servicePid(): number {
    const record: { process: { pid: number } } = JSON.parse(
      readFileSync(this.at('run', 'service.json'), 'utf8'),
    );
    return record.process.pid;
  }

  /** Where the three links lead; undefined for one that is not there. */
  async links(): Promise<Record<'current' | 'previous' | 'trial', string | undefined>> {
    const [current, previous, trial] = await Promise.all(
      ['current', 'previous', 'trial'].map((name) => readlink(this.at(name)).catch(() => undefined)),
    );
    return { current, previous, trial };
  }

  /** Every file of the journal with its content. */
  async journal(): Promise<Record<string, string>> {
    const names = (await readdir(this.at('agent', 'journal'))).sort();
    return Object.fromEntries(
      await Promise.all(
        names.map(async (name) => [name, await readFile(this.at('agent', 'journal', name), 'utf8')]),
      ),
    );
  }

  isInMaintenance(): { record: boolean; hook: boolean } {
    return {
      record: existsSync(this.at('agent', 'maintenance.json')),
      hook: existsSync(this.at('run', 'maintenance')),
    };
  }

  /** Ends the service, and removes everything. */
  async remove(): Promise<void> {
    await new ProcessService(this.config.root).stop(2_000);
    // A job of an agent that was stopped in this process goes on to its end, and writes until then.
    await rm(this.config.root, { recursive: true, force: true, maxRetries: 20 });
  }
}

/** A port below those that outgoing connections get, on which nobody listens now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(12_000, 32_000);
    const socket = connect(port, '127.0.0.1');
    const isTaken = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (!isTaken) return port;
  }
}
