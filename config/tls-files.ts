/**
 * Reads the three files of a program's TLS identity, in one place, so that they can later be read
 * again without a restart. Invariant: a program with a certificate that cannot work (expired, not of
 * its key, not of its authority) says so before it opens a connection, because afterwards gRPC only
 * says "unavailable".
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { PlexiError } from './errors.js';
import { type Identity, identityOfAltNames } from './identity.js';
import { limits } from './limits.js';

/** Paths of a program's TLS files, all PEM. */
export interface TlsFiles {
  /** The authority's certificates that are trusted. */
  readonly ca: string;
  /** The program's own certificate. */
  readonly cert: string;
  /** The key of that certificate. */
  readonly key: string;
}

/** The bytes of the three files. */
export interface TlsMaterial {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** The files, read and parsed. */
export interface ParsedTls {
  readonly material: TlsMaterial;
  readonly authorities: readonly X509Certificate[];
  readonly certificate: X509Certificate;
  /** What follows the certificate in its file: the authorities between it and the trusted ones. */
  readonly intermediates: readonly X509Certificate[];
  readonly privateKey: KeyObject;
}

/** Reads the three files. Errors: CONFIG_INVALID when one is missing, unreadable or no PEM. */
export function readTlsFiles(files: TlsFiles): ParsedTls {
  const material = { ca: readPem(files.ca), cert: readPem(files.cert), key: readPem(files.key) };
  const [certificate, ...intermediates] = certificatesIn(files.cert, material.cert);
  if (certificate === undefined) throw notPem(files.cert, 'certificate');
  return {
    material,
    authorities: certificatesIn(files.ca, material.ca),
    certificate,
    intermediates,
    privateKey: privateKeyIn(files.key, material.key),
  };
}

/**
 * What is wrong with the program's own files, as far as they alone can tell.
 * Returns CERTIFICATE_REFUSED or CONFIG_INVALID, or undefined when nothing is.
 */
export function ownFilesProblem(files: TlsFiles, now: Date = new Date()): PlexiError | undefined {
  try {
    checkOwn(files, readTlsFiles(files), now);
    return undefined;
  } catch (error) {
    if (error instanceof PlexiError) return error;
    throw error;
  }
}

/**
 * Who this program is, after its files were checked.
 * Errors: CONFIG_INVALID when a file is missing or no PEM; CERTIFICATE_REFUSED when the certificate
 * cannot work or names no identity.
 */
export function readOwnIdentity(files: TlsFiles): Identity {
  const parsed = readTlsFiles(files);
  checkOwn(files, parsed, new Date());
  const identity = identityOfAltNames(parsed.certificate.subjectAltName);
  if (identity === undefined) {
    throw refused(
      `${files.cert} names no plexi identity (plexi://cluster/role/name); issue one with 'plexictl certs issue'`,
    );
  }
  return identity;
}

/** Reads a PEM file within bounds. Errors: CONFIG_INVALID. */
export function readPem(file: string): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new PlexiError('CONFIG_INVALID', `${file}: ${openSentence(error)}`, { cause: error });
  }
  try {
    const { size } = fstatSync(descriptor);
    if (!fstatSync(descriptor).isFile() || size === 0 || size > limits.certificateFileBytes) {
      throw new PlexiError(
        'CONFIG_INVALID',
        `${file}: is no PEM file of 1 to ${limits.certificateFileBytes} bytes`,
      );
    }
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, size, 0));
  } finally {
    closeSync(descriptor);
  }
}

/** All certificates in PEM text, in order; at least one. Errors: CONFIG_INVALID. */
export function certificatesIn(file: string, pem: Buffer): X509Certificate[] {
  const blocks =
    pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw notPem(file, 'certificate');
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw notPem(file, 'certificate', error);
  }
}

/** The private key in PEM text. Errors: CONFIG_INVALID. */
export function privateKeyIn(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw notPem(file, 'private key without a passphrase', error);
  }
}

/** The authority that the certificate goes back to, over the intermediates; undefined when to none. */
function authorityOf(parsed: ParsedTls): X509Certificate | undefined {
  let at = parsed.certificate;
  for (let step = 0; step <= parsed.intermediates.length; step += 1) {
    const authority = parsed.authorities.find((candidate) => hasSigned(candidate, at));
    if (authority !== undefined) return authority;
    const next = parsed.intermediates.find((candidate) => hasSigned(candidate, at));
    if (next === undefined) return undefined;
    at = next;
  }
  return undefined;
}

function hasSigned(authority: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

/** Why a certificate is not valid at this time; undefined when it is. */
export function validityProblem(certificate: X509Certificate, now: Date): string | undefined {
  const from = new Date(certificate.validFrom);
  const until = new Date(certificate.validTo);
  if (now > until) return `expired on ${until.toISOString()}`;
  if (now < from)
    return `is not valid before ${from.toISOString()}; this host's clock says ${now.toISOString()}`;
  return undefined;
}

function checkOwn(files: TlsFiles, parsed: ParsedTls, now: Date): void {
  const { certificate, privateKey } = parsed;
  if (!certificate.checkPrivateKey(privateKey)) {
    throw refused(
      `${files.key} is not the key of ${files.cert}; name the two files that were issued together`,
    );
  }
  const validity = validityProblem(certificate, now);
  if (validity !== undefined)
    throw refused(`${files.cert} ${validity}; issue a new one with 'plexictl certs issue'`);
  const authority = authorityOf(parsed);
  if (authority === undefined) {
    throw refused(
      `${files.cert} was not signed by the authority in ${files.ca}; name the files of one and the same cluster`,
    );
  }
  const authorityValidity = validityProblem(authority, now);
  if (authorityValidity !== undefined) {
    throw refused(
      `the authority in ${files.ca} ${authorityValidity}; make a new one with 'plexictl certs init'`,
    );
  }
}

function refused(message: string): PlexiError {
  return new PlexiError('CERTIFICATE_REFUSED', message);
}

function notPem(file: string, what: string, cause?: unknown): PlexiError {
  return new PlexiError(
    'CONFIG_INVALID',
    `${file}: holds no PEM ${what}; name the file that 'plexictl certs issue' wrote`,
    { cause },
  );
}

function openSentence(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT')
    return "does not exist; issue a certificate with 'plexictl certs issue', or correct the path under tls:";
  if (code === 'EACCES' || code === 'EPERM') return 'cannot be read: this user has no permission';
  return `cannot be read (${String(code)})`;
}
