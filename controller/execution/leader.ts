/**
 * One term of lead: it loads the world, looks at every node, takes wishes, and runs the loop until
 * the lead is over. Everything it knows beyond etcd dies with it, and nothing is lost by that.
 */
import type { Etcd3 } from 'etcd3';
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import type { Lead } from '../leadership/campaign.js';
import { type EtcdEntry, readPrefix } from '../leadership/etcd.js';
import { FencedStore } from '../leadership/fenced-store.js';
import type { World } from '../rollout/rollout.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import { readNodes } from '../state/node-store.js';
import { activeRecord, decode } from '../state/records.js';
import { loadWorld } from '../state/world-store.js';
import { Dispatch } from './dispatch.js';
import { Intents } from './intents.js';
import { NodeReports } from './node-reports.js';
import { RunLoop } from './run-loop.js';
import { Wishes } from './wishes.js';

export interface LeaderParts {
  readonly config: ControllerConfig;
  readonly keys: ClusterKeys;
  readonly client: Etcd3;
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
  const { keys, lead, mirror, config, log } = parts;
  const over = new Promise<string>((resolve) => {
    lead.signal.addEventListener('abort', () => resolve(reasonOf(lead.signal)), { once: true });
    if (lead.signal.aborted) resolve(reasonOf(lead.signal));
  });
  const giveUp = (error: PlexiError): void => {
    log.error({ err: error }, 'this controller gives up the lead');
    lead
      .resign(error.message)
      .catch((thrown) => log.warn({ err: thrown }, 'the lease was not revoked; it expires by itself'));
  };
  const reports = new NodeReports(keys, parts.wall);
  const store = new FencedStore(parts.client, keys.leader, lead.term);
  let loadedRevision = 0n;
  const loop: RunLoop = new RunLoop(
    {
      keys,
      store,
      load: async (before) => {
        const loaded = await loadAll(parts, before);
        loadedRevision = loaded.revision;
        reports.recheck();
        intents.notice(intentEntries(keys, loaded.entries, loaded.world));
        return loaded;
      },
      urgent: () => intents.takeAll(),
      intentsRevision: () => {
        const { oldestPending } = intents;
        if (oldestPending !== undefined) return oldestPending - 1n;
        return mirror.revision > loadedRevision ? mirror.revision : loadedRevision;
      },
      sideWrites: (before, after, lookup) => reports.writes(before, after, lookup),
      nowMs: parts.nowMs,
      run: (effect, world) => dispatch.run(effect, world),
      log,
    },
    giveUp,
  );
  const dispatch = new Dispatch({
    cluster: config.cluster,
    tls: config.tls,
    lead,
    wall: parts.wall,
    maintenanceMs: config.rollout.timeouts.maintenanceMs,
    emit: (event) => loop.emit(event),
    seen: (node, status) => reports.seen(node, status),
    restored: giveUp,
    log,
  });
  const wishes = new Wishes({ ...parts, store, world: () => loop.world, lookup: loop.lookup });
  const intents: Intents = new Intents({
    keys,
    world: () => loop.world,
    take: (events, extra) => loop.take(events, extra),
    fulfil: (intent) => wishes.fulfil(intent),
    outcomes: () => mirror.under(keys.outcomes).map((entry) => entry.key),
    wall: parts.wall,
    log,
  });

  const follow = (): void => {
    const entries = mirror.under(keys.nodes);
    const nodes = readNodes(keys, entries).filter((node) => !node.spec.removed);
    loop.rememberSpecs(entries.filter((entry) => entry.key.endsWith('/spec')));
    dispatch.setNodes(new Map(nodes.map((node) => [node.id, node.spec.address])));
  };
  const off = mirror.listen(({ keys: changed }) => {
    if (changed.some((key) => key.startsWith(keys.nodes) && key.endsWith('/spec'))) follow();
    const wished = changed.filter((key) => isIntentKey(keys, key)).flatMap((key) => mirror.get(key) ?? []);
    if (wished.length === 0) return;
    intents.notice(wished);
    loop.schedule(() => intents.takeAll());
  });
  const ticker = setInterval(() => loop.emit({ kind: 'tick' }), tickMs);
  try {
    await loop.load();
    log.info(
      { term: lead.term, epoch: lead.epoch, rollout: loop.world.rollout?.id },
      'this controller leads',
    );
    follow();
    loop.schedule(() => intents.takeAll());
    return await over;
  } catch (thrown) {
    giveUp(
      thrown instanceof PlexiError ? thrown : new PlexiError('INTERNAL', String(thrown), { cause: thrown }),
    );
    return await over;
  } finally {
    clearInterval(ticker);
    off();
    loop.stop();
    dispatch.close();
  }
}

function reasonOf(signal: AbortSignal): string {
  return signal.reason instanceof Error ? signal.reason.message : String(signal.reason);
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

/** Everything that the leader decides on, read anew. What it sees of the nodes it keeps. */
async function loadAll(
  { client, keys, config, lead }: LeaderParts,
  before: World | undefined,
): Promise<{ world: World; entries: readonly EtcdEntry[]; revision: bigint }> {
  const { entries: slots, revision } = await readPrefix(client, keys.slots);
  const rest = await Promise.all(
    [keys.budget, keys.active, keys.nodes, keys.intents].map((prefix) => readPrefix(client, prefix)),
  );
  const entries = [...slots, ...rest.flatMap((read) => read.entries)];
  const active = entries.find((entry) => entry.key === keys.active);
  if (active !== undefined) {
    const { rollout } = decode(activeRecord, active.key, active.value);
    entries.push(...(await readPrefix(client, keys.rollout(rollout))).entries);
  }
  const configuredMax = config.update.clustering.maxConcurrentNodes;
  const world = loadWorld(keys, entries, configuredMax, lead.term, before?.views ?? new Map());
  return { world, entries, revision };
}
