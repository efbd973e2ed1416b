/**
 * Which paths a release may hold: relative, `/`-separated, made of plain segments, and no two of
 * them the same file on a file system that ignores case or normalizes Unicode. The same rule is
 * applied when a release is built, when its manifest is read and when its archive is unpacked, so
 * that no path ever reaches the disk on the word of a single check (OWASP path traversal, zip slip).
 */
import { limits } from '../config/limits.js';

/** Bytes of one segment of a path; the bound of the common Linux file systems. */
const segmentBytesMax = 255;

/** Written last into a complete release folder, so no release may hold it. */
export const completeMark = '.complete';

/** Why a release may not hold this path, as the end of "the path ...", or undefined when it may. */
export function whyNotPlain(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.length > limits.releasePathChars) return `has more than ${limits.releasePathChars} characters`;
  if (path.includes('\0')) return 'holds a NUL';
  if (path.includes('\\')) return 'holds a backslash';
  if (/\p{Cc}/u.test(path)) return 'holds a control character';
  if (Buffer.from(path).toString() !== path) return 'is not well-formed Unicode';
  if (path.startsWith('/')) return 'is absolute';
  if (/^[A-Za-z]:/.test(path)) return 'begins with a drive letter';
  for (const segment of path.split('/')) {
    if (segment === '') return 'has an empty segment';
    if (segment === '.' || segment === '..') return `has the segment "${segment}"`;
    if (Buffer.byteLength(segment) > segmentBytesMax)
      return `has a segment of more than ${segmentBytesMax} bytes`;
  }
  if (path.toLowerCase() === completeMark) return `is "${completeMark}", which marks a complete release`;
  return undefined;
}

/** The folders above a path, from the outermost to the innermost: `a/b/c` has `a` and `a/b`. */
export function foldersAbove(path: string): string[] {
  const segments = path.split('/');
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/'));
}

/** All folders that a list of files implies, each after the folder that holds it. */
export function impliedFolders(paths: Iterable<string>): Set<string> {
  const folders = new Set<string>();
  for (const path of paths) {
    for (const folder of foldersAbove(path)) folders.add(folder);
  }
  return folders;
}

/**
 * Pairs of paths that cannot stand side by side: the same path twice, two paths that differ in case
 * or Unicode form only (folders included), or a file where another path needs a folder.
 */
export function collisions(paths: readonly string[]): string[] {
  const found: string[] = [];
  const files = new Set<string>();
  const folders = impliedFolders(paths);
  const byFolded = new Map<string, string>([...folders].map((folder) => [foldedPath(folder), folder]));
  for (const folder of folders) {
    const other = byFolded.get(foldedPath(folder));
    if (other !== undefined && other !== folder) found.push(`"${folder}" and "${other}" differ in case only`);
  }
  for (const path of paths) {
    const other = byFolded.get(foldedPath(path));
    if (files.has(path)) found.push(`"${path}" stands there twice`);
    else if (folders.has(path)) found.push(`"${path}" is a file and a folder`);
    else if (other !== undefined) found.push(`"${path}" and "${other}" differ in case only`);
    files.add(path);
    byFolded.set(foldedPath(path), path);
  }
  return found;
}

/** The form in which two paths are equal that a case-blind, normalizing file system takes for one. */
export function foldedPath(path: string): string {
  return path.normalize('NFKC').toUpperCase().toLowerCase().normalize('NFKC');
}
