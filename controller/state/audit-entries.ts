/**
 * What a step of the engine brings for the audit record, told from the world before it and after it: a
 * command when its id first stands in the state, its outcome when it stands there no more. So each comes
 * exactly once, whatever led to it, and along with the very change that it tells of.
 */
import { heldBy } from '../rollout/budget.js';
import { isManual, manualCommandId } from '../rollout/manual.js';
import { orderCommandId } from '../rollout/orders.js';
import { isFinal, openCommand, type RolloutNode } from '../rollout/rollout.js';
import type { Slot, World } from '../rollout/world.js';
import type { AuditEntry } from './audit.js';

/** Of one node of the rollout. */
export function nodeEntries(before: World, after: World, id: string): AuditEntry[] {
  const { rollout } = after;
  const is = rollout?.nodes.get(id);
  if (rollout === undefined || is === undefined) return [];
  const was = before.rollout?.id === rollout.id ? before.rollout.nodes.get(id) : undefined;
  const opened = openCommand(is.state);
  const closed = was === undefined ? undefined : openCommand(was.state);
  if (opened?.id === closed?.id) return [];
  return [
    ...(closed === undefined ? [] : [outcomeOf(rollout.id, is, closed.id)]),
    ...(opened === undefined
      ? []
      : [
          {
            what: 'command',
            rollout: rollout.id,
            node: id,
            commandId: opened.id,
            step: opened.kind,
          } as const,
        ]),
  ];
}

/** A command that another one took the place of has no end of its own that anybody heard of. */
function outcomeOf(rollout: string, node: RolloutNode, commandId: string): AuditEntry {
  const isTold = node.ended?.commandId === commandId;
  const outcome = isTold ? (node.ended?.outcome ?? '') : 'superseded';
  const { error, release } = node;
  const isFailure = isTold && outcome !== 'done';
  return {
    what: 'outcome',
    rollout,
    node: node.id,
    commandId,
    outcome,
    error: isFailure ? error : null,
    release,
  };
}

/** Of an operator's maintenance of one node, which its slot tells. */
export function maintenanceEntries(before: World, after: World, node: string): AuditEntry[] {
  const was = manualOf(heldBy(before.slots, node)?.slot);
  const slot = heldBy(after.slots, node)?.slot;
  const is = manualOf(slot);
  const entries: AuditEntry[] = [];
  if (was?.isOpen && !(is?.isOpen && is.commandId === was.commandId)) {
    const { commandId } = was;
    const isGone = before.labels.has(node) && !after.labels.has(node);
    const end = isGone ? removedBefore : endOfMaintenance(was, slot, is);
    entries.push({ what: 'outcome', rollout: '', node, commandId, release: null, ...end });
  }
  if (is?.isOpen && is.commandId !== was?.commandId)
    entries.push({ what: 'command', rollout: '', node, commandId: is.commandId, step: 'maintenance' });
  return entries;
}

/** The end of a command whose node was taken off before it could end. */
const removedBefore = { outcome: 'superseded', error: null } as const;

type Manual = NonNullable<ReturnType<typeof manualOf>>;

/** A slot is freed by the end of the command that puts the node back. */
function endOfMaintenance(was: Manual, slot: Slot | undefined, is: Manual | undefined) {
  const isSame = is?.commandId === was.commandId;
  if (isSame && is.failed)
    return { outcome: 'failed', error: { code: 'HOOK_FAILED', message: is.reason } } as const;
  const isDone = isSame || (slot === undefined && was.wanted === 'out');
  return { outcome: isDone ? 'done' : 'superseded', error: null } as const;
}

function manualOf(slot: Slot | undefined) {
  if (slot === undefined || !isManual(slot)) return undefined;
  const { wanted, done, failed } = slot.maintenance;
  const { reason } = slot;
  return { commandId: manualCommandId(slot), wanted, isOpen: !done && !failed, failed, reason };
}

/** Of an operator's order to one node. */
export function orderEntries(before: World, after: World, node: string): AuditEntry[] {
  const was = before.orders.get(node);
  const is = after.orders.get(node);
  if (was === is) return [];
  const entries: AuditEntry[] = [];
  const closed = was?.state === 'open' ? orderCommandId(node, was) : undefined;
  const now = is === undefined ? undefined : orderCommandId(node, is);
  if (closed !== undefined && !(is?.state === 'open' && now === closed)) {
    const isTold = now === closed && is !== undefined && is.state !== 'open';
    const outcome = isTold ? is.state : 'superseded';
    const error = isTold && is.state === 'failed' ? { code: 'TAKE_OVER_FAILED', message: is.message } : null;
    entries.push({ what: 'outcome', rollout: '', node, commandId: closed, outcome, error, release: null });
  }
  if (is?.state === 'open' && now !== undefined && now !== closed)
    entries.push({ what: 'command', rollout: '', node, commandId: now, step: 'take_over' });
  return entries;
}

/** Of the rollout as a whole. */
export function endEntries(before: World, after: World): AuditEntry[] {
  const { rollout } = after;
  if (rollout === undefined || !isFinal(rollout.phase)) return [];
  if (before.rollout?.id === rollout.id && isFinal(before.rollout.phase)) return [];
  const { id, phase, reason, exitCode } = rollout;
  return [{ what: 'end', rollout: id, phase, reason, exitCode }];
}
