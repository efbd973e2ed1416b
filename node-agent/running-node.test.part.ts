/** A node with its agent running in the test's own process, and a controller's connection to it. */
import type { TestContext } from 'node:test';
import { type RunningAgent, startAgent } from './agent.js';
import { environment } from './agent-node.test.part.js';
import { Caller } from './caller.test.part.js';
import { type TinyCluster, TinyNode } from './tiny-node.test.part.js';

export class RunningNode {
  private agent: RunningAgent | undefined;
  caller: Caller;

  private constructor(
    private readonly cluster: TinyCluster,
    readonly node: TinyNode,
    agent: RunningAgent,
  ) {
    this.agent = agent;
    this.caller = this.connect();
  }

  /** Ends with the test, with its service and its root. */
  static async start(
    t: TestContext,
    cluster: TinyCluster,
    options: Parameters<typeof TinyNode.create>[1] = {},
  ): Promise<RunningNode> {
    const node = await TinyNode.create(cluster, options);
    const running = new RunningNode(cluster, node, await startAgent(node.config, environment));
    t.after(async () => {
      await running.stop();
      await node.remove();
    });
    if (options.version !== 'none') await running.healthy();
    return running;
  }

  healthy(): Promise<unknown> {
    return this.caller.statusWhen(({ health, phase }) => health === 'healthy' && phase === 'idle');
  }

  async stop(): Promise<void> {
    this.caller.close();
    await this.agent?.stop();
    this.agent = undefined;
  }

  /** The agent's next life, after what is done between the two. */
  async restart(between: () => unknown = () => undefined): Promise<void> {
    await this.stop();
    await between();
    this.agent = await startAgent(this.node.config, environment);
    this.caller = this.connect();
  }

  private connect(): Caller {
    return new Caller(this.agent?.port ?? 0, this.cluster.tls('controller', 'controller-0'));
  }
}
