/** Plans for clusters that exist only on paper: node-1 to node-N at one version, bound for another. */
import { makePlan } from '../../controller/rollout/plan.js';
import type {
  NodeFacts,
  PlanInputs,
  PlannedRollout,
  TargetFacts,
} from '../../controller/rollout/plan-inputs.js';
import type { Direction, ReleaseRef, RolloutPolicy } from '../../controller/rollout/rollout.js';
import { anywhere, sha256 } from '../../controller/state/load-world.js';
import { NONE, versionScheme } from '../../release/version.js';

export const samplePolicy: RolloutPolicy = {
  maxConcurrent: 1,
  soakMs: 2_000,
  failureBudget: 0,
  rollbackOnFailure: true,
  backupRule: { directory: 'backups/updates', encryption: true, keep: 3, retentionDays: 30 },
  maintenanceHooks: true,
  tests: true,
  restartByHand: false,
  checkMigrations: true,
  allowUnhealthy: false,
  unknownMaxMs: 60_000,
  timeouts: {
    preflightMs: 5_000,
    stageMs: 60_000,
    maintenanceMs: 5_000,
    stopMs: 5_000,
    backupMs: 5_000,
    migrateMs: 5_000,
    applyMs: 5_000,
    probeMs: 5_000,
    testMs: 5_000,
    rollbackMs: 5_000,
  },
  probe: { goodInARow: 3, spacingMs: 100, intervalMaxMs: 1_000, tryMs: 5_000 },
};

const releases = new Map<string, ReleaseRef>([[NONE, { version: NONE, digest: '' }]]);

/** What a node at a version runs. */
export function releaseAt(version: string): ReleaseRef {
  const known = releases.get(version) ?? { version, digest: sha256(`tree of ${version}`) };
  releases.set(version, known);
  return known;
}

export function sampleNode(id: string, version: string, change: Partial<NodeFacts> = {}): NodeFacts {
  return {
    id,
    ...releaseAt(version),
    health: 'healthy',
    unknown: false,
    labels: {},
    host: id,
    os: 'linux',
    arch: 'x64',
    inMaintenance: false,
    healthReason: '',
    held: null,
    order: '',
    ...change,
  };
}

/** A release for every platform, without migrations. */
export function sampleTarget(version: string, change: Partial<TargetFacts> = {}): TargetFacts {
  return {
    version,
    manifestSha256: sha256(`manifest of ${version}`),
    artifactFor: () => ({
      artifactSha256: sha256(`artifact of ${version}`),
      digest: releaseAt(version).digest,
      unpackedBytes: 1_000,
    }),
    migrationsFrom: () => [],
    oneWay: [],
    ...change,
  };
}

export interface SampleRequest {
  readonly nodes: readonly NodeFacts[];
  readonly to: string;
  readonly policy?: Partial<RolloutPolicy>;
  readonly canary?: number;
  readonly direction?: Direction;
  readonly rollbackOf?: string | null;
  readonly stuck?: readonly string[];
  readonly force?: boolean;
  readonly restart?: boolean;
  readonly stageOnly?: boolean;
  readonly cluster?: PlanInputs['cluster'];
  readonly backups?: PlanInputs['backups'];
}

/** A plan, and what speaks against it. */
export function samplePlan(request: SampleRequest): PlannedRollout {
  return makePlan(sampleInputs(request));
}

/** What the plan is made from; tests change a field of it. */
export function sampleInputs(request: SampleRequest): PlanInputs {
  const target = sampleTarget(request.to);
  const policy = { ...samplePolicy, ...request.policy };
  const direction = request.direction ?? 'forward';
  return {
    request: {
      maxConcurrent: policy.maxConcurrent,
      canary: request.canary ?? 0,
      canarySelector: '',
      nodes: [],
      selectors: [],
      exclude: [],
      force: request.force ?? false,
      downgrade: direction === 'back',
      restart: request.restart ?? false,
      reinstall: false,
      stageOnly: request.stageOnly ?? false,
    },
    direction,
    rollbackOf: request.rollbackOf ?? null,
    nodes: request.nodes,
    stuck: request.stuck ?? [],
    targetOf: () => target,
    to: request.to,
    policy,
    cluster: request.cluster ?? { manyNodes: true, coordination: true, rolling: true },
    backups: request.backups ?? { enabled: true, always: true },
    scheme: versionScheme('plexi'),
    spread: anywhere,
    leaderHost: '',
    hash: sha256,
  };
}
