/**
 * A rollout whose leader dies at one of its writes to etcd. The leader goes through a proxy of its own; the
 * replica that waits speaks to etcd directly, and takes over. The agents play a script, and remember what
 * they executed. Every revision of the cluster's keys stays in etcd, so that the budget is counted at each.
 */
import { readKey, readPrefix } from '../../controller/leadership/etcd.js';
import type { ClusterKeys } from '../../controller/state/keys.js';
import { addNodes } from '../cluster/asking.test.part.js';
import { TestCluster } from '../cluster/cluster.test.part.js';
import { forward, wrongAudit, wrongCommands } from '../cluster/commands-told.test.part.js';
import type { RealEtcd } from '../cluster/real-etcd.test.part.js';
import type { ScriptedAgent } from '../cluster/scripted-agent.test.part.js';
import { type Cut, EtcdProxy } from './etcd-proxy.test.part.js';
import type { Tried } from './system-calls.test.part.js';

/** How the rollout would go without the cut: to its end, or back because the second node fails. */
export type Course = 'succeeds' | 'goes back';

type Spoil = (agents: readonly ScriptedAgent[], keys: ClusterKeys) => Promise<void>;

export interface TryOptions {
  readonly spoil?: Spoil;
  /** The rollout may have fewer writes; then it is not tried again to reach this one. */
  readonly mayBeMissing?: boolean;
}

/** What one try showed. */
export interface WriteTried extends Tried {
  /** One leader made the whole rollout with fewer writes. */
  readonly isMissing: boolean;
}

/** Rollouts until one was cut: a machine that is busy takes the lead from a leader now and then. */
const attemptsMax = 8;

/** Long enough for a busy machine, and the time that a try waits for the next leader. */
const leadership = { ttl_seconds: 4, margin_ms: 500 };

/** What each node executes, in its order. */
const commands = {
  succeeds: new Map([
    ['node-1', forward],
    ['node-2', forward],
  ]),
  'goes back': new Map([
    ['node-1', [...forward, 'revert.1']],
    ['node-2', forward],
  ]),
};
const nodes = ['node-1', 'node-2'];

export class EtcdWrites {
  private count = 0;

  constructor(private readonly etcd: RealEtcd) {}

  /** How many transactions the leader makes in a rollout that nothing disturbs. */
  async writes(course: Course): Promise<number> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const { counted, keptLead, wrong } = await this.rollout(course, undefined);
      if (wrong.length > 0) throw new Error(`${course} without a cut: ${wrong.join('; ')}`);
      if (keptLead) return counted;
    }
    throw new Error(`${course} without a cut: in each of ${attemptsMax} rollouts the leader lost its lead`);
  }

  /**
   * One try; again when the leader lost the lead by itself, on a machine that is too busy to renew its lease.
   * @param spoil breaks what was to be kept, behind the rollout, for a test of the checks themselves
   */
  async try(course: Course, cut: Cut, { spoil, mayBeMissing = false }: TryOptions = {}): Promise<WriteTried> {
    const what = `${course}, write ${cut.nth} of the leader ${cut.effect}`;
    for (let attempt = 1; ; attempt++) {
      const { wasCut, keptLead, wrong } = await this.rollout(course, cut, spoil);
      if (wasCut) return { what, hit: `transaction ${cut.nth}`, wrong, isMissing: false };
      const isOver = wrong.length > 0 || attempt >= attemptsMax || (keptLead && mayBeMissing);
      if (isOver) return { what, hit: undefined, wrong, isMissing: keptLead };
    }
  }

  private async rollout(course: Course, cut: Cut | undefined, spoil?: Spoil) {
    const cluster = await TestCluster.create(`writes-${++this.count}`, this.etcd);
    const proxy = await EtcdProxy.start(this.etcd.connection());
    try {
      // Certificates first: they hold this process up, and a leader in it would lose its lead.
      const agents = await Promise.all(nodes.map((node) => cluster.agent(node)));
      if (course === 'goes back') agents[1]?.fail('upgrade', 'PROBE_FAILED', 'it is sick');
      const { keys } = cluster;
      const { tls } = this.etcd.connection();
      const endpoints = [`https://127.0.0.1:${proxy.port}`];
      const doomed = await cluster.replica('controller-0', { leadership, etcd: { endpoints, tls } });
      await addNodes(await cluster.calls(doomed.address), agents);
      const survivor = await cluster.calls((await cluster.replica('controller-1', { leadership })).address);
      const { entry: leader } = await readKey(this.etcd.client(), keys.leader);
      if (!leader?.value.includes('controller-0'))
        return { counted: 0, wasCut: false, keptLead: false, wrong: [] };
      proxy.count(cut);
      const { revision } = await readKey(this.etcd.client(), keys.leader);
      // The leader that is cut off is stopped as well, so that it does not campaign once more.
      const cutOff = proxy.wasCut.then(() => doomed.stop());
      const id = await survivor.start({ to: '0b1' }, 'the one request');
      const end = await survivor.follow(id);
      const { counted } = proxy;
      const wasCut = cut !== undefined && counted >= cut.nth;
      if (wasCut) await cutOff;
      const { entry: last } = await readKey(this.etcd.client(), keys.leader);
      await spoil?.(agents, keys);
      const wrong = [
        ...wrongEnd(course, end),
        ...agents.flatMap((agent) => wrongCommands(id, commands[course], agent)),
        ...(await wrongAudit(id, commands[course], survivor)),
        ...(await this.wrongBudget(keys.slots, revision)),
        ...wrongReleases(course, agents),
      ];
      return { counted, wasCut, keptLead: last?.createRevision === leader.createRevision, wrong };
    } finally {
      proxy.cut();
      await cluster.stop();
      await proxy.stop();
    }
  }

  /** At no revision is there more than one slot, and at the end there is none. */
  private async wrongBudget(slots: string, since: bigint): Promise<string[]> {
    const client = this.etcd.client();
    const last = await readPrefix(client, slots);
    const wrong = last.entries.map(({ key }) => `${key} was not freed`);
    for (let at = since; at <= last.revision; at++) {
      const { entries } = await readPrefix(client, slots, at);
      if (entries.length > 1) wrong.push(`at revision ${at} there are ${entries.length} slots`);
    }
    return wrong;
  }
}

function wrongEnd(course: Course, end: { phase: string; exitCode: number; reason: string }): string[] {
  const [phase, exitCode] = course === 'succeeds' ? ['succeeded', 0] : ['rolled_back', 1];
  return end.phase === phase && end.exitCode === exitCode
    ? []
    : [`it ended ${end.phase} with exit code ${end.exitCode}: ${end.reason}`];
}

function wrongReleases(course: Course, agents: readonly ScriptedAgent[]): string[] {
  const version = course === 'succeeds' ? '0b1' : '0a1';
  return agents
    .filter(({ release }) => release.version !== version)
    .map(({ node, release }) => `${node} runs ${release.version}`);
}
