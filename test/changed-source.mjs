/**
 * Whether the sources are still those of the build: the tests run what was compiled, and a few of them read a source
 * beside it, so a run in a tree that is edited meanwhile would try a mix of two.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from '../deploy/setup/checkout.mjs';
import { rooms } from './rooms.mjs';

/**
 * Every source with the time at which it was written, as they are now. Times are only compared with one another: the
 * clock by which a file was written may be of another machine.
 * @param folder the checkout, or a tree like it
 */
export function sourcesNow(folder = checkout) {
  const files = rooms.flatMap((room) => sourcesIn(folder, room));
  return new Map(files.map((file) => [file, writtenMs(join(folder, file))]));
}

/** A source that was written, made or removed since; undefined when there is none. */
export function sourceChangedSince(before, folder = checkout) {
  const now = sourcesNow(folder);
  return [...new Set([...before.keys(), ...now.keys()])].find((file) => before.get(file) !== now.get(file));
}

function sourcesIn(folder, room) {
  if (!existsSync(join(folder, room))) return [];
  return readdirSync(join(folder, room), { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(room, name));
}

/** Undefined for one that is gone since it was listed. */
function writtenMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}
