/**
 * The grpc probe: `Check` of grpc.health.v1; only SERVING is good. Each try has a connection of its
 * own, because a kept one would prove that an old process still answers.
 */
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { limits } from '../../config/limits.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import { readBounded } from '../disk/durable-file.js';
import type { ProbeSample } from './probe-sample.js';

type GrpcProbe = Extract<ProbeConfig, { kind: 'grpc' }>;

/** The values of ServingStatus, in the order of their numbers. */
const servingStatuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;

/** Asks once. Errors: for people, and the signal's. */
export async function sampleGrpc(probe: GrpcProbe, signal: AbortSignal): Promise<ProbeSample> {
  const client = new Client(probe.address, await credentialsOf(probe), optionsOf(probe));
  const what = probe.service === '' ? probe.address : `${probe.address} (${probe.service})`;
  try {
    const said = servingStatuses[await check(client, probe.service, signal)] ?? 'a status of its own';
    return said === 'SERVING'
      ? { result: 'good', reason: `${what} is SERVING` }
      : { result: 'bad', reason: `${what} is ${said}, not SERVING` };
  } catch (error) {
    if (!isServiceError(error)) throw error;
    if (error.code === status.NOT_FOUND)
      return { result: 'bad', reason: `${what} is not known to its server` };
    if (error.code === status.UNIMPLEMENTED) {
      return { result: 'bad', reason: `${probe.address} does not offer grpc.health.v1` };
    }
    throw new Error(whyNotAsked(error), { cause: error });
  } finally {
    client.close();
  }
}

/** The number of the status that the server says. */
function check(client: Client, service: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      encodeRequest,
      decodeResponse,
      service,
      new Metadata(),
      (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer ?? 0);
      },
    );
    signal.addEventListener('abort', () => call.cancel(), { once: true });
    if (signal.aborted) call.cancel();
  });
}

/** HealthCheckRequest { string service = 1; } */
function encodeRequest(service: string): Buffer {
  const writer = new BinaryWriter();
  if (service !== '') writer.uint32(10).string(service);
  return Buffer.from(writer.finish());
}

/** HealthCheckResponse { ServingStatus status = 1; } */
function decodeResponse(bytes: Buffer): number {
  const reader = new BinaryReader(bytes);
  let value = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === 0) value = reader.int32();
    else reader.skip(wireType, field);
  }
  return value;
}

async function credentialsOf({ tls }: GrpcProbe): Promise<ChannelCredentials> {
  if (tls === undefined) return credentials.createInsecure();
  const ca = await readBounded(tls.ca, limits.certificateFileBytes);
  if (ca === undefined) throw new Error(`there is no file ${tls.ca}`);
  return credentials.createSsl(ca);
}

function optionsOf({ tls }: GrpcProbe): ChannelOptions {
  return {
    'grpc.enable_retries': 0,
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': limits.probeAnswerBytes,
    ...(tls?.serverName !== undefined && { 'grpc.ssl_target_name_override': tls.serverName }),
  };
}

/** The words of gRPC, short: its own hold a time, and the same answer must read the same each time. */
function whyNotAsked(error: ServiceError): string {
  if (error.details.includes('ECONNREFUSED')) return 'connection refused';
  const last = /Last error: (.*?)(?:\. Resolution note:.*)?$/s.exec(error.details)?.[1];
  return `${status[error.code]}: ${(last ?? error.details).slice(0, 300)}`;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && 'metadata' in error;
}
