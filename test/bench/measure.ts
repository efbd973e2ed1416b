/**
 * One run: a fresh cluster, one rollout by the operator's own command, and everything that is counted
 * about it. Afterwards, with the cluster gone, the same steps in a shell loop: so neither disturbs the
 * other, and both meet the same machine.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type BenchCluster, startBenchCluster } from './cluster.js';
import { etcdCounters, etcdctlEnvironment } from './etcd.js';
import { stepMedians } from './job-timings.js';
import { cpuSeconds, peakMemoryMb } from './processes.js';
import { printProfiles } from './profile.js';
import { median, type Row, round } from './row.js';
import { shellLoopMs } from './shell-loop.js';
import type { Workload } from './workload.js';

const run = promisify(execFile);

/** Milliseconds for the agents to get healthy, and for one command of the operator. */
const healthyMs = 120_000;
const commandMs = 300_000;

export interface Measurement {
  readonly workload: Workload;
  readonly nodes: number;
  readonly concurrency: number;
  readonly profile: boolean;
}

/** Runs it. Errors: whatever keeps the rollout from succeeding. */
export async function measure(of: Measurement): Promise<Row> {
  const cluster = await startBenchCluster(of);
  try {
    const facts = await rollOut(cluster, of);
    await cluster.end();
    if (cluster.profiles !== undefined) await printProfiles(cluster.profiles, facts.from, facts.until);
    const releases = join(cluster.folder, 'releases');
    return rowOf(of, facts.row, await shellLoopMs({ ...of, releases }));
  } finally {
    await cluster.end();
    await cluster.remove();
  }
}

type Counted = Omit<Row, 'shellLoopMs' | 'overheadMsPerNode' | 'commandOverheadMsPerNode'>;

function rowOf({ nodes }: Measurement, row: Counted, shellMs: number): Row {
  return {
    ...row,
    shellLoopMs: shellMs,
    overheadMsPerNode: round((row.wallMs - shellMs) / nodes),
    commandOverheadMsPerNode: round((row.commandMs - shellMs) / nodes),
  };
}

/** @returns what was counted, and between which readings of the monotonic clock (microseconds) */
async function rollOut(cluster: BenchCluster, { workload, nodes, concurrency }: Measurement) {
  await allHealthy(cluster);
  const { controllerPid, agentsPid, etcd } = cluster;
  const before = await etcdCounters(etcd);
  const cpuBefore = cpuSeconds(controllerPid);
  const agentsBefore = cpuSeconds(agentsPid);
  const from = microseconds();
  const words = ['rollout', '--to', '0b1', '--yes', '--max-concurrent', String(concurrency)];
  const { rollout } = await plexictl(cluster, words);
  const until = microseconds();
  if (rollout.phase !== 'succeeded') throw new Error(`the rollout ended ${rollout.phase}: ${rollout.reason}`);
  const after = await etcdCounters(etcd);
  const outOfServiceMs = median(await timesOut(cluster, rollout.id));
  const stepMs = await stepMedians(cluster.nodes.map(({ root }) => root));
  const needed = ['backup', 'stop', 'apply', 'probe'].reduce((sum, step) => sum + (stepMs[step] ?? 0), 0);
  const row: Counted = {
    case: workload.name,
    nodes,
    concurrency,
    wallMs: Date.parse(rollout.finishedAt) - Date.parse(rollout.startedAt),
    commandMs: Math.round((until - from) / 1_000),
    outOfServiceMs,
    stepMs,
    outOfServiceRatio: Math.round((100 * outOfServiceMs) / Math.max(needed, 1)) / 100,
    etcdTransactionsPerNode: round((after.transactions - before.transactions) / nodes),
    etcdReadsPerNode: round((after.reads - before.reads) / nodes),
    etcdSyncMs: round((after.syncMs - before.syncMs) / Math.max(after.syncs - before.syncs, 1)),
    controllerCpuSeconds: round(cpuSeconds(controllerPid) - cpuBefore),
    controllerPeakMemoryMb: peakMemoryMb(controllerPid),
    agentsCpuSeconds: round(cpuSeconds(agentsPid) - agentsBefore),
  };
  return { row, from, until };
}

/** The clock of the CPU profiles. */
function microseconds(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

async function plexictl(cluster: BenchCluster, words: readonly string[]) {
  const { stdout } = await run('bin/plexictl', [...words, '-o', 'json', '--config', cluster.clientFile], {
    timeout: commandMs,
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout);
}

async function allHealthy(cluster: BenchCluster): Promise<void> {
  for (const endsMs = performance.now() + healthyMs; performance.now() < endsMs; ) {
    const { nodes } = await plexictl(cluster, ['nodes']);
    const ready = nodes.filter(
      (node: { health: string; version: string }) => node.health === 'healthy' && node.version === '0a1',
    );
    if (ready.length === cluster.nodes.length) return;
    await sleep(200);
  }
  throw new Error(`the agents did not get healthy in ${healthyMs / 1000} s`);
}

/** Milliseconds that each node was out of service, from its record in etcd. */
async function timesOut(cluster: BenchCluster, rollout: string): Promise<number[]> {
  const prefix = `/plexi/v1/bench/rollouts/${rollout}/nodes/`;
  const { stdout } = await run('etcdctl', ['get', '--prefix', prefix, '--print-value-only'], {
    env: { ...process.env, ...etcdctlEnvironment(cluster.etcd) },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map(({ outSince, backAt }) => Date.parse(backAt) - Date.parse(outSince));
}
