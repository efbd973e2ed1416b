/**
 * What replicas answer from: etcd itself for a question, the mirror for a watch. No leader is needed
 * to look (design, section 2).
 */
import { PlexiError } from '../../config/errors.js';
import { ClusterStatus } from '../../gen/plexi/v1/rollouts.js';
import { freezeOf, liveControllers, nodeFacts } from '../execution/cluster-facts.js';
import { type EtcdClient, type EtcdEntry, readKey, readPrefix } from '../leadership/etcd.js';
import { isStuck } from '../rollout/budget.js';
import type { Rollout } from '../rollout/rollout.js';
import { failedNodes } from '../rollout/wishes.js';
import type { Recovery } from '../rollout/world.js';
import { readOrder, readSlot } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import { loadRecovery, loadRollout } from '../state/load-world.js';
import type { Mirror } from '../state/mirror.js';
import { readNodes } from '../state/node-store.js';
import { activeRecord, decode, nodeStatusRecord } from '../state/records.js';
import {
  freezeDocument,
  type ListedNode,
  leaderDocument,
  recoveryDocument,
  rolloutDocument,
} from './documents.js';

export class ClusterReader {
  constructor(
    private readonly client: EtcdClient,
    private readonly keys: ClusterKeys,
    private readonly mirror: Mirror,
  ) {}

  /** The entries that a plan is made from. */
  async planEntries(): Promise<EtcdEntry[]> {
    const { keys } = this;
    const reads = await Promise.all(
      [keys.nodes, keys.slots, keys.leader, keys.active, keys.freeze, keys.controllers].map((prefix) =>
        readPrefix(this.client, prefix),
      ),
    );
    return reads.flatMap((read) => read.entries);
  }

  /** The nodes that are in the cluster, by name, with all that is known of them. */
  async nodes(): Promise<ListedNode[]> {
    const { keys } = this;
    const entries = await this.planEntries();
    const slots = entries
      .filter((entry) => entry.key.startsWith(keys.slots))
      .map((entry) => [entry.key.slice(keys.slots.length), readSlot(entry.key, entry.value)] as const);
    const facts = new Map(nodeFacts(keys, entries).map((node) => [node.id, node]));
    return readNodes(keys, entries).flatMap((stored) => {
      const known = facts.get(stored.id);
      const held = slots.find(([, slot]) => slot.node === stored.id);
      if (known === undefined) return [];
      return [{ ...stored, facts: known, slot: held?.[1], isStuck: held !== undefined && isStuck(held[0]) }];
    });
  }

  /** How many nodes are in the cluster, as far as the mirror knows. */
  get nodeCount(): number {
    return readNodes(this.keys, this.mirror.under(this.keys.nodes)).filter(({ spec }) => !spec.removed)
      .length;
  }

  /** Leader, freeze, the controllers that live, and what follows a restore of etcd. */
  async cluster() {
    const entries = await this.planEntries();
    const leader = leaderDocument(
      this.keys,
      entries.find((entry) => entry.key === this.keys.leader),
    );
    const freeze = freezeDocument(freezeOf(this.keys, entries));
    const controllers = liveControllers(this.keys, entries).map((controller) => ({
      ...controller,
      since: new Date(controller.since),
    }));
    const recovery = await this.recovery(entries);
    return {
      ...(leader && { leader }),
      ...(freeze && { freeze }),
      controllers,
      ...(recovery && { recovery: recoveryDocument(recovery) }),
    };
  }

  private async recovery(entries: readonly EtcdEntry[]): Promise<Recovery | null> {
    const { client, keys } = this;
    const reads = await Promise.all([keys.epoch, keys.restored].map((key) => readPrefix(client, key)));
    return loadRecovery(keys, [...entries, ...reads.flatMap((read) => read.entries)]);
  }

  /**
   * Waits for the end of an operator's order; returns the digest that it came to.
   * @throws PlexiError TAKE_OVER_FAILED, NODE_REMOVED or TIMED_OUT
   */
  async waitForOrder(node: string, timeoutMs: number): Promise<string> {
    const order = () => {
      const entry = this.mirror.get(this.keys.nodeOrder(node));
      return entry && readOrder(entry.key, entry.value);
    };
    await this.mirror.waitFor(() => order()?.state !== 'open', timeoutMs);
    const ended = order();
    if (ended?.state === 'done') return ended.digest;
    if (ended?.state === 'failed') throw new PlexiError('TAKE_OVER_FAILED', ended.message);
    if (ended === undefined)
      throw new PlexiError(
        'NODE_REMOVED',
        `${node} was taken off the list before the order ended, and the order with it; let it in with plexictl node add ${node}, look at what it runs, and give the order again`,
      );
    throw new PlexiError(
      'TIMED_OUT',
      `the order is stored, and ${node} has not told its end yet; it goes on (plexictl why ${node} shows it)`,
    );
  }

  /** Waits until the node is in maintenance, or its slot is free again. @throws PlexiError HOOK_FAILED or TIMED_OUT */
  async waitForMaintenance(node: string, on: boolean, timeoutMs: number): Promise<void> {
    const slot = () =>
      this.mirror
        .under(this.keys.slots)
        .map((entry) => readSlot(entry.key, entry.value))
        .find((held) => held.node === node);
    const isThere = (): boolean => {
      if (!on) return slot() === undefined;
      const entry = this.mirror.get(this.keys.nodeStatus(node));
      return entry !== undefined && decode(nodeStatusRecord, entry.key, entry.value).inMaintenance;
    };
    await this.mirror.waitFor(() => isThere() || slot()?.maintenance?.failed === true, timeoutMs);
    if (isThere()) return;
    const held = slot();
    if (held?.maintenance?.failed === true)
      throw new PlexiError(
        'HOOK_FAILED',
        `maintenance ${on ? 'on' : 'off'} failed on ${node}: ${held.reason}`,
      );
    throw new PlexiError(
      'TIMED_OUT',
      `${node} keeps its slot, and its agent has not told yet that it is ${on ? 'in maintenance' : 'back'}; plexictl nodes shows it`,
    );
  }

  /** Leader and rollout: the named one, else the active one, else the last. @throws PlexiError NOT_FOUND */
  async status(id: string): Promise<ClusterStatus> {
    const leader = leaderDocument(this.keys, (await readKey(this.client, this.keys.leader)).entry);
    const frozen = (await readKey(this.client, this.keys.freeze)).entry;
    const freeze = freezeDocument(frozen && freezeOf(this.keys, [frozen]));
    const wanted = id === '' ? await this.activeOrLast() : id;
    const rollout = wanted === undefined ? undefined : await this.rollout(wanted);
    if (id !== '' && rollout === undefined)
      throw new PlexiError('NOT_FOUND', `there is no rollout ${id}; plexictl history lists them`);
    return ClusterStatus.fromPartial({
      ...(leader && { leader }),
      ...(rollout && { rollout: rolloutDocument(rollout) }),
      ...(freeze && { freeze }),
    });
  }

  /** The same from the mirror, at once. Undefined when the rollout is not there (yet). */
  statusNow(id: string): ClusterStatus {
    const leader = leaderDocument(this.keys, this.mirror.get(this.keys.leader));
    const rollout = loadRollout(this.keys, id, this.mirror.under(this.keys.rollout(id)));
    return ClusterStatus.fromPartial({
      ...(leader && { leader }),
      ...(rollout && { rollout: rolloutDocument(rollout) }),
    });
  }

  async rollout(id: string): Promise<Rollout | undefined> {
    return loadRollout(this.keys, id, (await readPrefix(this.client, this.keys.rollout(id))).entries);
  }

  /** The id of the active rollout. @throws PlexiError NO_ROLLOUT_ACTIVE */
  async activeId(): Promise<string> {
    const { entry } = await readKey(this.client, this.keys.active);
    if (entry === undefined)
      throw new PlexiError(
        'NO_ROLLOUT_ACTIVE',
        'no rollout is active; start one with plexictl rollout --to VERSION',
      );
    return decode(activeRecord, entry.key, entry.value).rollout;
  }

  /** Nodes of a rollout that have failed, as they stand in etcd now; none when there is no such rollout. */
  async failedNodes(id: string): Promise<string[]> {
    const rollout = await this.rollout(id);
    return rollout === undefined ? [] : failedNodes(rollout);
  }

  async activeOrLast(): Promise<string | undefined> {
    const { entry } = await readKey(this.client, this.keys.active);
    return entry === undefined
      ? (await this.history())[0]?.id
      : decode(activeRecord, entry.key, entry.value).rollout;
  }

  /** All rollouts, newest first by the revision at which they were put in force, not by the clock in the id. */
  async history(): Promise<Rollout[]> {
    const { entries } = await readPrefix(this.client, this.keys.rollouts);
    const states = entries.filter((entry) =>
      /^[^/]+\/state$/.test(entry.key.slice(this.keys.rollouts.length)),
    );
    states.sort((a, b) => (a.createRevision > b.createRevision ? -1 : 1));
    return states.flatMap((entry) => {
      const id = entry.key.slice(this.keys.rollouts.length, -'/state'.length);
      const prefix = this.keys.rollout(id);
      return (
        loadRollout(
          this.keys,
          id,
          entries.filter((candidate) => candidate.key.startsWith(prefix)),
        ) ?? []
      );
    });
  }
}
