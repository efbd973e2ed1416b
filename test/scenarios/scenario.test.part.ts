/**
 * Plays a scenario: lines that say what operators, nodes and time do, against the real engine and a
 * model etcd; gives back a transcript of all that followed. A change of leader goes through etcd: the
 * next one knows nothing but what was persisted.
 *
 *   cluster N [concurrency=N] [soak=2s] [canary=N] [failure-budget=N] [rollback-on-failure=off]
 *             [unknown-max=60s] [from=V] [ahead=node-1,…] [budget=N] [zones=x,x,y] [max-per-zone=N]
 *             [group=node-1,node-2:N]                                    the first line
 *   start [rollback] [without=NODE] [stage-only] [restart] [force]
 *   pause · resume · abort [--rollback] · retry NODE · skip NODE (a wish that is refused says why)
 *   remove NODE · hold NODE · release NODE · confirm NODE · why NODE
 *   maintenance NODE on|off              by an operator; its command ends well at once
 *   leader changes                       nobody leads for 20s while NODE commits
 *   wait 2s                              NODE unreachable · returns · flaps · unhealthy: REASON
 *   NODE… answers OUTCOME [at STEP]: REASON      all answers done: every node that has a command
 *   NODE is made VERSION (by hand) ·
 *   NODE is at PHASE · drops its stream · refuses CODE: REASON · answers late: COMMAND
 *   NODE refuses adoption: REASON · lets itself be adopted
 */
import assert from 'node:assert/strict';
import { isStuck } from '../../controller/rollout/budget.js';
import type { CommandOutcome, EngineEvent, Observation, Wish } from '../../controller/rollout/events.js';
import {
  type OpenCommand,
  openCommand,
  type PlanPart,
  type ReleaseRef,
  type RolloutPolicy,
  upgradingPhases,
} from '../../controller/rollout/rollout.js';
import { wishRefusal } from '../../controller/rollout/wishes.js';
import type { Spread } from '../../controller/rollout/world.js';
import { anywhere } from '../../controller/state/load-world.js';
import { checkAudit } from './invariants.test.part.js';
import { ModelEtcd } from './model-etcd.test.part.js';
import { enlist, keys, ModelLeader, type Step, storeAdopted } from './model-leader.test.part.js';
import { releaseAt, sampleNode, samplePlan, samplePolicy } from './sample-plan.test.part.js';
import { tellStep } from './transcript.test.part.js';

const startMs = Date.UTC(2024, 11, 19, 12, 0, 0);
/** The engine is told the time this often. */
const tickMs = 500;

/** What a node of the scenario is, in truth. */
interface PaperNode {
  release: ReleaseRef;
  reachable: boolean;
  health: Observation['health'];
  healthReason: string;
  goodSinceMs: number;
  /** Why it will not be adopted; empty: it will. */
  refusal: string;
}

export class Scenario {
  private readonly store = new ModelEtcd();
  private readonly nodes = new Map<string, PaperNode>();
  private readonly lines: string[] = [];
  private nowMs = startMs;
  private leader = new ModelLeader(this.store, 1, 7n);
  private policy: Partial<RolloutPolicy> = {};
  private spread: Spread = anywhere;
  private canary = 0;
  private wishes = 0;
  private started = 0;
  private looks = new Map<string, number>();
  /** A node committed before anybody heard of it: its answer does not begin its good time. */
  private keepsGood = false;
  /** The last rollout's plan, for a rollback of it. */
  private past: { id: string; parts: readonly PlanPart[] } | undefined;

  /** Plays one line; what followed is in the transcript. */
  play(line: string): void {
    this.lines.push(`> ${line}`);
    const [first = '', ...rest] = line.split(' ');
    const played: Readonly<Record<string, () => void>> = {
      cluster: () => this.build(rest),
      start: () => this.start(rest),
      leader: () => this.changeLeader(),
      nobody: () => this.commitUnseen(rest),
      pause: () => this.wish('pause', rest),
      resume: () => this.wish('resume', rest),
      abort: () => this.wish('abort', rest),
      retry: () => this.wish('retry', rest),
      skip: () => this.wish('skip', rest),
      hold: () => this.hold(rest[0] ?? '', true),
      release: () => this.hold(rest[0] ?? '', false),
      confirm: () => this.confirm(rest[0] ?? ''),
      why: () => this.why(rest[0] ?? ''),
      maintenance: () => this.maintain(rest[0] ?? '', rest[1] === 'on'),
      remove: () => this.remove(rest[0] ?? ''),
      wait: () => this.wait(durationOf(rest[0] ?? '')),
    };
    (played[first] ?? (() => this.nodeLine(line)))();
  }

  get transcript(): string {
    checkAudit(keys, this.store, false);
    return `${this.lines.join('\n')}\n`;
  }

  private build(words: string[]): void {
    const [count = '', ...rest] = words;
    const options = new Map(rest.map((word) => [word.split('=')[0] ?? '', word.split('=')[1] ?? '']));
    const option = (name: string, otherwise: string): string => options.get(name) ?? otherwise;
    const ahead = option('ahead', '').split(',');
    for (let index = 1; index <= Number(count); index++) {
      const id = `node-${index}`;
      const version = ahead.includes(id) ? '0b1' : option('from', '0a1');
      this.nodes.set(id, {
        release: releaseAt(version),
        reachable: true,
        health: 'healthy',
        healthReason: '',
        goodSinceMs: this.nowMs,
        refusal: '',
      });
    }
    this.policy = {
      maxConcurrent: Number(option('concurrency', '1')),
      soakMs: durationOf(option('soak', '2s')),
      failureBudget: Number(option('failure-budget', '0')),
      rollbackOnFailure: option('rollback-on-failure', 'on') === 'on',
      unknownMaxMs: durationOf(option('unknown-max', '60s')),
    };
    this.canary = Number(option('canary', '0'));
    this.spread = this.spreadOf(option('zones', ''), option('max-per-zone', ''), option('group', ''));
    this.leader = new ModelLeader(this.store, Number(option('budget', '1')), 7n, 100, 0, this.spread);
    this.observeAll();
  }

  /** Labels of every node go into etcd, where a leader finds them. */
  private spreadOf(zones: string, maxPerZone: string, group: string): Spread {
    const [members = '', least = ''] = group.split(':');
    for (const [index, id] of [...this.nodes.keys()].entries()) {
      const zone = zones.split(',')[index] ?? '';
      const labels = {
        ...(zone !== '' && { zone }),
        ...(members.split(',').includes(id) && { group: 'db' }),
      };
      enlist(this.store, id, labels);
      storeAdopted(this.store, id);
    }
    return {
      maxPerZone: maxPerZone === '' ? null : Number(maxPerZone),
      zoneLabel: 'zone',
      groups: group === '' ? [] : [{ name: 'db', labels: { group: 'db' }, minAvailable: Number(least) }],
    };
  }

  private start(words: string[]): void {
    const back = words[0] === 'rollback' ? this.past : undefined;
    const to = back === undefined ? '0b1' : (back.parts[0]?.from.version ?? '');
    const names = back?.parts.filter((part) => part.strategy !== 'none').map((part) => part.node);
    const except = words.find((word) => word.startsWith('without='))?.slice('without='.length);
    const chosen = [...this.nodes].filter(([id]) => id !== except && (names?.includes(id) ?? true));
    const { plan, problems, warnings } = samplePlan({
      nodes: chosen.map(([id, node]) =>
        sampleNode(id, node.release.version, {
          health: node.health,
          healthReason: node.healthReason,
          unknown: !node.reachable,
          held: this.leader.world.holds.get(id)?.reason ?? null,
        }),
      ),
      to,
      policy: { ...samplePolicy, ...this.policy },
      canary: back === undefined ? this.canary : 0,
      direction: back === undefined ? 'forward' : 'back',
      stuck: [...this.leader.world.slots].filter(([key]) => isStuck(key)).map(([, slot]) => slot.node),
      rollbackOf: back?.id ?? null,
      stageOnly: words.includes('stage-only'),
      restart: words.includes('restart'),
      force: words.includes('force') || back !== undefined,
    });
    for (const text of [...problems, ...warnings]) this.say(text);
    if (problems.length > 0) return;
    if (plan.parts.every((part) => part.strategy === 'none')) {
      this.say('nothing to do');
      return;
    }
    const count = ++this.started === 1 ? '' : `_${this.started}`;
    const id =
      back === undefined ? `update_${plan.header.from}_${to}_20241219_120000${count}` : `rollback_${back.id}`;
    this.past = { id, parts: plan.parts };
    this.say(`${id}: ${plan.parts.map((part) => `${part.node} (${part.orderReason})`).join(', ')}`);
    this.follow(this.leader.start(id, plan, this.nowMs));
  }

  private remove(node: string): void {
    this.nodes.delete(node);
    this.follow(this.leader.remove(node, this.nowMs));
  }

  private changeLeader(): void {
    this.leader.checkStored();
    const { configuredMax } = this.leader.world;
    this.leader = new ModelLeader(
      this.store,
      configuredMax,
      this.leader.term + 1n,
      100,
      this.nowMs,
      this.spread,
    );
    this.looks.clear();
    this.observeAll();
  }

  /** `nobody leads for 20s while node-1 commits`: the node is good from the beginning of that time. */
  private commitUnseen(words: readonly string[]): void {
    const node = this.node(words[4] ?? '');
    node.goodSinceMs = this.nowMs;
    node.release = releaseAt('0b1');
    this.nowMs += durationOf(words[2] ?? '');
    this.keepsGood = true;
    this.changeLeader();
  }

  private hold(node: string, on: boolean): void {
    const hold = on ? { reason: 'a new disk', by: 'operator', sinceMs: this.nowMs } : null;
    this.take([{ kind: 'hold', node, hold }]);
  }

  /** The operator says what the node runs after it was put right by hand; its agent finds that true. */
  private confirm(node: string): void {
    const { release } = this.node(node);
    const order = {
      kind: 'confirm',
      version: release.version,
      directory: '',
      reason: 'put right',
      by: 'operator',
      sinceMs: this.nowMs,
      state: 'open',
      message: '',
      digest: '',
    } as const;
    this.take([{ kind: 'order', node, order }]);
    this.endWell(node);
    this.say(`the order ended: ${this.leader.world.orders.get(node)?.state}`);
  }

  /** An operator takes the node out of service, or puts it back. */
  private maintain(node: string, on: boolean): void {
    this.take([{ kind: 'maintenance', node, on, reason: 'a new disk' }]);
    this.endWell(node);
  }

  /** The command that was just sent to a node for an operator ends well. */
  private endWell(node: string): void {
    const commandId = this.leader.world.views.get(node)?.inFlight ?? '';
    const outcome = {
      outcome: 'done',
      failure: null,
      failedStep: '',
      release: this.node(node).release,
      problems: [],
      backupId: '',
      inMaintenance: false,
    } as const;
    this.take([{ kind: 'finished', node, commandId, outcome }]);
  }

  private why(node: string): void {
    const waiting = this.leader.world.rollout?.nodes.get(node)?.waitingOn ?? [];
    for (const { reason, sinceMs, unblock } of waiting) {
      this.say(`${((sinceMs - startMs) / 1_000).toFixed(1)}s  ${reason} (${unblock})`);
    }
  }

  private wish(kind: Wish['kind'], words: string[]): void {
    const rollback = words.includes('--rollback');
    const reason = `${kind} by the operator`;
    const node = words[0] ?? '';
    const { rollout } = this.leader.world;
    assert.ok(rollout, 'no rollout is active');
    const wish: Wish =
      kind === 'abort'
        ? { kind, rollback, reason }
        : kind === 'retry' || kind === 'skip'
          ? { kind, node, reason }
          : { kind, reason };
    const refusal = wishRefusal(this.leader.world, wish);
    if (refusal !== undefined) {
      this.say(`refused: ${refusal}`);
      return;
    }
    this.store.put(keys.rolloutIntent(rollout.id, String(++this.wishes)), {
      ...wish,
      by: 'operator',
      at: '2024-12-19T12:00:00Z',
    });
    this.leader.notice();
    this.take([]);
  }

  /** Time passes, in ticks; nodes that are to be looked at then say how they are. */
  private wait(durationMs: number): void {
    const untilMs = this.nowMs + durationMs;
    while (this.nowMs < untilMs) {
      const nextLookMs = Math.min(...this.looks.values(), untilMs, this.nowMs + tickMs);
      this.nowMs = Math.max(nextLookMs, this.nowMs + 1);
      const due = [...this.looks].filter(([, atMs]) => atMs <= this.nowMs).map(([id]) => id);
      for (const id of due) this.looks.delete(id);
      this.take([
        ...due.filter((id) => this.node(id).reachable).map((id) => this.observation(id)),
        { kind: 'tick' },
      ]);
    }
  }

  private nodeLine(line: string): void {
    const match = /^((?:all|(?:node-\d+ )*node-\d+)) (.+)$/.exec(line);
    const [, who = '', what = ''] = match ?? [];
    assert.ok(match, `nobody understands: ${line}`);
    const names = who === 'all' ? [...this.nodes.keys()].filter((id) => this.open(id)) : who.split(' ');
    this.take(names.flatMap((id) => this.nodeEvents(id, what)));
  }

  private nodeEvents(id: string, what: string): EngineEvent[] {
    const node = this.node(id);
    const [, saying = '', reason = ''] = /^(.*?)(?:: (.*))?$/.exec(what) ?? [];
    const [verb, ...words] = saying.split(' ');
    switch (verb) {
      case 'answers':
        return [words[0] === 'late' ? lateAnswer(id, reason) : this.answer(id, words, reason)];
      case 'is':
        if (words[0] === 'made') {
          node.release = releaseAt(words[1] ?? '');
          return [this.observation(id)];
        }
        assert.ok(['rolling_back', ...upgradingPhases].includes(words[1] ?? ''), what);
        return [
          {
            kind: 'progress',
            node: id,
            commandId: this.commandOf(id).id,
            phase: words[1] ?? '',
            waitsFor: words.slice(2).join(' '),
          },
        ];
      case 'lets':
        node.refusal = '';
        return [];
      case 'refuses':
        if (words[0] === 'adoption') {
          node.refusal = reason;
          return [];
        }
        return [
          {
            kind: 'refused',
            node: id,
            commandId: this.commandOf(id).id,
            fault: { code: words[0] ?? '', message: reason },
          },
        ];
      case 'drops':
        return [{ kind: 'stream_broken', node: id, commandId: this.commandOf(id).id }];
      case 'unreachable':
        node.reachable = false;
        this.looks.delete(id);
        return [{ kind: 'unreachable', node: id }];
      case 'returns':
        node.reachable = true;
        return [this.observation(id)];
      case 'flaps':
        node.goodSinceMs = this.nowMs;
        return [];
      case 'unhealthy':
        node.health = 'unhealthy';
        node.healthReason = reason;
        return [this.observation(id)];
      default:
        throw new Error(`nobody understands: ${id} ${what}`);
    }
  }

  /** `answers OUTCOME [at STEP]`: what the node runs follows from its command and the outcome. */
  private answer(id: string, words: string[], reason: string): EngineEvent {
    const node = this.node(id);
    const command = this.commandOf(id);
    const at = words.indexOf('at');
    const failedStep = at < 0 ? '' : (words[at + 1] ?? '');
    const outcome = outcomeOf(words[0] ?? '');
    const part = this.past?.parts.find((candidate) => candidate.node === id);
    assert.ok(part);
    if (outcome === 'done') {
      if (command.kind === 'upgrade' || command.kind === 'roll_back') node.release = part.to;
      if (command.kind === 'revert') node.release = part.from;
      if (command.kind !== 'preflight' && command.kind !== 'stage') {
        if (!this.keepsGood) node.goodSinceMs = this.nowMs;
        this.keepsGood = false;
        node.health = 'healthy';
      }
    }
    return {
      kind: 'finished',
      node: id,
      commandId: command.id,
      outcome: {
        outcome,
        failure: outcome === 'done' ? null : { code: failureCode(failedStep), message: reason },
        failedStep,
        release: node.release,
        problems: [],
        backupId: '',
        inMaintenance: false,
      },
    };
  }

  /** Takes events, tells what followed, and lets the nodes be adopted. */
  private take(events: readonly EngineEvent[]): void {
    this.follow(this.leader.step(events, this.nowMs));
  }

  private follow(step: Step): void {
    this.leader.checkStored();
    this.lines.push(...tellStep(step, (this.nowMs - startMs) / 1_000));
    for (const effect of step.effects) {
      if (effect.kind === 'look') this.looks.set(effect.node, this.nowMs + effect.inMs);
    }
    this.adoptAll();
  }

  private adoptAll(): void {
    const waiting = [...this.leader.world.views].filter(([, view]) => view.adopting).map(([id]) => id);
    if (waiting.length > 0) this.take(waiting.map((id) => this.adoption(id)));
  }

  private adoption(node: string): EngineEvent {
    const { refusal } = this.node(node);
    if (refusal === '') return { kind: 'adopted', node };
    return { kind: 'adoption_failed', node, fault: { code: 'FENCE_UNREADABLE', message: refusal } };
  }

  private observeAll(): void {
    this.take(
      [...this.nodes].map(([id, node]) =>
        node.reachable ? this.observation(id) : { kind: 'unreachable', node: id },
      ),
    );
  }

  private observation(id: string): EngineEvent {
    const { health, healthReason, goodSinceMs, release } = this.node(id);
    const goodForMs = health === 'healthy' ? this.nowMs - goodSinceMs : 0;
    return {
      kind: 'observed',
      node: id,
      observation: { health, healthReason, goodForMs, release, inMaintenance: false },
    };
  }

  private node(id: string): PaperNode {
    const node = this.nodes.get(id);
    assert.ok(node, `there is no ${id}`);
    return node;
  }

  private open(id: string): OpenCommand | undefined {
    const node = this.leader.world.rollout?.nodes.get(id);
    return node && openCommand(node.state);
  }

  private commandOf(id: string): OpenCommand {
    const command = this.open(id);
    assert.ok(command, `${id} has no command`);
    return command;
  }

  private say(text: string): void {
    this.lines.push(`    ${text}`);
  }
}

/** An answer to a command that the node may never have had. */
function lateAnswer(node: string, commandId: string): EngineEvent {
  const outcome = {
    outcome: 'failed',
    failure: { code: 'INTERNAL', message: 'late' },
    failedStep: '',
    release: releaseAt('0a1'),
    problems: [],
    backupId: '',
    inMaintenance: false,
  } as const;
  return { kind: 'finished', node, commandId, outcome };
}

function outcomeOf(word: string): CommandOutcome['outcome'] {
  assert.ok(
    word === 'done' || word === 'failed' || word === 'rolled_back' || word === 'rollback_failed',
    word,
  );
  return word;
}

/** PROBE_FAILED for `probe`, and so on. */
function failureCode(step: string): string {
  return step === '' ? 'CANCELLED' : `${step.toUpperCase()}_FAILED`;
}

function durationOf(text: string): number {
  const match = /^(\d+)(ms|s)$/.exec(text);
  assert.ok(match, `${text} is no duration`);
  return Number(match[1]) * (match[2] === 's' ? 1_000 : 1);
}
