/**
 * The nouns of a rollout. States are unions that carry what belongs to them, so that a node that
 * waits has no command, and a node that works has one. Times are milliseconds since 1970 on the
 * leader's clock; the engine never reads a clock itself.
 */

export type Milliseconds = number;

/** What a node runs, or shall run. `none` with an empty digest: nothing is installed. */
export interface ReleaseRef {
  readonly version: string;
  /** SHA-256 (hex) over the file list of the artifact. */
  readonly digest: string;
}

export interface MigrationRef {
  readonly id: string;
  readonly checksum: string;
  readonly direction: 'up' | 'down';
}

/** Bounds of the steps, in milliseconds. */
export interface StepTimeouts {
  readonly preflightMs: number;
  readonly stageMs: number;
  readonly maintenanceMs: number;
  readonly stopMs: number;
  readonly backupMs: number;
  readonly migrateMs: number;
  readonly applyMs: number;
  readonly probeMs: number;
  readonly testMs: number;
  readonly rollbackMs: number;
}

export interface ProbeRule {
  readonly goodInARow: number;
  readonly spacingMs: number;
  readonly intervalMaxMs: number;
  readonly tryMs: number;
}

/** How backups are made and kept. */
export interface BackupRule {
  /** Relative to the node's root. */
  readonly directory: string;
  readonly encryption: boolean;
  readonly keep: number;
  readonly retentionDays: number;
}

/** The rules of one rollout, resolved from the configuration when it was planned. */
export interface RolloutPolicy {
  readonly maxConcurrent: number;
  readonly soakMs: number;
  /** Failed nodes that are put up with. */
  readonly failureBudget: number;
  readonly rollbackOnFailure: boolean;
  readonly backupRule: BackupRule;
  readonly maintenanceHooks: boolean;
  /** The release's own tests are run after the probes. */
  readonly tests: boolean;
  /** After the switch a node waits until a person has started its service. */
  readonly restartByHand: boolean;
  /** Migrations that can be tried are tried before any node is touched. */
  readonly checkMigrations: boolean;
  /** An operator goes on although nodes are not healthy before the rollout. */
  readonly allowUnhealthy: boolean;
  /** A node that cannot be reached for this long is lost. */
  readonly unknownMaxMs: number;
  readonly timeouts: StepTimeouts;
  readonly probe: ProbeRule;
}

export type Direction = 'forward' | 'back';

/** The immutable head of a plan. Holds nothing that grows with the number of nodes. */
export interface PlanHeader {
  readonly from: string;
  readonly to: string;
  readonly direction: Direction;
  /** The rollout that this one takes back; null for any other. */
  readonly rollbackOf: string | null;
  /** It ends once the release lies on every node. */
  readonly stageOnly: boolean;
  readonly policy: RolloutPolicy;
  readonly nodeCount: number;
  /**
   * Nodes that are to go back and are left as they are: somebody has to see to them first. Of very many the
   * last entry says how many more there are.
   */
  readonly leftOut: readonly string[];
  /** SHA-256 (hex) over the nodes' parts, in order. */
  readonly partsDigest: string;
  readonly pointOfNoReturn: string;
  readonly estimateMs: number;
}

export type Strategy = 'install' | 'upgrade' | 'downgrade' | 'restart' | 'reinstall' | 'none';

/** The immutable part of a plan for one node. */
export interface PlanPart {
  readonly node: string;
  /** The place in the order, from 0. */
  readonly index: number;
  readonly wave: number;
  readonly orderReason: string;
  readonly strategy: Strategy;
  readonly from: ReleaseRef;
  readonly to: ReleaseRef;
  readonly manifestSha256: string;
  readonly artifactSha256: string;
  readonly unpackedBytes: number;
  /** On the way forward. Going back runs their inverse, in reverse order. */
  readonly migrations: readonly MigrationRef[];
  /** Data and configuration are copied away before anything changes them. */
  readonly backup: boolean;
  /** What the artifact is for, in Node's words. */
  readonly os: string;
  readonly arch: string;
  readonly wasInMaintenance: boolean;
  readonly estimateMs: number;
}

export interface Plan {
  readonly header: PlanHeader;
  /** SHA-256 (hex) of the header as stored. */
  readonly digest: string;
  readonly parts: readonly PlanPart[];
}

export const rolloutPhases = [
  'planned',
  'preflight',
  'staging',
  'expanding',
  'rolling',
  'soaking',
  'finalizing',
  'succeeded',
  'paused',
  'rolling_back',
  'rolled_back',
  'aborted',
  'failed',
] as const;
export type RolloutPhase = (typeof rolloutPhases)[number];
/** A phase that a rollout never leaves. */
export type FinalPhase = 'succeeded' | 'rolled_back' | 'aborted' | 'failed';

/** The phases in which the agent's own upgrade is under way, in its order. */
export const upgradingPhases = [
  'entering_maintenance',
  'stopping',
  'backing_up',
  'migrating',
  'applying',
  'probing',
  'committing',
  'leaving_maintenance',
] as const;
export type UpgradingPhase = (typeof upgradingPhases)[number];

export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** Why a node does not go on. */
export interface WaitReason {
  readonly reason: string;
  readonly sinceMs: Milliseconds;
  readonly unblock: string;
}

/** What a rollout asks of a node. */
export type RolloutCommandKind = 'preflight' | 'stage' | 'upgrade' | 'roll_back' | 'revert';
/** The last two are an operator's own. */
export type CommandKind = RolloutCommandKind | 'maintenance' | 'take_over';

/** A command that is persisted, and then sent until its result is known. */
export interface OpenCommand {
  readonly kind: CommandKind;
  readonly id: string;
  readonly attempt: number;
}

/** A command of a rollout. */
export interface RolloutCommand extends OpenCommand {
  readonly kind: RolloutCommandKind;
}

/** A node cannot be reached. */
export interface Silence {
  /** Since when, for people. */
  readonly sinceMs: Milliseconds;
  /** Milliseconds of it that were watched and count, until `countedAtMs`. */
  readonly countedMs: Milliseconds;
  readonly countedAtMs: Milliseconds;
}

/** A node's own state within a rollout. */
export type NodeState =
  | { readonly phase: 'pending' }
  | { readonly phase: 'preflight'; readonly command: RolloutCommand }
  | { readonly phase: 'staging'; readonly command: RolloutCommand }
  | { readonly phase: 'ready' }
  | { readonly phase: UpgradingPhase; readonly command: RolloutCommand }
  | { readonly phase: 'soaking' }
  | { readonly phase: 'done' }
  | { readonly phase: 'skipped' }
  /** `roll_back` takes back an upgrade before its commit, `revert` one after it. */
  | { readonly phase: 'rolling_back'; readonly command: RolloutCommand }
  | { readonly phase: 'rolled_back' }
  | { readonly phase: 'rollback_failed' };
export type NodePhase = NodeState['phase'];

/** How a command ended; the words are those of the agents, and `given_up`: nobody heard its end in time. */
export interface EndedCommand {
  readonly commandId: string;
  readonly outcome: 'done' | 'failed' | 'rolled_back' | 'rollback_failed' | 'given_up';
}

/** One node within a rollout. */
export interface RolloutNode {
  readonly id: string;
  readonly state: NodeState;
  /** Tries so far of each kind of command, so that ids never repeat. */
  readonly attempts: Readonly<Partial<Record<CommandKind, number>>>;
  /** Since when it is in this phase. */
  readonly sinceMs: Milliseconds;
  /** Why it failed, or why it was taken back. */
  readonly error: Fault | null;
  /** The last command whose end was heard, or given up; null: none yet. */
  readonly ended: EndedCommand | null;
  readonly waitingOn: readonly WaitReason[];
  /** Null: the leader can reach it. */
  readonly silence: Silence | null;
  /** Preflight passed. */
  readonly checked: boolean;
  /** It entered maintenance because of this rollout. */
  readonly outSinceMs: Milliseconds | null;
  readonly backAtMs: Milliseconds | null;
  /** What it runs, as it said last. */
  readonly release: ReleaseRef;
  readonly backupId: string;
}

/** What an operator, or a failure, wants the rollout to come to. */
export type Course =
  | { readonly kind: 'forward' }
  /** No node starts; goes on with `resume`. */
  | { readonly kind: 'paused'; readonly by: 'operator' | 'failure'; readonly reason: string }
  /** Nodes in flight go back or finish; no other is touched. */
  | { readonly kind: 'aborting'; readonly reason: string }
  /** Every touched node goes back. */
  | { readonly kind: 'back'; readonly reason: string }
  /** Nothing was touched, and nothing will be. */
  | { readonly kind: 'called_off'; readonly reason: string };

/** A rollout that is not final, or has just become so. */
export interface Rollout {
  readonly id: string;
  readonly plan: Plan;
  readonly phase: RolloutPhase;
  readonly reason: string;
  readonly course: Course;
  readonly startedAtMs: Milliseconds;
  readonly startedBy: string;
  readonly requestId: string;
  readonly finishedAtMs: Milliseconds | null;
  /** What a follower exits with; null while it goes on. */
  readonly exitCode: number | null;
  /** Nodes whose failure was acknowledged by a resume. */
  readonly forgiven: readonly string[];
  readonly nodes: ReadonlyMap<string, RolloutNode>;
}

export function isFinal(phase: RolloutPhase): phase is FinalPhase {
  return phase === 'succeeded' || phase === 'rolled_back' || phase === 'aborted' || phase === 'failed';
}

/** A node with a failure that was not put aside. */
export type FailedNode = RolloutNode & { readonly error: Fault };

export function hasFailed(node: RolloutNode): node is FailedNode {
  return node.error !== null;
}

/** The version that a node goes to; a way back may take nodes to different ones, so the header does not tell. */
export function targetVersion({ plan }: Pick<Rollout, 'plan'>, node: string): string {
  return plan.parts
    .filter((part) => part.node === node)
    .map(({ to }) => to.version)
    .join();
}

/** The command that a node has open; undefined when it has none. */
export function openCommand(state: NodeState): RolloutCommand | undefined {
  return 'command' in state ? state.command : undefined;
}

/** Whether the agent's upgrade is under way and has not told its end. */
export function isUpgrading(state: NodeState): state is Extract<NodeState, { phase: UpgradingPhase }> {
  return (upgradingPhases as readonly string[]).includes(state.phase);
}

/** Derived, so that the next leader derives the same (protocol, rule 7 of the decisions). */
export function commandId(rollout: string, node: string, kind: CommandKind, attempt: number): string {
  return `${rollout}.${node}.${kind}.${attempt}`;
}

/** A node of which nothing was written yet since its rollout started. */
export function firstNode(part: PlanPart, startedAtMs: Milliseconds): RolloutNode {
  return {
    id: part.node,
    state: part.strategy === 'none' ? { phase: 'done' } : { phase: 'pending' },
    attempts: {},
    sinceMs: startedAtMs,
    error: null,
    ended: null,
    waitingOn: [],
    silence: null,
    checked: false,
    outSinceMs: null,
    backAtMs: null,
    release: part.from,
    backupId: '',
  };
}
