/**
 * Which writes take the world in etcd from one state to the next. What belongs together (a node and its
 * slot) is in one group, and a group is never split over two transactions (guarantee 1). Taking a slot
 * brings the guards of protocol rule 15.
 */
import { limits } from '../../config/limits.js';
import type { EtcdCompare, EtcdEntry, EtcdOperation } from '../leadership/etcd.js';
import { isFinal, type Rollout } from '../rollout/rollout.js';
import type { Slot, World } from '../rollout/world.js';
import type { AuditEntry } from './audit.js';
import { endEntries, maintenanceEntries, nodeEntries, orderEntries } from './audit-entries.js';
import { holdValue, nodeValue, orderValue, slotValue, stateValue } from './codec.js';
import type { ClusterKeys } from './keys.js';
import { encode } from './records.js';
import { bytesOfOperation, bytesOfRecord } from './transaction-size.js';

/** Writes that must be seen together. */
export interface WriteGroup {
  readonly operations: readonly EtcdOperation[];
  readonly guards: readonly EtcdCompare[];
  /** What is entered into the audit record along with them. */
  readonly audit?: readonly AuditEntry[];
}

/** Up to which revision this leader knows what stands under slots/, which wishes there are, and the labels. */
export interface SeenRevisions {
  readonly slots: bigint;
  readonly intents: bigint;
  readonly labels: bigint;
}

/** Finds a raw value by key, for guards and for unknown fields. */
export type Lookup = (key: string) => EtcdEntry | undefined;

/**
 * The writes that take the persisted world from `before` to `after`; none when they are equal. First what
 * nodes have told, then the state that follows from it, then the slots that are taken on the strength of
 * both: a leader that dies between two transactions leaves nothing begun whose reason is not stored.
 */
export function changedGroups(
  keys: ClusterKeys,
  before: World,
  after: World,
  lookup: Lookup,
  seen: SeenRevisions,
): WriteGroup[] {
  const { told, taking } = nodeGroups(keys, before, after, lookup, seen);
  const state: EtcdOperation[] = [];
  if (after.budget !== before.budget || lookup(keys.budget) === undefined) {
    state.push(put(keys.budget, after.budget, lookup));
  }
  const { rollout } = after;
  if (rollout !== undefined && rollout !== before.rollout) {
    state.push(put(keys.rolloutState(rollout.id), stateValue(rollout, after.term), lookup));
    if (isFinal(rollout.phase)) state.push({ kind: 'delete', key: keys.active });
  }
  const audit = endEntries(before, after);
  const whole =
    state.length + audit.length === 0
      ? []
      : [{ operations: state, guards: asTheyWere(state, lookup), audit }];
  return [
    ...told,
    ...whole,
    ...changedWords(before.holds, after.holds, keys.nodeHold, holdValue, lookup),
    ...changedWords(before.orders, after.orders, keys.nodeOrder, orderValue, lookup, (node) =>
      orderEntries(before, after, node),
    ),
    ...taking,
    ...recoveryGroups(keys, before, after, lookup),
  ];
}

/** That etcd was restored is kept for the next leader, and so is the end of what followed. */
function recoveryGroups(keys: ClusterKeys, before: World, after: World, lookup: Lookup): WriteGroup[] {
  const was = before.recovery;
  const is = after.recovery;
  if (is?.kind === 'refused' && was?.kind !== 'refused')
    return [guarded([put(keys.restored, { reason: is.reason }, lookup)], lookup)];
  if (was?.kind !== 'adopting' || is !== null) return [];
  return [guarded([put(keys.epoch, { epoch: Number(was.epoch), recovering: false }, lookup)], lookup)];
}

/**
 * Writes that hold only where nobody has written these keys since. A write of this leader's own whose answer was
 * lost may still arrive: then it must neither be written over, nor come behind a newer one.
 */
export function guarded(operations: readonly EtcdOperation[], lookup: Lookup): WriteGroup {
  return { operations, guards: asTheyWere(operations, lookup) };
}

function asTheyWere(operations: readonly EtcdOperation[], lookup: Lookup): EtcdCompare[] {
  return operations.map(({ key }) => asItWas(key, lookup));
}

function asItWas(key: string, lookup: Lookup): EtcdCompare {
  return { kind: 'modRevision', key, equals: lookup(key)?.modRevision ?? 0n };
}

/** Nodes that were adopted after a restore of etcd; one that was removed is awaited again when it comes back. */
function noLongerAwaited(before: World, after: World): string[] {
  if (before.recovery?.kind !== 'adopting' || before.recovery === after.recovery) return [];
  const left = after.recovery?.kind === 'adopting' ? after.recovery.awaited : new Set<string>();
  if (after.recovery?.kind === 'refused') return [];
  return [...before.recovery.awaited].filter((id) => !left.has(id) && after.views.get(id)?.adopted === true);
}

/** One group for each node of which an operator's word changed: any number of them may in one decision. */
function changedWords<T>(
  before: ReadonlyMap<string, T>,
  after: ReadonlyMap<string, T>,
  keyOf: (node: string) => string,
  toValue: (value: T) => object,
  lookup: Lookup,
  auditOf: (node: string) => readonly AuditEntry[] = () => [],
): WriteGroup[] {
  if (before === after) return [];
  const changed = [...new Set([...after.keys(), ...before.keys()])].filter(
    (node) => before.get(node) !== after.get(node),
  );
  return changed.map((node) => {
    const key = keyOf(node);
    const value = after.get(node);
    const operation: EtcdOperation =
      value === undefined ? { kind: 'delete', key } : put(key, toValue(value), lookup);
    return { ...guarded([operation], lookup), audit: auditOf(node) };
  });
}

/**
 * One group for each node whose record or slot changed. A slot that goes from one node to another is
 * deleted with the first and created with the second, after it: it is only ever created when absent.
 */
function nodeGroups(
  keys: ClusterKeys,
  before: World,
  after: World,
  lookup: Lookup,
  seen: SeenRevisions,
): { told: WriteGroup[]; taking: WriteGroup[] } {
  const freeing: WriteGroup[] = [];
  const staying: WriteGroup[] = [];
  const taking: WriteGroup[] = [];
  const slotKeys = changedSlots(before, after);
  const adopted = new Set(noLongerAwaited(before, after));
  const changed = new Set(changedNodes(before.rollout, after.rollout));
  const touched = new Set([
    ...adopted,
    ...changed,
    ...slotKeys.flatMap((key) =>
      [before.slots.get(key)?.node ?? [], after.slots.get(key)?.node ?? []].flat(),
    ),
  ]);
  for (const id of touched) {
    const operations: EtcdOperation[] = [];
    const guards: EtcdCompare[] = [];
    let target = staying;
    if (adopted.has(id) && before.recovery?.kind === 'adopting')
      operations.push(put(keys.nodeEpoch(id), { epoch: Number(before.recovery.epoch) }, lookup));
    const node = after.rollout?.nodes.get(id);
    if (after.rollout !== undefined && node !== undefined && changed.has(id)) {
      const key = keys.rolloutNode(after.rollout.id, id);
      operations.push(put(key, nodeValue(node), lookup));
      guards.push(asItWas(key, lookup));
    }
    for (const key of slotKeys) {
      const was = before.slots.get(key);
      const is = after.slots.get(key);
      if (is?.node === id) {
        const stored = was?.node === id ? lookup(keys.slot(key)) : undefined;
        operations.push(put(keys.slot(key), slotValue(is), () => stored));
        if (isTaken(was, is)) {
          guards.push(...takingGuards(keys, key, stored, after.rollout, lookup, seen));
          // A slot by a node's own word stands before any that is taken on the strength of it.
          if (target !== freeing && !adopted.has(id)) target = taking;
        } else guards.push(...sameSlots(keys, key, lookup, seen));
      } else if (was?.node === id) {
        operations.push({ kind: 'delete', key: keys.slot(key) });
        guards.push(...sameSlots(keys, key, lookup, seen));
        target = freeing;
      }
    }
    const audit = [...nodeEntries(before, after, id), ...maintenanceEntries(before, after, id)];
    target.push({ operations, guards, audit });
  }
  return { told: [...freeing, ...staying], taking };
}

/** A write of before that arrives late must not put an old slot over a newer one, nor free another node's. */
function sameSlots(keys: ClusterKeys, key: string, lookup: Lookup, seen: SeenRevisions): EtcdCompare[] {
  const others: EtcdCompare = { kind: 'rangeNotAfter', prefix: keys.slots, revision: seen.slots };
  return [asItWas(keys.slot(key), lookup), others];
}

/** Whether a slot begins to stand for something: for another node, or for a rollout. */
function isTaken(was: Slot | undefined, is: Slot): boolean {
  return was?.node !== is.node || (is.rollout !== '' && was.rollout !== is.rollout);
}

/**
 * Rule 15: the index is absent, or the node's own already, and nothing that the count rests on changed
 * since it was made.
 */
function takingGuards(
  keys: ClusterKeys,
  key: string,
  own: EtcdEntry | undefined,
  rollout: Rollout | undefined,
  lookup: Lookup,
  seen: SeenRevisions,
): EtcdCompare[] {
  const guards: EtcdCompare[] = [
    own === undefined
      ? { kind: 'createRevision', key: keys.slot(key), equals: 0n }
      : { kind: 'modRevision', key: keys.slot(key), equals: own.modRevision },
    asItWas(keys.budget, lookup),
    { kind: 'rangeNotAfter', prefix: keys.slots, revision: seen.slots },
    { kind: 'rangeNotAfter', prefix: keys.intents, revision: seen.intents },
    { kind: 'rangeNotAfter', prefix: keys.labels, revision: seen.labels },
  ];
  if (rollout !== undefined)
    guards.push({ kind: 'rangeNotAfter', prefix: keys.rolloutIntents(rollout.id), revision: seen.intents });
  return guards;
}

/**
 * The guards of one of several transactions: the slots that this leader has written since it counted, each
 * time comparing that nobody else had, are in its count.
 * @param slots the revision of the last transaction that compared the slots, or of the load
 */
export function sinceOwnWrites(
  guards: readonly EtcdCompare[],
  keys: ClusterKeys,
  slots: bigint,
): EtcdCompare[] {
  return guards.map((guard) => (isOfSlots(guard, keys) ? { ...guard, revision: slots } : guard));
}

/** Whether these guards hold only where nobody else has written a slot. */
export function compareSlots(guards: readonly EtcdCompare[], keys: ClusterKeys): boolean {
  return guards.some((guard) => isOfSlots(guard, keys));
}

function isOfSlots(
  guard: EtcdCompare,
  keys: ClusterKeys,
): guard is Extract<EtcdCompare, { kind: 'rangeNotAfter' }> {
  return guard.kind === 'rangeNotAfter' && guard.prefix === keys.slots;
}

/** Nodes whose record changed; those of a rollout that just starts have theirs since before it was in force. */
function changedNodes(before: Rollout | undefined, after: Rollout | undefined): string[] {
  if (before === undefined || after === undefined || before.nodes === after.nodes) return [];
  return [...after.nodes].filter(([id, node]) => before.nodes.get(id) !== node).map(([id]) => id);
}

function changedSlots(before: World, after: World): string[] {
  if (before.slots === after.slots) return [];
  return [...new Set([...before.slots.keys(), ...after.slots.keys()])].filter(
    (key) => before.slots.get(key) !== after.slots.get(key),
  );
}

/** A put that keeps the fields of the stored value which we do not know. */
export function put(key: string, value: object, lookup: Lookup): EtcdOperation {
  return { kind: 'put', key, value: encode(value, lookup(key)?.value) };
}

/** Operations in one transaction; the guards take the rest of what etcd allows. */
const operationsMax = 100;

/**
 * Groups into transactions, in their order, by number and by bytes. etcd refuses a key twice in one
 * transaction, so what frees a slot and what takes it are two. The caller's own writes go with the last group.
 */
export function transactionsOf(
  groups: readonly WriteGroup[],
  extra: WriteGroup,
  sizeMax = operationsMax,
): WriteGroup[] {
  const result: WriteGroup[] = [];
  let bytes = 0;
  // What the caller writes under a key is the last word on it, and must not cut in two what belongs together.
  const own = new Set(extra.operations.map(({ key }) => key));
  const others = groups.map((group) => ({
    ...group,
    operations: group.operations.filter(({ key }) => !own.has(key)),
  }));
  for (const group of [...others.slice(0, -1), joined(others.at(-1), extra)]) {
    const last = result.at(-1);
    const own = bytesOf(group);
    const isJoined =
      last !== undefined && bytes + own <= limits.etcdTransactionBytes && fits(last, group, sizeMax);
    bytes = isJoined ? bytes + own : own;
    if (isJoined) result[result.length - 1] = joined(last, group);
    else result.push(group);
  }
  return result.filter((group) => operationsOf(group) + group.guards.length > 0).map(wishesFirst);
}

function fits(last: WriteGroup, group: WriteGroup, sizeMax: number): boolean {
  const named = new Set(last.operations.map(({ key }) => key));
  return (
    operationsOf(last) + operationsOf(group) <= sizeMax &&
    withoutRepeats([...last.guards, ...group.guards]).length <= sizeMax &&
    !group.operations.some(({ key }) => named.has(key))
  );
}

/** In the record a wish stands before the commands that it led to. */
function wishesFirst({ operations, guards, audit = [] }: WriteGroup): WriteGroup {
  const isWish = ({ what }: AuditEntry): boolean => what === 'wish';
  return { operations, guards, audit: [...audit.filter(isWish), ...audit.filter((it) => !isWish(it))] };
}

/** Each record of the audit is one more. */
function operationsOf({ operations, audit = [] }: WriteGroup): number {
  return operations.length + audit.length;
}

function bytesOf({ operations, audit = [] }: WriteGroup): number {
  const records = audit.reduce((sum, entry) => sum + bytesOfRecord(entry), 0);
  return operations.reduce((sum, operation) => sum + bytesOfOperation(operation), records);
}

/** Nodes that go out together compare the same budget, wishes and labels: once is enough, and leaves room for more. */
function withoutRepeats(guards: readonly EtcdCompare[]): EtcdCompare[] {
  const nameOf = (guard: EtcdCompare): string =>
    guard.kind === 'rangeNotAfter'
      ? `${guard.prefix}* ${guard.revision}`
      : `${guard.kind} ${guard.key} ${guard.equals}`;
  return [...new Map(guards.map((guard) => [nameOf(guard), guard])).values()];
}

/** Both, in their order; what the second says of a key is the last word on it. */
function joined(first: WriteGroup = { operations: [], guards: [] }, second: WriteGroup): WriteGroup {
  const renamed = new Set(second.operations.map(({ key }) => key));
  return {
    operations: [...first.operations.filter(({ key }) => !renamed.has(key)), ...second.operations],
    guards: withoutRepeats([...first.guards, ...second.guards]),
    audit: [...(first.audit ?? []), ...(second.audit ?? [])],
  };
}
