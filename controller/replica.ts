/** One controller replica, wired: mirror, API, campaign, lead, and the campaign again. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { PlexiError } from '../config/errors.js';
import { ownVersion } from '../config/own-version.js';
import type { ControllerConfig } from '../config/schema/controller.js';
import type { ReleaseRepository } from '../release/repository/fetch.js';
import { ClusterReader } from './api/cluster-reader.js';
import { serveGrpc, serveHttp } from './api/server.js';
import { WishWriter } from './api/wish-writer.js';
import { policyDigest } from './execution/cluster-facts.js';
import { wentBack } from './execution/history-check.js';
import { leadTerm } from './execution/leader.js';
import { loadCluster } from './execution/load-cluster.js';
import { campaign, type EnteredLead, epochOf } from './leadership/campaign.js';
import { connectEtcd, type EtcdClient, readLast } from './leadership/etcd.js';
import { keepPresence } from './leadership/presence.js';
import { type AuditAppend, appendAudit, headOf } from './state/audit.js';
import { type ClusterKeys, clusterKeys } from './state/keys.js';
import { markRestored } from './state/mark-restored.js';
import { Mirror, type WentBack } from './state/mirror.js';

export interface ReplicaParts {
  readonly config: ControllerConfig;
  readonly repository: ReleaseRepository;
  /** Monotonic, in milliseconds. */
  readonly monotonicMs: () => number;
  /** Milliseconds since 1970 that never go back. */
  readonly nowMs: () => number;
  readonly wall: () => Date;
  readonly nonce: () => string;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Runs until the signal is aborted; then it gives the lead up at once and closes its doors. */
export async function runReplica(parts: ReplicaParts): Promise<void> {
  const { config, log, signal, wall } = parts;
  const keys = clusterKeys(config.cluster);
  const client = connectEtcd(config.etcd);
  const mark = ({ from, to, before }: WentBack): void => {
    const epoch = before(keys.epoch);
    const seen = epoch === undefined ? 0n : epochOf(epoch);
    markRestored({ client, keys, signal, log }, seen, wentBack(from, to)).catch((thrown) =>
      log.error({ err: thrown }, 'that etcd was restored could not be stored'),
    );
  };
  const mirror = new Mirror(config.etcd, keys.prefix, keys.audit, log, mark);
  let server: Awaited<ReturnType<typeof serveGrpc>> | undefined;
  let presence: Promise<void> | undefined;
  let http: Awaited<ReturnType<typeof serveHttp>> | undefined;
  try {
    // Without etcd there is nothing to answer from; but whoever waits for it can be stopped.
    if (!signal.aborted) await Promise.race([mirror.start(), once(signal, 'abort')]);
    if (signal.aborted) return;
    const reader = new ClusterReader(client, keys, mirror);
    const wishes = new WishWriter(client, keys, mirror, parts.nonce);
    const { repository } = parts;
    server = await serveGrpc({ config, keys, repository, client, reader, wishes, mirror, wall });
    http = config.http && (await serveHttp(config.http.listen, config.tls, () => mirror.revision > 0n));
    presence = keepPresence(client, keys.controller(config.id), presenceOf(config, wall()), signal, log);
    log.info({ listen: config.listen }, 'the controller listens');
    while (!signal.aborted) await leadOnce(parts, { keys, client, mirror });
  } finally {
    server?.forceShutdown();
    http?.close();
    await presence;
    await mirror.stop();
    client.close();
  }
}

/** What a controller says of itself to the others. */
function presenceOf(config: ControllerConfig, now: Date): string {
  return JSON.stringify({
    address: config.address,
    version: ownVersion,
    policyDigest: policyDigest(config),
    since: now.toISOString(),
  });
}

/** The record that this controller leads from now on. */
export async function leaderRecord(
  { config, wall }: Pick<ReplicaParts, 'config' | 'wall'>,
  keys: ClusterKeys,
  client: EtcdClient,
  { term, epoch }: EnteredLead,
): Promise<AuditAppend> {
  const head = headOf(await readLast(client, keys.audit));
  const { id: who, address } = config;
  const entry = { what: 'leader', rollout: '', who, address, epoch: String(epoch) } as const;
  return appendAudit(keys, head, [entry], { at: wall(), term: String(term) });
}

/** Milliseconds before what could not be read is looked at again. */
const readAgainMs = 500;

/**
 * Resolves once what stands in etcd can be read. Whoever leads and cannot read it gives the lead up at once; to take
 * it again at once would push everybody else's terms out of the lineage and of the audit record.
 */
async function untilReadable(
  { config, log, signal }: ReplicaParts,
  { keys, client }: { keys: ClusterKeys; client: EtcdClient },
): Promise<void> {
  let told = '';
  while (!signal.aborted) {
    try {
      await loadCluster({ client, keys, config, term: 0n, leadSinceMs: 0 }, undefined);
      return;
    } catch (thrown) {
      // An etcd that does not answer is waited for by the campaign.
      if (!(thrown instanceof PlexiError) || thrown.code !== 'STORE_INVALID') return;
      if (thrown.message !== told) log.error({ err: thrown }, 'this controller does not stand for the lead');
      told = thrown.message;
    }
    await sleep(readAgainMs, undefined, { signal, ref: false }).catch(() => 'the controller stops');
  }
}

async function leadOnce(
  parts: ReplicaParts,
  { keys, client, mirror }: { keys: ClusterKeys; client: EtcdClient; mirror: Mirror },
): Promise<void> {
  const { config, log, signal } = parts;
  const read = new AbortController();
  const stopped = once(signal, 'abort', { signal: read.signal });
  await Promise.race([untilReadable(parts, { keys, client }), stopped]).finally(() => read.abort());
  const lead = await campaign(
    client,
    keys,
    { id: config.id, address: config.address, ...config.leadership },
    {
      nowMs: parts.monotonicMs,
      wall: parts.wall,
      nonce: parts.nonce,
      entering: (entered) => leaderRecord(parts, keys, client, entered),
      log,
    },
    async (timeoutMs) => {
      await mirror.waitFor(() => signal.aborted || mirror.get(keys.leader) === undefined, timeoutMs);
    },
    signal,
  );
  if (lead === undefined) return;
  let resigned: Promise<void> | undefined;
  const resign = (): void => {
    resigned ??= lead
      .resign('the controller stops')
      .catch((thrown) => log.warn({ err: thrown }, 'the lease was not revoked; it expires by itself'));
  };
  signal.addEventListener('abort', resign, { once: true });
  if (signal.aborted) resign();
  const reason = await leadTerm({ ...parts, keys, client, mirror, lead });
  signal.removeEventListener('abort', resign);
  await resigned;
  log.warn({ term: lead.term, reason }, 'the lead is over');
}
