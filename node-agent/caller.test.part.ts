/** A controller's side of NodeAgentService, for tests: commands in one line, events in a list. */
import { Metadata, status } from '@grpc/grpc-js';
import { fromServiceError } from '../config/grpc-status.js';
import { grpcChannel, type TlsFiles } from '../config/tls.js';
import {
  AdoptRequest,
  type AdoptResponse,
  Command,
  type CommandEvent,
  type CommandResult,
  type ExecuteResponse,
  NodeAgentServiceClient,
  type NodeStatus,
  type WatchStatusResponse,
} from '../gen/plexi/v1/node_agent.js';
import type { TinyReleases, TinyVersion } from './tiny-service.test.part.js';

/** After so long a test that hangs says where, before the runner ends its file; no test waits for it. */
const patienceMs = 180_000;
/** For steps that a test holds by a marker: their end is an event, and no clock of a slow machine comes first. */
const heldMs = 600_000n;

export type TokenNumbers = readonly [epoch: number, term: number, seq: number];

export interface Executed {
  readonly events: CommandEvent[];
  /** Whether the node knew the command. */
  readonly known: boolean | undefined;
  /** The phases that were told, without repetitions. */
  readonly phases: string[];
  readonly result: CommandResult;
}

export class Caller {
  private readonly client: NodeAgentServiceClient;

  constructor(port: number, files: TlsFiles, cluster = 'test') {
    const { credentials, options } = grpcChannel(files, { cluster, role: 'agent', name: 'node-1' });
    this.client = new NodeAgentServiceClient(`127.0.0.1:${port}`, credentials, options);
  }

  /** Resolves when the agent listens. */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.client.waitForReady(Date.now() + patienceMs, (error) =>
        error === undefined ? resolve() : reject(error),
      );
    });
  }

  describe(): Promise<NodeStatus> {
    return new Promise((resolve, reject) => {
      this.client.describe({}, new Metadata(), { deadline: Date.now() + patienceMs }, (error, response) =>
        error === null && response.status !== undefined ? resolve(response.status) : reject(asOurs(error)),
      );
    });
  }

  adopt(numbers: TokenNumbers, nonce?: string): Promise<AdoptResponse> {
    const token = tokenOf(numbers);
    const lineage = nonce === undefined ? undefined : { term: token.term, nonce };
    const request = AdoptRequest.fromPartial({ token, ...(lineage && { lineage }) });
    return new Promise((resolve, reject) => {
      this.client.adopt(request, new Metadata(), { deadline: Date.now() + patienceMs }, (error, response) =>
        error === null ? resolve(response) : reject(asOurs(error)),
      );
    });
  }

  /** Sends a command, and resolves at its end. Each event goes to `onEvent`, too. */
  execute(command: Command, onEvent: (event: CommandEvent) => void = () => undefined): Promise<Executed> {
    return new Promise((resolve, reject) => {
      const events: CommandEvent[] = [];
      const stream = this.client.execute({ command }, { deadline: Date.now() + patienceMs });
      stream.on('data', ({ event }: ExecuteResponse) => {
        if (event === undefined) return;
        events.push(event);
        onEvent(event);
      });
      stream.on('error', (error) => reject(asOurs(error)));
      stream.on('status', ({ code }) => {
        if (code === status.OK) resolve(new Promise((end) => end(summed(events))));
      });
    });
  }

  /** Sends a command, and resolves once it is in the given phase, with the promise of its end. */
  executeUntil(command: Command, phase: string): Promise<{ ended: Promise<Executed> }> {
    return new Promise((resolve, reject) => {
      const ended = this.execute(command, ({ event }) => {
        if (event?.$case === 'progress' && event.value.phase === phase) resolve({ ended });
      });
      ended.then(
        ({ phases }) => reject(new Error(`it ended before ${phase}, after ${phases.join(', ')}`)),
        reject,
      );
    });
  }

  /** Follows the status until it is as asked, and returns that one. */
  statusWhen(isIt: (status: NodeStatus) => boolean): Promise<NodeStatus> {
    return new Promise((resolve, reject) => {
      const stream = this.client.watchStatus(new Metadata(), { deadline: Date.now() + patienceMs });
      let last: NodeStatus | undefined;
      stream.on('data', ({ status: now }: WatchStatusResponse) => {
        last = now;
        if (now === undefined || !isIt(now)) return;
        resolve(now);
        stream.cancel();
      });
      stream.on('error', (error) =>
        reject(
          new Error(
            `no such status; the last was ${JSON.stringify({ ...last, goodForMs: String(last?.goodForMs) })}`,
            { cause: asOurs(error) },
          ),
        ),
      );
    });
  }

  close(): void {
    this.client.close();
  }
}

export function tokenOf([epoch, term, seq]: TokenNumbers) {
  return { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) };
}

/** Any command; the step makes the difference. */
export function command(id: string, token: TokenNumbers, step: Command['step']): Command {
  const rest = { rolloutId: 'update_0a1_0b1', planDigest: 'd'.repeat(64), attempt: 1 };
  return Command.fromPartial({ commandId: id, token: tokenOf(token), ...rest, step });
}

export function maintenance(id: string, token: TokenNumbers, on: boolean, reason = 'new disks'): Command {
  return command(id, token, { $case: 'maintenance', value: { on, reason, timeoutMs: heldMs } });
}

export function rollBack(id: string, token: TokenNumbers, upgradeCommandId: string): Command {
  return command(id, token, {
    $case: 'rollBack',
    value: { upgradeCommandId, reason: 'the rollout turned back' },
  });
}

/** The orders of a plan from one tiny version to another; `none` is a node without any. */
export class TinyPlan {
  constructor(
    private readonly releases: TinyReleases,
    readonly from: TinyVersion | 'none',
    readonly to: TinyVersion,
  ) {}

  release(version: TinyVersion | 'none') {
    return { version, digest: version === 'none' ? '' : this.releases[version].artifact.treeDigest };
  }

  stage(id: string, token: TokenNumbers): Command {
    const { manifestSha256, artifact } = this.releases[this.to];
    const value = {
      release: this.release(this.to),
      manifestSha256,
      artifactSha256: artifact.sha256,
      back: this.release(this.from),
      timeoutMs: heldMs,
      reinstall: false,
      checkMigrations: [],
    };
    return command(id, token, { $case: 'stage', value });
  }

  upgrade(id: string, token: TokenNumbers): Command {
    const had = this.from === 'none' ? [] : this.releases[this.from].manifest.migrations;
    const migrations = this.releases[this.to].manifest.migrations
      .filter((it) => !had.some((before) => before.id === it.id))
      .map((it) => ({ id: it.id, checksum: it.checksum, direction: 'up' }));
    const value = {
      from: this.release(this.from),
      to: this.release(this.to),
      migrations,
      backup: true,
      backupPolicy: { directory: 'backups', encryption: true, keep: 3, retentionDays: 30 },
      maintenanceHooks: true,
      tests: false,
      restartByHand: false,
      timeouts: {
        ...{ maintenanceMs: heldMs, stopMs: 5_000n, backupMs: heldMs, migrateMs: heldMs, applyMs: heldMs },
        ...{ probeMs: this.to === '0b2' ? 800n : heldMs, testMs: heldMs, rollbackMs: heldMs },
      },
      probe: { goodInARow: 2, spacingMs: 10n, intervalMaxMs: 50n, tryMs: 2_000n },
    };
    return command(id, token, { $case: 'upgrade', value });
  }
}

function summed(events: CommandEvent[]): Executed {
  const phases: string[] = [];
  let known: boolean | undefined;
  for (const { event } of events) {
    if (event?.$case === 'accepted') known = event.value.known;
    if (event?.$case === 'progress' && event.value.phase !== phases.at(-1)) phases.push(event.value.phase);
  }
  if (events[0]?.event?.$case !== 'accepted') throw new Error('the stream did not begin with `accepted`');
  const last = events.at(-1)?.event;
  if (last?.$case !== 'finished') throw new Error('the stream ended without a result');
  return { events, known, phases, result: last.value };
}

/** The PlexiError that the node sent, or else what gRPC says. */
function asOurs(error: unknown): unknown {
  return fromServiceError(error) ?? error;
}
