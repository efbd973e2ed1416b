/**
 * NodeAgentService: the door through which a controller commands this node. Fence check, raised fence
 * and journal intent are one critical section, shared with Adopt (protocol, rule 2): a command that
 * waits for a disk cannot start after an adoption that was told "nothing here".
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import {
  type AdoptRequest,
  AdoptResponse,
  Command,
  type CommandEvent,
  type CommandResult,
  type JournalJob,
  type LineageEntry,
  type PreflightStep,
  type RollBackStep,
  type UpgradeStep,
} from '../../gen/plexi/v1/node_agent.js';
import { folderToRun } from '../../release/repository/place.js';
import { NONE } from '../../release/version.js';
import type { Job, Journal } from '../journal/journal.js';
import type { JobFacts, JobResult, NewRecord } from '../journal/records.js';
import { type AgentNode, linkedFolder, localRelease } from '../node.js';
import { refuseEndlessJobs } from '../takeover/failed-job.js';
import { takeOverStep } from '../takeover/take-over.js';
import type { Executor } from '../upgrade/executor.js';
import { maintenanceStep } from '../upgrade/known-steps.js';
import { preflight } from '../upgrade/preflight.js';
import { stage } from '../upgrade/stage.js';
import type { Fence, FenceLineage, FenceToken } from './fence.js';
import type { NodeStatusSource } from './node-status.js';
import { backupIdOf, checkCommand } from './order-shape.js';
import { toCommandResult } from './results.js';

/** Receives the events of one Execute call, in order. */
export type EventSink = (event: CommandEvent['event']) => void;

/** How a command was let in: told again, joined in its middle, or begun. */
interface Admission {
  readonly kind: 'replay' | 'attach' | 'begun';
  readonly result: Promise<CommandResult>;
}

export class CommandService {
  private section: Promise<unknown> = Promise.resolve();
  private readonly direct = new Map<string, { payloadHash: string; result: Promise<CommandResult> }>();

  constructor(
    private readonly node: AgentNode,
    private readonly fence: Fence,
    private readonly journal: Journal,
    private readonly executor: Executor,
    private readonly status: NodeStatusSource,
    /** Why the journal cannot be trusted; then nothing is obeyed (protocol, rule 9). */
    private readonly unreadable: PlexiError | undefined = undefined,
  ) {}

  /** Raises the fence to the leader's token, and tells what the journal knows. */
  adopt(request: AdoptRequest): Promise<AdoptResponse> {
    return this.exclusively(async () => {
      const token = requireToken(request.token);
      const before = this.fence.current;
      const { lineage } = request;
      this.fence.check(token, adoptionId(token));
      // A higher epoch is an operator's word that the restore was meant.
      if (token.epoch === before?.token.epoch) refuseStrangeLineage(before.lineage, request.knownLineage);
      await this.fence.raise(
        token,
        adoptionId(token),
        lineage && { term: lineage.term, nonce: lineage.nonce },
      );
      this.node.log.info({ token }, 'adopted');
      return AdoptResponse.fromPartial({
        status: await this.status.now(),
        ...(before && { previousToken: before.token }),
        ...(before?.lineage && { previousLineage: before.lineage }),
        jobs: this.journal.list().slice(-limits.journalJobsHeard).map(toJournalJob),
      });
    });
  }

  /**
   * Carries out one command, and sends its events to the sink; resolves when the command has ended.
   * @throws PlexiError when the command is refused: STALE_TOKEN, BUSY, COMMAND_CONFLICT,
   * FENCE_UNREADABLE. The failure of a step is an event.
   */
  async execute(command: Command, sink: EventSink): Promise<void> {
    checkCommand(command);
    const { commandId } = command;
    let isAccepted = false;
    const unwatch = this.executor.watch((of, progress) => {
      if (of === commandId && isAccepted) sink({ $case: 'progress', value: progress });
    });
    try {
      const admission = await this.exclusively(() => this.admit(command, sink));
      sink({ $case: 'accepted', value: { known: admission.kind !== 'begun' } });
      isAccepted = true;
      const { progress, runningCommandId } = this.executor;
      if (runningCommandId === commandId && progress !== undefined)
        sink({ $case: 'progress', value: progress });
      sink({ $case: 'finished', value: await admission.result });
    } finally {
      unwatch();
    }
  }

  /** Commands that touch nothing: they need no journal, and the same id attaches to the one that runs. */
  private runDirect(command: Command, sink: EventSink): Promise<CommandResult> {
    const { step } = command;
    switch (step?.$case) {
      case 'preflight':
        return this.preflight(step.value);
      case 'stage':
        return stage(
          this.node,
          step.value,
          (percent) =>
            sink({
              $case: 'progress',
              value: { phase: 'staging', percent, message: 'download', waitsFor: '' },
            }),
          command.commandId,
        );
      case 'rollBack':
        return this.rollBack(step.value);
      default:
        throw new PlexiError(
          'COMMAND_CONFLICT',
          `this agent does not know the order in ${command.commandId}; upgrade the agent`,
        );
    }
  }

  private async preflight(order: PreflightStep): Promise<CommandResult> {
    const { needsOperator } = await this.status.now();
    return preflight(this.node, order, needsOperator);
  }

  /** Inside the critical section: may this command be obeyed, and is its intent on the disk? */
  private async admit(command: Command, sink: EventSink): Promise<Admission> {
    const token = requireToken(command.token);
    const trouble = this.unreadable ?? this.executor.broken;
    if (trouble !== undefined) throw trouble;
    // Without a fence nothing is obeyed, not even what the journal knows (protocol, rule 6).
    this.fence.checkAdopted();
    const payloadHash = hashPayload(command);
    const known = this.journal.find(command.commandId);
    if (known !== undefined) return this.admitKnown(known, payloadHash);
    const direct = this.direct.get(command.commandId);
    if (direct !== undefined) {
      if (direct.payloadHash !== payloadHash) throw otherContents(command.commandId);
      return { kind: 'attach', result: direct.result };
    }
    this.fence.check(token, command.commandId);
    const running = this.executor.runningCommandId;
    const rollsBackRunning =
      command.step?.$case === 'rollBack' && command.step.value.upgradeCommandId === running;
    if (running !== undefined && !rollsBackRunning) {
      throw new PlexiError('BUSY', `the node works on ${running}`, { details: { running } });
    }
    // A taking back leaves no record, and what it took back must not come after it: so it is stored here.
    if (command.step?.$case === 'rollBack') await this.fence.raise(token, command.commandId);
    else await this.fence.raiseUntilRestart(token, command.commandId);
    const intent = await this.intentOf(command, token, payloadHash);
    if (intent === undefined) {
      const result = this.runDirect(command, sink).finally(() => this.direct.delete(command.commandId));
      this.direct.set(command.commandId, { payloadHash, result });
      return { kind: 'begun', result };
    }
    const job = await this.journal.append(intent);
    const { commandId, rolloutId } = command;
    this.node.log.info({ commandId, rollout: rolloutId, order: command.step?.$case, token }, 'command');
    return { kind: 'begun', result: this.executor.start(job).then((ended) => this.told(ended)) };
  }

  private admitKnown(known: Job, payloadHash: string): Admission {
    // By what stands in the journal: an agent of an earlier version may have counted other parts of it.
    if (hashPayload(Command.fromJSON(known.command)) !== payloadHash) {
      throw otherContents(known.commandId);
    }
    if (known.result !== undefined) {
      return { kind: 'replay', result: Promise.resolve(this.told(known.result)) };
    }
    const done = this.executor.wait(known.commandId);
    if (done === undefined) throw nothingWorksOn(known.commandId);
    return { kind: 'attach', result: done.then((ended) => this.told(ended)) };
  }

  /** The journal record with which a job begins; undefined for a command that touches nothing. */
  private async intentOf(
    command: Command,
    token: FenceToken,
    payloadHash: string,
  ): Promise<NewRecord | undefined> {
    const { step } = command;
    if (step?.$case !== 'upgrade' && step?.$case !== 'maintenance' && step?.$case !== 'takeOver')
      return undefined;
    refuseEndlessJobs(this.node.config.node, this.journal.list(), step.$case !== 'maintenance');
    const oneStep = step.$case === 'takeOver' ? takeOverStep : maintenanceStep;
    const facts = await this.factsBefore(command, step.$case === 'upgrade' ? step.value : undefined);
    return {
      kind: 'accepted',
      commandId: command.commandId,
      command: Command.toJSON(command) as Record<string, unknown>,
      payloadHash,
      token: { epoch: String(token.epoch), term: String(token.term), seq: String(token.seq) },
      step: step.$case === 'upgrade' ? this.executor.firstStep(step.value, facts) : oneStep,
      facts,
    };
  }

  private async factsBefore(command: Command, order: UpgradeStep | undefined): Promise<JobFacts> {
    const { paths } = this.node;
    const folderBefore = (await linkedFolder(paths.current)) ?? null;
    const previousBefore = (await linkedFolder(paths.previous)) ?? null;
    const wasInMaintenance = this.node.maintenance.current !== undefined;
    if (order === undefined)
      return { wasInMaintenance, folderBefore, previousBefore, folderAfter: null, backupId: '' };
    const before = await localRelease(paths, folderBefore);
    if ((before?.digest ?? '') !== (order.from?.digest ?? '')) {
      throw new PlexiError(
        'NODE_CHANGED',
        `the plan believes that ${this.node.config.node} runs ${order.from?.version}, but it runs ${before?.version ?? 'none'}`,
      );
    }
    return {
      wasInMaintenance,
      folderBefore,
      previousBefore,
      folderAfter:
        order.to === undefined || order.to.version === NONE
          ? null
          : await folderToRun(paths.releases, order.to.version, order.to.digest),
      backupId: order.backup ? backupIdOf(command.commandId) : '',
    };
  }

  /** Takes back an upgrade that has not committed: the running one, or says how the ended one ended. */
  private async rollBack(step: RollBackStep) {
    const known = this.journal.find(step.upgradeCommandId);
    const result = known?.result ?? (await this.executor.cancel(step.upgradeCommandId, step.reason));
    if (result !== undefined) return this.told(result);
    // It broke since this was let in: only of what never began may be said that nothing is to be taken back.
    if (known !== undefined) throw this.executor.broken ?? nothingWorksOn(known.commandId);
    const status = await this.status.now();
    return this.told({
      outcome: 'rolled_back',
      failure: { code: 'CANCELLED', message: step.reason },
      failedStep: '',
      release: status.release ?? { version: '', digest: '' },
      timings: [],
      backupId: '',
    });
  }

  /** A result beside how the node is now: what a person put out of service stays so. */
  private told(result: JobResult): CommandResult {
    return { ...toCommandResult(result), inMaintenance: this.node.maintenance.current !== undefined };
  }

  /** One at a time, in order of arrival. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.section.then(work, work);
    this.section = turn.catch(() => undefined);
    return turn;
  }
}

function nothingWorksOn(commandId: string): PlexiError {
  return new PlexiError('JOURNAL_UNREADABLE', `the job ${commandId} is open, but nothing works on it`);
}

function adoptionId(token: FenceToken): string {
  return `adopt-${token.term}-${token.seq}`;
}

/** A term that this node knows, and that etcd does not: etcd was restored from a snapshot (protocol, rule 21). */
function refuseStrangeLineage(seen: FenceLineage | undefined, known: readonly LineageEntry[]): void {
  const oldest = known[0];
  if (seen === undefined || oldest === undefined || seen.term < oldest.term) return;
  if (known.some((entry) => entry.nonce === seen.nonce)) return;
  throw new PlexiError(
    'ETCD_RESTORED',
    `this node knows term ${seen.term} of another history: etcd was restored from a snapshot; bring back its newest data, or say \`plexictl cluster re-epoch\` when this was meant`,
  );
}

function requireToken(token: FenceToken | undefined): FenceToken {
  if (token === undefined) throw new PlexiError('STALE_TOKEN', 'the command carries no token');
  return token;
}

/** Over what does not change from one sending to the next: neither the token, nor a time, nor a reason. */
function hashPayload(command: Command): string {
  return createHash('sha256')
    .update(Command.encode({ ...command, token: undefined, step: lastingPart(command.step) }).finish())
    .digest('hex');
}

function lastingPart(step: Command['step']): Command['step'] {
  switch (step?.$case) {
    case 'preflight':
      return { $case: 'preflight', value: { ...step.value, controllerTime: undefined } };
    case 'rollBack':
      return { $case: 'rollBack', value: { ...step.value, reason: '' } };
    case 'maintenance':
      // The next leader may have been configured with another time for hooks.
      return { $case: 'maintenance', value: { ...step.value, timeoutMs: 0n } };
    default:
      return step;
  }
}

function toJournalJob(job: Job): JournalJob {
  return {
    commandId: job.commandId,
    rolloutId: typeof job.command.rolloutId === 'string' ? job.command.rolloutId : '',
    attempt: typeof job.command.attempt === 'number' ? job.command.attempt : 0,
    step: (job.goingBack?.begun ?? job.begun).at(-1) ?? '',
    result: job.result === undefined ? undefined : toCommandResult(job.result),
    by: job.byHand?.by ?? '',
    reason: job.byHand?.reason ?? '',
    foundInMaintenance: job.facts.wasInMaintenance,
  };
}

function otherContents(commandId: string): PlexiError {
  return new PlexiError('COMMAND_CONFLICT', `the command ${commandId} was given before with other contents`);
}
