/**
 * How to start again what was started by hand: the command line of the running process, in words that
 * hold in any folder the release lies in. Invariant: what names a file of the folder it was taken over
 * from names that file of the release, never of the old folder, which may be gone one day.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join, relative, resolve } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { isInside, realPathOf } from './running-process.js';

/** A folder by the name that somebody gave it, and by its real one. */
export interface NamedFolder {
  readonly given: string;
  readonly real: string;
}

/**
 * The words by which a release starts what a process runs.
 * @throws PlexiError TAKE_OVER_FAILED when the first word is no program that could be started
 */
export async function startWords(
  { argv, cwd }: { readonly argv: readonly string[]; readonly cwd: string },
  folder: NamedFolder,
): Promise<string[]> {
  const words = await Promise.all(argv.map((word) => wordInRelease(word, cwd, folder)));
  const [program = '', ...rest] = words;
  // A name without a slash would be looked for on PATH.
  const isOfRelease = program !== argv[0] && !program.includes('/');
  const start = [isOfRelease ? `./${program}` : program, ...rest];
  await refuseUnlessProgram(start[0] ?? '', folder);
  return start;
}

async function wordInRelease(word: string, cwd: string, folder: NamedFolder): Promise<string> {
  if (isAbsolute(word)) {
    for (const outer of [folder.given, folder.real]) {
      if (isInside(outer, word)) return relative(outer, word) || '.';
    }
    return word;
  }
  // Words that are relative to the folder itself are right as they are.
  if (word === '' || word.startsWith('-') || cwd === folder.real) return word;
  const file = await realPathOf(resolve(cwd, word));
  return file !== undefined && isInside(folder.real, file) ? relative(folder.real, file) || '.' : word;
}

/** A process may write over its command line; then its first word is no program. */
async function refuseUnlessProgram(program: string, folder: NamedFolder): Promise<void> {
  const candidates = program.includes('/')
    ? [resolve(folder.real, program)]
    : (process.env.PATH ?? '').split(delimiter).map((place) => join(place, program));
  const found = await Promise.allSettled(candidates.map((candidate) => access(candidate, constants.X_OK)));
  if (program !== '' && found.some(({ status }) => status === 'fulfilled')) return;
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    // No more than its first word: what a process writes there may hold its other words, and secrets.
    `the running process calls itself ${JSON.stringify(/^\S{0,80}/.exec(program)?.[0])}, which cannot be started again; say how in ${folder.given}/release.yml (name, service.start), and try again`,
  );
}
