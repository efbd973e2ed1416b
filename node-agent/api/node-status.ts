/**
 * What this node says of itself, put together from the places that know. Whoever watches is called
 * again whenever something in it may have changed.
 */
import { ownVersion } from '../../config/own-version.js';
import { NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import { type AgentNode, type CurrentRelease, linkedFolder, namesOf, readCurrent } from '../node.js';
import type { Executor } from '../upgrade/executor.js';

export class NodeStatusSource {
  private readonly callbacks = new Set<() => void>();
  /** What was read of `current`, and the folder that it pointed at then. */
  private release: CurrentRelease | undefined;

  constructor(
    private readonly node: AgentNode,
    private readonly executor: Executor,
    private readonly installId: string,
    /** Why the node asks for an operator; undefined when it does not. */
    private readonly needsOperator: () => { code: string; message: string } | undefined,
  ) {
    executor.watch((_commandId, progress) => {
      if (progress.percent === 0) this.changed();
    });
    executor.onIdle(() => {
      this.release = undefined;
      this.changed();
    });
    node.monitor.on('change', () => this.changed());
  }

  /** The status at this moment. */
  async now(): Promise<NodeStatus> {
    const { node, executor } = this;
    const current = await this.current();
    const needsOperator = this.needsOperator() ?? this.troubleWith(current);
    return NodeStatus.fromPartial({
      nodeId: node.config.node,
      cluster: node.config.cluster,
      installId: this.installId,
      agentVersion: ownVersion,
      release: namesOf(current),
      health: node.monitor.health,
      healthReason: node.monitor.reason,
      goodForMs: BigInt(Math.floor(node.monitor.goodForMs())),
      inMaintenance: node.maintenance.current !== undefined,
      phase: executor.progress?.phase ?? 'idle',
      percent: executor.progress?.percent ?? 0,
      runningCommandId: executor.runningCommandId ?? '',
      ...(needsOperator && { needsOperator }),
      os: process.platform,
      arch: process.arch,
    });
  }

  /**
   * What the node runs. The folder of a release never changes once it is complete, so its manifest is
   * read anew only when the link points elsewhere, and after each job.
   */
  private async current(): Promise<CurrentRelease> {
    const { paths } = this.node;
    const known = this.release;
    if (known !== undefined && known.folder === (await linkedFolder(paths.current))) return known;
    const found = await readCurrent(paths);
    // One that is not complete may get so without a job, by staging; and so may a damaged one.
    this.release = found.release && found;
    return found;
  }

  /** A release that cannot be read asks for an operator, like a job that failed. */
  private troubleWith({ damage }: CurrentRelease): { code: string; message: string } | undefined {
    if (damage === undefined) return undefined;
    const { node } = this.node.config;
    const message = `${damage.message} Or, if it runs well, say what it is with plexictl node confirm ${node}`;
    return { code: damage.code, message };
  }

  /** Says that something may have changed. */
  changed(): void {
    for (const callback of this.callbacks) callback();
  }

  /** Calls back after every change, until the returned function is called. */
  watch(callback: () => void): () => void {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }
}
