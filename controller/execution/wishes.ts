/**
 * What the leader does for a wish that starts a rollout: it plans it, and stores the plan before the
 * transaction that puts it in force.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type EtcdClient, type EtcdEntry, type EtcdOperation, readPrefix } from '../leadership/etcd.js';
import type { FencedStore } from '../leadership/fenced-store.js';
import type { Wish } from '../rollout/events.js';
import { partText } from '../rollout/plan.js';
import type { PlannedRollout } from '../rollout/plan-inputs.js';
import { firstNode, isFinal, type PlanPart } from '../rollout/rollout.js';
import type { World } from '../rollout/world.js';
import { nodeValue, readState } from '../state/codec.js';
import { loadRollout } from '../state/load-world.js';
import type { Mirror } from '../state/mirror.js';
import { piecesOf } from '../state/transaction-size.js';
import type { Intent } from '../state/wish-records.js';
import type { Lookup } from '../state/world-writes.js';
import type { TakenIntent } from './intents.js';
import { fulfilNodeWish, taken } from './node-wishes.js';
import { patientRepository } from './patient-repository.js';
import { type PlanSources, planRollback, planRollout } from './prepare.js';

export interface WishesParts extends PlanSources {
  readonly client: EtcdClient;
  readonly store: FencedStore;
  readonly mirror: Mirror;
  readonly world: () => World;
  readonly lookup: Lookup;
  readonly nowMs: () => number;
  readonly wall: () => Date;
}

type Fulfilled = Exclude<Intent, { kind: Wish['kind'] }>;

/** Nodes of a plan in one transaction, at the most; it writes the part and the record of each. */
const chunkSize = 50;
/** Rollouts that may be asked for within one second. */
const collisionsMax = 50;

export class Wishes {
  constructor(private readonly parts: WishesParts) {}

  async fulfil(intent: Fulfilled): Promise<TakenIntent> {
    switch (intent.kind) {
      case 'start':
        return this.start(intent);
      case 'rollback':
        return this.rollback(intent);
      case 'remove':
      case 'maintenance':
      case 'hold':
      case 'order':
      case 'freeze':
        return fulfilNodeWish(this.parts, intent);
    }
  }

  /** What one plan is made from. */
  private sources(): PlanSources {
    return { ...this.parts, repository: patientRepository(this.parts.repository, limits.planReadMs) };
  }

  private async start(intent: Extract<Fulfilled, { kind: 'start' }>): Promise<TakenIntent> {
    const again = this.alreadyTaken(intent.requestId);
    if (again !== undefined) return again;
    const entries = await this.readCluster();
    const planned = await planRollout(this.sources(), entries, intent.request);
    if (intent.planDigest !== '' && planned.plan.digest !== intent.planDigest) {
      throw new PlexiError(
        'PLAN_CHANGED',
        'the cluster has changed since the plan was shown; look at the new plan and start again',
      );
    }
    const { header } = planned.plan;
    return this.begin(planned, intent, `update_${idPart(header.from)}_${idPart(header.to)}_${this.stamp()}`);
  }

  private async rollback(intent: Extract<Fulfilled, { kind: 'rollback' }>): Promise<TakenIntent> {
    const again = this.alreadyTaken(intent.requestId);
    if (again !== undefined) return again;
    const { keys, client } = this.parts;
    const { entries } = await readPrefix(client, keys.rollout(intent.rollout));
    const rollout = loadRollout(keys, intent.rollout, entries);
    if (rollout === undefined || !isFinal(rollout.phase)) {
      throw new PlexiError(
        'NOT_FOUND',
        `there is no finished rollout ${intent.rollout}; plexictl history lists them`,
      );
    }
    const planned = await planRollback(this.sources(), await this.readCluster(), rollout);
    if (planned.problems.length === 0 && planned.plan.parts.every((part) => part.strategy === 'none')) {
      throw new PlexiError('CONFLICT', `${rollout.id} changed nothing that could be taken back`);
    }
    return this.begin(planned, intent, `rollback_${rollout.id}`);
  }

  /** The same request again is the same rollout, even when that has ended; another one has to wait. */
  private alreadyTaken(requestId: string): TakenIntent | undefined {
    const { rollout } = this.parts.world();
    const same = rollout?.requestId === requestId ? rollout.id : this.endedBy(requestId);
    if (same !== undefined && requestId !== '') return taken([], [], { rollout: same });
    if (rollout === undefined) return undefined;
    throw new PlexiError(
      'ROLLOUT_ACTIVE',
      `${rollout.id} is active; follow it with plexictl watch, or end it with plexictl abort`,
    );
  }

  /** The id of a rollout that was asked for by this request before. */
  private endedBy(requestId: string): string | undefined {
    const { keys, mirror } = this.parts;
    const isState = (key: string): boolean => /^[^/]+\/state$/.test(key.slice(keys.rollouts.length));
    const states = mirror.under(keys.rollouts).filter((entry) => isState(entry.key));
    const found = states.find((entry) => readState(entry.key, entry.value).requestId === requestId);
    return found?.key.slice(keys.rollouts.length, -'/state'.length);
  }

  private async begin(
    planned: PlannedRollout,
    intent: { by: string; requestId: string },
    wantedId: string,
  ): Promise<TakenIntent> {
    const { plan, problems } = planned;
    if (problems.length > 0)
      throw new PlexiError('PLAN_REFUSED', problems.join('; '), { details: { problems } });
    if (plan.parts.every((part) => part.strategy === 'none')) return taken([], [], { nothingToDo: true });
    const { keys } = this.parts;
    const id = await this.freeId(wantedId);
    await this.storeParts(id, plan.parts);
    return {
      events: [{ kind: 'start', id, plan, by: intent.by, requestId: intent.requestId }],
      writes: {
        operations: [
          { kind: 'put', key: keys.plan(id), value: JSON.stringify(plan.header) },
          { kind: 'put', key: keys.active, value: JSON.stringify({ rollout: id }) },
        ],
        guards: [
          { kind: 'createRevision', key: keys.active, equals: 0n },
          { kind: 'createRevision', key: keys.rolloutState(id), equals: 0n },
        ],
      },
      outcome: { rollout: id, nothingToDo: false, error: null },
    };
  }

  /** What nothing refers to yet, in as many transactions as it takes. */
  private async storeParts(id: string, parts: readonly PlanPart[]): Promise<void> {
    const { keys, store, nowMs } = this.parts;
    // A node without its record would be no part of the rollout for a controller of an earlier version.
    const firstRecord = (part: PlanPart): string => JSON.stringify(nodeValue(firstNode(part, nowMs())));
    const operationsOf = (part: PlanPart): EtcdOperation[] => [
      { kind: 'put', key: keys.planPart(id, part.node), value: partText(part) },
      { kind: 'put', key: keys.rolloutNode(id, part.node), value: firstRecord(part) },
    ];
    for (const piece of piecesOf(parts, operationsOf, chunkSize)) {
      const written = await store.write(
        piece.flatMap(operationsOf),
        piece.map(({ node }) => ({ kind: 'modRevision', key: keys.rolloutNode(id, node), equals: 0n })),
      );
      if (written === 'raced') throw new PlexiError('CONFLICT', 'the plan could not be stored; start again');
    }
  }

  /** The id, or the id with the first free number behind it. */
  private async freeId(wanted: string): Promise<string> {
    const { client, keys } = this.parts;
    for (let count = 1; count <= collisionsMax; count++) {
      const id = count === 1 ? wanted : `${wanted}_${count}`;
      if ((await readPrefix(client, keys.rollout(id))).entries.length === 0) return id;
    }
    throw new PlexiError(
      'CONFLICT',
      `there are ${collisionsMax} rollouts named ${wanted} already; wait a second and start again`,
    );
  }

  private async readCluster(): Promise<EtcdEntry[]> {
    const { client, keys } = this.parts;
    const reads = await Promise.all(
      [keys.nodes, keys.slots, keys.leader, keys.freeze, keys.controllers].map((prefix) =>
        readPrefix(client, prefix),
      ),
    );
    return reads.flatMap((read) => read.entries);
  }

  /** YYYYMMDD_HHMMSS in UTC. */
  private stamp(): string {
    return this.parts.wall().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '_');
  }
}

/** A version as it may stand in a key. */
function idPart(version: string): string {
  return version.replace(/[^A-Za-z0-9.+-]/g, '-');
}
