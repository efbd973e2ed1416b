/**
 * The file that a service's output goes to. The service writes to it directly, so it outlives the
 * agent (protocol.md, rule 14). It is looked at only when the service starts: one longer than the
 * bound becomes `.1`, and an older `.1` goes. Output is no state, so nothing here is flushed.
 */
import { closeSync, constants, openSync, renameSync, statSync } from 'node:fs';
import { limits } from '../../config/limits.js';

/** Gives `use` a descriptor that appends to the file, and closes it afterwards. */
export function withServiceLog<T>(
  path: string,
  use: (descriptor: number) => T,
  maxBytes: number = limits.serviceLogBytes,
): T {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > maxBytes) renameSync(path, `${path}.1`);
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640);
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
