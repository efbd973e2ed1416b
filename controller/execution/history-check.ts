/**
 * Whether a node knows more than this leader's etcd does: then etcd was restored from a snapshot (protocol,
 * rule 21), or this leader is over and does not know it yet. Which of both, only etcd can tell. Pure.
 */
import type { DescribeResponse } from '../../gen/plexi/v1/node_agent.js';
import type { Lead } from '../leadership/campaign.js';
import { reEpochWord } from '../rollout/recovery.js';

type Known = Pick<Lead, 'epoch' | 'term' | 'nonce' | 'lineage'>;
type Described = Pick<DescribeResponse, 'fence' | 'lineage'>;

/** What the node knows that etcd does not; undefined when their histories are one. */
export function strangeHistory(
  node: string,
  { fence, lineage }: Described,
  { epoch, term, nonce, lineage: known }: Known,
): string | undefined {
  if (fence === undefined || fence.epoch < epoch) return undefined;
  if (fence.epoch > epoch) return sentence(`${node} knows epoch ${fence.epoch}, and etcd ${epoch}`);
  if (fence.term > term)
    return sentence(`${node} knows term ${fence.term}, and etcd has only come to ${term}`);
  const oldest = BigInt(known[0]?.term ?? term);
  if (lineage === undefined || lineage.term < oldest || lineage.nonce === nonce) return undefined;
  if (known.some((entry) => entry.nonce === lineage.nonce)) return undefined;
  return sentence(`${node} knows a term ${lineage.term} that etcd does not`);
}

/** The mirror of a controller saw etcd's revision go back. */
export function wentBack(from: bigint, to: bigint): string {
  return sentence(`etcd had come to revision ${from}, and is at ${to}`);
}

function sentence(fact: string): string {
  return `etcd was restored from a snapshot (${fact}), so nothing is sent: bring back its newest data, or say \`${reEpochWord}\` when this was meant`;
}
