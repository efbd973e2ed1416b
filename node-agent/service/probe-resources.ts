/**
 * The resources probe: what all processes of the service use together, by the kernel's own figures,
 * against bounds. Invariant: with no process to look at, or one that hides its figures, it is an error;
 * nothing measured is not "little used".
 */
import { readdir, readFile } from 'node:fs/promises';
import type { ProbeConfig } from '../../config/schema/probes.js';
import { isSystemError } from '../disk/durable-file.js';
import type { ProbeSample, ProbeSubject } from './probe-sample.js';

type ResourcesProbe = Extract<ProbeConfig, { kind: 'resources' }>;

interface Usage {
  readonly residentKb: number;
  readonly openFiles: number;
}

/** Measures once. Errors: the system's. */
export async function sampleResources(probe: ResourcesProbe, subject: ProbeSubject): Promise<ProbeSample> {
  const pids = await subject.pids();
  const usages = await Promise.all(pids.map((pid) => usageOf(pid, probe.openFilesMax !== undefined)));
  const live = usages.filter((usage) => usage !== undefined);
  if (live.length === 0) {
    return { result: 'error', reason: 'no process of the service is known, so nothing can be measured' };
  }
  const memoryMb = live.reduce((sum, { residentKb }) => sum + residentKb, 0) / 1024;
  const openFiles = live.reduce((sum, usage) => sum + usage.openFiles, 0);
  const over = [
    ...tooMuch('MB of memory', memoryMb, probe.memoryMbMax),
    ...tooMuch('open files', openFiles, probe.openFilesMax),
  ];
  if (over.length > 0) return { result: 'bad', reason: `the service uses ${over.join(' and ')}` };
  return { result: 'good', reason: 'the service uses no more than it may' };
}

function tooMuch(what: string, used: number, max: number | undefined): string[] {
  return max === undefined || used <= max ? [] : [`${Math.ceil(used)} ${what}, more than ${max}`];
}

/** What one process uses; undefined when it has ended. */
async function usageOf(pid: number, countsFiles: boolean): Promise<Usage | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
    // One that is dead and not yet collected has no memory, and no such line.
    if (resident === undefined) return undefined;
    const openFiles = countsFiles ? (await readdir(`/proc/${pid}/fd`)).length : 0;
    return { residentKb: Number(resident), openFiles };
  } catch (error) {
    if (isSystemError(error, 'ENOENT') || isSystemError(error, 'ESRCH')) return undefined;
    if (isSystemError(error, 'EACCES')) {
      throw new Error(`the open files of process ${pid} may be counted only by its own user or root`);
    }
    throw error;
  }
}
