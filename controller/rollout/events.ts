/** What the engine is told, and what it wants done. */
import type { Fault, OpenCommand, Plan, ReleaseRef } from './rollout.js';
import type { Hold, NodeOrder, World } from './world.js';

/** How a command ended, in the agent's words. */
export interface CommandOutcome {
  readonly outcome: 'done' | 'failed' | 'rolled_back' | 'rollback_failed';
  readonly failure: Fault | null;
  readonly failedStep: string;
  readonly release: ReleaseRef;
  readonly problems: readonly Fault[];
  readonly backupId: string;
  /** Whether the node was out of service when it told this; null: it did not say. */
  readonly inMaintenance: boolean | null;
}

/** What a node says of itself. */
export interface Observation {
  readonly health: 'healthy' | 'unhealthy' | 'unknown';
  readonly healthReason: string;
  readonly goodForMs: number;
  readonly release: ReleaseRef | null;
  readonly inMaintenance: boolean;
}

/** A wish of an operator for the active rollout. */
export type Wish =
  | { readonly kind: 'pause'; readonly reason: string }
  /** `seen`: nodes whose failure its author could know of; without it, of each that has failed. */
  | { readonly kind: 'resume'; readonly reason: string; readonly seen?: readonly string[] | undefined }
  | { readonly kind: 'abort'; readonly rollback: boolean; readonly reason: string }
  /** Try a node again that failed and went back. */
  | { readonly kind: 'retry'; readonly node: string; readonly reason: string }
  /** Leave a node out that holds no slot. */
  | { readonly kind: 'skip'; readonly node: string; readonly reason: string };

/** One command that touched the node, as its journal knows it. */
export interface ReportedJob {
  readonly commandId: string;
  /** Empty for an operator's own. */
  readonly rollout: string;
  readonly attempt: number;
  readonly ended: boolean;
  /** The node was out of service before it began. */
  readonly foundInMaintenance: boolean;
}

/** What an agent says when it is adopted. */
export interface AdoptionReport {
  readonly inMaintenance: boolean;
  /** Why the node asks for an operator; empty: it does not. */
  readonly needsOperator: string;
  /** Newest last. */
  readonly jobs: readonly ReportedJob[];
}

export type EngineEvent =
  | { readonly kind: 'tick' }
  | {
      readonly kind: 'start';
      readonly id: string;
      readonly plan: Plan;
      readonly by: string;
      readonly requestId: string;
    }
  | { readonly kind: 'wish'; readonly wish: Wish }
  /** An operator takes a node out of service, or puts it back. */
  | { readonly kind: 'maintenance'; readonly node: string; readonly on: boolean; readonly reason: string }
  /** An operator keeps rollouts away from a node, or (null) lets them come again. */
  | { readonly kind: 'hold'; readonly node: string; readonly hold: Hold | null }
  /** An operator's order to one node. */
  | { readonly kind: 'order'; readonly node: string; readonly order: NodeOrder }
  /** An operator took the node off the list: its slot is free. */
  | { readonly kind: 'removed'; readonly node: string }
  /** A node knows more than etcd does: etcd was restored from a snapshot. */
  | { readonly kind: 'restored'; readonly reason: string }
  /** A node is on the list that was not there when this leader loaded it. */
  | { readonly kind: 'joined'; readonly node: string }
  | { readonly kind: 'observed'; readonly node: string; readonly observation: Observation }
  | { readonly kind: 'unreachable'; readonly node: string }
  /** The report rebuilds a slot that a restore of etcd has lost; at any other time it says nothing new. */
  | { readonly kind: 'adopted'; readonly node: string; readonly report?: AdoptionReport }
  | { readonly kind: 'adoption_failed'; readonly node: string; readonly fault: Fault }
  | {
      readonly kind: 'progress';
      readonly node: string;
      readonly commandId: string;
      readonly phase: string;
      /** What a person must do before it goes on; empty: it waits for nobody. */
      readonly waitsFor: string;
    }
  | {
      readonly kind: 'finished';
      readonly node: string;
      readonly commandId: string;
      readonly outcome: CommandOutcome;
    }
  | { readonly kind: 'stream_broken'; readonly node: string; readonly commandId: string }
  | { readonly kind: 'refused'; readonly node: string; readonly commandId: string; readonly fault: Fault };

/** What is to be done once the state behind it is persisted. */
export type Effect =
  | { readonly kind: 'adopt'; readonly node: string }
  | { readonly kind: 'send'; readonly node: string; readonly command: OpenCommand }
  /** Ask the node for its status after this many milliseconds. */
  | { readonly kind: 'look'; readonly node: string; readonly inMs: number };

/** What one advance of the engine came to. */
export interface Advance {
  readonly world: World;
  readonly effects: readonly Effect[];
}
