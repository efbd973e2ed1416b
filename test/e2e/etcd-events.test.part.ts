/**
 * What happens in etcd, seen with `etcdctl watch` as an operator sees it. A watch starts at a revision
 * that was read before, so no event is missed, and every event is kept for the end of the test.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/** The keys of a dev cluster stand below this. */
const root = '/plexi/v1/dev/';

/** One put (with its value) or one delete of a key. */
export interface EtcdEvent {
  /** Below /plexi/v1/dev/. */
  readonly key: string;
  readonly kind: 'put' | 'delete';
  /** All changes of one transaction have the same. */
  readonly revision: number;
  readonly value: Readonly<Record<string, unknown>>;
}

interface RawEvent {
  readonly type?: number;
  readonly kv: { readonly key: string; readonly mod_revision: number; readonly value?: string };
}

export class EtcdEvents {
  readonly events: EtcdEvent[] = [];
  readonly #child: ChildProcess;
  #onEvent: () => void = () => undefined;

  /** Follows from a revision on. It is one watch, so that the order of the events is that of etcd. */
  constructor(environment: NodeJS.ProcessEnv, revision: number) {
    const words = ['watch', '--prefix', root, `--rev=${revision}`, '-w', 'json'];
    const child = spawn('etcdctl', words, { stdio: ['ignore', 'pipe', 'ignore'], env: environment });
    this.#child = child;
    createInterface(child.stdout).on('line', (line) => this.#take(line));
  }

  /** The changes of the keys that begin like this, so far. */
  of(prefix: string): EtcdEvent[] {
    return this.events.filter(({ key }) => key.startsWith(prefix));
  }

  /** Waits for the end of the active rollout, and so for all that came before it. */
  rolloutEnded(): Promise<EtcdEvent> {
    return this.until(({ key, kind }) => key === 'active' && kind === 'delete', 'the end of the rollout');
  }

  /** Waits until a node of the active rollout is in a phase. */
  nodeIn(node: string, phase: string): Promise<EtcdEvent> {
    return this.until(
      ({ key, value }) =>
        /^rollouts\/[^/]+\/nodes\//.test(key) && key.endsWith(`/${node}`) && value.phase === phase,
      `${node} in ${phase}`,
    );
  }

  /** The first event, old or new, that is as asked. Rejects when none came in time. */
  async until(isIt: (event: EtcdEvent) => boolean, what: string, deadlineMs = 30_000): Promise<EtcdEvent> {
    let timer: NodeJS.Timeout | undefined;
    const seen = new Promise<EtcdEvent>((resolve) => {
      this.#onEvent = () => {
        const found = this.events.find(isIt);
        if (found !== undefined) resolve(found);
      };
      this.#onEvent();
    });
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const last = this.events
          .slice(-20)
          .map(({ kind, key, value }) => `${kind} ${key} ${value.phase ?? ''}`);
        reject(new Error(`${what}: not within ${deadlineMs} ms; the last events:\n${last.join('\n')}`));
      }, deadlineMs);
    });
    try {
      return await Promise.race([seen, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }

  #take(line: string): void {
    const { Events = [] }: { Events?: RawEvent[] } = JSON.parse(line);
    for (const { type, kv } of Events) {
      const text = kv.value === undefined ? '{}' : decoded(kv.value);
      this.events.push({
        key: decoded(kv.key).slice(root.length),
        kind: type === 1 ? 'delete' : 'put',
        revision: kv.mod_revision,
        value: JSON.parse(text),
      });
    }
    this.#onEvent();
  }
}

/** The most of these keys that were there at once, after each transaction, when there was none at first. */
export function mostAtOnce(events: readonly EtcdEvent[]): number {
  const there = new Set<string>();
  let most = 0;
  for (const [index, { key, kind, revision }] of events.entries()) {
    if (kind === 'put') there.add(key);
    else there.delete(key);
    if (events[index + 1]?.revision !== revision) most = Math.max(most, there.size);
  }
  return most;
}

/** Follows all keys of the cluster in a folder from now on. */
export async function followKeys(folder: string): Promise<EtcdEvents> {
  const environment = environmentOf(folder);
  const { header } = await get(environment, 'leader');
  return new EtcdEvents(environment, header.revision + 1);
}

/** The value of one key; undefined when there is none. */
export async function readKey(folder: string, key: string): Promise<unknown> {
  const { kvs } = await get(environmentOf(folder), key);
  const value = kvs?.[0]?.value;
  return value === undefined ? undefined : JSON.parse(decoded(value));
}

interface GetAnswer {
  readonly header: { readonly revision: number };
  readonly kvs?: readonly { readonly value: string }[];
}

async function get(environment: NodeJS.ProcessEnv, key: string): Promise<GetAnswer> {
  const words = ['get', `${root}${key}`, '-w', 'json'];
  const { stdout } = await promisify(execFile)('etcdctl', words, { env: environment, timeout: 10_000 });
  return JSON.parse(stdout);
}

/** etcd.env of the contract: KEY=VALUE lines. */
function environmentOf(folder: string): NodeJS.ProcessEnv {
  const lines = readFileSync(join(folder, 'etcd.env'), 'utf8').trim().split('\n');
  return { ...process.env, ...Object.fromEntries(lines.map((line) => line.split('=', 2))) };
}

function decoded(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}
