/** A rollout from 0a1 to 0b1 on a cluster that exists only on paper, played event by event. */

import { advance } from '../../controller/rollout/advance.js';
import { emptyWorld } from '../../controller/rollout/empty-world.test.part.js';
import type { CommandOutcome, EngineEvent, Observation } from '../../controller/rollout/events.js';
import type { RolloutCommandKind, RolloutNode, RolloutPolicy } from '../../controller/rollout/rollout.js';
import type { World } from '../../controller/rollout/world.js';
import { releaseAt, sampleNode, samplePlan } from './sample-plan.test.part.js';

/** The time of every event that does not say its own. */
export const paperNowMs = 1_000;

/** The rollout `u` over node-1 to node-N has just begun; every node is in reach and adopted. */
export function begun(count: number, policy: Partial<RolloutPolicy> = {}, world = emptyWorld): World {
  const ids = Array.from({ length: count }, (_, index) => `node-${index + 1}`);
  const nodes = ids.map((id) => sampleNode(id, '0a1'));
  const { plan } = samplePlan({ nodes, to: '0b1', policy });
  const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
  const seen = ids.map((node) => observed(node));
  return after(after(world, start), ...seen, ...ids.map((node): EngineEvent => ({ kind: 'adopted', node })));
}

/** The same once the release lies on every node: those for which there is a slot have begun. */
export function rolling(count: number, policy: Partial<RolloutPolicy> = {}): World {
  const world = begun(count, policy);
  const ids = [...(world.rollout?.nodes.keys() ?? [])];
  const checked = after(world, ...ids.map((node) => finished(node, 'preflight')));
  const staged = after(checked, ...ids.map((node) => finished(node, 'stage')));
  return ids.reduce(
    (before, _, index) => advance(before, [{ kind: 'tick' }], paperNowMs + index).world,
    staged,
  );
}

export function after(world: World, ...events: EngineEvent[]): World {
  return advance(world, events, paperNowMs).world;
}

export function observed(node: string, change: Partial<Observation> = {}): EngineEvent {
  const healthy = {
    health: 'healthy',
    healthReason: '',
    goodForMs: 0,
    release: releaseAt('0a1'),
    inMaintenance: false,
  } as const;
  return { kind: 'observed', node, observation: { ...healthy, ...change } };
}

/** The end of a node's first command of a kind; without a change it ended well. */
export function finished(
  node: string,
  kind: RolloutCommandKind,
  change: Partial<CommandOutcome> = {},
): EngineEvent {
  const done: CommandOutcome = {
    outcome: 'done',
    failure: null,
    failedStep: '',
    release: releaseAt(kind === 'upgrade' ? '0b1' : '0a1'),
    problems: [],
    backupId: '',
    inMaintenance: false,
  };
  return { kind: 'finished', node, commandId: `u.${node}.${kind}.1`, outcome: { ...done, ...change } };
}

export function nodeOf(world: World, id: string): RolloutNode {
  const node = world.rollout?.nodes.get(id);
  if (node === undefined) throw new Error(`${id} has no part in a rollout`);
  return node;
}
