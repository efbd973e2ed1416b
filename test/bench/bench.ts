/**
 * The cost of orchestration: one rollout over N nodes whose steps do nothing, against the same steps
 * in a shell loop in the same run. Prints a table, or one JSON document with `--json`.
 * `--nodes 10,50` and `--concurrency 1,10` choose the cases.
 */
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs, promisify } from 'node:util';
import { type BenchCluster, startBenchCluster } from './cluster.js';

const run = promisify(execFile);
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '10,50' },
    concurrency: { type: 'string', default: '1,10' },
  },
});

interface Row {
  readonly case: string;
  readonly nodes: number;
  readonly concurrency: number;
  readonly wallMs: number;
  readonly shellLoopMs: number;
  readonly overheadMsPerNode: number;
  /** From the slot to the end of the soak, median over the nodes. */
  readonly outOfServiceMs: number;
  readonly etcdTransactionsPerNode: number;
  readonly controllerCpuSeconds: number;
  readonly controllerPeakMemoryMb: number;
}

const rows: Row[] = [];
for (const nodes of numbers(values.nodes)) {
  for (const concurrency of numbers(values.concurrency)) {
    if (concurrency > nodes) continue;
    process.stderr.write(`${nodes} nodes, ${concurrency} at a time …\n`);
    rows.push(await measure(nodes, concurrency));
  }
}
if (values.json) process.stdout.write(`${JSON.stringify({ rows }, undefined, 1)}\n`);
else console.table(rows);

async function measure(nodes: number, concurrency: number): Promise<Row> {
  const cluster = await startBenchCluster(nodes);
  try {
    await allHealthy(cluster);
    const revisionBefore = await revision(cluster);
    const cpuBefore = cpuSeconds(cluster.controllerPid);
    const status = await rollout(cluster, concurrency);
    const wallMs = Date.parse(status.finishedAt) - Date.parse(status.startedAt);
    const shellLoopMs = shellLoop(nodes, concurrency);
    const out = status.nodes
      .map((node) => Date.parse(node.backAt) - Date.parse(node.outSince))
      .sort((a, b) => a - b);
    return {
      case: 'nothing',
      nodes,
      concurrency,
      wallMs,
      shellLoopMs,
      overheadMsPerNode: round((wallMs - shellLoopMs) / nodes),
      outOfServiceMs: out[Math.floor(out.length / 2)] ?? 0,
      etcdTransactionsPerNode: round(((await revision(cluster)) - revisionBefore) / nodes),
      controllerCpuSeconds: round(cpuSeconds(cluster.controllerPid) - cpuBefore),
      controllerPeakMemoryMb: peakMemoryMb(cluster.controllerPid),
    };
  } finally {
    await cluster.stop();
  }
}

function numbers(text: string): number[] {
  return text.split(',').map(Number);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

async function plexictl(cluster: BenchCluster, ...words: string[]) {
  const { stdout } = await run('bin/plexictl', [...words, '-o', 'json', '--config', cluster.clientFile], {
    timeout: 300_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout);
}

async function allHealthy(cluster: BenchCluster): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const { nodes } = await plexictl(cluster, 'nodes');
    const ready = nodes.filter(
      (node: { health: string; version: string }) => node.health === 'healthy' && node.version === '0a1',
    );
    if (ready.length === cluster.nodes.length) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error('the agents did not get healthy in 60 s');
}

interface Status {
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly nodes: { readonly outSince: string; readonly backAt: string }[];
}

async function rollout(cluster: BenchCluster, concurrency: number): Promise<Status> {
  const document = await plexictl(
    cluster,
    'rollout',
    '--to',
    '0b1',
    '--yes',
    '--max-concurrent',
    String(concurrency),
  );
  if (document.rollout.phase !== 'succeeded')
    throw new Error(`the rollout ended ${document.rollout.phase}: ${document.rollout.reason}`);
  const keys = spawnSync(
    'etcdctl',
    ['get', '--prefix', `/plexi/v1/bench/rollouts/${document.rollout.id}/nodes/`, '--print-value-only'],
    {
      env: { ...process.env, ...cluster.etcdEnvironment },
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const nodes = keys.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { ...document.rollout, nodes };
}

/** The same steps without any of it: for each node the service ends, the link moves, it starts again, one probe is asked. */
function shellLoop(nodes: number, concurrency: number): number {
  const step =
    'sleep 100000 & p=$!; kill $p; wait $p 2>/dev/null; d=$(mktemp -d); ln -s x $d/c; rm -r $d; sleep 100000 & kill $!; true';
  const script = `seq ${nodes} | xargs -P ${concurrency} -I{} sh -c '${step}'`;
  const startedMs = performance.now();
  spawnSync('sh', ['-c', script]);
  return Math.round(performance.now() - startedMs);
}

async function revision(cluster: BenchCluster): Promise<number> {
  const { stdout } = await run('etcdctl', ['get', '/none', '-w', 'json'], {
    env: { ...process.env, ...cluster.etcdEnvironment },
  });
  return JSON.parse(stdout).header.revision;
}

/** User and system time of a process, in seconds (proc(5): fields 14 and 15, in ticks of 10 ms). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function peakMemoryMb(pid: number): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(line?.[1] ?? 0) / 1024);
}
