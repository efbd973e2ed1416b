/**
 * A release repository behind http or https. Invariant: every answer is bounded in size and in the
 * time without a byte. A failure that may pass is DOWNLOAD_FAILED; an answer that is wrong, and would
 * be wrong again, is not.
 */
import { Readable } from 'node:stream';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ReleaseArtifact } from '../manifest-shape.js';
import { bodyOf, failure, IdleLimit, request } from './http-request.js';
import { indexName, manifestName, parseIndex, versionSegment } from './layout.js';
import type { ReleaseRepository } from './release-repository.js';
import { retrying } from './retry.js';
import { manifestSha256, verifyManifest } from './verify.js';

/** A repository at a base URL; nothing is asked yet. CONFIG_INVALID for a URL that cannot be one. */
export function httpRepository(location: string): ReleaseRepository {
  const base = baseUrl(location);
  const small = (path: string, bytesMax: number, signal: AbortSignal | undefined): Promise<Buffer> =>
    retrying(() => getSmall(new URL(path, base), bytesMax, signal), signal);
  return {
    location,
    list: async (signal) => parseIndex(await small(indexName, limits.repositoryIndexBytes, signal), location),
    manifest: async (version, signal) => {
      const bytes = await small(`${urlSegment(version)}/${manifestName}`, limits.manifestBytes, signal);
      return { bytes, sha256: manifestSha256(bytes), manifest: verifyManifest(bytes, undefined) };
    },
    artifact: (version, artifact, signal, fromByte = 0) => {
      const url = new URL(`${urlSegment(version)}/${encodeURIComponent(artifact.file)}`, base);
      return getArtifact(url, artifact, signal, fromByte);
    },
  };
}

function baseUrl(location: string): URL {
  const url = URL.canParse(location) ? new URL(location) : undefined;
  if (
    url === undefined ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new PlexiError(
      'CONFIG_INVALID',
      'The URL of the release repository must be http(s)://HOST[:PORT]/PATH, without user, password, "?" or "#".',
    );
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

/** A `+` is encoded too, since some servers read a bare one as a space. */
function urlSegment(version: string): string {
  return encodeURIComponent(versionSegment(version));
}

async function getSmall(url: URL, bytesMax: number, signal: AbortSignal | undefined): Promise<Buffer> {
  const timeout = AbortSignal.timeout(limits.repositoryCallMs);
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  try {
    const response = await request(url, either);
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of bodyOf(response)) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > bytesMax)
        throw new PlexiError('LIMIT_EXCEEDED', `${url} has more than ${bytesMax} bytes.`);
      parts.push(chunk);
    }
    return Buffer.concat(parts);
  } catch (thrown) {
    throw failure(url, thrown, signal);
  }
}

async function getArtifact(
  url: URL,
  artifact: ReleaseArtifact,
  signal: AbortSignal,
  fromByte: number,
): Promise<Readable> {
  const idle = new IdleLimit(signal);
  let response: Response | undefined;
  try {
    response = await request(url, idle.signal, fromByte > 0 ? { range: `bytes=${fromByte}-` } : {});
    const startByte = startOf(response, url, fromByte);
    assertLength(response, url, artifact.sizeBytes - startByte);
    return Readable.from(bodyFrom(response, url, fromByte - startByte, idle), { objectMode: false });
  } catch (thrown) {
    idle.end();
    // A body that nobody reads keeps its connection until it is collected.
    await response?.body?.cancel();
    throw failure(url, thrown, signal);
  }
}

/** The body without its first `skipBytes`; a server that knows no ranges sends everything again. */
async function* bodyFrom(
  response: Response,
  url: URL,
  skipBytes: number,
  idle: IdleLimit,
): AsyncGenerator<Uint8Array> {
  let skip = skipBytes;
  try {
    for await (const chunk of bodyOf(response)) {
      idle.touch();
      if (chunk.byteLength > skip) yield chunk.subarray(skip);
      skip = Math.max(0, skip - chunk.byteLength);
    }
  } catch (thrown) {
    throw failure(url, thrown, idle.caller);
  } finally {
    idle.end();
  }
}

/** The first byte that the answer holds. */
function startOf(response: Response, url: URL, fromByte: number): number {
  if (response.status !== 206) return 0;
  const [, start] = /^bytes ([0-9]{1,15})-/.exec(response.headers.get('content-range') ?? '') ?? [];
  if (fromByte > 0 && Number(start) === fromByte) return fromByte;
  throw new PlexiError('DOWNLOAD_FAILED', `${url} answered with another part than it was asked for.`);
}

function assertLength(response: Response, url: URL, expectedBytes: number): void {
  const encoding = response.headers.get('content-encoding');
  if (encoding !== null && encoding !== 'identity') {
    throw new PlexiError(
      'RELEASE_DIGEST_MISMATCH',
      `The server marks ${url} with "Content-Encoding: ${encoding}", so it does not arrive as it was published; ` +
        'turn that off for .tar.gz files.',
    );
  }
  const length = response.headers.get('content-length');
  if (length === null || Number(length) === expectedBytes) return;
  throw new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `${url} has ${length} bytes instead of ${expectedBytes}; publish the release again.`,
  );
}
