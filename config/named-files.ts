/**
 * Looks at the files that a configuration names: certificates with their keys, secrets, the release
 * repository. Invariant: nothing of a secret or of a key ever stands in a problem; a secret's file is
 * not even opened. Each problem is placed at the key that names the file.
 */
import { accessSync, constants, type Stats, statSync } from 'node:fs';
import { PlexiError } from './errors.js';
import { type Identity, identityOfAltNames } from './identity.js';
import { limits } from './limits.js';
import { type ConfigProblem, type PlacedDocument, placed, valueAt } from './problems.js';
import { filePath, isName } from './schema/fields.js';
import { certificatesIn, ownFilesProblem, privateKeyIn, readPem, readTlsFiles } from './tls-files.js';

/** A file's content as it was written, and the folder that its relative paths are taken from. */
export interface NamingDocument {
  readonly document: PlacedDocument;
  readonly folder: string;
}

/** The path that a key names, made absolute; undefined when the key holds none. */
export function namedPath(
  { document, folder }: NamingDocument,
  key: readonly PropertyKey[],
): string | undefined {
  return filePath(folder).safeParse(valueAt(document.value, key)).data;
}

/** A name that stands in the file, when it is one. */
export function namedName({ document }: NamingDocument, key: string): string | undefined {
  const value = valueAt(document.value, [key]);
  return typeof value === 'string' && isName(value) ? value : undefined;
}

/**
 * What is wrong with the three files of a TLS group: each by itself, then whether they belong
 * together, then whether they are those of `expected`.
 */
export function tlsProblems(
  named: NamingDocument,
  group: readonly string[],
  expected?: Identity,
): ConfigProblem[] {
  const ca = namedPath(named, [...group, 'ca']);
  const cert = namedPath(named, [...group, 'cert']);
  const key = namedPath(named, [...group, 'key']);
  const problems = [
    ...pemProblems(named, [...group, 'ca'], ca, (file, pem) => certificatesIn(file, pem)),
    ...pemProblems(named, [...group, 'cert'], cert, (file, pem) => certificatesIn(file, pem)),
    ...pemProblems(named, [...group, 'key'], key, (file, pem) => privateKeyIn(file, pem)),
  ];
  if (problems.length > 0 || ca === undefined || cert === undefined || key === undefined) return problems;
  const files = { ca, cert, key };
  const own = ownFilesProblem(files);
  if (own !== undefined) problems.push(placed(named.document, [...group, 'cert'], own.message));
  const found = identityOfAltNames(readTlsFiles(files).certificate.subjectAltName);
  const other = expected === undefined ? undefined : otherIdentity(cert, found, expected);
  if (other !== undefined) problems.push(placed(named.document, [...group, 'cert'], other));
  return problems;
}

/** What is wrong with a file of certificates that stands alone. */
export function authorityProblems(named: NamingDocument, key: readonly PropertyKey[]): ConfigProblem[] {
  return pemProblems(named, key, namedPath(named, key), (file, pem) => certificatesIn(file, pem));
}

function pemProblems(
  named: NamingDocument,
  key: readonly PropertyKey[],
  file: string | undefined,
  parse: (file: string, pem: Buffer) => unknown,
): ConfigProblem[] {
  if (file === undefined) return [];
  try {
    parse(file, readPem(file));
    return [];
  } catch (error) {
    if (error instanceof PlexiError) return [placed(named.document, key, error.message)];
    throw error;
  }
}

function otherIdentity(cert: string, found: Identity | undefined, expected: Identity): string | undefined {
  const wanted = `${expected.role} ${expected.name} of cluster ${expected.cluster}`;
  const advice = "issue one with 'plexictl certs issue'";
  if (found === undefined)
    return `${cert} names no plexi identity (plexi://cluster/role/name), but must name ${wanted}; ${advice}`;
  const isSame =
    found.cluster === expected.cluster && found.role === expected.role && found.name === expected.name;
  return isSame
    ? undefined
    : `${cert} names ${found.role} ${found.name} of cluster ${found.cluster}, not ${wanted}; ${advice}`;
}

/** What is wrong with the release repository, when it is a folder of this machine. */
export function repositoryProblems(named: NamingDocument): ConfigProblem[] {
  const value = valueAt(named.document.value, ['repository']);
  const folder = namedPath(named, ['repository']);
  if (folder === undefined || typeof value !== 'string' || value.includes('://')) return [];
  const stats = statsOf(folder);
  const message =
    typeof stats === 'string'
      ? `${folder} ${stats}; make it with 'plexictl release build --repository ${folder} …', or mount it`
      : !stats.isDirectory()
        ? `${folder} is no folder; name the folder of the release repository`
        : accessSentence(folder, constants.R_OK | constants.X_OK);
  return message === undefined ? [] : [placed(named.document, ['repository'], message)];
}

/** What is wrong with the files of the secrets: they must be for root, or for this user, alone. */
export function secretProblems(named: NamingDocument): ConfigProblem[] {
  const secrets = valueAt(named.document.value, ['secrets']);
  if (typeof secrets !== 'object' || secrets === null) return [];
  return Object.keys(secrets).flatMap((name) => {
    const key = ['secrets', name, 'file'];
    const file = namedPath(named, key);
    const message = file === undefined ? undefined : secretSentence(file);
    return message === undefined ? [] : [placed(named.document, key, message)];
  });
}

function secretSentence(file: string): string | undefined {
  const stats = statsOf(file);
  if (typeof stats === 'string') return `${file} ${stats}; write the secret there with mode 0600`;
  if (!stats.isFile()) return `${file} is not a regular file; write the secret into one`;
  if (stats.uid !== 0 && stats.uid !== process.getuid?.())
    return `${file} belongs to user ${stats.uid}, not to root or to this user; run 'chown root ${file}'`;
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
    return `${file} has mode ${mode}, so others may use it; run 'chmod 600 ${file}'`;
  }
  if (stats.size === 0) return `${file} is empty; write the secret into it`;
  if (stats.size > limits.secretBytes) return `${file} is bigger than ${limits.secretBytes} bytes`;
  return accessSentence(file, constants.R_OK);
}

function accessSentence(path: string, mode: number): string | undefined {
  try {
    accessSync(path, mode);
    return undefined;
  } catch {
    return `${path} cannot be read: this user has no permission`;
  }
}

/** What stands at the path, or why nobody can tell. */
function statsOf(path: string): Stats | string {
  try {
    return statSync(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist';
    if (code === 'EACCES') return 'cannot be reached: this user has no permission';
    return `cannot be looked at (${String(code)})`;
  }
}
