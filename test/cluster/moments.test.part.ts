/**
 * The moments of a rollout at which something happens to the cluster, each brought about by agents that wait
 * there; and how the rollout must end after it.
 */
import assert from 'node:assert/strict';
import { PlexiError } from '../../config/errors.js';
import type { ClusterStatus } from '../../gen/plexi/v1/rollouts.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { type Course, forward } from './commands-told.test.part.js';
import type { PartedCluster, Seat } from './parted.test.part.js';
import { until } from './parted.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

export const moments = ['backing up', 'soaking', 'between nodes', 'paused', 'going back'] as const;
export type Moment = (typeof moments)[number];

/** A rollout that has come to its moment. */
export interface Scene {
  readonly id: string;
  /** The node that is out, which a next leader must adopt first; undefined: none is. */
  readonly out: ScriptedAgent | undefined;
  /** Done at the very instant of the fault; its own end is not waited for. */
  atFault(): void;
  /** Lets it go on; the seat is one that can be asked. */
  proceed(asked: Seat): Promise<void>;
  readonly end: { readonly phase: string; readonly version: string };
  /** The commands of each node, in their order. */
  readonly commands: Course;
}

/**
 * Starts a rollout from what runs to the other of two versions, and resolves at its moment.
 * @param maxConcurrent nodes that may be out at once; more than one breaks what a case must show
 */
export async function bringTo(
  moment: Moment,
  parted: PartedCluster,
  asked: Seat,
  maxConcurrent = 1,
): Promise<Scene> {
  const { agents } = parted;
  const [first, second] = agents;
  assert.ok(first && second);
  const from = first.release.version;
  const to = from === '0a1' ? '0b1' : '0a1';
  const start = () => asked.calls.start({ to, downgrade: to === '0a1', maxConcurrent });
  const nothing = (): void => undefined;
  const all = new Map(agents.map(({ node }) => [node, forward]));
  const ends = { end: { phase: 'succeeded', version: to }, commands: all };
  const seen = (id: string, holds: (status: ClusterStatus) => boolean) =>
    parted.seen(asked, id, holds, `${id} does not come to the moment ${moment}`);
  switch (moment) {
    case 'backing up':
    case 'soaking': {
      const isBackup = moment === 'backing up';
      const release = isBackup ? second.hold('upgrade', 'backing_up') : second.holdSoak();
      const id = await start();
      await seen(id, (status) => phaseOf(status, second) === (isBackup ? 'backing_up' : 'soaking'));
      return { id, out: second, atFault: nothing, proceed: async () => release(), ...ends };
    }
    case 'between nodes':
    case 'paused': {
      const release = first.hold('upgrade');
      const id = await start();
      await commanded(first, `${id}.${first.node}.upgrade.1`);
      await asked.calls.ask(RolloutsServiceService.pause, { id, reason: 'a look' });
      release();
      await seen(id, (status) => phaseOf(status, first) === 'done');
      const proceed = (seat: Seat) => resumed(parted, seat, id);
      const atFault = (): void => {
        const wish = asked.calls.ask(RolloutsServiceService.resume, { id, reason: '' }, 5_000);
        wish.catch(() => 'it is said again when it was not heard');
      };
      return { id, out: undefined, atFault: moment === 'paused' ? nothing : atFault, proceed, ...ends };
    }
    case 'going back': {
      const fails = second.hold('upgrade');
      const id = await start();
      await commanded(second, `${id}.${second.node}.upgrade.1`);
      const release = first.hold('upgrade');
      second.fail('upgrade', 'PROBE_FAILED', 'it is sick');
      fails();
      await commanded(first, `${id}.${first.node}.revert.1`);
      const commands = new Map([
        ...all,
        [first.node, [...forward, 'revert.1']],
        ['node-3', forward.slice(0, 2)],
      ]);
      const end = { phase: 'rolled_back', version: from };
      return { id, out: first, atFault: nothing, proceed: async () => release(), end, commands };
    }
  }
}

/** Nothing waits and nothing fails any more, wherever a case has ended. */
export function letGo(agents: readonly ScriptedAgent[]): void {
  for (const agent of agents) {
    agent.executed.length = 0;
    agent.mend('upgrade');
    agent.hold('upgrade')();
    agent.holdSoak()();
  }
}

function phaseOf({ rollout }: ClusterStatus, { node }: ScriptedAgent): string | undefined {
  return rollout?.nodes.find(({ id }) => id === node)?.phase;
}

function commanded({ executed, node }: ScriptedAgent, id: string): Promise<unknown> {
  return until(
    async () => executed.includes(id),
    (has) => has,
    `${node} is not sent ${id}`,
  );
}

/** Whether the wish arrived when nobody answered is told by the rollout itself. */
async function resumed(parted: PartedCluster, seat: Seat, id: string): Promise<void> {
  const isPaused = async (): Promise<boolean> => {
    const { rollout } = await parted.seen(seat, id, ({ rollout }) => rollout !== undefined, `${id} is gone`);
    if (rollout?.phase !== 'paused') return false;
    await seat.calls.ask(RolloutsServiceService.resume, { id, reason: '' }, 5_000).catch((thrown) => {
      const isOurs = thrown instanceof PlexiError && thrown.code !== 'CONFLICT';
      if (isOurs && thrown.code !== 'NO_LEADER' && thrown.code !== 'STORE_UNAVAILABLE') throw thrown;
    });
    return true;
  };
  await until(isPaused, (paused) => !paused, `${id} does not go on after its pause`);
}
