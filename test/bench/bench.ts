/**
 * The measurements: `--case nothing,reference,ansible` chooses among the cost of orchestration alone,
 * one fixed piece of real work, and Ansible beside the first where it is installed. `--nodes 10,50,200`
 * and `--concurrency 1,10` choose the sizes, `--repeat 3` the runs of each, of which the median one is
 * told. `--profile` adds what the CPU profiles of controller and agents say. Prints a table, or one
 * JSON document with `--json`.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { ansibleVersion, measureAnsible } from './ansible.js';
import { measure } from './measure.js';
import { medianRow, type Row } from './row.js';
import { nothing, reference } from './workload.js';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    case: { type: 'string', default: 'nothing,reference,ansible' },
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

const ansible = await ansibleVersion();
const rows: Row[] = [];
for (const name of values.case.split(',')) {
  for (const nodes of numbers(values.nodes ?? nodesOf[name] ?? '')) {
    for (const concurrency of numbers(name === 'reference' ? '1' : values.concurrency)) {
      if (concurrency <= nodes) await add(name, nodes, concurrency);
    }
  }
}
if (values.json) {
  const machine = { cpus: cpus().length, cpu: cpus()[0]?.model ?? '', node: process.version, ansible };
  process.stdout.write(`${JSON.stringify({ machine, rows }, undefined, 1)}\n`);
} else console.table(rows.map(({ stepMs: _steps, runs: _runs, ...row }) => row));

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
      throw new Error(`there is no case ${name}; there are nothing, reference and ansible`);
  }
}

function numbers(text: string): number[] {
  return text.split(',').map(Number);
}
