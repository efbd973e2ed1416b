/**
 * The rows that a measurement gives, and how several runs of one case become one row. Invariant: a
 * row is one real run, the median one, and never a mixture of figures from several.
 */

/** One case. Milliseconds, unless the name says otherwise; what a case cannot know is left out. */
export interface Row {
  readonly case: string;
  readonly nodes: number;
  readonly concurrency: number;
  /** From the start of the rollout to its end, as it says itself. */
  readonly wallMs: number;
  /** The command of the operator, from its start to its end. */
  readonly commandMs: number;
  /** The same steps in a shell loop. */
  readonly shellLoopMs: number;
  /** (wall - shell loop) / nodes. */
  readonly overheadMsPerNode: number;
  /** The same with the operator's whole command, which is what other tools are compared by. */
  readonly commandOverheadMsPerNode: number;
  /** From the slot until it is free again, median over the nodes. */
  readonly outOfServiceMs?: number;
  /** The steps on the node, median over the nodes. */
  readonly stepMs?: Readonly<Record<string, number>>;
  /** Out of service over backup + stop + apply + probe. */
  readonly outOfServiceRatio?: number;
  readonly etcdTransactionsPerNode?: number;
  readonly etcdReadsPerNode?: number;
  /** One flush of etcd's log to the disk, mean. */
  readonly etcdSyncMs?: number;
  readonly controllerCpuSeconds?: number;
  readonly controllerPeakMemoryMb?: number;
  /** All agents together. */
  readonly agentsCpuSeconds?: number;
  /** How many runs this one is the median of, and the overhead of each. */
  readonly runs?: readonly number[];
}

/** The run with the median overhead, which knows the overheads of all. Errors: no run at all. */
export function medianRow(rows: readonly Row[]): Row {
  const sorted = [...rows].sort((a, b) => a.overheadMsPerNode - b.overheadMsPerNode);
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  if (middle === undefined) throw new Error('a case needs at least one run');
  return { ...middle, runs: rows.map((row) => row.overheadMsPerNode) };
}

/** The median of some numbers; 0 of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** One decimal is what such a measurement can carry. */
export function round(value: number): number {
  return Math.round(value * 10) / 10;
}
