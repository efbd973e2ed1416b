/**
 * What a seed draws: a cluster, a policy, which faults there are in this history, and what happens when.
 * All of it is drawn before anything runs, so that a history can be played again with less of it.
 */
import type { RolloutPolicy } from '../../controller/rollout/rollout.js';
import { samplePolicy } from '../scenarios/sample-plan.test.part.js';
import { Random } from './random.test.part.js';

/** Faults that are a matter of chance at every message, write or step. */
export const steadyFaults = [
  'loss',
  'duplicates',
  'delays',
  'late_calls',
  'late_writes',
  'stale_reads',
  'failing_steps',
  'disk_errors',
] as const;
/** Faults that happen at a moment. */
export const momentFaults = [
  'partition',
  'one_way_partition',
  'etcd_cut',
  'controller_crash',
  'controller_pause',
  'agent_crash',
  'agent_power_cut',
  'agent_pause',
  'lease_lost',
  'all_leases_lost',
  'sickness',
  'changed_by_hand',
  'lonely_leader',
  'wish',
  'maintenance',
  'hold',
  'freeze',
  'remove',
  'confirm',
  'etcd_down',
  'long_death',
  'dead_for_good',
] as const;
export type SteadyFault = (typeof steadyFaults)[number];
export type MomentFault = (typeof momentFaults)[number];
export type Fault = SteadyFault | MomentFault;

export interface Action {
  readonly atMs: number;
  readonly kind: MomentFault;
  readonly who: number;
  readonly how: number;
}

/** One rollout that is asked for, once the one before it has ended. */
export interface Round {
  readonly afterMs: number;
  /** All of it; only laid ready on the nodes; or nodes that run the version already are restarted. */
  readonly what: 'upgrade' | 'stage_only' | 'restart';
  /** Back: what the one before it did is taken back. */
  readonly way: 'on' | 'back';
  readonly maxConcurrent: number;
  readonly canary: number;
  readonly isSubset: boolean;
  /** Which nodes, where they are a subset; and which version, where nodes run both. */
  readonly part: number;
}

/** Which nodes may be out beside each other, but for how many. */
export interface Places {
  /** Nodes are in so many zones in turn. */
  readonly zones: number;
  /** Null: zones do not count. */
  readonly maxPerZone: number | null;
  /** How many nodes of the cluster must serve; null: nobody says. */
  readonly minAvailable: number | null;
}

export interface Drawn {
  readonly seed: number;
  readonly nodes: number;
  readonly controllers: number;
  /** Every node begins with the newer release. */
  readonly isNewer: boolean;
  readonly rounds: readonly Round[];
  readonly policy: RolloutPolicy;
  readonly places: Places;
  readonly ttlSeconds: number;
  readonly marginMs: number;
  /** How probable each steady fault is, at every occasion; 0: there is none in this history. */
  readonly chance: Readonly<Record<SteadyFault, number>>;
  /** How far the clock of each host is off, in milliseconds, by its name; all through the history. */
  readonly skewMs: (host: string) => number;
  readonly actions: readonly Action[];
  /** Until then there are faults; after it there are none. */
  readonly faultyMs: number;
}

/** Less than what the seed draws. */
export interface Less {
  readonly nodes?: number | undefined;
  /** How many of the rollouts. */
  readonly rounds?: number | undefined;
  /** Faults that there shall not be. */
  readonly without?: readonly string[] | undefined;
  /** Which of the drawn actions there shall be, by number; absent: all. */
  readonly actions?: readonly number[] | undefined;
}

const most: Readonly<Record<SteadyFault, number>> = {
  loss: 0.3,
  duplicates: 0.5,
  delays: 1,
  late_calls: 0.2,
  late_writes: 0.15,
  stale_reads: 1,
  failing_steps: 0.12,
  disk_errors: 0.08,
};

/** Longer than any step takes that does not hang. */
const stepMs = 40_000;
const timeouts: RolloutPolicy['timeouts'] = {
  ...{ preflightMs: stepMs, stageMs: stepMs, maintenanceMs: stepMs, stopMs: stepMs, backupMs: stepMs },
  ...{ migrateMs: stepMs, applyMs: stepMs, probeMs: stepMs, testMs: stepMs, rollbackMs: stepMs },
};

/** What a seed stands for, with less of it where that is asked for. */
export function drawn(seed: number, less: Less = {}): Drawn {
  const random = new Random(seed, 'drawn');
  const size = random.next();
  const nodes =
    size < 0.93 ? random.between(2, 5) : size < 0.99 ? random.between(7, 12) : random.between(13, 50);
  const without = new Set(less.without ?? []);
  const chance = Object.fromEntries(
    steadyFaults.map((fault) => {
      const probability = random.isIt(0.45) ? random.next() * most[fault] : 0;
      return [fault, without.has(fault) ? 0 : probability];
    }),
  ) as Record<SteadyFault, number>;
  const rounds = Array.from({ length: nodes > 12 ? 2 : random.between(3, 6) }, (): Round => roundOf(random));
  const faultyMs = random.between(20_000, 45_000) * rounds.length;
  const actions: Action[] = [];
  for (const kind of firstFaults) {
    if (!random.isIt(0.3)) continue;
    for (let count = random.between(1, 5); count > 0; count--) {
      const atMs = random.between(200, faultyMs);
      actions.push({ atMs, kind, who: random.between(0, 999), how: random.between(0, 9_999) });
    }
  }
  actions.push(...laterActions(seed, faultyMs));
  const kept =
    less.actions === undefined ? actions : actions.filter((_, index) => less.actions?.includes(index));
  const isLostForGood = kept.some(({ kind }) => kind === 'dead_for_good' && !without.has(kind));
  const places: { -readonly [K in keyof Places]: Places[K] } = {
    zones: random.between(1, 3),
    maxPerZone: random.isIt(0.2) ? random.between(1, 2) : null,
    minAvailable: random.isIt(0.15) ? Math.max(0, nodes - random.between(1, 3)) : null,
  };
  // A group that has lost a member for good waits for good, and that is no fault of anybody.
  if (isLostForGood) places.minAvailable = null;
  return {
    seed,
    places,
    nodes: less.nodes ?? nodes,
    controllers: random.between(1, 3),
    isNewer: random.isIt(0.15),
    rounds: rounds.slice(0, less.rounds),
    policy: {
      ...samplePolicy,
      maxConcurrent: random.between(1, 4),
      soakMs: random.pick([0, 5_000, 15_000]),
      failureBudget: random.pick([0, 0, 0, 1, 2]),
      rollbackOnFailure: random.isIt(0.75),
      unknownMaxMs: random.pick([15_000, 40_000, 90_000]),
      timeouts,
    },
    ttlSeconds: random.between(2, 5),
    marginMs: 500,
    chance,
    skewMs: (host) => skewOf(seed, host),
    actions: kept.filter(({ kind }) => !without.has(kind)),
    faultyMs,
  };
}

/** Clocks that are further off than this an operator would see. */
const skewMaxMs = 10_000;

/** Drawn after all the others, and apart from them: what a seed drew before these came it draws still. */
const laterFaults = ['etcd_down', 'long_death', 'dead_for_good'] as const;
const firstFaults = momentFaults.filter((kind) => !laterFaults.some((later) => later === kind));

/** In half of the histories every clock is right. */
function skewOf(seed: number, host: string): number {
  const isAny = new Random(seed, 'clocks').isIt(0.5);
  return isAny ? new Random(seed, `clock of ${host}`).between(-skewMaxMs, skewMaxMs) : 0;
}

function laterActions(seed: number, faultyMs: number): Action[] {
  const random = new Random(seed, 'drawn later');
  const actions: Action[] = [];
  for (const kind of laterFaults) {
    if (!random.isIt(kind === 'dead_for_good' ? 0.08 : 0.15)) continue;
    const atMs = random.between(200, faultyMs);
    actions.push({ atMs, kind, who: random.between(0, 999), how: random.between(0, 9_999) });
  }
  return actions;
}

/** Most rollouts are upgrades. */
const rareness: readonly Round['what'][] = [
  ...Array.from({ length: 8 }, () => 'upgrade' as const),
  'restart',
  'stage_only',
];

function roundOf(random: Random): Round {
  return {
    afterMs: random.between(200, 4_000),
    what: random.pick(rareness),
    way: random.isIt(0.3) ? 'back' : 'on',
    maxConcurrent: random.pick([0, 1, 2, 3, 4]),
    canary: random.isIt(0.2) ? 1 : 0,
    isSubset: random.isIt(0.2),
    part: random.between(0, 255),
  };
}

/** The names of the faults that a history has. */
export function faultsOf({ chance, actions }: Drawn): Fault[] {
  const kinds = new Set<Fault>(actions.map(({ kind }) => kind));
  for (const fault of steadyFaults) if (chance[fault] > 0) kinds.add(fault);
  return [...kinds];
}
