/**
 * Plays histories from the command line; test/simulation/run.mjs calls it.
 *
 *   --seed N [--nodes N] [--rounds N] [--without fault,…] [--actions 0,2,…] [--verbose]
 *                                       one history, exactly as it was
 *   --from N --count N [--jobs N]       many, and what they came to; on every core, or on N threads
 *   --until-broken                      ends at the first that fails, as it is
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { drawn, faultsOf } from './drawn.test.part.js';
import { keepSeeds } from './keep-seeds.test.part.js';
import { linesOf, playMany } from './many.test.part.js';
import { play } from './simulation.test.part.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    nodes: { type: 'string' },
    rounds: { type: 'string' },
    without: { type: 'string' },
    actions: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    from: { type: 'string', default: '1' },
    count: { type: 'string', default: '100' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    'until-broken': { type: 'boolean', default: false },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);

process.exitCode = values.seed === undefined ? await many() : await one(Number(values.seed));

async function one(seed: number): Promise<number> {
  const history = drawn(seed, {
    nodes: values.nodes === undefined ? undefined : Number(values.nodes),
    rounds: values.rounds === undefined ? undefined : Number(values.rounds),
    without: values.without?.split(','),
    actions: values.actions?.split(',').filter(Boolean).map(Number),
  });
  const { nodes, controllers, policy } = history;
  say(`seed ${seed}: ${nodes} nodes, ${controllers} controllers, at most ${policy.maxConcurrent} at a time`);
  say(`faults: ${faultsOf(history).join(', ') || 'none'}`);
  const { broken, ends, simulatedMs, events, trace } = await play(history, values.verbose ? say : undefined);
  say(
    `ends: ${ends.join(', ') || 'none'}, after ${(simulatedMs / 1_000).toFixed(1)} simulated seconds, ${events} events`,
  );
  say(`trace: ${trace}`);
  if (broken !== undefined) say(`BROKEN, guarantee ${broken.guarantee}: ${broken.sentence}`);
  return broken === undefined ? 0 : 1;
}

async function many(): Promise<number> {
  const failuresMax = values['until-broken'] ? 1 : 10;
  const bounds = { from: Number(values.from), count: Number(values.count), maxMs: Number.POSITIVE_INFINITY };
  const isPlain = values['until-broken'];
  const sum = await playMany({ ...bounds, failuresMax, isPlain }, Number(values.jobs));
  for (const line of linesOf(sum)) say(line);
  const kept = isPlain ? [] : keepSeeds(sum.failures);
  if (kept.length > 0) say(`entered into test/simulation/seeds.txt: ${kept.join(', ')}`);
  return sum.failures.length === 0 ? 0 : 1;
}
