/** The keys of the contract (section 4), in one place. */
import { createHash } from 'node:crypto';
import { limits } from '../../config/limits.js';

/** Makes the keys of one cluster. */
export function clusterKeys(cluster: string) {
  const prefix = `/plexi/v1/${cluster}/`;
  const rollouts = `${prefix}rollouts/`;
  return {
    prefix,
    epoch: `${prefix}epoch`,
    lineage: `${prefix}lineage`,
    /** Etcd was restored from a snapshot, and nobody has said yet that this was meant. */
    restored: `${prefix}restored`,
    budget: `${prefix}budget`,
    /** Written with every change of a node's labels, which say what the budget's limits mean. */
    labels: `${prefix}labels`,
    leader: `${prefix}leader`,
    active: `${prefix}active`,
    /** While it stands no rollout starts. */
    freeze: `${prefix}freeze`,
    /** The controllers that live, each on its own lease. */
    controllers: `${prefix}controllers/`,
    controller: (id: string) => `${prefix}controllers/${id}`,
    intents: `${prefix}intents/`,
    intent: (n: string) => `${prefix}intents/${n}`,
    /** What came of an intent, for the caller that waits. */
    outcomes: `${prefix}outcomes/`,
    outcome: (n: string) => `${prefix}outcomes/${n}`,
    nodes: `${prefix}nodes/`,
    /**
     * The node of which a key is that one word (`spec`, `status`, …); undefined: of none. A name holds no
     * slash, and what stands further below a node is no word of it, however it ends.
     */
    nodeOf: (key: string, word: string): string | undefined => {
      if (!key.startsWith(`${prefix}nodes/`) || !key.endsWith(`/${word}`)) return undefined;
      const node = key.slice(`${prefix}nodes/`.length, -`/${word}`.length);
      return node === '' || node.includes('/') ? undefined : node;
    },
    nodeSpec: (node: string) => `${prefix}nodes/${node}/spec`,
    nodeStatus: (node: string) => `${prefix}nodes/${node}/status`,
    /** An operator keeps rollouts away from the node. */
    nodeHold: (node: string) => `${prefix}nodes/${node}/hold`,
    /** An operator's order to the node, or the end of the last one. */
    nodeOrder: (node: string) => `${prefix}nodes/${node}/order`,
    /** The last epoch that was raised by hand and in which the node was adopted. */
    nodeEpoch: (node: string) => `${prefix}nodes/${node}/epoch`,
    /** Words said on the node itself that stand in the audit record, as long as the node tells them. */
    nodeWords: (node: string) => `${prefix}nodes/${node}/by-hand/`,
    /** Of a form of its own: the node says the id, and it may be any text. */
    nodeWord: (node: string, id: string) =>
      `${prefix}nodes/${node}/by-hand/${createHash('sha256').update(id).digest('hex')}`,
    /** Where the same word stands when a controller of before wrote it. */
    earlierNodeWord: (node: string, id: string) => `${prefix}nodes/${node}/by-hand/${earlierForm(id)}`,
    audit: `${prefix}audit/`,
    /** The numbers sort as text. */
    auditRecord: (sequence: number) => `${prefix}audit/${String(sequence).padStart(12, '0')}`,
    slots: `${prefix}slots/`,
    slot: (index: string) => `${prefix}slots/${index}`,
    rollouts,
    rollout: (id: string) => `${rollouts}${id}/`,
    plan: (id: string) => `${rollouts}${id}/plan`,
    planParts: (id: string) => `${rollouts}${id}/plan/nodes/`,
    planPart: (id: string, node: string) => `${rollouts}${id}/plan/nodes/${node}`,
    rolloutState: (id: string) => `${rollouts}${id}/state`,
    rolloutNodes: (id: string) => `${rollouts}${id}/nodes/`,
    rolloutNode: (id: string, node: string) => `${rollouts}${id}/nodes/${node}`,
    rolloutIntents: (id: string) => `${rollouts}${id}/intents/`,
    rolloutIntent: (id: string, n: string) => `${rollouts}${id}/intents/${n}`,
  } as const;
}

/** Of an id that was cut in the middle of a character nothing was written. */
function earlierForm(id: string): string {
  return encodeURIComponent(id.slice(0, limits.commandIdChars).replace(/\p{Surrogate}/gu, ''));
}

export type ClusterKeys = ReturnType<typeof clusterKeys>;
