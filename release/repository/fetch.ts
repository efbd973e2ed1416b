/**
 * Opens a release repository: a folder, or an http(s) URL. Both are read through one interface, with
 * bounded sizes and times, without credentials, and without trust in what they answer.
 */
import { isAbsolute, resolve } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { folderRepository } from './folder-repository.js';
import { httpRepository } from './http-repository.js';
import type { ReleaseRepository } from './release-repository.js';

export type { FetchedManifest, ReleaseRepository } from './release-repository.js';

/** A repository at a folder's path or an http(s) URL; nothing is read yet. CONFIG_INVALID. */
export function openRepository(location: string): ReleaseRepository {
  if (location.trim() === '') {
    throw new PlexiError(
      'CONFIG_INVALID',
      'The release repository is empty; name a folder or an http(s) URL.',
    );
  }
  const [, scheme] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(location) ?? [];
  if (scheme === undefined) return folderRepository(isAbsolute(location) ? location : resolve(location));
  if (/^https?$/i.test(scheme)) return httpRepository(location);
  throw new PlexiError(
    'CONFIG_INVALID',
    `The release repository ${location} cannot be read: "${scheme}" is neither http, https nor a folder.`,
  );
}
