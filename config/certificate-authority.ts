/**
 * The cluster's own certificate authority: a folder with ca.pem and ca.key. It signs the certificates
 * of programs and people (design.md, decision 16), and plain ones for etcd. Invariant: no certificate
 * is valid for longer than 90 days, none claims a cluster that is not the authority's, and no key is
 * ever readable for others, not even for a moment. Keys are P-256.
 */
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type * as X509 from '@peculiar/x509';
import { type NewFile, writeNewFiles } from './certificate-files.js';
import { PlexiError } from './errors.js';
import { type Identity, identityUri, serverName } from './identity.js';
import { limits } from './limits.js';
import { isName } from './schema/fields.js';
import { certificatesIn, privateKeyIn, readPem } from './tls-files.js';

export { type CertificateDescription, describeCertificate } from './certificate-files.js';

/** Loaded when a certificate is made, and not by every command: it is more code than the rest of plexictl. */
async function loadX509(): Promise<typeof X509> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  return x509;
}

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' };
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
const dayMs = 86_400_000;
/** Certificates begin a little in the past, because clocks differ. */
const clockSkewMs = 5 * 60_000;

/** The two files of an authority. */
export interface AuthorityFiles {
  readonly ca: string;
  readonly key: string;
}

/** What one certificate shall say. */
export interface CertificateRequest {
  /** Who it stands for; left out for a plain certificate (etcd), which needs `commonName`. */
  readonly identity?: Identity;
  readonly commonName?: string;
  /** DNS names and IP addresses under which it serves. */
  readonly hosts: readonly string[];
  /** Days from now; at most, and by default, 90. */
  readonly days?: number;
  /** Instead of `days`, for tests and for renewals that overlap. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Where it goes. With `ca` the authority's certificate is written there too. */
  readonly out: { readonly cert: string; readonly key: string; readonly ca?: string };
  /** Replace files that exist. */
  readonly overwrite?: boolean;
}

/** The paths of the authority in a folder. */
export function authorityFiles(folder: string): AuthorityFiles {
  return { ca: join(folder, 'ca.pem'), key: join(folder, 'ca.key') };
}

/**
 * Makes a new authority in the folder (made when missing, 0700): ca.pem and ca.key (0600), valid for
 * ten years. Errors: USAGE for a bad name, CONFLICT when there is one already.
 */
export async function createAuthority(folder: string, options: { cluster: string }): Promise<AuthorityFiles> {
  if (!isName(options.cluster)) {
    throw new PlexiError(
      'USAGE',
      `'${options.cluster}' cannot name a cluster; use a-z, 0-9 and -, at most ${limits.nameChars} characters`,
    );
  }
  const x509 = await loadX509();
  const files = authorityFiles(folder);
  const keys = await generateKeys();
  const notBefore = new Date(Date.now() - clockSkewMs);
  const notAfter = new Date(notBefore);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + limits.authorityYears);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ O: [options.cluster] }, { CN: ['plexi certificate authority'] }],
    notBefore,
    notAfter,
    signingAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  writeNewFiles(
    [keyFile(files.key, keys.privateKey), { path: files.ca, content: pemText(certificate), mode: 0o644 }],
    false,
  );
  return files;
}

/** The cluster that the authority in the folder signs for. Errors: CONFIG_INVALID when there is none. */
export function authorityCluster(folder: string): string {
  const { ca } = authorityFiles(folder);
  const [certificate] = certificatesIn(ca, readPem(ca));
  const cluster = certificate === undefined ? undefined : /^O=(.+)$/m.exec(certificate.subject)?.[1];
  if (cluster === undefined || !isName(cluster)) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${ca} is no authority of plexictl; make one with 'plexictl certs init'`,
    );
  }
  return cluster;
}

/**
 * Issues one certificate with a key of its own: key 0600, certificate 0644.
 * Errors: USAGE for a request that is not allowed, CONFLICT when a file exists and `overwrite` is not
 * set, CONFIG_INVALID when the authority cannot be read.
 */
export async function issueCertificate(folder: string, request: CertificateRequest): Promise<void> {
  const x509 = await loadX509();
  const authority = await readAuthority(folder, x509);
  checkRequest(request, authorityCluster(folder));
  const keys = await generateKeys();
  const { notBefore, notAfter } = validity(request, authority.certificate.notAfter);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    issuer: authority.certificate.subjectName,
    subject: subjectOf(request),
    notBefore,
    notAfter,
    signingAlgorithm,
    publicKey: keys.publicKey,
    signingKey: authority.signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension(altNames(request)),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
    ],
  });
  const { out } = request;
  const files: NewFile[] = [
    keyFile(out.key, keys.privateKey),
    { path: out.cert, content: pemText(certificate), mode: 0o644 },
  ];
  if (out.ca !== undefined)
    files.push({ path: out.ca, content: authority.pem, mode: 0o644, sameIsFine: true });
  writeNewFiles(files, request.overwrite ?? false);
}

interface Authority {
  readonly certificate: X509.X509Certificate;
  readonly signingKey: webcrypto.CryptoKey;
  readonly pem: string;
}

async function readAuthority(folder: string, x509: typeof X509): Promise<Authority> {
  const files = authorityFiles(folder);
  const pem = readPem(files.ca);
  const key = privateKeyIn(files.key, readPem(files.key));
  const [own] = certificatesIn(files.ca, pem);
  if (own === undefined || !own.checkPrivateKey(key)) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${files.key} is not the key of ${files.ca}; restore the two files that belong together`,
    );
  }
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    key.export({ type: 'pkcs8', format: 'der' }),
    keyAlgorithm,
    false,
    ['sign'],
  );
  return { certificate: new x509.X509Certificate(own.raw), signingKey, pem: pem.toString('latin1') };
}

function checkRequest(request: CertificateRequest, cluster: string): void {
  const { identity, days, hosts } = request;
  if (identity === undefined && (request.commonName === undefined || !isCommonName(request.commonName))) {
    throw new PlexiError(
      'USAGE',
      'a certificate without an identity needs a common name of 1 to 64 letters, digits, dots or -',
    );
  }
  if (identity !== undefined && !isName(identity.name)) {
    throw new PlexiError(
      'USAGE',
      `'${identity.name}' is no name; use a-z, 0-9 and -, at most ${limits.nameChars} characters`,
    );
  }
  if (identity !== undefined && identity.cluster !== cluster) {
    throw new PlexiError(
      'USAGE',
      `this authority is that of cluster ${cluster}; it signs nothing for ${identity.cluster}`,
    );
  }
  if (days !== undefined && (!Number.isInteger(days) || days < 1 || days > limits.certificateDays)) {
    throw new PlexiError(
      'USAGE',
      `a certificate is valid for 1 to ${limits.certificateDays} days, not for ${days}`,
    );
  }
  if (hosts.length > limits.certificateHosts) {
    throw new PlexiError(
      'USAGE',
      `${hosts.length} hosts are too many for one certificate; at most ${limits.certificateHosts}`,
    );
  }
  const wrong = hosts.find((host) => isIP(host) === 0 && !isDnsName(host));
  if (wrong !== undefined)
    throw new PlexiError('USAGE', `'${wrong}' is neither a host name nor an IP address (without a port)`);
}

function validity(request: CertificateRequest, authorityEnd: Date): { notBefore: Date; notAfter: Date } {
  const notBefore = request.notBefore ?? new Date(Date.now() - clockSkewMs);
  const wanted =
    request.notAfter ?? new Date(notBefore.getTime() + (request.days ?? limits.certificateDays) * dayMs);
  const notAfter = wanted > authorityEnd ? authorityEnd : wanted;
  if (notAfter <= notBefore) {
    throw new PlexiError(
      'USAGE',
      `the certificate would end (${notAfter.toISOString()}) before it begins; the authority may have expired`,
    );
  }
  if (notAfter.getTime() - notBefore.getTime() > limits.certificateDays * dayMs) {
    throw new PlexiError('USAGE', `a certificate is valid for at most ${limits.certificateDays} days`);
  }
  return { notBefore, notAfter };
}

function subjectOf(request: CertificateRequest): X509.JsonName {
  const { identity } = request;
  if (identity === undefined) return [{ CN: [request.commonName ?? ''] }];
  return [{ O: [identity.cluster] }, { OU: [identity.role] }, { CN: [identity.name] }];
}

function altNames(request: CertificateRequest): X509.JsonGeneralNames {
  const { identity } = request;
  const names: X509.JsonGeneralNames =
    identity === undefined
      ? []
      : [
          { type: 'url', value: identityUri(identity) },
          { type: 'dns', value: serverName(identity) },
        ];
  for (const host of request.hosts) names.push({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host });
  if (names.length === 0) names.push({ type: 'dns', value: request.commonName ?? '' });
  return names;
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
}

function keyFile(path: string, key: webcrypto.CryptoKey): NewFile {
  const content = KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();
  return { path, content, mode: 0o600 };
}

function pemText(certificate: X509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** 127 random bits; the first one is 0, since a serial number is positive. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0);
  return bytes.toString('hex');
}

function isCommonName(text: string): boolean {
  return text.length <= 64 && isDnsName(text);
}

function isDnsName(text: string): boolean {
  return (
    text.length <= 253 &&
    /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/.test(text)
  );
}
