/**
 * The record of the running service, `<root>/run/service.json`: by it a new agent finds the service
 * that an earlier one started. It is written before the start with a token that the service carries
 * in its environment, and again after it with the process's identity; so there is no moment at which
 * a service runs that nothing on the disk tells of (protocol.md, rule 14). It is not flushed: a power
 * cut ends the service too, and a record of an earlier boot tells of nothing (decision 9).
 */
import { constants } from 'node:os';
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isOfEarlierBoot, removeForThisBoot, writeForThisBoot } from '../disk/boot-file.js';
import { readBounded } from '../disk/durable-file.js';

const recordSchema = z.object({
  schema: z.literal(1),
  /** What the service carries in its environment. */
  token: z.string().min(1),
  /** The boot in which it was started: after another boot it cannot run any more. */
  bootId: z.string(),
  /** When, RFC 3339. */
  startedAt: z.string(),
  /** The signal that asks it to end. */
  stopSignal: z.string(),
  /** What was started, for people. */
  argv: z.array(z.string()),
  /** The process; absent between the two writes. */
  process: z.object({ pid: z.number().int().positive(), startTicks: z.number().nonnegative() }).optional(),
  /** Set when it was not the agent that started it: it carries no token. */
  adopted: z.object({ leadsGroup: z.boolean(), by: z.string() }).optional(),
});

/** What is on the disk about the service. */
export type ServiceRecord = z.infer<typeof recordSchema>;

/**
 * Reads the record; undefined when there is none, or only what a power cut has left of one.
 * Errors: STOP_FAILED when it cannot be understood and may be of this boot.
 */
export async function readServiceRecord(file: string): Promise<ServiceRecord | undefined> {
  const bytes = await readBounded(file, limits.serviceRecordBytes);
  if (bytes === undefined) return undefined;
  try {
    return recordSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    if (isOfEarlierBoot(file)) return undefined;
    throw new PlexiError(
      'STOP_FAILED',
      `${file} cannot be understood, so it is unknown whether the service runs; stop the service by hand, then say plexi-node-agent restore on the node`,
      { cause: error },
    );
  }
}

/** Writes the record, whole, for agents of this boot. */
export function writeServiceRecord(file: string, record: ServiceRecord): void {
  writeForThisBoot(file, `${JSON.stringify(record)}\n`);
}

/** Removes the record: nothing is known to run. */
export function removeServiceRecord(file: string): void {
  removeForThisBoot(file);
}

/** The signal that asks a service to end; SIGTERM when the record says none that this system has. */
export function stopSignalOf(record: ServiceRecord | undefined): NodeJS.Signals {
  const wanted = record?.stopSignal ?? 'SIGTERM';
  return isSignal(wanted) ? wanted : 'SIGTERM';
}

function isSignal(text: string): text is NodeJS.Signals {
  return Object.hasOwn(constants.signals, text);
}
