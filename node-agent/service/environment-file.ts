/**
 * A file of variables that systemd reads (`EnvironmentFile=`): the way on which a unit gets what a
 * process of the agent's own would have in its environment. Invariant: systemd reads each value as it
 * is, whatever characters are in it.
 */
import { writeDurably } from '../disk/durable-file.js';

/** What systemd sets by itself from the unit's user; the agent's own would be wrong there. */
const ofTheUser = ['HOME'];

/** Writes the file, for the eyes of the agent's user (and systemd) only. */
export async function writeEnvironmentFile(
  path: string,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const lines = Object.entries(env)
    .filter(([name]) => !ofTheUser.includes(name))
    .map(([name, value]) => `${name}="${escaped(value)}"\n`);
  await writeDurably(path, Buffer.from(lines.join('')), { mode: 0o600 });
}

/** Between double quotes systemd takes everything as it is, but for these four. */
function escaped(value: string): string {
  return value.replace(/[\\"`$]/g, '\\$&');
}
