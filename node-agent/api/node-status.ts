/**
 * What this node says of itself, put together from the places that know. Whoever watches is called
 * again whenever something in it may have changed.
 */
import { createRequire } from 'node:module';
import { NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import { type AgentNode, currentRelease } from '../node.js';
import type { Executor } from '../upgrade/executor.js';

/** The agent's own version, from package.json. */
export const agentVersion: string = readOwnVersion();

export class NodeStatusSource {
  private readonly callbacks = new Set<() => void>();
  private release: { version: string; digest: string } | undefined;

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
    executor.onIdle(() => this.changed());
    node.monitor.on('change', () => this.changed());
  }

  /** The status at this moment. */
  async now(): Promise<NodeStatus> {
    const { node, executor } = this;
    this.release ??= await currentRelease(node.paths);
    const needsOperator = this.needsOperator();
    return NodeStatus.fromPartial({
      nodeId: node.config.node,
      cluster: node.config.cluster,
      installId: this.installId,
      agentVersion,
      release: this.release,
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

  /** Says that something may have changed. */
  changed(): void {
    this.release = undefined;
    for (const callback of this.callbacks) callback();
  }

  /** Calls back after every change, until the returned function is called. */
  watch(callback: () => void): () => void {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }
}

function readOwnVersion(): string {
  const require = createRequire(import.meta.url);
  for (const candidate of ['../../package.json', '../../../package.json']) {
    try {
      return (require(candidate) as { version: string }).version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return 'unknown';
}
