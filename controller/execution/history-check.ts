/**
 * Whether a node knows more than this leader's etcd does: then etcd was restored from a snapshot (protocol,
 * rule 21), or this leader is over and does not know it yet. Which of both, only etcd can tell. Pure.
 */
import type { DescribeResponse, Token } from '../../gen/plexi/v1/node_agent.js';
import type { Lead } from '../leadership/campaign.js';
import { reEpochWord } from '../rollout/recovery.js';

type Known = Pick<Lead, 'epoch' | 'term' | 'nonce' | 'lineage'>;
type Described = Pick<DescribeResponse, 'fence' | 'lineage'>;

/** Commands and adoptions that one term may count at one record of the audit. */
const countsPerRecord = 1_000_000_000n;

/**
 * The third part of a token: the number of the last audit record that etcd held when it was made, and behind
 * it how many the node was given in this term. A command's own record is in etcd before the command is sent,
 * so each node holds, beside its fence, how far it has seen etcd come (docs/decisions/0013).
 */
export function seqAt(auditSequence: number, count: bigint): bigint {
  return BigInt(auditSequence) * countsPerRecord + count;
}

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
  const lost = lostRecord(fence, known);
  if (lost !== undefined)
    return sentence(`${node} knows record ${lost} of the audit from term ${fence.term}, and etcd does not`);
  const oldest = BigInt(known[0]?.term ?? term);
  if (lineage === undefined || lineage.term < oldest || lineage.nonce === nonce) return undefined;
  if (known.some((entry) => entry.nonce === lineage.nonce)) return undefined;
  return sentence(`${node} knows a term ${lineage.term} that etcd does not`);
}

/**
 * A record that the node was told of in a term that is over, and that etcd gave to a later one: terms append
 * one after another, so all records of a term are below the first of the next.
 */
function lostRecord({ term, seq }: Token, known: Lead['lineage']): bigint | undefined {
  const index = known.findIndex((entry) => BigInt(entry.term) === term);
  const firstOfNext = index < 0 ? undefined : known[index + 1]?.audit;
  const record = seq / countsPerRecord;
  return firstOfNext !== undefined && record >= BigInt(firstOfNext) ? record : undefined;
}

/** The mirror of a controller saw etcd's revision go back. */
export function wentBack(from: bigint, to: bigint): string {
  return sentence(`etcd had come to revision ${from}, and is at ${to}`);
}

function sentence(fact: string): string {
  return `etcd was restored from a snapshot (${fact}), so nothing is sent: bring back its newest data, or say \`${reEpochWord}\` when this was meant`;
}
