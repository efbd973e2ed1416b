/**
 * Says why a connection failed. gRPC answers "14 UNAVAILABLE" to a server that is down, to a wrong
 * authority and to an expired certificate alike; an operator needs to know which. So after such a
 * failure the own files are checked, and one plain TLS connection looks at the server's certificate
 * and waits for its verdict about ours. Invariant: nothing but the handshake is ever sent, and the
 * answer is always one sentence with what to do next.
 */
import { X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import { type ErrorCode, PlexiError } from './errors.js';
import { type ExpectedIdentity, identityOfAltNames, identityProblem, serverName } from './identity.js';
import { limits } from './limits.js';
import { splitHostPort } from './schema/fields.js';
import {
  ownFilesProblem,
  type ParsedTls,
  readTlsFiles,
  type TlsFiles,
  validityProblem,
} from './tls-files.js';

/** The codes for a server that cannot be reached. */
export type UnreachableCode = Extract<ErrorCode, 'NO_CONTROLLER' | 'NODE_UNREACHABLE'>;

/** How to look. */
export interface ExplainOptions {
  /** The code when nothing is wrong with certificates; by default after the expected role. */
  readonly unreachable?: UnreachableCode;
  readonly timeoutMs?: number;
}

/** What one connection showed. The server's certificate is there once the handshake was done. */
interface Observation {
  readonly end: 'accepted' | 'closed' | 'silent' | 'failed';
  readonly serverCertificate?: X509Certificate | undefined;
  /** OpenSSL's word on the server's chain; undefined when it is fine. */
  readonly chainProblem?: string | undefined;
  readonly error?: NodeJS.ErrnoException | undefined;
}

/**
 * Tells why no gRPC connection came about. `target` is HOST:PORT.
 * Never throws: the answer is a PlexiError with CERTIFICATE_REFUSED or CONFIG_INVALID when something
 * must be put right, else with the code for "cannot be reached".
 */
export async function explainTlsFailure(
  target: string,
  files: TlsFiles,
  expected: ExpectedIdentity,
  options: ExplainOptions = {},
): Promise<PlexiError> {
  const unreachable =
    options.unreachable ?? (expected.role === 'agent' ? 'NODE_UNREACHABLE' : 'NO_CONTROLLER');
  const down = (what: string): PlexiError => new PlexiError(unreachable, what, { details: { target } });
  const ownProblem = ownFilesProblem(files);
  if (ownProblem !== undefined) return ownProblem;
  const address = splitHostPort(target);
  if (address === undefined)
    return new PlexiError(
      'CONFIG_INVALID',
      `'${target}' is not HOST:PORT; correct it where it is configured`,
    );
  const parsed = readTlsFiles(files);
  const seen = await observe(address, parsed, expected, options.timeoutMs ?? limits.tlsExplainMs);
  const server = `the ${expected.role} at ${target}`;
  if (seen.serverCertificate === undefined) return beforeHandshake(seen, server, files, down);
  return afterHandshake(seen, seen.serverCertificate, { server, files, expected, down });
}

/** The server's certificate was not seen: it is down, it speaks no TLS, or it refused at once. */
function beforeHandshake(
  seen: Observation,
  server: string,
  files: TlsFiles,
  down: (what: string) => PlexiError,
): PlexiError {
  const code = seen.error?.code ?? '';
  if (seen.end === 'silent') {
    return down(`${server} does not answer; check that it runs and that no firewall stands in between`);
  }
  if (isAlert(code)) return rejected(server, files, alertReason(code));
  if (code === 'ECONNREFUSED')
    return down(`${server} is down: nothing listens there; start it, or correct the address`);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return down(
      `${server} cannot be found: its host name is unknown here; correct the address or the name service`,
    );
  }
  if (code.startsWith('EHOST') || code.startsWith('ENET') || code === 'ETIMEDOUT') {
    return down(`${server} is not reachable from this host (${code}); check the network and the address`);
  }
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO' || code === '') {
    return new PlexiError(
      'CERTIFICATE_REFUSED',
      `what listens for ${server} does not speak mutual TLS; check that the address is that of a plexi program`,
    );
  }
  return down(
    `${server} broke the connection off (${code}); check that it runs and that the address is right`,
  );
}

interface Judgement {
  readonly server: string;
  readonly files: TlsFiles;
  readonly expected: ExpectedIdentity;
  readonly down: (what: string) => PlexiError;
}

/** The server showed its certificate: first whether we accept it, then whether it accepted ours. */
function afterHandshake(seen: Observation, certificate: X509Certificate, judgement: Judgement): PlexiError {
  const { server, files, expected, down } = judgement;
  const isDateProblem =
    seen.chainProblem === 'CERT_HAS_EXPIRED' || seen.chainProblem === 'CERT_NOT_YET_VALID';
  if (seen.chainProblem !== undefined && !isDateProblem) {
    return refused(
      `${server} shows a certificate that the authority in ${files.ca} did not sign; use the ca.pem of its cluster`,
    );
  }
  const validity = validityProblem(certificate, new Date());
  if (validity !== undefined) {
    return refused(
      `the certificate of ${server} ${validity}; issue a new one for it with 'plexictl certs issue'`,
    );
  }
  const wrongIdentity = identityProblem(identityOfAltNames(certificate.subjectAltName), expected);
  if (wrongIdentity !== undefined) {
    return refused(
      `${server} is somebody else: ${wrongIdentity}; correct the address, or the certificate that it was given`,
    );
  }
  if (seen.end === 'closed' || seen.end === 'failed') {
    const code = seen.error?.code ?? '';
    return rejected(
      server,
      files,
      isAlert(code) ? alertReason(code) : 'most likely another authority signed it, or its clock is wrong',
    );
  }
  if (seen.end === 'silent') return down(`${server} does not answer after the handshake; look at its log`);
  return down(
    `${server} can be reached now, and both certificates are accepted; the connection was lost before, try again`,
  );
}

function rejected(server: string, files: TlsFiles, reason: string): PlexiError {
  return refused(
    `${server} refused our certificate ${files.cert} (${reason}); issue one from the authority of its cluster`,
  );
}

function refused(message: string): PlexiError {
  return new PlexiError('CERTIFICATE_REFUSED', message);
}

/**
 * Opens one TLS connection. In TLS 1.3 the server judges our certificate after our handshake is done,
 * so the verdict is what comes first then: an alert or a close (refused), or the first bytes of HTTP/2
 * (accepted). The server's certificate is taken as it is here, and judged by the caller.
 */
function observe(
  address: { host: string; port: number },
  parsed: ParsedTls,
  expected: ExpectedIdentity,
  timeoutMs: number,
): Promise<Observation> {
  return new Promise((resolve) => {
    let serverCertificate: X509Certificate | undefined;
    let chainProblem: string | undefined;
    const socket: TLSSocket = connect({
      ...address,
      ...parsed.material,
      servername: serverName({ ...expected, name: expected.name ?? 'any' }),
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    const finish = (end: Observation['end'], error?: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ end, serverCertificate, chainProblem, error });
    };
    const timer = setTimeout(() => finish('silent'), timeoutMs);
    socket.once('secureConnect', () => {
      const { raw } = socket.getPeerCertificate();
      if (raw !== undefined) serverCertificate = new X509Certificate(raw);
      if (!socket.authorized) chainProblem = String(socket.authorizationError);
    });
    socket.once('data', () => finish('accepted'));
    socket.once('end', () => finish('closed'));
    socket.once('close', () => finish('closed'));
    socket.on('error', (error) => finish('failed', error));
  });
}

function isAlert(code: string): boolean {
  return code.includes('_ALERT_');
}

/** The alert in words, for example ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED. */
function alertReason(code: string): string {
  return `it says: ${code
    .replace(/^.*_ALERT_/, '')
    .toLowerCase()
    .replaceAll('_', ' ')}`;
}
