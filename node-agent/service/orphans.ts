/**
 * Hooks and migrations that outlived the agent which began them. Each runs with a mark of this root in
 * its environment; before a job is taken up again they are ended, because a migration that goes on
 * beside a restore would write into the restored data.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';
import { findProcesses, signalGroups } from './process-table.js';

const markVariable = 'PLEXI_COMMAND_MARK';
/** Milliseconds between two looks, and for all of them. */
const lookMs = 20;
const patienceMs = 5_000;

/** The variable that every hook and migration of a root carries. */
export function commandMark(root: string): Record<string, string> {
  return { [markVariable]: createHash('sha256').update(root).digest('hex').slice(0, 32) };
}

/**
 * Ends what still runs with the mark of this root.
 * @returns how many there were. @throws PlexiError COMMAND_LEFT_RUNNING when one does not end
 */
export async function endOrphans(root: string): Promise<number> {
  const [name = '', value = ''] = Object.entries(commandMark(root))[0] ?? [];
  const find = () => findProcesses({ groups: new Set(), environmentText: `${name}=${value}` });
  const first = await find();
  let left = first;
  for (let waitedMs = 0; left.length > 0; waitedMs += lookMs) {
    if (waitedMs >= patienceMs) {
      const pids = left.map(({ pid }) => pid).join(', ');
      throw new PlexiError(
        'COMMAND_LEFT_RUNNING',
        `a hook or migration that an agent has left running does not end (pid ${pids}); end it, then start the agent, or say the word, again`,
      );
    }
    signalGroups(left, 'SIGKILL');
    await sleep(lookMs);
    left = await find();
  }
  return first.length;
}
