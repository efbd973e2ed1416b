/**
 * A dev cluster of real processes for one test file, started and used as an operator does: through
 * bin/plexictl and the files of the contract (section 5). Everything that is waited for has a deadline,
 * and whatever happens to the test file, the cluster is taken down.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { CommandRun, type Ended, type RunOptions } from './command-run.test.part.js';
import type { EtcdEvents } from './etcd-events.test.part.js';
import { followKeys, readKey } from './etcd-events.test.part.js';

const program = fileURLToPath(new URL('../../bin/plexictl', import.meta.url));

/** One process of processes.json. */
export interface ProcessEntry {
  readonly pid: number;
  readonly log: string;
  readonly endpoint: string;
  readonly http?: string;
  readonly service?: string;
}

/** A message as the sample service tells it; later formats add keys. */
export interface Message {
  readonly id: string;
  readonly at: string;
  readonly author: string;
  readonly text: string;
  readonly room?: string;
  readonly pinned?: boolean;
}

/** What tests change of a node's configuration, as it stands in its file. */
export interface WrittenNodeConfig {
  maintenance: { enter: string[]; leave: string[] };
  probes: object[];
  [key: string]: unknown;
}

export class DevCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'plexi-e2e-'));
  readonly #commands = new Set<CommandRun>();
  readonly #watches = new Set<EtcdEvents>();
  /** The test runner ends a file that takes too long with SIGTERM, and then no hook runs any more. */
  readonly #onTermination = (): void => {
    spawnSync(process.execPath, [program, 'dev', 'down', '--dir', this.root], { timeout: 30_000 });
    process.exit(143);
  };

  /** Starts one and waits until it is ready. `options` are those of `plexictl dev up`. */
  static async start(...options: string[]): Promise<DevCluster> {
    const cluster = new DevCluster();
    process.once('SIGTERM', cluster.#onTermination);
    try {
      await cluster.up(...options);
    } catch (thrown) {
      await cluster.stop();
      throw thrown;
    }
    return cluster;
  }

  get root(): string {
    return join(this.folder, 'cluster');
  }

  get clientFile(): string {
    return join(this.root, 'client.yml');
  }

  /** `plexictl dev up --detach`: starts what does not run. */
  async up(...options: string[]): Promise<void> {
    const words = ['dev', 'up', '--dir', this.root, ...options, '--detach'];
    const { code, stderr } = await this.plexictl(words, { deadlineMs: 120_000 });
    if (code !== 0) throw new Error(`plexictl ${words.join(' ')} ended with ${code}:\n${stderr}`);
  }

  /** Ends every process and removes the folder. */
  async stop(): Promise<void> {
    for (const watch of this.#watches) watch.close();
    for (const command of this.#commands) await command.kill();
    const { code, stderr } = await this.plexictl(['dev', 'down', '--dir', this.root]);
    process.removeListener('SIGTERM', this.#onTermination);
    if (code !== 0) throw new Error(`${this.root} is left as it is: dev down ended with ${code}:\n${stderr}`);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs plexictl to its end. It has no terminal, and this cluster's client file. */
  plexictl(words: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return this.begin(words, options).ended;
  }

  /** Starts plexictl, for what happens while it runs. */
  begin(words: readonly string[], options: RunOptions = {}): CommandRun {
    const environment = { PLEXI_CONFIG: this.clientFile, NO_COLOR: '1', ...options.environment };
    const command = new CommandRun(process.execPath, [program, ...words], { ...options, environment });
    this.#commands.add(command);
    const forget = (): void => void this.#commands.delete(command);
    command.ended.then(forget, forget);
    return command;
  }

  /** A process by its name in processes.json. */
  entry(name: string): ProcessEntry {
    const table: Record<string, ProcessEntry> = JSON.parse(
      readFileSync(join(this.root, 'processes.json'), 'utf8'),
    );
    const entry = table[name];
    if (entry === undefined) throw new Error(`${name} is missing in processes.json`);
    return entry;
  }

  /** Kills one process as the kernel would; nothing of it is told or tidied up. */
  kill(name: string): void {
    process.kill(this.entry(name).pid, 'SIGKILL');
  }

  /**
   * Gives the node a maintenance hook that waits while it is held, so that a test can say its word in
   * the middle of an upgrade however slow the machine is. The next `up` starts its agent anew.
   */
  makeHoldable(node: string): void {
    const script = 'touch "$0"; while [ -e "$1" ]; do sleep 0.05; done';
    const marker = join(this.nodeRoot(node), 'run', 'maintenance');
    this.reconfigure(node, (config) => {
      config.maintenance.enter = ['sh', '-c', script, marker, this.#holdFile(node)];
    });
  }

  /** Changes a node's configuration as an operator does, and ends its agent; the next `up` starts it anew. */
  reconfigure(node: string, change: (config: WrittenNodeConfig) => void): void {
    const file = join(this.root, 'config', `${node}.yml`);
    const config: WrittenNodeConfig = parse(readFileSync(file, 'utf8'));
    change(config);
    writeFileSync(file, stringify(config));
    this.kill(node);
  }

  /**
   * Gives a service less time to get healthy, so that a test of a failure need not wait for it. The next `up`
   * starts the controller anew.
   */
  hurryProbes(probeMs: number): void {
    const file = join(this.root, 'config', 'controller-0.yml');
    const config: { rollout: { timeouts: { probe_ms: number } } } = parse(readFileSync(file, 'utf8'));
    config.rollout.timeouts.probe_ms = probeMs;
    writeFileSync(file, stringify(config));
    this.kill('controller-0');
  }

  /** Changes the policy of the cluster, and starts all controllers anew. */
  async changePolicy(policy: object, controllers: readonly string[] = ['controller-0']): Promise<void> {
    writeFileSync(join(this.root, 'config', 'update.yml'), stringify({ update_system: policy }));
    for (const controller of controllers) this.kill(controller);
    await this.up();
  }

  /** The node's next upgrade stands still as it enters maintenance. */
  hold(node: string): void {
    writeFileSync(this.#holdFile(node), '');
  }

  release(node: string): void {
    rmSync(this.#holdFile(node));
  }

  #holdFile(node: string): string {
    return join(this.folder, `hold-${node}`);
  }

  nodeRoot(node: string): string {
    return join(this.root, 'nodes', node);
  }

  /** The version that the node's service answers with. */
  async serviceVersion(node: string): Promise<string> {
    const answer: { version: string } = await this.#ask(node, '/health');
    return answer.version;
  }

  /** Stores a message on the node. */
  post(node: string, text: string): Promise<Message> {
    return this.#ask(node, '/messages', { method: 'POST', body: JSON.stringify({ author: 'ada', text }) });
  }

  async messages(node: string): Promise<Message[]> {
    const answer: { messages: Message[] } = await this.#ask(node, '/messages');
    return answer.messages;
  }

  /** The HTTP status of the node's messages: 503 in maintenance. */
  async messagesStatus(node: string): Promise<number> {
    return (await this.#send(node, '/messages')).status;
  }

  /** The value of a key below /plexi/v1/dev/; undefined when there is none. */
  key(name: string): Promise<unknown> {
    return readKey(this.root, name);
  }

  /** Follows the keys below /plexi/v1/dev/ from now on. */
  async follow(): Promise<EtcdEvents> {
    const watch = await followKeys(this.root);
    this.#watches.add(watch);
    return watch;
  }

  async #ask<Answer>(node: string, path: string, request: RequestInit = {}): Promise<Answer> {
    const response = await this.#send(node, path, request);
    const text = await response.text();
    if (!response.ok) throw new Error(`${node} answered ${path} with ${response.status}: ${text}`);
    const answer: Answer = JSON.parse(text);
    return answer;
  }

  #send(node: string, path: string, request: RequestInit = {}): Promise<Response> {
    const { service } = this.entry(node);
    return fetch(`${service}${path}`, { ...request, signal: AbortSignal.timeout(5_000) });
  }
}
