/**
 * The door for what node agents say. Whatever an agent tells (how its node is, what its journal holds, how a
 * command goes on and ends) becomes a fact for the engine and the records here and nowhere else, with every
 * text cut and every number checked: a node that was taken over must not cost the leader its lead, by a value
 * that etcd does not take or that the next leader cannot read. Pure.
 */
import type { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type {
  AdoptResponse,
  CommandEvent,
  CommandResult,
  Failure,
  JournalJob,
  NodeStatus,
  Release,
} from '../../gen/plexi/v1/node_agent.js';
import { cutText } from '../rollout/cut-text.js';
import type {
  AdoptionReport,
  CommandOutcome,
  EngineEvent,
  Observation,
  ReportedJob,
} from '../rollout/events.js';
import type { Fault, ReleaseRef } from '../rollout/rollout.js';
import type { NodeStatusValue } from '../state/records.js';

/** What a person did on a node itself, as its agent tells it. */
export interface WordOnNode {
  /** SHA-256 is taken of all of it, so it is as long as the node says. */
  readonly id: string;
  readonly commandId: string;
  readonly rollout: string;
  readonly who: string;
  readonly reason: string;
  readonly outcome: string;
  readonly error: Fault | null;
  readonly release: ReleaseRef | null;
}

/** What a node says of itself, for the engine. */
export function observationOf(status: NodeStatus): Observation {
  return {
    health: healthOf(status),
    healthReason: cutText(status.healthReason, limits.healthReasonChars),
    goodForMs: Math.min(Number(status.goodForMs), Number.MAX_SAFE_INTEGER),
    release: releaseOf(status.release),
    inMaintenance: status.inMaintenance,
  };
}

/** What a node says of itself, for its record. */
export function statusOf(
  status: NodeStatus,
): Omit<NodeStatusValue, 'phase' | 'unknown' | 'joined' | 'since'> {
  const health = healthOf(status);
  return {
    version: word(status.release?.version),
    digest: word(status.release?.digest),
    health,
    healthReason: health === 'healthy' ? '' : cutText(status.healthReason, limits.healthReasonChars),
    inMaintenance: status.inMaintenance,
    needsOperator: sentence(status.needsOperator?.message),
    agentVersion: word(status.agentVersion),
    os: word(status.os),
    arch: word(status.arch),
  };
}

/** What an agent says when it is adopted. */
export function reportOf({ status, jobs }: AdoptResponse): AdoptionReport {
  return {
    inMaintenance: status?.inMaintenance ?? false,
    needsOperator: sentence(status?.needsOperator?.message),
    jobs: jobs.slice(-limits.journalJobsHeard).map(reportedJob),
  };
}

function reportedJob({ commandId, rolloutId, attempt, result, foundInMaintenance }: JournalJob): ReportedJob {
  return {
    commandId: idOf(commandId),
    rollout: word(rolloutId),
    // The next try counts one more, and that must still be a number of the protocol.
    attempt: attempt <= limits.commandAttempts ? attempt : 0,
    ended: result !== undefined,
    foundInMaintenance,
  };
}

/** Whether a job was begun, or taken back, by a person on the node, and has ended. */
export function isWord({ by, result }: JournalJob): boolean {
  return by !== '' && result !== undefined;
}

/** A job for which `isWord` holds. */
export function wordOf({ commandId, rolloutId, by, reason, result }: JournalJob): WordOnNode {
  return {
    id: commandId,
    commandId: idOf(commandId),
    rollout: word(rolloutId),
    who: cutText(by, limits.nameChars),
    reason: cutText(reason, limits.reasonChars),
    outcome: cutText(result?.outcome ?? '', limits.nameChars),
    error: faultOf(result?.failure),
    release: releaseOf(result?.release),
  };
}

/** What an event of a command tells the engine; undefined: nothing. */
export function eventOf(node: string, { commandId, event }: CommandEvent): EngineEvent | undefined {
  const of = { node, commandId: idOf(commandId) };
  switch (event?.$case) {
    case 'progress': {
      const { phase, waitsFor } = event.value;
      return { kind: 'progress', ...of, phase: word(phase), waitsFor: sentence(waitsFor) };
    }
    case 'finished':
      return { kind: 'finished', ...of, outcome: outcomeOf(event.value) };
    case 'accepted':
    case undefined:
      return undefined;
  }
}

function outcomeOf(result: CommandResult): CommandOutcome {
  const { outcome } = result;
  const known =
    outcome === 'done' || outcome === 'failed' || outcome === 'rolled_back' || outcome === 'rollback_failed';
  return {
    // In the word of a later version the node may be anything: an operator looks.
    outcome: known ? outcome : 'rollback_failed',
    failure: known ? faultOf(result.failure) : unknownOutcome(outcome),
    failedStep: word(result.failedStep),
    release: releaseOf(result.release) ?? { version: '', digest: '' },
    problems: result.problems.slice(0, limits.problemsHeard).flatMap((problem) => faultOf(problem) ?? []),
    backupId: word(result.backupId),
    inMaintenance: result.inMaintenance ?? null,
  };
}

function unknownOutcome(outcome: string): Fault {
  const said = JSON.stringify(word(outcome));
  const message = `its agent says that the command ended as ${said}, which this controller does not know; upgrade the controllers, and look at the node`;
  return { code: 'INTERNAL', message };
}

/** Why an agent refuses. */
export function refusalOf({ code, message }: PlexiError): Fault {
  return { code, message: sentence(message) };
}

function faultOf(failure: Failure | undefined): Fault | null {
  return failure ? { code: word(failure.code), message: sentence(failure.message) } : null;
}

function releaseOf(release: Release | undefined): ReleaseRef | null {
  return release ? { version: word(release.version), digest: word(release.digest) } : null;
}

function healthOf({ health }: NodeStatus): Observation['health'] {
  return health === 'healthy' || health === 'unhealthy' ? health : 'unknown';
}

function idOf(commandId: string): string {
  return cutText(commandId, limits.commandIdChars);
}

function word(text = ''): string {
  return cutText(text, limits.wordChars);
}

function sentence(text = ''): string {
  return cutText(text, limits.failureChars);
}
