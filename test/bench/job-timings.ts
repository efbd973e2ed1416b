/**
 * How long each step took on the nodes, read from the agents' journals: the times that the records
 * carry, which are there anyway. So measuring changes nothing in what is measured.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { median } from './row.js';

const finished = z.object({
  kind: z.literal('finished'),
  result: z.object({ timings: z.array(z.object({ step: z.string(), durationMs: z.number() })) }),
});

/** Milliseconds of each step, the median over the nodes. */
export async function stepMedians(roots: readonly string[]): Promise<Record<string, number>> {
  const steps = new Map<string, number[]>();
  for (const root of roots) {
    for (const { step, durationMs } of await timingsOf(join(root, 'agent', 'journal')))
      steps.set(step, [...(steps.get(step) ?? []), durationMs]);
  }
  return Object.fromEntries([...steps].map(([step, values]) => [step, median(values)]));
}

async function timingsOf(journal: string) {
  const names = (await readdir(journal)).filter((name) => name.endsWith('.json'));
  const records = await Promise.all(names.map((name) => readFile(join(journal, name), 'utf8')));
  return records.flatMap((text) => {
    const record = finished.safeParse(JSON.parse(text));
    return record.success ? record.data.result.timings : [];
  });
}
