/** What a plan is made from, and what comes of it: the nouns of planning. Types only. */
import type { VersionScheme } from '../../release/version.js';
import type { Direction, MigrationRef, Plan, RolloutPolicy } from './rollout.js';
import type { Spread } from './world.js';

/** What the cluster knows of a node when a rollout is planned. */
export interface NodeFacts {
  readonly id: string;
  /** Empty when the node never answered. */
  readonly version: string;
  readonly digest: string;
  readonly health: 'healthy' | 'unhealthy' | 'unknown';
  readonly unknown: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** The host part of its address. */
  readonly host: string;
  readonly os: string;
  readonly arch: string;
  readonly inMaintenance: boolean;
  /** Why it is not healthy; empty when it is. */
  readonly healthReason: string;
  /** Why an operator keeps rollouts away from it; null: he does not. */
  readonly held: string | null;
  /** An operator's order is under way on it, such as `adopt 3.0.0`; empty: none. */
  readonly order: string;
}

/** What a release has for one platform. */
export interface ArtifactFacts {
  readonly artifactSha256: string;
  readonly digest: string;
  readonly unpackedBytes: number;
}

export interface TargetFacts {
  readonly version: string;
  readonly manifestSha256: string;
  artifactFor(os: string, arch: string): ArtifactFacts | undefined;
  /** The migrations from another version to this one, in order. */
  migrationsFrom(version: string): readonly MigrationRef[];
  /** Migrations among them that have no way down. */
  readonly oneWay: readonly string[];
}

export interface PlanRequest {
  readonly maxConcurrent: number;
  readonly canary: number;
  /** Empty: canaries are chosen by number. */
  readonly canarySelector: string;
  readonly nodes: readonly string[];
  readonly selectors: readonly string[];
  readonly exclude: readonly string[];
  /** Goes on in spite of what may be gone on in spite of; never of a digest, a lock, a quorum or a path. */
  readonly force: boolean;
  readonly downgrade: boolean;
  /** Nodes that run the target already are restarted. */
  readonly restart: boolean;
  /** Nodes that run the target already get it anew. */
  readonly reinstall: boolean;
  /** It ends once the release lies on every node. */
  readonly stageOnly: boolean;
}

/** What the policy says of the cluster as a whole (contract, section 7). */
export interface ClusterRule {
  /** clustering.enabled and behavior.cluster_coordination: more than one node is looked after. */
  readonly manyNodes: boolean;
  readonly coordination: boolean;
  /** clustering.rolling_updates; false: all nodes at once. */
  readonly rolling: boolean;
}

export interface PlanInputs {
  readonly request: PlanRequest;
  readonly direction: Direction;
  readonly rollbackOf: string | null;
  readonly nodes: readonly NodeFacts[];
  /** Nodes that need an operator. */
  readonly stuck: readonly string[];
  /** For the way back: nodes that should go back too, and are left as they are. */
  readonly leftOut?: readonly string[];
  /** The target of each node; a rollback may take nodes to different versions. */
  targetOf(node: NodeFacts): TargetFacts;
  readonly to: string;
  readonly policy: RolloutPolicy;
  /** `always`: also where no migration needs one. */
  readonly backups: { readonly enabled: boolean; readonly always: boolean };
  readonly cluster: ClusterRule;
  readonly scheme: VersionScheme;
  readonly spread: Spread;
  readonly leaderHost: string;
  readonly hash: (text: string) => string;
}

/** A plan, and what an operator must know before it starts. */
export interface PlannedRollout {
  readonly plan: Plan;
  readonly warnings: readonly string[];
  /** With any of these nothing starts. */
  readonly problems: readonly string[];
}
