/**
 * Whether a plan can be stored, and its commands journaled by the nodes: what one node has to run stands in
 * one value of etcd, and in one record of its journal. Pure.
 */
import { limits } from '../../config/limits.js';
import { partText } from '../rollout/plan.js';
import type { Plan } from '../rollout/rollout.js';

/** What of a plan is too large to be stored, one sentence for each node. */
export function sizeProblems({ parts }: Plan): string[] {
  return parts
    .filter((part) => Buffer.byteLength(partText(part)) > limits.planPartBytes)
    .map(
      ({ node, migrations, from, to }) =>
        `${node} would run ${migrations.length} migrations on its way from ${from.version} to ${to.version}, more than its part of a plan holds; go by a version in between`,
    );
}
