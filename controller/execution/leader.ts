/**
 * One term of lead: it loads the world, looks at every node, takes wishes, and runs the loop until
 * the lead is over. Everything it knows beyond etcd dies with it, and nothing is lost by that.
 */
import type { Logger } from 'pino';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import type { Lead } from '../leadership/campaign.js';
import { type EtcdClient, type EtcdEntry, readKey, readPrefix, readSome } from '../leadership/etcd.js';
import { FencedStore } from '../leadership/fenced-store.js';
import type { World } from '../rollout/world.js';
import type { ClusterKeys } from '../state/keys.js';
import { labelsOf } from '../state/load-world.js';
import type { Mirror } from '../state/mirror.js';
import { readNodes } from '../state/node-store.js';
import { decode, restoredRecord } from '../state/records.js';
import { Dispatch } from './dispatch.js';
import { Intents } from './intents.js';
import { type LoadedCluster, loadCluster } from './load-cluster.js';
import { NodeReports } from './node-reports.js';
import { pruneAudit, pruneRollouts } from './prune.js';
import { RunLoop } from './run-loop.js';
import { Wishes } from './wishes.js';
import { recordWords } from './words-on-nodes.js';

export interface LeaderParts {
  readonly config: ControllerConfig;
  readonly keys: ClusterKeys;
  readonly client: EtcdClient;
  readonly mirror: Mirror;
  readonly repository: ReleaseRepository;
  readonly lead: Lead;
  /** Milliseconds since 1970 that never go back. */
  readonly nowMs: () => number;
  readonly wall: () => Date;
  readonly log: Logger;
}

/** Milliseconds between two looks of the engine at its deadlines. */
const tickMs = 200;

/** Leads until the lead is over. @returns why it is over */
export async function leadTerm(parts: LeaderParts): Promise<string> {
  const { signal } = parts.lead;
  const over = new Promise<string>((resolve) => {
    signal.addEventListener('abort', () => resolve(reasonOf(signal)), { once: true });
    if (signal.aborted) resolve(reasonOf(signal));
  });
  const term = new Term(parts);
  try {
    await term.start();
  } catch (thrown) {
    term.giveUp(asPlexiError(thrown, 'INTERNAL', 'the lead could not be taken up'));
  }
  const reason = await over;
  term.stop();
  return reason;
}

class Term {
  private readonly store: FencedStore;
  private readonly reports: NodeReports;
  private readonly loop: RunLoop;
  private readonly dispatch: Dispatch;
  private readonly wishes: Wishes;
  private readonly intents: Intents;
  private readonly leadSinceMs: number;
  private loadedRevision = 0n;
  private ticker: NodeJS.Timeout | undefined;
  private offMirror = (): void => undefined;

  constructor(private readonly parts: LeaderParts) {
    const { keys, lead, client, config, wall, log } = parts;
    this.leadSinceMs = parts.nowMs();
    this.store = new FencedStore(client, keys.leader, lead.term);
    this.reports = new NodeReports(keys, wall);
    this.loop = this.makeLoop();
    this.dispatch = new Dispatch({
      cluster: config.cluster,
      tls: config.tls,
      lead,
      auditSequence: () => this.loop.auditSequence,
      wall,
      maintenanceMs: config.rollout.timeouts.maintenanceMs,
      emit: (event) => this.loop.emit(event),
      seen: (node, status) => this.reports.seen(node, status),
      told: (node, jobs) => {
        this.loop.schedule(() => recordWords({ ...parts, loop: this.loop }, node, jobs));
      },
      strange: (reason) => this.suspect(reason),
      log,
    });
    const world = (): World => this.loop.world;
    this.wishes = new Wishes({ ...parts, store: this.store, world, lookup: this.loop.lookup });
    this.intents = new Intents({
      keys,
      world,
      take: (wish) => this.loop.takeWish(wish),
      fulfil: (intent) => this.wishes.fulfil(intent),
      outcomes: () => byAge(parts.mirror.under(keys.outcomes)),
      wall,
      log,
    });
  }

  /** Loads, then looks; nothing may happen before the world is loaded. */
  async start(): Promise<void> {
    const { lead, log, mirror } = this.parts;
    await this.loop.load();
    log.info(
      { term: lead.term, epoch: lead.epoch, rollout: this.loop.world.rollout?.id },
      'this controller leads',
    );
    this.offMirror = mirror.listen(({ keys }) => this.guarded(() => this.follow(keys)));
    // What was written while the world was loaded: the mirror has it, and told nobody.
    this.follow(mirror.under(this.parts.keys.prefix).map(({ key }) => key));
    this.followNodes();
    this.loop.schedule(() => this.intents.takeAll());
    this.loop.schedule(() => this.prune());
    this.ticker = setInterval(() => this.loop.emit({ kind: 'tick' }), tickMs);
  }

  stop(): void {
    clearInterval(this.ticker);
    this.offMirror();
    this.loop.stop();
    this.dispatch.close();
  }

  giveUp(error: PlexiError): void {
    const { lead, log } = this.parts;
    log.error({ err: error }, 'this controller gives up the lead');
    lead
      .resign(error.message)
      .catch((thrown) => log.warn({ err: thrown }, 'the lease was not revoked; it expires by itself'));
  }

  /** A node knows more than etcd: it was restored, unless somebody else leads already. */
  private suspect(reason: string): void {
    const { client, keys, lead, log } = this.parts;
    readKey(client, keys.leader).then(
      ({ entry }) => {
        if (entry?.createRevision !== lead.term) return;
        log.error({ reason }, 'etcd was restored');
        this.loop.emit({ kind: 'restored', reason });
      },
      (thrown) => log.warn({ err: thrown, reason }, 'it is not known whether etcd was restored'),
    );
  }

  private makeLoop(): RunLoop {
    const { keys, client, mirror, lead, nowMs, wall, log } = this.parts;
    return new RunLoop(
      {
        keys,
        store: this.store,
        load: (before) => this.load(before),
        auditStamp: () => ({ at: wall(), term: String(lead.term) }),
        exists: async (key) => (await readKey(client, key)).entry !== undefined,
        urgent: () => this.intents.takeAll(),
        wishesWait: () => this.intents.wait,
        intentsRevision: () =>
          mirror.revision > this.loadedRevision ? mirror.revision : this.loadedRevision,
        sideWrites: (before, after, lookup) => this.reports.writes(before, after, lookup),
        ended: () => this.loop.schedule(() => this.prune()),
        nowMs,
        run: (effect, world) => this.dispatch.run(effect, world),
        log,
      },
      (error) => this.giveUp(error),
    );
  }

  private async load(before: World | undefined): Promise<LoadedCluster> {
    const { client, keys, config, lead } = this.parts;
    const { leadSinceMs } = this;
    const loaded = await loadCluster({ client, keys, config, term: lead.term, leadSinceMs }, before);
    this.loadedRevision = loaded.revision;
    this.reports.recheck();
    this.intents.notice(intentEntries(keys, loaded.entries, loaded.world));
    return loaded;
  }

  /** What others wrote: node specs and wishes. */
  private follow(changed: readonly string[]): void {
    const { keys, mirror } = this.parts;
    this.checkLead();
    if (changed.some((key) => keys.nodeOf(key, 'spec') !== undefined)) {
      this.followNodes();
      this.loop.schedule(() => this.followLabels());
    }
    const restored = changed.includes(keys.restored) ? mirror.get(keys.restored) : undefined;
    if (restored !== undefined) {
      const { reason } = decode(restoredRecord, restored.key, restored.value);
      this.loop.emit({ kind: 'restored', reason });
    }
    const wished = changed.filter((key) => isIntentKey(keys, key)).flatMap((key) => mirror.get(key) ?? []);
    if (wished.length === 0) return;
    this.intents.notice(wished);
    this.loop.schedule(() => this.intents.takeAll());
  }

  /** The key may be taken away while its lease lives, and a leader that writes nothing would not notice. */
  private checkLead(): void {
    const { keys, mirror, lead } = this.parts;
    const isBehind = mirror.revision < lead.term;
    if (isBehind || mirror.get(keys.leader)?.createRevision === lead.term || lead.signal.aborted) return;
    this.giveUp(new PlexiError('NOT_LEADER', `the key of term ${lead.term} is gone from etcd`));
  }

  private followNodes(): void {
    const { keys, mirror } = this.parts;
    const specs = mirror.under(keys.nodes).filter(({ key }) => keys.nodeOf(key, 'spec') !== undefined);
    this.loop.rememberSpecs(specs);
    const newest = specs.map((entry) => this.loop.lookup(entry.key) ?? entry);
    const nodes = readNodes(keys, newest).filter((node) => !node.spec.removed);
    this.dispatch.setNodes(new Map(nodes.map((node) => [node.id, node.spec.address])));
  }

  private async followLabels(): Promise<void> {
    const { keys, mirror } = this.parts;
    const entries = mirror.under(keys.nodes);
    // A load that was under way when they were told has put older ones in their place.
    this.loop.rememberSpecs(entries.filter(({ key }) => keys.nodeOf(key, 'spec') !== undefined));
    await this.loop.takeLabels(labelsOf(keys, entries), mirror.revision);
  }

  /** Housekeeping must not cost the lead; the next end of a rollout tries again. */
  private async prune(): Promise<void> {
    try {
      await this.pruneNow();
    } catch (thrown) {
      const error = asPlexiError(thrown, 'INTERNAL', 'old rollouts could not be removed');
      if (error.code === 'NOT_LEADER') throw error;
      this.parts.log.warn({ err: thrown }, error.message);
    }
  }

  private async pruneNow(): Promise<void> {
    const { keys, client, nowMs, log } = this.parts;
    const active = this.loop.world.rollout?.id;
    // Not from the mirror: where it is behind, what has just ended looks as if it had never been in force.
    const { entries } = await readPrefix(client, keys.rollouts);
    const removed = await pruneRollouts(this.store, keys, entries, active, nowMs());
    if (removed.length > 0) log.info({ removed }, 'old rollouts were removed');
    const oldest = (limit: number) => readSome(client, keys.audit, { limit, order: 'Ascend' });
    await pruneAudit(this.store, oldest, this.loop.auditSequence);
  }

  /** A value of another version must not end the process. */
  private guarded(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.giveUp(asPlexiError(thrown, 'INTERNAL', 'what stands in etcd could not be followed'));
    }
  }
}

function reasonOf(signal: AbortSignal): string {
  return signal.reason instanceof Error ? signal.reason.message : String(signal.reason);
}

/** Oldest first, by revision: the numbers in the keys do not sort as text does. */
function byAge(entries: EtcdEntry[]): string[] {
  return entries.sort((a, b) => (a.createRevision < b.createRevision ? -1 : 1)).map(({ key }) => key);
}

function isIntentKey(keys: ClusterKeys, key: string): boolean {
  return key.startsWith(keys.intents) || (key.startsWith(keys.rollouts) && key.includes('/intents/'));
}

function intentEntries(keys: ClusterKeys, entries: readonly EtcdEntry[], world: World): EtcdEntry[] {
  const ofRollout = world.rollout === undefined ? undefined : keys.rolloutIntents(world.rollout.id);
  return entries.filter(
    (entry) =>
      entry.key.startsWith(keys.intents) || (ofRollout !== undefined && entry.key.startsWith(ofRollout)),
  );
}
