/**
 * Writes keys and certificates, and says what a certificate is. Invariant: a file appears complete or
 * not at all, with its mode from the first byte on; nothing that exists is replaced unless told, and
 * then all files that stand in the way are named before any is written.
 */
import type { X509Certificate } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { asPlexiError, PlexiError } from './errors.js';
import { hostsOfAltNames, type Identity, identityOfAltNames } from './identity.js';
import { certificatesIn, readPem } from './tls-files.js';

/** One file to be written. */
export interface NewFile {
  readonly path: string;
  readonly content: string;
  readonly mode: number;
  /** A file that holds just this already is left alone and stands in nobody's way. */
  readonly sameIsFine?: boolean;
}

/** What a certificate says. */
export interface CertificateDescription {
  readonly file: string;
  readonly subject: string;
  readonly issuer: string;
  /** Undefined for a certificate that names no plexi identity. */
  readonly identity: Identity | undefined;
  readonly isAuthority: boolean;
  /** DNS names and IP addresses under which it serves. */
  readonly hosts: readonly string[];
  readonly validFrom: Date;
  readonly validUntil: Date;
  /** Whole days that are left; negative when it has expired. */
  readonly daysLeft: number;
  /** SHA-256 of the certificate, in hex with colons. */
  readonly fingerprint: string;
}

/** Writes the files, keys first. Errors: CONFLICT when one exists and `overwrite` is false, CONFIG_INVALID when one cannot be written. */
export function writeNewFiles(files: readonly NewFile[], overwrite: boolean): void {
  const wanted = files.filter((file) => file.sameIsFine !== true || !holdsAlready(file));
  const inTheWay = overwrite ? [] : wanted.filter((file) => existsSync(file.path));
  if (inTheWay.length > 0) {
    const names = inTheWay.map((file) => file.path).join(', ');
    throw new PlexiError(
      'CONFLICT',
      `${names} exists already and is not replaced; choose another place or remove it first`,
    );
  }
  for (const file of wanted) {
    try {
      writeWhole(file);
    } catch (error) {
      throw asPlexiError(error, 'CONFIG_INVALID', `${file.path} cannot be written`);
    }
  }
}

/** Reads what a certificate says (the first one in the file). Errors: CONFIG_INVALID. */
export function describeCertificate(file: string, now: Date = new Date()): CertificateDescription {
  const [certificate] = certificatesIn(file, readPem(file));
  if (certificate === undefined) throw new PlexiError('CONFIG_INVALID', `${file}: holds no certificate`);
  return describe(file, certificate, now);
}

function describe(file: string, certificate: X509Certificate, now: Date): CertificateDescription {
  const validUntil = new Date(certificate.validTo);
  return {
    file,
    subject: certificate.subject.split('\n').join(', '),
    issuer: certificate.issuer.split('\n').join(', '),
    identity: identityOfAltNames(certificate.subjectAltName),
    isAuthority: certificate.ca,
    hosts: hostsOfAltNames(certificate.subjectAltName),
    validFrom: new Date(certificate.validFrom),
    validUntil,
    daysLeft: Math.floor((validUntil.getTime() - now.getTime()) / 86_400_000),
    fingerprint: certificate.fingerprint256,
  };
}

function holdsAlready(file: NewFile): boolean {
  return existsSync(file.path) && readFileSync(file.path, 'utf8') === file.content;
}

/** Writes beside the place, makes it durable, then takes the place in one step. */
function writeWhole(file: NewFile): void {
  const folder = dirname(file.path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = `${file.path}.${process.pid}.new`;
  rmSync(temporary, { force: true });
  const descriptor = openSync(temporary, 'wx', file.mode);
  try {
    writeSync(descriptor, file.content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, file.path);
  const folderDescriptor = openSync(folder, 'r');
  fsyncSync(folderDescriptor);
  closeSync(folderDescriptor);
}
