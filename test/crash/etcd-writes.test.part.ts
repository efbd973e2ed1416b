/**
 * A rollout whose leader dies at one of its writes to etcd. The leader goes through a proxy of its own; the
 * replica that waits speaks to etcd directly, and takes over. The agents play a script, and remember what
 * they executed. Every revision of the cluster's keys stays in etcd, so that the budget is counted at each.
 */
import { readKey, readPrefix } from '../../controller/leadership/etcd.js';
import { addNodes, eventually } from '../cluster/asking.test.part.js';
import { TestCluster } from '../cluster/cluster.test.part.js';
import type { RealEtcd } from '../cluster/real-etcd.test.part.js';
import type { ScriptedAgent } from '../cluster/scripted-agent.test.part.js';
import { type Cut, EtcdProxy } from './etcd-proxy.test.part.js';
import type { Tried } from './system-calls.test.part.js';

/** How the rollout would go without the cut: to its end, or back because the second node fails. */
export type Course = 'succeeds' | 'goes back';

type Spoil = (agents: readonly ScriptedAgent[], slots: string) => Promise<void>;

const nodes = ['node-1', 'node-2'];

export class EtcdWrites {
  private count = 0;

  constructor(private readonly etcd: RealEtcd) {}

  /** How many transactions the leader makes in a rollout that nothing disturbs. */
  async writes(course: Course): Promise<number> {
    const { counted, wrong } = await this.rollout(course, undefined);
    if (wrong.length > 0) throw new Error(`${course} without a cut: ${wrong.join('; ')}`);
    return counted;
  }

  /** @param spoil breaks what was to be kept, behind the rollout, for a test of the checks themselves */
  async try(course: Course, cut: Cut, spoil?: Spoil): Promise<Tried> {
    const what = `${course}, write ${cut.nth} of the leader ${cut.effect}`;
    const { wasCut, wrong } = await this.rollout(course, cut, spoil);
    return { what, hit: wasCut ? `transaction ${cut.nth}` : undefined, wrong };
  }

  private async rollout(course: Course, cut: Cut | undefined, spoil: Spoil = async () => undefined) {
    const cluster = await TestCluster.create(`writes-${++this.count}`, this.etcd);
    const proxy = await EtcdProxy.start(this.etcd.connection());
    try {
      // Certificates first: they hold this process up, and a leader in it would lose its lead.
      const agents = await Promise.all(nodes.map((node) => cluster.agent(node)));
      if (course === 'goes back') agents[1]?.fail('upgrade', 'PROBE_FAILED', 'it is sick');
      const { keys } = cluster;
      const { tls } = this.etcd.connection();
      const endpoints = [`https://127.0.0.1:${proxy.port}`];
      const leadership = { ttl_seconds: 3, margin_ms: 500 };
      const doomed = await cluster.replica('controller-0', { leadership, etcd: { endpoints, tls } });
      await this.leads(keys.leader, 'controller-0');
      const survivor = await cluster.calls((await cluster.replica('controller-1', { leadership })).address);
      await addNodes(survivor, agents);
      await this.leads(keys.leader, 'controller-0');
      proxy.count(cut);
      const { revision } = await readKey(this.etcd.client(), keys.leader);
      // The leader that is cut off is stopped as well, so that it does not campaign once more.
      const cutOff = proxy.wasCut.then(() => doomed.stop());
      const id = await survivor.start({ to: '0b1' }, 'the one request');
      const end = await survivor.follow(id);
      const { counted } = proxy;
      const wasCut = cut !== undefined && counted >= cut.nth;
      if (wasCut) await cutOff;
      await spoil(agents, keys.slots);
      const wrong = [
        ...wrongEnd(course, end),
        ...agents.flatMap((agent) => wrongCommands(course, agent, id)),
        ...(await this.wrongBudget(keys.slots, revision)),
        ...wrongReleases(course, agents),
      ];
      return { counted, wasCut, wrong };
    } finally {
      proxy.cut();
      await cluster.stop();
      await proxy.stop();
    }
  }

  private async leads(key: string, id: string): Promise<void> {
    await eventually(
      () => readKey(this.etcd.client(), key),
      ({ entry }) => entry?.value.includes(id) ?? false,
      `${id} does not lead`,
    );
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

/** Every command once, and those that belong to the course. */
function wrongCommands(course: Course, { node, executed }: ScriptedAgent, rollout: string): string[] {
  const ours = executed.filter((id) => id.startsWith(`${rollout}.`));
  const twice = ours.filter((id, index) => ours.indexOf(id) !== index);
  const upgrades = ours.filter((id) => id.includes('.upgrade.'));
  const expected = course === 'goes back' && node === 'node-1' ? 2 : 1;
  return [
    ...twice.map((id) => `${id} was executed twice`),
    ...(upgrades.length > expected ? [`${node} was upgraded by ${upgrades.join(', ')}`] : []),
  ];
}

function wrongReleases(course: Course, agents: readonly ScriptedAgent[]): string[] {
  const version = course === 'succeeds' ? '0b1' : '0a1';
  return agents
    .filter(({ release }) => release.version !== version)
    .map(({ node, release }) => `${node} runs ${release.version}`);
}
