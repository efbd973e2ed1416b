/**
 * The record of an operator's start program at work, `<root>/run/<name>.starting`: by it a later agent finds what
 * an agent that was killed has left, and ends it before it stops or starts the service. Else that program would
 * start the service beside a second one, or the new release on restored data. It stands there from the moment the
 * program runs until it has ended. It is not flushed: a power cut ends the program too, and a record of an
 * earlier boot tells of nothing (decision 9).
 */
import { z } from 'zod';
import { type ErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isOfEarlierBoot, removeForThisBoot, writeForThisBoot } from '../disk/boot-file.js';
import { readBounded } from '../disk/durable-file.js';
import { endGroup } from './process-group.js';
import { bootId, isAlive, startTicksOf } from './process-table.js';

const recordSchema = z.object({
  schema: z.literal(1),
  bootId: z.string(),
  /** It leads a group of its own. */
  process: z.object({ pid: z.number().int().positive(), startTicks: z.number().nonnegative() }),
});

type StartedProgram = z.infer<typeof recordSchema>['process'];

/** Notes a program that was started just now, before it can be collected. Errors: the system's. */
export function noteStartProgram(file: string, pid: number): void {
  const startTicks = startTicksOf(pid);
  if (startTicks === undefined) return;
  const record = { schema: 1, bootId: bootId(), process: { pid, startTicks } };
  writeForThisBoot(file, `${JSON.stringify(record)}\n`);
}

/** The program has ended, with all that it is waited for. */
export function forgetStartProgram(file: string): void {
  removeForThisBoot(file);
}

/**
 * Ends a start program that an earlier agent has left at work, with its group. What one that has ended has started
 * is the service, and is left to the operator's own stop program.
 * @throws PlexiError with the given code when it does not end, or when that cannot be told
 */
export async function endStartProgram(file: string, code: ErrorCode): Promise<void> {
  const left = await readLeft(file, code);
  if (left !== undefined && isAlive(left) && !(await endGroup(left.pid))) {
    throw new PlexiError(
      code,
      `the start program that an agent has left running does not end, not even by SIGKILL (process ${left.pid}, from ${file}); end it, and try again`,
    );
  }
  forgetStartProgram(file);
}

async function readLeft(file: string, code: ErrorCode): Promise<StartedProgram | undefined> {
  const bytes = await readBounded(file, limits.serviceRecordBytes);
  if (bytes === undefined) return undefined;
  try {
    const record = recordSchema.parse(JSON.parse(bytes.toString('utf8')));
    return record.bootId === bootId() ? record.process : undefined;
  } catch (error) {
    if (isOfEarlierBoot(file)) return undefined;
    throw new PlexiError(
      code,
      `${file} cannot be understood, so it is unknown whether a start program of the service is still at work; end it by hand, remove that file, and try again`,
      { cause: error },
    );
  }
}
