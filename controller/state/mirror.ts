/**
 * A copy of the cluster's live keys in memory: list, then watch from the revision after the list. On
 * any doubt (a broken stream, a compaction, a cancelled watch) it lists again on a fresh client, so no
 * event is ever missed in silence; etcd3's own Watcher would lose them (docs/decisions/0002).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { IWatchResponse } from 'etcd3';
import type { Logger } from 'pino';
import {
  anyMember,
  connectEtcd,
  type EtcdClient,
  type EtcdConnection,
  type EtcdEntry,
  entryOf,
  rangeEnd,
  readPrefixWithout,
} from '../leadership/etcd.js';

export interface MirrorChange {
  /** The keys that were written or deleted. */
  readonly keys: readonly string[];
  /** The revision up to which the mirror is complete. */
  readonly revision: bigint;
}

/** Etcd's revision went back. */
export interface WentBack {
  readonly from: bigint;
  readonly to: bigint;
  /** What stood there before. */
  readonly before: (key: string) => EtcdEntry | undefined;
}

/** Milliseconds before a broken watch is built anew. */
const againMs = 200;
/** Looks at an etcd that lies behind what it has told, before it counts as one that was restored. */
const looksMax = 10;
/**
 * Milliseconds between two demands for progress, and without any answer after which a watch counts as dead:
 * soon where another member can be asked, later where waiting is all that can be done.
 */
const patienceOfOne = { progressMs: 2_000, silentMs: 7_000 };
const patienceOfMany = { progressMs: 500, silentMs: 1_800 };

export class Mirror {
  private entries = new Map<string, EtcdEntry>();
  private complete = 0n;
  private first = anyMember();
  /** Etcd was seen behind what it had told, and nobody has looked yet whether its past is another one. */
  private isSuspect = false;
  private readonly listeners = new Set<(change: MirrorChange) => void>();
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  constructor(
    private readonly connection: EtcdConnection,
    private readonly prefix: string,
    /** Keys below it are not kept, because they grow with the past; within the prefix. */
    private readonly without: string,
    private readonly log: Logger,
    /** Told when etcd counts from further down than it did: it was restored from a snapshot. */
    private readonly wentBack: (back: WentBack) => void = () => undefined,
  ) {}

  /** Resolves once the mirror is complete for the first time. */
  async start(): Promise<void> {
    await new Promise<void>((resolve) => {
      const off = this.listen(() => {
        off();
        resolve();
      });
      this.running = this.run();
    });
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  get(key: string): EtcdEntry | undefined {
    return this.entries.get(key);
  }

  /** All kept entries whose key begins with a prefix, by key. */
  under(prefix: string): EtcdEntry[] {
    return [...this.entries.values()]
      .filter((entry) => entry.key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  get revision(): bigint {
    return this.complete;
  }

  /** Calls back after every change, until the returned function is called. */
  listen(listener: (change: MirrorChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Resolves at the first change for which the condition holds, or after the time; tells which. Rejects with what
   * the condition throws: thrown among the changes it would end the process.
   */
  async waitFor(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    if (condition()) return true;
    return new Promise((resolve, reject) => {
      const end = (tell: () => void): void => {
        clearTimeout(timer);
        off();
        tell();
      };
      const timer = setTimeout(() => end(() => resolve(false)), timeoutMs);
      const off = this.listen(() => {
        try {
          if (condition()) end(() => resolve(true));
        } catch (thrown) {
          end(() => reject(thrown));
        }
      });
    });
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const client = connectEtcd(this.connection, this.first);
      try {
        await this.list(client);
        await this.watch(client);
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        this.log.warn({ err: error }, 'the watch over etcd broke; it is built anew');
        // Not at the member that has just been lost.
        this.first += 1;
        await sleep(againMs, undefined, { ref: false });
      } finally {
        client.close();
      }
    }
  }

  private async list(client: EtcdClient): Promise<void> {
    const before = this.entries;
    const from = this.complete;
    const { entries, revision, isOtherPast } = await this.listed(client);
    this.entries = new Map(entries.map((entry) => [entry.key, entry]));
    const changed = new Set([...before.keys(), ...this.entries.keys()]);
    const keys = [...changed].filter(
      (key) => before.get(key)?.modRevision !== this.entries.get(key)?.modRevision,
    );
    // Not the greater of the two: an etcd that was restored counts from further down.
    this.complete = revision;
    if (isOtherPast) this.wentBack({ from, to: revision, before: (key) => before.get(key) });
    this.tell(keys);
  }

  /**
   * What stands in etcd now. A member that has just taken over may for a moment lie behind what another one
   * has told; only an etcd that stays behind, or that remembers something else than was seen, was restored.
   */
  private async listed(
    client: EtcdClient,
  ): Promise<{ entries: readonly EtcdEntry[]; revision: bigint; isOtherPast: boolean }> {
    const from = this.complete;
    for (let looks = 1; ; looks++) {
      const listed = await readPrefixWithout(client, this.prefix, this.without);
      const isBehind = listed.revision < from;
      this.isSuspect ||= isBehind;
      if (isBehind && looks < looksMax && !this.stopping.signal.aborted) {
        await sleep(againMs, undefined, { ref: false });
        continue;
      }
      const isOtherPast = isBehind || (this.isSuspect && !(await this.remembers(client, from)));
      this.isSuspect = false;
      return { ...listed, isOtherPast };
    }
  }

  /** Whether etcd says of a revision what was seen of it; what it has forgotten it does not say. */
  private async remembers(client: EtcdClient, revision: bigint): Promise<boolean> {
    try {
      const { entries } = await readPrefixWithout(client, this.prefix, this.without, revision);
      const isSeen = ({ key, modRevision, value }: EtcdEntry): boolean => {
        const seen = this.entries.get(key);
        return seen?.modRevision === modRevision && seen.value === value;
      };
      return entries.length === this.entries.size && entries.every(isSeen);
    } catch (thrown) {
      if (/compacted/.test(String(thrown))) return false;
      throw thrown;
    }
  }

  /** Ends only by an error, or when the mirror stops. */
  private async watch(client: EtcdClient): Promise<void> {
    const stream = await client.watchClient.watch();
    await new Promise<void>((resolve, reject) => {
      const { progressMs, silentMs } = client.size > 1 ? patienceOfMany : patienceOfOne;
      let heardMs = performance.now();
      const progress = setInterval(() => {
        if (performance.now() - heardMs > silentMs)
          finish(() => reject(new Error('etcd has been silent for too long')));
        else stream.write({ progress_request: {} });
      }, progressMs);
      const stop = (): void => finish(resolve);
      const finish = (end: () => void): void => {
        clearInterval(progress);
        this.stopping.signal.removeEventListener('abort', stop);
        // Else etcd would tell it everything until the next ping finds the client closed.
        stream.cancel();
        end();
      };
      stream.on('data', (response: IWatchResponse) => {
        heardMs = performance.now();
        if (response.canceled)
          finish(() => reject(new Error(`etcd cancelled the watch: ${response.cancel_reason}`)));
        else this.take(response);
      });
      stream.on('error', (error: Error) => finish(() => reject(error)));
      stream.on('end', () => finish(() => reject(new Error('etcd ended the watch'))));
      this.stopping.signal.addEventListener('abort', stop);
      // It may have been stopped while the stream was opened.
      if (this.stopping.signal.aborted) return stop();
      stream.write({
        create_request: {
          key: Buffer.from(this.prefix),
          range_end: rangeEnd(this.prefix),
          start_revision: String(this.complete + 1n),
        },
      });
    });
  }

  /**
   * What it saw is told by the events themselves: in a long replay the header of each part names the
   * revision that etcd is at, whatever is still to come.
   */
  private take(response: IWatchResponse): void {
    if (response.events.length === 0) return;
    const keys: string[] = [];
    for (const event of response.events) {
      const entry = entryOf(event.kv);
      if (entry.modRevision > this.complete) this.complete = entry.modRevision;
      if (entry.key.startsWith(this.without)) continue;
      keys.push(entry.key);
      if (isDelete(event.type)) this.entries.delete(entry.key);
      else this.entries.set(entry.key, entry);
    }
    this.tell(keys);
  }

  private tell(keys: readonly string[]): void {
    const revision = this.complete;
    for (const listener of [...this.listeners]) listener({ keys, revision });
  }
}

/** The type of an event arrives as a number or a word, by how the proto was loaded. */
function isDelete(type: unknown): boolean {
  return type === 1 || String(type).toUpperCase() === 'DELETE';
}
