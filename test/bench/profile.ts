/**
 * What the CPU profiles say: the functions with the most time of their own while the rollout ran, and
 * those of this project with the most time in all. Samples from before and after do not count, so the
 * start of a program hides nothing.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const shown = 20;

const profileFile = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
      children: z.array(z.number()).default([]),
    }),
  ),
  startTime: z.number(),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});
type Profile = z.infer<typeof profileFile>;

/** Prints a summary of each process's profile to stderr; the times bound it, in microseconds. */
export async function printProfiles(
  folders: Readonly<Record<string, string>>,
  from: number,
  until: number,
): Promise<void> {
  for (const [name, folder] of Object.entries(folders)) {
    for (const file of await readdir(folder)) {
      const profile = profileFile.parse(JSON.parse(await readFile(join(folder, file), 'utf8')));
      process.stderr.write(`${summary(name, profile, from, until)}\n`);
    }
  }
}

function summary(name: string, profile: Profile, from: number, until: number): string {
  const selfById = selfTimes(profile, from, until);
  const parents = new Map(profile.nodes.flatMap(({ id, children }) => children.map((child) => [child, id])));
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, frameName(callFrame)]));
  const own = new Map<string, number>();
  const whole = new Map<string, number>();
  for (const [id, ms] of selfById) {
    add(own, names.get(id) ?? '', ms);
    const stack = new Set<string>();
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at))
      stack.add(names.get(at) ?? '');
    for (const frame of stack) add(whole, frame, ms);
  }
  const idleMs = own.get('(idle)') ?? 0;
  const totalMs = [...own.values()].reduce((sum, ms) => sum + ms, 0);
  own.delete('(idle)');
  const ours = new Map([...whole].filter(([frame]) => frame.includes('dist/')));
  return [
    `${name}: ${Math.round(totalMs - idleMs)} ms busy of ${Math.round(totalMs)} ms`,
    '  most time of its own:',
    ...largest(own),
    '  of this project, with what it calls:',
    ...largest(ours),
  ].join('\n');
}

function selfTimes(profile: Profile, from: number, until: number): Map<number, number> {
  const times = new Map<number, number>();
  let at = profile.startTime;
  for (const [index, id] of profile.samples.entries()) {
    const delta = profile.timeDeltas[index] ?? 0;
    at += delta;
    if (at >= from && at <= until) times.set(id, (times.get(id) ?? 0) + delta / 1_000);
  }
  return times;
}

function frameName(frame: Profile['nodes'][number]['callFrame']): string {
  const file = frame.url.replace(/^.*\/(dist|node_modules)\//, '$1/');
  const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
  return file === '' ? name : `${name} ${file}:${frame.lineNumber + 1}`;
}

function add(times: Map<string, number>, key: string, ms: number): void {
  times.set(key, (times.get(key) ?? 0) + ms);
}

function largest(times: ReadonlyMap<string, number>): string[] {
  return [...times]
    .sort((a, b) => b[1] - a[1])
    .slice(0, shown)
    .map(([frame, ms]) => `  ${String(Math.round(ms)).padStart(8)} ms  ${frame}`);
}
