/**
 * Who a certificate stands for: one URI name `plexi://<cluster>/<role>/<name>` (design.md, decision
 * 16). Invariant: a certificate stands for one identity or for none; two such names, or a name in any
 * other form, is none, so nothing about a certificate is ever guessed.
 */
import { isIP } from 'node:net';
import { isName } from './schema/fields.js';

/** What a certificate's holder may be. */
export const roles = ['controller', 'agent', 'operator', 'viewer'] as const;

/** One of the roles. */
export type Role = (typeof roles)[number];

/** Who a certificate stands for. */
export interface Identity {
  readonly cluster: string;
  readonly role: Role;
  readonly name: string;
}

/** What the other side of a connection has to be; without a name, any of that role. */
export interface ExpectedIdentity {
  readonly cluster: string;
  readonly role: Role;
  readonly name?: string;
}

/** Whether a text is one of the roles. */
export function isRole(text: string): text is Role {
  return roles.some((role) => role === text);
}

/** The identity as the URI that stands in its certificate. */
export function identityUri(identity: Identity): string {
  return `plexi://${identity.cluster}/${identity.role}/${identity.name}`;
}

/** Reads such a URI; undefined for anything that is not exactly of this form. */
export function parseIdentityUri(uri: string): Identity | undefined {
  const [, cluster, role, name] = /^plexi:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(uri) ?? [];
  if (cluster === undefined || role === undefined || name === undefined) return undefined;
  if (!isName(cluster) || !isName(name) || !isRole(role)) return undefined;
  return { cluster, role, name };
}

/** The DNS name in every certificate, which TLS asks for and compares. */
export function serverName(identity: Identity): string {
  return `${identity.name}.${identity.role}.${identity.cluster}.plexi`;
}

/** The identity in the text that Node makes of a certificate's alternative names. */
export function identityOfAltNames(altNames: string | undefined): Identity | undefined {
  const uris = altNameEntries(altNames).filter((entry) => entry.kind === 'URI');
  const [only] = uris;
  return only !== undefined && uris.length === 1 ? parseIdentityUri(only.value) : undefined;
}

/** The DNS names and addresses in that text. */
export function hostsOfAltNames(altNames: string | undefined): string[] {
  return altNameEntries(altNames)
    .filter((entry) => entry.kind === 'DNS' || (entry.kind === 'IP Address' && isIP(entry.value) !== 0))
    .map((entry) => entry.value);
}

/** What gRPC knows of the other end of a call; its `getAuthContext()` fits. */
export interface PeerContext {
  readonly sslPeerCertificate?: { readonly subjectaltname?: string | undefined } | undefined;
}

/** Who is at the other end of a gRPC call; undefined when its certificate says nothing of ours. */
export function identityOfPeer(context: PeerContext): Identity | undefined {
  return identityOfAltNames(context.sslPeerCertificate?.subjectaltname);
}

/** What is wrong with who the other side is; undefined when it is who was expected. */
export function identityProblem(found: Identity | undefined, expected: ExpectedIdentity): string | undefined {
  const wanted = `${expected.role} ${expected.name ?? ''}`.trim();
  if (found === undefined)
    return `its certificate names no plexi identity, expected the ${wanted} of cluster ${expected.cluster}`;
  const isExpected =
    found.cluster === expected.cluster &&
    found.role === expected.role &&
    (expected.name === undefined || found.name === expected.name);
  return isExpected
    ? undefined
    : `its certificate is that of the ${found.role} ${found.name} of cluster ${found.cluster}, expected the ${wanted} of cluster ${expected.cluster}`;
}

/**
 * Takes `DNS:a, URI:b, IP Address:c` apart. Node writes a value with a comma or a quote in it as a
 * JSON string, so a name cannot pretend to be two; such a value is kept quoted and matches nothing.
 */
function altNameEntries(altNames: string | undefined): { kind: string; value: string }[] {
  if (altNames === undefined) return [];
  return [...altNames.matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/g)].map((match) => ({
    kind: match[1] ?? '',
    value: match[2] ?? '',
  }));
}
