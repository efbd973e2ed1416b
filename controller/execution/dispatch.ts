/**
 * Carries out what the engine wants done, once it is persisted, and turns what the nodes answer into
 * events. Nothing is repeated here: a broken stream is an event, and the engine decides (protocol, 7).
 */
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import { fromServiceError } from '../../config/grpc-status.js';
import type { TlsFiles } from '../../config/tls-files.js';
import type {
  AdoptResponse,
  Command,
  CommandEvent,
  JournalJob,
  NodeStatus,
} from '../../gen/plexi/v1/node_agent.js';
import type { Lead } from '../leadership/campaign.js';
import type { Effect, EngineEvent } from '../rollout/events.js';
import type { OpenCommand } from '../rollout/rollout.js';
import type { World } from '../rollout/world.js';
import { AgentLink } from './agent-link.js';
import { eventOf, observationOf, refusalOf, reportOf } from './agent-words.js';
import { buildCommand, buildMaintenance, buildTakeOver, type TokenParts } from './commands.js';
import { seqAt, strangeHistory } from './history-check.js';

export interface DispatchParts {
  readonly cluster: string;
  readonly tls: TlsFiles;
  readonly lead: Lead;
  /** The number of the last audit record that this leader knows to be in etcd. */
  readonly auditSequence: () => number;
  readonly wall: () => Date;
  /** Milliseconds for a maintenance hook, when an operator asks for it. */
  readonly maintenanceMs: number;
  readonly emit: (event: EngineEvent) => void;
  /** Every status of a node, for the records. */
  readonly seen: (node: string, status: NodeStatus | undefined) => void;
  /** What the journal of a node holds, told when it was adopted; newest last. */
  readonly told: (node: string, jobs: readonly JournalJob[]) => void;
  /** A node knows more than the etcd of this leader does, and why. */
  readonly strange: (reason: string) => void;
  readonly log: Logger;
}

export class Dispatch {
  private readonly links = new Map<string, AgentLink>();
  private readonly seqs = new Map<string, bigint>();
  private readonly looks = new Map<string, NodeJS.Timeout>();
  /** What the comparison of each node's history with etcd's came to, since its line was opened. */
  private readonly compared = new Map<string, Promise<string | undefined>>();

  constructor(private readonly parts: DispatchParts) {}

  /** Keeps one line to each node at its address. */
  setNodes(nodes: ReadonlyMap<string, string>): void {
    for (const [node, link] of this.links) {
      if (nodes.get(node) === link.target.address) continue;
      link.close();
      this.links.delete(node);
      this.compared.delete(node);
      this.parts.emit({ kind: 'unreachable', node });
    }
    for (const [node, address] of nodes) {
      if (this.links.has(node) || address === '') continue;
      this.links.set(node, this.openLink(node, address));
      // Beside the first status: what is adopted next need not wait for it.
      this.compare(node).catch(() => 'it is logged where it is asked');
    }
  }

  /** Does one thing. The world is the one that was persisted with it. */
  run(effect: Effect, world: World): void {
    const link = this.links.get(effect.node);
    if (link === undefined) {
      this.parts.emit({ kind: 'unreachable', node: effect.node });
      return;
    }
    switch (effect.kind) {
      case 'adopt':
        this.adopt(link);
        return;
      case 'send':
        this.send(link, effect.command, world);
        return;
      case 'look':
        clearTimeout(this.looks.get(effect.node));
        this.looks.set(
          effect.node,
          setTimeout(() => link.ask(), effect.inMs),
        );
        return;
    }
  }

  close(): void {
    for (const timer of this.looks.values()) clearTimeout(timer);
    for (const link of this.links.values()) link.close();
    this.links.clear();
  }

  private openLink(node: string, address: string): AgentLink {
    const { cluster, tls, emit, seen, log } = this.parts;
    return new AgentLink(
      { node, address, cluster, tls },
      () => this.token(node),
      {
        status: (status) => {
          seen(node, status);
          this.compare(node).catch(() => 'it is logged where it is asked');
          emit({ kind: 'observed', node, observation: observationOf(status) });
        },
        lost: () => {
          this.compared.delete(node);
          seen(node, undefined);
          emit({ kind: 'unreachable', node });
        },
      },
      log,
    );
  }

  /**
   * Before anything is sent: a restored etcd is noticed by the first node that answers.
   * @returns what is strange; undefined when their histories are one, or when the line is gone
   */
  private compare(node: string): Promise<string | undefined> {
    const { lead, strange, log } = this.parts;
    const known = this.compared.get(node);
    const link = this.links.get(node);
    if (known !== undefined || link === undefined) return known ?? Promise.resolve(undefined);
    const asked = link.describe().then((described) => strangeHistory(node, described, lead));
    this.compared.set(node, asked);
    asked.then(
      (reason) => reason !== undefined && strange(reason),
      (thrown) => {
        log.debug({ node, err: thrown }, 'the node did not describe itself');
        if (this.compared.get(node) === asked) this.compared.delete(node);
      },
    );
    return asked;
  }

  /** The token as it is; pings carry it. */
  private token(node: string): TokenParts {
    const { lead, auditSequence } = this.parts;
    const { epoch, term } = lead;
    return { epoch, term, seq: seqAt(auditSequence(), this.seqs.get(node) ?? 0n) };
  }

  /** The next token: seq rises within the term, and no other process has this term (decisions 3 and 13). */
  private nextToken(node: string): TokenParts {
    this.seqs.set(node, (this.seqs.get(node) ?? 0n) + 1n);
    return this.token(node);
  }

  private adopt(link: AgentLink): void {
    const { node } = link.target;
    const { emit, told, log } = this.parts;
    this.adoptOneOfOurs(link).then(
      (response) => {
        emit({ kind: 'adopted', node, report: reportOf(response) });
        told(node, response.jobs);
      },
      (thrown) => {
        const error = fromServiceError(thrown) ?? (thrown instanceof PlexiError ? thrown : undefined);
        // The node may have been adopted by another since it was looked at: then this lead is over.
        if (error?.code === 'ETCD_RESTORED' || error?.code === 'STALE_TOKEN') {
          this.compared.delete(node);
          this.compare(node).catch(() => 'it is logged where it is asked');
        }
        log.warn({ node, err: error ?? thrown }, 'the node was not adopted');
        const refusal = error ?? new PlexiError('NODE_UNREACHABLE', `${node} did not answer`);
        emit({ kind: 'adoption_failed', node, fault: refusalOf(refusal) });
      },
    );
  }

  /** An adoption takes from the node what it knew of older terms, so their histories are compared before. */
  private async adoptOneOfOurs(link: AgentLink): Promise<AdoptResponse> {
    const { node } = link.target;
    const { lead } = this.parts;
    const reason = await this.compare(node);
    if (reason !== undefined) throw new PlexiError('ETCD_RESTORED', reason);
    return link.adopt({
      token: this.nextToken(node),
      lineage: { term: lead.term, nonce: lead.nonce },
      knownLineage: lead.lineage.map((entry) => ({ term: BigInt(entry.term), nonce: entry.nonce })),
    });
  }

  /** Undefined when the engine's world holds nothing to make it from; then it will not ask again. */
  private command(node: string, open: OpenCommand, world: World): Command | undefined {
    const { kind } = open;
    if (kind === 'maintenance') {
      const slot = [...world.slots.values()].find((candidate) => candidate.node === node);
      return slot && buildMaintenance(slot, open, this.nextToken(node), this.parts.maintenanceMs);
    }
    if (kind === 'take_over') {
      const order = world.orders.get(node);
      return order && buildTakeOver(order, open, this.nextToken(node));
    }
    const part = world.rollout?.plan.parts.find((candidate) => candidate.node === node);
    if (world.rollout === undefined || part === undefined) return undefined;
    return buildCommand(world.rollout, part, { ...open, kind }, this.nextToken(node), this.parts.wall());
  }

  private send(link: AgentLink, open: OpenCommand, world: World): void {
    const { node } = link.target;
    const { emit, log } = this.parts;
    const command = this.command(node, open, world);
    if (command === undefined) return;
    log.info({ rollout: command.rolloutId, node, step: open.kind, commandId: open.id }, 'command');
    let told = false;
    link
      .execute(command, (event) => {
        told = event.event?.$case === 'finished' || told;
        this.pass(node, event);
      })
      .then(
        () => told || emit({ kind: 'stream_broken', node, commandId: open.id }),
        (thrown) => {
          const error = fromServiceError(thrown);
          if (told) return;
          if (error === undefined) emit({ kind: 'stream_broken', node, commandId: open.id });
          else emit({ kind: 'refused', node, commandId: open.id, fault: refusalOf(error) });
        },
      );
  }

  private pass(node: string, told: CommandEvent): void {
    const event = eventOf(node, told);
    if (event === undefined) return;
    if (event.kind === 'finished') {
      const { commandId, outcome } = event;
      this.parts.log.info({ node, commandId, outcome: outcome.outcome, failure: outcome.failure }, 'result');
    }
    this.parts.emit(event);
  }
}
