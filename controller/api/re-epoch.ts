/**
 * An operator's word that etcd was restored on purpose (protocol, rule 21). The epoch is raised above all
 * that etcd and the agents have seen, and the lead is taken away in the same transaction: whatever older
 * leaders still send is refused by every node that the next leader has adopted. Any replica does it, since
 * nobody may be able to lead before; and so it is the one word whose audit record no leader writes. That
 * record is created in the same transaction, and whoever appends at the same moment is read and tried again.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { ReEpochResponse } from '../../gen/plexi/v1/cluster.js';
import { epochOf } from '../leadership/campaign.js';
import { type EtcdClient, readKey, readLast, readPrefix, transact } from '../leadership/etcd.js';
import { type AuditEntry, appendAudit, headOf } from '../state/audit.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import { readNodes } from '../state/node-store.js';
import { decode, encode, nodeEpochRecord } from '../state/records.js';
import { seenEpochs } from './seen-epochs.js';

export interface ReEpochParts {
  readonly config: Pick<ControllerConfig, 'cluster' | 'tls'>;
  readonly client: EtcdClient;
  readonly keys: ClusterKeys;
  readonly mirror: Mirror;
  readonly wall: () => Date;
}

/** Tries of the transaction, when others raise the epoch or append to the audit at the same moment. */
const writesMax = 10;

/**
 * Raises the epoch, then waits for the adoption of the nodes that answered.
 * @throws PlexiError STORE_UNAVAILABLE, STORE_INVALID, CONFLICT
 */
export async function reEpoch(parts: ReEpochParts, by: string, reason: string): Promise<ReEpochResponse> {
  const { client, keys, mirror, config } = parts;
  const nodes = readNodes(keys, (await readPrefix(client, keys.nodes)).entries).filter(
    ({ spec }) => !spec.removed,
  );
  const addresses = new Map(nodes.map(({ id, spec }) => [id, spec.address]));
  const seen = await seenEpochs(config, addresses);
  const { epoch, previousEpoch } = await raise(parts, [...seen.values()], by, reason);
  const isAdopted = (node: string): boolean => {
    const entry = mirror.get(keys.nodeEpoch(node));
    return entry !== undefined && BigInt(decode(nodeEpochRecord, entry.key, entry.value).epoch) === epoch;
  };
  await mirror.waitFor(() => [...seen.keys()].every(isAdopted), limits.reEpochWaitMs);
  return ReEpochResponse.fromPartial({
    epoch,
    previousEpoch,
    nodes: nodes.map(({ id }) => ({
      id,
      reached: seen.has(id),
      seenEpoch: seen.get(id) ?? 0n,
      adopted: isAdopted(id),
    })),
  });
}

async function raise(
  { client, keys, wall }: ReEpochParts,
  seen: readonly bigint[],
  by: string,
  reason: string,
): Promise<{ epoch: bigint; previousEpoch: bigint }> {
  for (let tries = 0; tries < writesMax; tries++) {
    const { entry } = await readKey(client, keys.epoch);
    const { entry: leader } = await readKey(client, keys.leader);
    const head = headOf(await readLast(client, keys.audit));
    const previousEpoch = entry === undefined ? 0n : epochOf(entry);
    const at = wall();
    const epoch = nextEpoch([previousEpoch, ...seen.filter((one) => one <= limits.nodeEpoch)], at);
    const value = { epoch: Number(epoch), recovering: true, by, reason, since: at.toISOString() };
    const word = wordOf(by, reason, epoch, previousEpoch);
    const record = appendAudit(keys, head, [word], { at, term: String(leader?.createRevision ?? 0n) });
    const done = await transact(
      client,
      [{ kind: 'modRevision', key: keys.epoch, equals: entry?.modRevision ?? 0n }, ...record.guards],
      [
        { kind: 'put', key: keys.epoch, value: encode(value, entry?.value) },
        { kind: 'delete', key: keys.leader },
        { kind: 'delete', key: keys.restored },
        ...record.operations,
      ],
    );
    if (done !== undefined) return { epoch, previousEpoch };
  }
  throw new PlexiError(
    'CONFLICT',
    'others write at the same moment; see plexictl status, and say it again when the epoch is not raised',
  );
}

/** What the audit tells of it, under the term that it ends. */
function wordOf(who: string, reason: string, epoch: bigint, previousEpoch: bigint): AuditEntry {
  const details = { epoch: String(epoch), previousEpoch: String(previousEpoch) };
  return { what: 'wish', rollout: '', who, wish: 're_epoch', details, reason, error: null };
}

/** Above all that are believed; by the clock too, for the sake of nodes that could not be asked. */
function nextEpoch(seen: readonly bigint[], now: Date): bigint {
  const highest = seen.reduce((high, epoch) => (epoch > high ? epoch : high), 0n);
  const seconds = BigInt(Math.floor(now.getTime() / 1_000));
  return seconds > highest ? seconds : highest + 1n;
}
