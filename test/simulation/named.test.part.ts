/**
 * Guarantee 4, once everything has come to rest: whoever is still out is named, with a reason, and with what to
 * say next. Told by the very documents that an operator is shown, from what stands in etcd.
 */
import { nodeListDocument } from '../../controller/api/documents.js';
import { nodeFacts } from '../../controller/execution/cluster-facts.js';
import { isStuck } from '../../controller/rollout/budget.js';
import type { Slot } from '../../controller/rollout/world.js';
import { readNodes } from '../../controller/state/node-store.js';
import { ClusterStatus } from '../../gen/plexi/v1/rollouts.js';
import { whyOf } from '../../plexictl/render/why.js';
import type { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';

/** A command that a person can type. */
const nextCommand = /\bplexictl [a-z]|\bplexi-node-agent [a-z]/;

/** @returns what is wrong with the slots that are left; undefined when each of them is accounted for */
export function unnamed(etcd: ModelEtcd, slots: ReadonlyMap<string, Slot>): string | undefined {
  for (const [key, slot] of slots) {
    const { node, reason, maintenance } = slot;
    if (!isStuck(key) && maintenance !== null) continue;
    if (!isStuck(key)) return `${node} holds slot ${key}, and nothing goes on: ${reason}`;
    if (reason === '') return `${node} needs an operator, and nobody says why`;
    const unblock = wordsFor(etcd, slot);
    if (!unblock.some((words) => nextCommand.test(words)))
      return `${node} needs an operator, and no next command is named: ${unblock.join('; ')}`;
  }
  return undefined;
}

/** What would let the node go on, as `plexictl why` says it when no rollout is active. */
function wordsFor(etcd: ModelEtcd, slot: Slot): string[] {
  const entries = etcd.entries();
  const stored = readNodes(keys, entries).find(({ id }) => id === slot.node);
  const facts = nodeFacts(keys, entries).find(({ id }) => id === slot.node);
  if (stored === undefined || facts === undefined) return ['it is on no list'];
  const document = nodeListDocument({ ...stored, facts, slot, isStuck: true });
  return whyOf(document, ClusterStatus.fromPartial({})).waitingOn.map(({ unblock }) => unblock);
}
