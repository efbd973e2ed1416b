/**
 * Writes a repository's index from what is published in its folders. No lock is needed, also when
 * several builds end together: each writes the index from a listing, unless that is what stands there,
 * and lists again afterwards, until the two agree. Whoever writes last therefore wrote what was there
 * after its own write, and every version whose manifest stood before that write is in it.
 */
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { writeDurably } from '../durable-files.js';
import { readIfThere } from '../small-file.js';
import { type IndexEntry, indexName, manifestName, printIndex, refuseLaterIndex } from './layout.js';
import { manifestSha256, verifyManifest } from './verify.js';

/** Listings in a row that may differ before the repository counts as out of order. */
const roundsMax = 20;

/**
 * Brings `index.json` up to date, and writes nothing when it is; RELEASE_INVALID when a manifest in the
 * repository is none.
 */
export async function writeIndex(repository: string): Promise<void> {
  const file = join(repository, indexName);
  let wanted = printIndex(await published(repository));
  if ((await readIfThere(file, limits.repositoryIndexBytes))?.equals(wanted) === true) return;
  for (let round = 0; round < roundsMax; round += 1) {
    await writeDurably(file, wanted);
    const now = printIndex(await published(repository));
    if (now.equals(wanted)) return;
    wanted = now;
  }
  throw new PlexiError(
    'CONFLICT',
    `${repository} changes all the time; run the build again when it is quiet.`,
  );
}

/** Refuses a repository whose index only a later program may write; RELEASE_INVALID. A damaged one is written anew. */
export async function refuseLaterRepository(repository: string): Promise<void> {
  const file = join(repository, indexName);
  const bytes = await readIfThere(file, limits.repositoryIndexBytes);
  if (bytes !== undefined) refuseLaterIndex(documentIn(bytes), file);
}

function documentIn(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    // What is no JSON is of no program.
    return undefined;
  }
}

async function published(repository: string): Promise<IndexEntry[]> {
  const entries: IndexEntry[] = [];
  for await (const folder of await opendir(repository)) {
    if (!folder.isDirectory() || folder.name.startsWith('.')) continue;
    const bytes = await readIfThere(join(repository, folder.name, manifestName), limits.manifestBytes);
    if (bytes === undefined) continue;
    entries.push(entryOf(repository, folder.name, bytes));
    if (entries.length > limits.repositoryVersions) {
      throw new PlexiError(
        'LIMIT_EXCEEDED',
        `${repository} has more than ${limits.repositoryVersions} versions.`,
      );
    }
  }
  return entries.sort((a, b) => (a.version < b.version ? -1 : 1));
}

function entryOf(repository: string, folder: string, bytes: Buffer): IndexEntry {
  const { version, createdAt } = verifyManifest(bytes, undefined);
  if (version === folder) return { version, manifestSha256: manifestSha256(bytes), createdAt };
  throw new PlexiError(
    'RELEASE_INVALID',
    `${join(repository, folder, manifestName)} is the manifest of ${version}; move the folder out of the repository.`,
  );
}
