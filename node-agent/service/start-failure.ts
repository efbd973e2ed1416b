/**
 * Why a program could not be started, for the person who has to put it right. The system's own words
 * mislead: it says ENOENT for a missing folder as well as for a missing program.
 */
import { existsSync } from 'node:fs';
import { isSystemError } from '../disk/durable-file.js';

/** A sentence's part: "there is no such program". */
export function whyNotStarted(cwd: string, error: unknown): string {
  if (isSystemError(error, 'ENOENT')) {
    return existsSync(cwd) ? 'there is no such program' : `its folder ${cwd} does not exist`;
  }
  if (isSystemError(error, 'EACCES')) return 'it may not be executed; look at its mode';
  return error instanceof Error ? error.message : String(error);
}
