/**
 * Mutual TLS for every gRPC connection of ours (design.md, decision 16). Invariant: a client talks
 * only to a server whose certificate is of the trusted authority and stands for the expected cluster
 * and role, whatever address it was reached under; a server talks only to a client with a certificate
 * of that authority (what it may do is for config/authorization.ts).
 */
import { createHash } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials, ServerCredentials } from '@grpc/grpc-js';
import { type ExpectedIdentity, identityOfAltNames, identityProblem, serverName } from './identity.js';
import { limits } from './limits.js';
import { readPem, readTlsFiles, type TlsFiles } from './tls-files.js';

export {
  type ExpectedIdentity,
  type Identity,
  identityOfPeer,
  identityUri,
  parseIdentityUri,
  type Role,
  serverName,
} from './identity.js';
export { explainTlsFailure } from './tls-failure.js';
export { readOwnIdentity, readTlsFiles, type TlsFiles } from './tls-files.js';

/**
 * What a gRPC server shows and demands: its certificate, and one of the same authority from each
 * client. TLS 1.3, or 1.2 with a peer that has no more. Errors: CONFIG_INVALID for bad files.
 */
export function grpcServerCredentials(files: TlsFiles): ServerCredentials {
  const { material } = readTlsFiles(files);
  return ServerCredentials.createSsl(
    material.ca,
    [{ private_key: material.key, cert_chain: material.cert }],
    true,
  );
}

/**
 * Bounds of a gRPC server of ours: message size, streams, and a ping that ends the connections of clients
 * that went away, and of those to which HTTP/2 has said GOAWAY: Node reads nothing more from these, so
 * their end is never seen without it.
 * @param streamsMax calls at a time on one connection
 */
export function grpcServerOptions({ streamsMax }: { readonly streamsMax: number }): ChannelOptions {
  return {
    'grpc.max_receive_message_length': limits.grpcMessageBytes,
    'grpc.max_send_message_length': limits.grpcMessageBytes,
    'grpc.max_concurrent_streams': streamsMax,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
  };
}

/**
 * What a client needs for a channel to a server with the expected identity. The name that TLS asks
 * for is made of the identity, so a target may be an address.
 * Errors: CONFIG_INVALID for bad files.
 */
export function grpcChannel(
  files: TlsFiles,
  expected: ExpectedIdentity,
): { credentials: ChannelCredentials; options: ChannelOptions } {
  return {
    credentials: credentials.createFromSecureContext(clientContext(files), {
      checkServerIdentity: (_host, certificate) => {
        const problem = identityProblem(identityOfAltNames(certificate.subjectaltname), expected);
        return problem === undefined ? undefined : new Error(problem);
      },
    }),
    options: channelOptions(expected),
  };
}

/** What was made of the files at these paths, and of which bytes. */
const contexts = new Map<string, { readonly digest: string; readonly context: SecureContext }>();

/**
 * The keys and authorities of a client. A leader opens a channel to each node with the same files, and
 * parsing them took longer than connecting; so what was made of the same bytes is used again, and files
 * that were replaced are seen at the next channel.
 */
function clientContext(files: TlsFiles): SecureContext {
  const paths = [files.ca, files.cert, files.key];
  const digest = createHash('sha256');
  for (const path of paths) {
    const bytes = readPem(path);
    digest.update(`${bytes.length} `).update(bytes);
  }
  const name = paths.join('\0');
  const hex = digest.digest('hex');
  const known = contexts.get(name);
  if (known?.digest === hex) return known.context;
  const { ca, cert, key } = readTlsFiles(files).material;
  const context = createSecureContext({ ca, cert, key });
  contexts.set(name, { digest: hex, context });
  return context;
}

function channelOptions(expected: ExpectedIdentity): ChannelOptions {
  return {
    'grpc.ssl_target_name_override': serverName({ ...expected, name: expected.name ?? 'any' }),
    'grpc.max_receive_message_length': limits.grpcMessageBytes,
    'grpc.max_send_message_length': limits.grpcMessageBytes,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    // A command is never sent twice behind our back (protocol.md, rule 7).
    'grpc.enable_retries': 0,
    // A proxy in the environment is for the web, not for the inside of a cluster.
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
  };
}
