/**
 * The grpc probe: `Check` of grpc.health.v1; only SERVING is good. Each try has a connection of its
 * own, because a kept one would prove that an old process still answers. It is made over HTTP/2 itself,
 * so that the connection ends with the try in whatever state it is.
 */
import http2 from 'node:http2';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { limits } from '../../config/limits.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import { readBounded } from '../disk/durable-file.js';
import type { ProbeSample } from './probe-sample.js';

type GrpcProbe = Extract<ProbeConfig, { kind: 'grpc' }>;

/** The values of ServingStatus, in the order of their numbers. */
const servingStatuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;

/** What a server may say instead of an answer, by gRPC's numbers. */
const notFound = 5;
const unimplemented = 12;

/** Bytes in front of a message: whether it is compressed, and how long it is. */
const prefixBytes = 5;

interface Answer {
  /** The status of the call; 0 is good. */
  readonly status: number;
  readonly message: string;
  readonly body: Buffer;
}

/** Asks once. Errors: for people, the system's, and the signal's. */
export async function sampleGrpc(probe: GrpcProbe, signal: AbortSignal): Promise<ProbeSample> {
  const session = await connect(probe);
  const destroy = () => session.destroy();
  signal.addEventListener('abort', destroy, { once: true });
  try {
    if (signal.aborted) session.destroy();
    return judge(probe, await call(session, probe.service));
  } finally {
    signal.removeEventListener('abort', destroy);
    session.destroy();
  }
}

function judge({ address, service }: GrpcProbe, { status, message, body }: Answer): ProbeSample {
  const what = service === '' ? address : `${address} (${service})`;
  if (status === notFound) return { result: 'bad', reason: `${what} is not known to its server` };
  if (status === unimplemented) return { result: 'bad', reason: `${address} does not offer grpc.health.v1` };
  if (status !== 0) throw new Error(`gRPC status ${status}${message === '' ? '' : ` (${message})`}`);
  const said = servingStatuses[servingStatus(body)] ?? 'in a state of its own';
  return said === 'SERVING'
    ? { result: 'good', reason: `${what} is SERVING` }
    : { result: 'bad', reason: `${what} is ${said}, not SERVING` };
}

async function connect({ address, tls }: GrpcProbe): Promise<http2.ClientHttp2Session> {
  if (tls === undefined) return http2.connect(`http://${address}`);
  const ca = await readBounded(tls.ca, limits.certificateFileBytes);
  if (ca === undefined) throw new Error(`there is no file ${tls.ca}`);
  const { serverName } = tls;
  return http2.connect(`https://${address}`, {
    ca,
    ...(serverName !== undefined && { servername: serverName }),
  });
}

/** One unary call; its end is told by the trailers, or by the headers when there is no message. */
function call(session: http2.ClientHttp2Session, service: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    // A connection that fails takes its request with it, whose own error then only names the first.
    const fail = (error: Error) => reject(error.cause instanceof Error ? error.cause : error);
    session.once('error', fail);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let end: http2.IncomingHttpHeaders = {};
    const pieces: Buffer[] = [];
    let sizeBytes = 0;
    stream.once('response', (headers) => {
      end = headers;
    });
    stream.once('trailers', (headers) => {
      end = headers;
    });
    stream.on('data', (piece: Buffer) => {
      pieces.push(piece);
      sizeBytes += piece.length;
      if (sizeBytes > limits.probeAnswerBytes)
        stream.destroy(new Error(`it answered more than ${limits.probeAnswerBytes} bytes`));
    });
    stream.once('error', fail);
    stream.once('close', () => {
      const status = end['grpc-status'];
      if (status === undefined) fail(new Error('it does not answer as a gRPC server'));
      else
        resolve({
          status: Number(status),
          message: String(end['grpc-message'] ?? ''),
          body: Buffer.concat(pieces),
        });
    });
    stream.end(request(service));
  });
}

/** HealthCheckRequest { string service = 1; }, not compressed. */
function request(service: string): Buffer {
  const writer = new BinaryWriter();
  if (service !== '') writer.uint32(10).string(service);
  const message = writer.finish();
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** HealthCheckResponse { ServingStatus status = 1; }: the number; it is left out when it is 0. */
function servingStatus(body: Buffer): number {
  if (body.length < prefixBytes || body[0] !== 0) throw new Error('its answer cannot be read');
  const reader = new BinaryReader(body.subarray(prefixBytes));
  let value = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === 0) value = reader.int32();
    else reader.skip(wireType, field);
  }
  return value;
}
