/**
 * Calls that send bytes as they are, whatever the method expects, and what came of them: every call ends,
 * with an answer that can be read, or with a status that says what is wrong.
 */
import assert from 'node:assert/strict';
import {
  Client,
  type ClientReadableStream,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { fromServiceError } from '../../config/grpc-status.js';
import { grpcChannel, type Role, type TlsFiles } from '../../config/tls.js';
import { codeOf } from './promise.test.part.js';

/** A method as the generated code describes it. */
export type Method = MethodDefinition<unknown, unknown>;

/** The methods of a generated service. */
export function methodsOf(service: Readonly<Record<string, unknown>>): Method[] {
  return Object.values(service) as Method[];
}

/** Milliseconds that a call may wait for what does not come: streams that are followed, wishes that wait. */
const patienceMs = 400;

export class RawCaller {
  private readonly client: Client;

  constructor(address: string, files: TlsFiles, expected: { cluster: string; role: Role }) {
    const { credentials, options } = grpcChannel(files, expected);
    this.client = new Client(address, credentials, options);
  }

  close(): void {
    this.client.close();
  }

  /** One call with these bytes as its message, several of them for a method that takes a stream. */
  async call(method: Method, messages: readonly Uint8Array[]): Promise<string> {
    try {
      return method.responseStream ? await this.stream(method, messages) : await this.unary(method, messages);
    } catch (thrown) {
      return endOfCall(thrown);
    }
  }

  private unary({ path, responseDeserialize }: Method, [message]: readonly Uint8Array[]): Promise<string> {
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(path, asIs, responseDeserialize, message, { deadline: soon() }, (error) =>
        error === null ? resolve('OK') : reject(error),
      );
    });
  }

  /** The first answer of a stream is enough: then the caller goes away. */
  private stream(method: Method, messages: readonly Uint8Array[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = this.open(method, messages);
      call.on('error', reject);
      call.on('end', () => resolve('OK'));
      call.on('data', () => {
        resolve('answers');
        call.cancel();
      });
    });
  }

  private open(
    { path, requestStream, responseDeserialize }: Method,
    messages: readonly Uint8Array[],
  ): ClientReadableStream<unknown> {
    const options = { deadline: soon() };
    if (!requestStream)
      return this.client.makeServerStreamRequest(path, asIs, responseDeserialize, messages[0], options);
    const call = this.client.makeBidiStreamRequest(path, asIs, responseDeserialize, options);
    for (const message of messages) call.write(message);
    call.end();
    return call;
  }
}

const asIs = (bytes: unknown): Buffer => Buffer.from(bytes as Uint8Array);
const soon = (): number => Date.now() + patienceMs;

/** The end of a call in a word; fails for one that nobody could do anything with. */
export function endOfCall(thrown: unknown): string {
  const ours = fromServiceError(thrown);
  if (ours !== undefined) return codeOf(ours);
  const { code, details } = thrown as ServiceError;
  // What no message can be made of is answered by the library itself, before any handler.
  if (code === status.INTERNAL && /^Error deserializing request/.test(details)) return 'no message';
  if (code === status.DEADLINE_EXCEEDED) return 'waits';
  if (code === status.RESOURCE_EXHAUSTED && /larger than max/.test(details)) return 'too big';
  return assert.fail(`the call ended with ${code}: ${details}`);
}
