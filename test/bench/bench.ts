/**
 * The measurements: `--case nothing,reference,ansible,takeover` chooses among the cost of orchestration alone,
 * one fixed piece of real work, Ansible beside the first where it is installed, and a change of leader. `--nodes 10,50,200`
 * and `--concurrency 1,10` choose the sizes, `--repeat 3` the runs of each, of which the median one is
 * told. `--profile` adds what the CPU profiles of controller and agents say. Prints a table, or one
 * JSON document with `--json`.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { ansibleVersion, measureAnsible } from './ansible.js';
import { measure } from './measure.js';
import { medianRow, type Row } from './row.js';
import { measureTakeover, type TakeoverRow, takeoverKinds } from './takeover.js';
import { nothing, reference } from './workload.js';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    case: { type: 'string', default: 'nothing,reference,ansible,takeover' },
    nodes: { type: 'string' },
    concurrency: { type: 'string', default: '1,10' },
    repeat: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});

/** Sizes where nothing is said. Ansible takes a second and more for a node. */
const nodesOf: Readonly<Record<string, string>> = { nothing: '10,50,200', reference: '5', ansible: '10' };
/** A run over more nodes than this is long enough to be made once. */
const repeatedNodesMax = 50;
const repeats = 3;
/** Changes of leader of each kind. */
const takeoverRounds = 10;

const ansible = await ansibleVersion();
const rows: Row[] = [];
const takeovers: TakeoverRow[] = [];
for (const name of values.case.split(',')) {
  if (name === 'takeover') {
    await addTakeovers();
    continue;
  }
  for (const nodes of numbers(values.nodes ?? nodesOf[name] ?? '')) {
    for (const concurrency of numbers(name === 'reference' ? '1' : values.concurrency)) {
      if (concurrency <= nodes) await add(name, nodes, concurrency);
    }
  }
}
if (values.json) {
  const machine = { cpus: cpus().length, cpu: cpus()[0]?.model ?? '', node: process.version, ansible };
  process.stdout.write(`${JSON.stringify({ machine, rows, takeovers }, undefined, 1)}\n`);
} else {
  if (rows.length > 0) console.table(rows.map(({ stepMs: _steps, runs: _runs, ...row }) => row));
  if (takeovers.length > 0) console.table(takeovers);
}

async function addTakeovers(): Promise<void> {
  for (const kind of takeoverKinds) {
    process.stderr.write(`${kind}, ${takeoverRounds} rounds …\n`);
    const row = await measureTakeover(kind, Number(values.repeat ?? takeoverRounds));
    takeovers.push(row);
    process.stderr.write(`${JSON.stringify(row)}\n`);
  }
}

async function add(name: string, nodes: number, concurrency: number): Promise<void> {
  if (name === 'ansible' && ansible === undefined) {
    process.stderr.write('ansible is not installed; it is left out\n');
    return;
  }
  const count = Number(values.repeat ?? (name === 'nothing' && nodes <= repeatedNodesMax ? repeats : 1));
  const runs: Row[] = [];
  for (let index = 1; index <= count; index++) {
    process.stderr.write(`${name}, ${nodes} nodes, ${concurrency} at a time, run ${index} of ${count} …\n`);
    runs.push(await one(name, nodes, concurrency));
  }
  const row = medianRow(runs);
  rows.push(row);
  process.stderr.write(`${JSON.stringify(row)}\n`);
}

function one(name: string, nodes: number, concurrency: number): Promise<Row> {
  const { profile } = values;
  switch (name) {
    case 'nothing':
      return measure({ workload: nothing, nodes, concurrency, profile });
    case 'reference':
      return measure({ workload: reference, nodes, concurrency, profile });
    case 'ansible':
      return measureAnsible(nodes, concurrency);
    default:
      throw new Error(`there is no case ${name}; there are nothing, reference, ansible and takeover`);
  }
}

function numbers(text: string): number[] {
  return text.split(',').map(Number);
}
