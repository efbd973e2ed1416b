/**
 * A controller under simulation: the real campaign and the real term of lead (loop, engine, guarded
 * writes, wishes, dispatch of commands), in a process that may die or stand still. Modelled are the
 * doors of a replica, which are not opened, and the line to each node.
 */
import type { Logger } from 'pino';
import { Dispatch, type DispatchParts } from '../../controller/execution/dispatch.js';
import { leadTerm } from '../../controller/execution/leader.js';
import { campaign, type EnteredLead } from '../../controller/leadership/campaign.js';
import { readLast } from '../../controller/leadership/etcd.js';
import type { Observation } from '../../controller/rollout/events.js';
import { type AuditAppend, appendAudit, headOf } from '../../controller/state/audit.js';
import type { AdoptRequest, Command, NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import { keys } from '../scenarios/model-leader.test.part.js';
import type { SimulatedAgent } from './agent.test.part.js';
import { Process } from './clock.test.part.js';
import type { Drawn } from './drawn.test.part.js';
import { type EtcdWay, LaggingMirror, modelClient } from './etcd-door.test.part.js';
import { ModelLink } from './link.test.part.js';
import { configOf, modelRepository } from './releases.test.part.js';

/** The first moment of every history, in milliseconds since 1970. */
export const epochMs = 1_700_000_000_000;

/**
 * A candidate reads the leader key now and then, should its mirror be behind; here more seldom, because most of
 * what it would do in a history is that.
 */
const candidateLooks = 5;

/** Who hears what leaders do. */
export interface LeaderWatch {
  adopting(term: bigint, agent: SimulatedAgent, request: AdoptRequest): void;
  sending(term: bigint, agent: SimulatedAgent, command: Command, wasPaused: boolean): void;
}

export interface ControllerParts {
  readonly way: EtcdWay;
  readonly drawn: Drawn;
  readonly agents: ReadonlyMap<string, SimulatedAgent>;
  readonly watch: LeaderWatch;
  readonly log: Logger;
}

export class SimulatedController {
  process: Process;
  private mirror: LaggingMirror | undefined;
  private readonly links = new Set<ModelLink>();
  private lives = 0;

  constructor(private readonly parts: ControllerParts) {
    this.process = new Process(parts.way.name);
  }

  /** Starts it (again) in a process of its own, as runReplica does. */
  start(): void {
    const { clock, name } = this.parts.way;
    this.process = new Process(name);
    this.lives += 1;
    clock.after(0, () => void this.run(this.process, this.lives), this.process);
  }

  die(): void {
    this.process.alive = false;
    this.mirror?.unfollow();
    for (const link of this.links) link.drop();
    this.links.clear();
  }

  /** It stood still so shortly ago that another may lead, and it cannot know it yet. */
  private get isJustAwake(): boolean {
    const { way, drawn } = this.parts;
    const { pausedUntilMs } = this.process;
    return pausedUntilMs > 0 && pausedUntilMs > way.clock.nowMs - drawn.ttlSeconds * 1_000;
  }

  /** The calls of this controller break, each of them once. */
  breakCalls(): void {
    const links = [...this.links];
    const broken = (): void => {
      for (const link of links) link.breakCalls();
    };
    this.parts.way.clock.after(0, broken, this.process);
  }

  /** In the place of Dispatch's own way of opening a line to a node. */
  openLink(
    dispatch: DispatchParts,
    token: () => ReturnType<ModelLink['token']>,
    node: string,
    compare: () => void,
  ): ModelLink {
    const { way, agents, watch } = this.parts;
    const agent = agents.get(node);
    if (agent === undefined) throw new Error(`there is no node ${node}`);
    const { emit, seen, lead } = dispatch;
    const link = new ModelLink(
      {
        ...{ clock: way.clock, network: way.network, agent, from: way.name },
        emitStatus: (status) => {
          compare();
          seen(node, status);
          emit({ kind: 'observed', node, observation: observationOf(status) });
        },
        emitLost: () => {
          seen(node, undefined);
          emit({ kind: 'unreachable', node });
        },
        adopting: (request) => watch.adopting(lead.term, agent, request),
        sending: (command) => watch.sending(lead.term, agent, command, this.isJustAwake),
      },
      token,
    );
    this.links.add(link);
    return link;
  }

  private async run(process: Process, life: number): Promise<void> {
    const { way, drawn, log } = this.parts;
    const { clock, name } = way;
    const client = modelClient(way);
    const mirror = new LaggingMirror(way, process, log);
    this.mirror = mirror;
    const config = configOf(name, drawn);
    const startMs = epochMs + drawn.skewMs(name);
    const wall = (): Date => new Date(startMs + clock.nowMs);
    const settings = {
      id: name,
      address: `${name}:1`,
      ttlSeconds: drawn.ttlSeconds,
      marginMs: drawn.marginMs,
    };
    let terms = 0;
    const nonce = (): string => `${name} ${life} ${++terms}`;
    const leaderGone = async (timeoutMs: number): Promise<void> => {
      await mirror.waitFor(() => mirror.get(keys.leader) === undefined, candidateLooks * timeoutMs);
    };
    const entering = async ({ term, epoch }: EnteredLead): Promise<AuditAppend> => {
      const head = headOf(await readLast(client, keys.audit));
      const entry = {
        what: 'leader',
        rollout: '',
        who: name,
        address: `${name}:1`,
        epoch: String(epoch),
      } as const;
      return appendAudit(keys, head, [entry], { at: wall(), term: String(term) });
    };
    const environment = { nowMs: () => clock.nowMs, wall, nonce, entering, log };
    for (;;) {
      const forever = new AbortController().signal;
      const lead = await campaign(client, keys, settings, environment, leaderGone, forever);
      if (lead === undefined) return;
      const nowMs = (): number => Math.round(startMs + clock.nowMs);
      await leadTerm({ config, keys, client, mirror, repository: modelRepository, lead, nowMs, wall, log });
    }
  }
}

/** Lets every Dispatch open lines of the model, on the controller whose process runs. @returns how to undo it */
export function withModelLinks(running: () => SimulatedController | undefined): () => void {
  const before: unknown = Reflect.get(Dispatch.prototype, 'openLink');
  Reflect.set(Dispatch.prototype, 'openLink', function openLink(this: Dispatch, node: string) {
    const parts: DispatchParts = Reflect.get(this, 'parts');
    const token: (node: string) => ReturnType<ModelLink['token']> = Reflect.get(this, 'token').bind(this);
    const controller = running();
    if (controller === undefined) throw new Error('a line is opened by nobody');
    const compared: Set<string> = Reflect.get(this, 'compared');
    const compare: (node: string) => void = Reflect.get(this, 'compare').bind(this);
    return controller.openLink(
      parts,
      () => token(node),
      node,
      () => compared.has(node) || compare(node),
    );
  });
  return () => Reflect.set(Dispatch.prototype, 'openLink', before);
}

function observationOf(status: NodeStatus): Observation {
  const { health } = status;
  return {
    health: health === 'healthy' || health === 'unhealthy' ? health : 'unknown',
    healthReason: status.healthReason,
    goodForMs: Number(status.goodForMs),
    release: status.release ?? null,
    inMaintenance: status.inMaintenance,
  };
}
