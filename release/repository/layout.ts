/**
 * Where things stand in a release repository, and its index. The index is written last and lists only
 * what is complete. Invariant: a version becomes a path or a URL only through `versionSegment`, so no
 * version can name anything but its own folder.
 *
 *   index.json                                   {schema, versions: [{version, manifestSha256, createdAt}]}
 *   <version>/manifest.json
 *   <version>/<name>-<version>-<os>-<arch>.tar.gz
 */
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { problemsOf } from '../manifest-schema.js';
import { quoted } from '../quoted.js';

/** The repository's table of contents. */
export const indexName = 'index.json';

/** The manifest, in a version's folder. */
export const manifestName = 'manifest.json';

const segment = /^[0-9A-Za-z][0-9A-Za-z.+-]*$/;

const indexSchema = z.object({
  schema: z.literal(1),
  versions: z
    .array(
      z.object({
        version: z.string().max(limits.versionChars).regex(segment),
        manifestSha256: z.string().regex(/^[0-9a-f]{64}$/),
        createdAt: z.iso.datetime(),
      }),
    )
    .max(limits.repositoryVersions),
});

const laterSchema = z.object({ schema: z.int().gt(1) });

/** One published version. */
export interface IndexEntry {
  version: string;
  manifestSha256: string;
  createdAt: string;
}

/** A version as the name of its folder; RELEASE_NOT_FOUND for a text that can be none. */
export function versionSegment(version: string): string {
  if (version.length <= limits.versionChars && segment.test(version) && !version.includes('..'))
    return version;
  throw new PlexiError('RELEASE_NOT_FOUND', `${quoted(version)} cannot be the version of a release.`);
}

/** Reads an index; `place` is named in errors. RELEASE_INVALID. */
export function parseIndex(bytes: Uint8Array, place: string): IndexEntry[] {
  const document = json(bytes, place);
  refuseLaterIndex(document, place);
  const result = indexSchema.safeParse(document);
  if (result.success) return result.data.versions;
  throw indexInvalid(place, problemsOf(result.error).join('; '));
}

/** Refuses the document of a later program, of which this one knows too little to write it anew. RELEASE_INVALID. */
export function refuseLaterIndex(document: unknown, place: string): void {
  const later = laterSchema.safeParse(document);
  if (!later.success) return;
  throw new PlexiError(
    'RELEASE_INVALID',
    `${place} is of schema ${later.data.schema}, which this program does not know; use the newer one that the repository was built with.`,
  );
}

/** The bytes of an index. */
export function printIndex(versions: readonly IndexEntry[]): Buffer {
  return Buffer.from(`${JSON.stringify({ schema: 1, versions }, undefined, 1)}\n`);
}

function json(bytes: Uint8Array, place: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (thrown) {
    throw indexInvalid(place, 'it is not JSON in UTF-8', thrown);
  }
}

function indexInvalid(place: string, why: string, cause?: unknown): PlexiError {
  return new PlexiError(
    'RELEASE_INVALID',
    `${place} is not the index of a release repository: ${why}; publish one release again to write it anew.`,
    { cause },
  );
}
