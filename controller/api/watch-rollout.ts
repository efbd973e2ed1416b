/**
 * The Watch stream of one caller: the state at once, then after every change, until the rollout is
 * final. It is told from the mirror, so a thousand watchers cost etcd nothing.
 */
import { toServiceError } from '../../config/grpc-status.js';
import { type WatchRequest, WatchResponse } from '../../gen/plexi/v1/rollouts.js';
import { isFinal, type RolloutPhase, rolloutPhases } from '../rollout/rollout.js';
import type { ClusterReader } from './cluster-reader.js';

/** Milliseconds between two things that a watcher is told, at the least; a person reads no faster. */
const gatherMs = 100;
/** And for each node of the rollout, since each telling holds all of them. */
const gatherPerNodeMs = 1;

/** What of a gRPC call is used. */
interface WatchCall {
  readonly request: WatchRequest;
  readonly cancelled: boolean;
  readonly writableNeedDrain: boolean;
  on(event: 'cancelled', listener: () => void): unknown;
  once(event: 'drain', listener: () => void): unknown;
  emit(event: 'error', error: ReturnType<typeof toServiceError>): unknown;
  write(message: WatchResponse): unknown;
  end(): unknown;
}
type States = Pick<ClusterReader, 'status' | 'statusNow'>;
/** The mirror, of which is only heard that something changed. */
interface Changes {
  listen(listener: () => void): () => void;
}

/** Serves one call; what goes wrong ends it with a status. */
export function watchRollout(call: WatchCall, reader: States, mirror: Changes): void {
  const watch = new RolloutWatch(call, reader, mirror);
  call.on('cancelled', () => watch.stop());
  watch.begin().catch((thrown) => watch.fail(thrown));
}

class RolloutWatch {
  private timer: NodeJS.Timeout | undefined;
  /** Nodes in what was told last. */
  private nodes = 0;
  /** When the watcher was told last, on the monotonic clock. */
  private toldMs = Number.NEGATIVE_INFINITY;
  /** The watcher has not taken yet what it was told, and is told more once it has. */
  private isSlow = false;
  private isStopped = false;
  private off = (): void => undefined;

  constructor(
    private readonly call: WatchCall,
    private readonly reader: States,
    private readonly mirror: Changes,
  ) {}

  async begin(): Promise<void> {
    const status = await this.reader.status(this.call.request.id);
    if (this.call.cancelled) return;
    this.call.write(WatchResponse.fromPartial({ status }));
    const id = status.rollout?.id;
    if (id === undefined || isOver(status.rollout?.phase)) {
      this.call.end();
      return;
    }
    const tellSoon = (): void => {
      const dueMs = this.toldMs + gatherMs + this.nodes * gatherPerNodeMs - performance.now();
      this.timer ??= setTimeout(() => this.tell(id), Math.max(0, dueMs));
    };
    this.off = this.mirror.listen(tellSoon);
    tellSoon();
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
    this.off();
  }

  fail(thrown: unknown): void {
    this.stop();
    this.call.emit('error', toServiceError(thrown));
  }

  private tell(id: string): void {
    if (this.isStopped) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.toldMs = performance.now();
    try {
      const status = this.reader.statusNow(id);
      if (this.call.cancelled || status.rollout === undefined) return;
      // A state is whole, so one that is left out is made good by the next.
      if (this.call.writableNeedDrain) {
        this.tellOnceDrained(id);
        return;
      }
      this.nodes = status.rollout.nodes.length;
      this.call.write(WatchResponse.fromPartial({ status }));
      if (!isOver(status.rollout.phase)) return;
      this.stop();
      this.call.end();
    } catch (thrown) {
      // A value that another version wrote must end this call, not the process.
      this.fail(thrown);
    }
  }

  private tellOnceDrained(id: string): void {
    if (this.isSlow) return;
    this.isSlow = true;
    this.call.once('drain', () => {
      this.isSlow = false;
      this.tell(id);
    });
  }
}

function isOver(phase: string | undefined): boolean {
  const known = rolloutPhases.find((candidate): candidate is RolloutPhase => candidate === phase);
  return known !== undefined && isFinal(known);
}
