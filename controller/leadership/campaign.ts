/**
 * The campaign for the lead, on one fixed key with a lease. The term is the key's create_revision.
 * A leader stops by its own monotonic clock, a margin before the lease can expire; whatever is in
 * doubt ends the lead, and a lease is never used twice. Safety does not rest on this: every write is
 * guarded by the term, and every command is fenced on the node (design, decisions 1 to 3).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { decode, encode, epochRecord, lineageRecord } from '../state/records.js';
import {
  type EtcdClient,
  type EtcdCompare,
  type EtcdEntry,
  type EtcdOperation,
  grantLease,
  readKey,
  renewLease,
  revokeLease,
  transact,
} from './etcd.js';

export interface CandidateSettings {
  readonly id: string;
  readonly address: string;
  readonly ttlSeconds: number;
  readonly marginMs: number;
}

export interface CampaignKeys {
  readonly leader: string;
  readonly epoch: string;
  readonly lineage: string;
}

export interface CampaignEnvironment {
  /** Monotonic, in milliseconds. */
  readonly nowMs: () => number;
  readonly wall: () => Date;
  readonly nonce: () => string;
  /** What else is written when a lead is taken up: its record in the audit. */
  readonly entering: (lead: EnteredLead) => Promise<Entrance>;
  readonly log: Logger;
}

export interface LineageRecord {
  readonly term: string;
  readonly nonce: string;
  /** The number of the audit record with which the term began; absent from terms of older controllers. */
  readonly audit?: number | undefined;
}

/** A lead that is just taken up. */
export interface EnteredLead {
  readonly term: bigint;
  readonly epoch: bigint;
}

/** Writes with their compares. */
export interface Writes {
  readonly operations: readonly EtcdOperation[];
  readonly guards: readonly EtcdCompare[];
}

/** What is written along with a lead that is taken up. */
export interface Entrance extends Writes {
  /** Where the audit ends then: with the record of this lead. */
  readonly head: { readonly sequence: number };
}

/** A lead that was won. */
export interface Lead {
  readonly term: bigint;
  readonly epoch: bigint;
  readonly nonce: string;
  /** The last terms, newest last. */
  readonly lineage: readonly LineageRecord[];
  /** Aborted when the lead is over, for whatever reason; that reason is its sentence. */
  readonly signal: AbortSignal;
  /** Gives the lead up at once: the next candidate need not wait for the lease. */
  resign(reason: string): Promise<void>;
}

/** Milliseconds between two tries when nobody says that the key is gone. */
const tryAgainMs = 500;
/** Milliseconds that one member of etcd has to answer a renewal, before the next one is asked. */
const renewMinMs = 400;
const renewMaxMs = 1_000;
/** Milliseconds between a renewal that was not answered and the next. */
const renewAgainMs = 100;
/** Milliseconds between two tries at the least: who says that the key is gone may be behind etcd. */
const tryAgainMinMs = 20;

/**
 * Campaigns until it wins, or the signal is aborted (then undefined).
 * @param leaderGone resolves when the leader key may have gone; the campaign tries again at once
 */
export async function campaign(
  client: EtcdClient,
  keys: CampaignKeys,
  settings: CandidateSettings,
  environment: CampaignEnvironment,
  leaderGone: (timeoutMs: number) => Promise<void>,
  signal: AbortSignal,
): Promise<Lead | undefined> {
  while (!signal.aborted) {
    try {
      const holder = (await readKey(client, keys.leader)).entry;
      const lead = holder === undefined ? await tryOnce(client, keys, settings, environment) : undefined;
      if (lead !== undefined) return lead;
      const sinceMs = environment.nowMs();
      await leaderGone(tryAgainMs);
      const restMs = tryAgainMinMs - (environment.nowMs() - sinceMs);
      if (restMs > 0) await sleep(restMs, undefined, { ref: false });
    } catch (error) {
      environment.log.warn({ err: error }, 'the campaign goes on');
      await sleep(tryAgainMs, undefined, { ref: false });
    }
  }
  return undefined;
}

async function tryOnce(
  client: EtcdClient,
  keys: CampaignKeys,
  settings: CandidateSettings,
  environment: CampaignEnvironment,
): Promise<Lead | undefined> {
  const grantedMs = environment.nowMs();
  const granting = grantLease(client, settings.ttlSeconds);
  const [lease, { epoch, modRevision }] = await Promise.all([granting, readEpoch(client, keys.epoch)]).catch(
    async (thrown) => {
      // A candidate tries twice a second: each of its leases would stand in etcd for its whole time.
      await granting
        .then((granted) => revokeLease(client, granted))
        .catch(() => 'none was granted, or it expires by itself');
      throw thrown;
    },
  );
  const value = JSON.stringify({
    id: settings.id,
    address: settings.address,
    epoch: Number(epoch),
    since: environment.wall().toISOString(),
  });
  const writing = transact(
    client,
    [
      { kind: 'createRevision', key: keys.leader, equals: 0n },
      // Whoever raises the epoch takes the lead away: nobody may win it back with the old one.
      { kind: 'modRevision', key: keys.epoch, equals: modRevision },
    ],
    [{ kind: 'put', key: keys.leader, value, lease }],
  ).catch(async (error) => {
    environment.log.warn(
      { err: error },
      'it is not known whether the leader key was written; reading it back',
    );
    const { entry } = await readKey(client, keys.leader);
    return entry?.lease === lease ? entry.createRevision : undefined;
  });
  try {
    const term = await writing;
    if (term !== undefined)
      return await takeLead(client, keys, settings, environment, { term, lease, epoch, grantedMs });
  } catch (thrown) {
    // Nobody leads under this key, so it must not stand until the lease expires.
    await revokeLease(client, lease);
    throw thrown;
  }
  await revokeLease(client, lease);
  return undefined;
}

async function takeLead(
  client: EtcdClient,
  keys: CampaignKeys,
  settings: CandidateSettings,
  environment: CampaignEnvironment,
  won: { term: bigint; lease: string; epoch: bigint; grantedMs: number },
): Promise<Lead> {
  const { term } = won;
  const nonce = environment.nonce();
  // Nobody else appends any more: whoever led before has no leader key to compare.
  const [entrance, { entry: before }] = await Promise.all([
    environment.entering({ term, epoch: won.epoch }),
    readKey(client, keys.lineage),
  ]);
  const lineage = await appendLineage(client, keys, before, { term: String(term), nonce }, entrance);
  // A lead that took as long to take up as its lease lasts is none: another one may have begun already.
  if (environment.nowMs() >= leadsUntilMs(won, settings))
    throw new PlexiError('NOT_LEADER', 'the lead could not be taken up before its lease was over');
  const over = new AbortController();
  const keeping = keepLease(client, won, settings, environment, over);
  return {
    term,
    epoch: won.epoch,
    nonce,
    lineage,
    signal: over.signal,
    async resign(reason) {
      if (!over.signal.aborted) over.abort(new PlexiError('NOT_LEADER', reason));
      // Beside a renewal that is under way, which may take a second.
      await Promise.all([keeping, revokeLease(client, won.lease)]);
    },
  };
}

/** Until when a lead stands by its first lease alone, on the clock of `nowMs`. */
function leadsUntilMs(won: { grantedMs: number }, settings: CandidateSettings): number {
  return won.grantedMs + settings.ttlSeconds * 1_000 - settings.marginMs;
}

/**
 * Renews the lease every third of its time; when no answer comes, sooner and at another member. The lead is over at `until`: the time before the last
 * answered renewal was sent, plus the lease, minus the margin.
 */
async function keepLease(
  client: EtcdClient,
  won: { lease: string; grantedMs: number },
  settings: CandidateSettings,
  environment: CampaignEnvironment,
  over: AbortController,
): Promise<void> {
  const ttlMs = settings.ttlSeconds * 1_000;
  let untilMs = leadsUntilMs(won, settings);
  const guard = setInterval(() => {
    if (environment.nowMs() >= untilMs)
      over.abort(new PlexiError('NOT_LEADER', 'the lease could not be renewed in time'));
  }, 20);
  const tryMs = Math.min(Math.max(ttlMs / 6, renewMinMs), renewMaxMs);
  let waitMs = ttlMs / 3;
  try {
    while (!over.signal.aborted) {
      await sleep(waitMs, undefined, { signal: over.signal, ref: false }).catch(() => undefined);
      if (over.signal.aborted) return;
      const sentMs = environment.nowMs();
      const boundMs = Math.max(1, Math.min(untilMs - sentMs, tryMs));
      const leftMs = await renewLease(client, won.lease, boundMs).catch((error) => {
        environment.log.warn({ err: error }, 'the lease was not renewed');
        return undefined;
      });
      if (leftMs === 0) over.abort(new PlexiError('NOT_LEADER', 'etcd says that the lease is gone'));
      if (leftMs !== undefined && leftMs > 0) untilMs = sentMs + ttlMs - settings.marginMs;
      waitMs = leftMs === undefined ? renewAgainMs : ttlMs / 3;
    }
  } finally {
    clearInterval(guard);
  }
}

/** The epoch, and where it was written; the first controller of a new cluster writes the first one. */
async function readEpoch(client: EtcdClient, key: string): Promise<{ epoch: bigint; modRevision: bigint }> {
  const found = (await readKey(client, key)).entry;
  if (found === undefined) {
    const value = JSON.stringify({ epoch: 1 });
    await transact(client, [{ kind: 'createRevision', key, equals: 0n }], [{ kind: 'put', key, value }]);
    return readEpoch(client, key);
  }
  return { epoch: epochOf(found), modRevision: found.modRevision };
}

/** @throws PlexiError STORE_INVALID naming the key */
export function epochOf({ key, value }: EtcdEntry): bigint {
  try {
    return BigInt(decode(epochRecord, key, value).epoch);
  } catch (cause) {
    throw new PlexiError(
      'STORE_INVALID',
      `the key ${key} does not hold an epoch; put it right by hand: {"epoch": 1} in a new cluster, or one more than it was`,
      { cause },
    );
  }
}

/** Enters the term into the lineage, by which a restored etcd is recognised (protocol, rule 21). */
async function appendLineage(
  client: EtcdClient,
  keys: CampaignKeys,
  entry: EtcdEntry | undefined,
  own: LineageRecord,
  { operations, guards, head }: Entrance,
): Promise<LineageRecord[]> {
  const before = entry === undefined ? [] : decode(lineageRecord, keys.lineage, entry.value).terms;
  const terms = [...before, { ...own, audit: head.sequence }].slice(-limits.lineageTerms);
  const done = await transact(
    client,
    [{ kind: 'createRevision', key: keys.leader, equals: BigInt(own.term) }, ...guards],
    [{ kind: 'put', key: keys.lineage, value: encode({ terms }, entry?.value) }, ...operations],
  );
  if (done === undefined) throw new PlexiError('NOT_LEADER', 'the lead was lost while it was taken');
  return terms;
}
