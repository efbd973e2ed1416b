/** An error that crosses a real gRPC connection: the same code and sentence on the other side, cut where it is too long. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { PlexiError } from './errors.js';
import { fromServiceError, toServiceError } from './grpc-status.js';
import { limits } from './limits.js';

const path = '/plexi.v1.Test/Fail';
const same = (bytes: Buffer): Buffer => bytes;
const service: ServiceDefinition = {
  fail: {
    ...{ path, requestStream: false, responseStream: false },
    ...{
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  },
};
const server = new Server();
let client: Client;
let thrown: unknown;
before(async () => {
  server.addService(service, {
    fail: (_call: unknown, callback: sendUnaryData<Buffer>) => callback(toServiceError(thrown)),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
});
after(() => {
  client.close();
  server.forceShutdown();
});

/** What the caller gets when the handler throws this. */
function crossed(error: unknown): Promise<PlexiError | undefined> {
  thrown = error;
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, Buffer.alloc(0), (told) => resolve(fromServiceError(told)));
  });
}

test('a sentence arrives as it is, whatever characters are in it', async () => {
  for (const sentence of ['100 % of #1?', 'grüße, 世界', '\u{1f600}', 'two\nlines'])
    assert.equal((await crossed(new PlexiError('NOT_FOUND', sentence)))?.message, sentence);
});

test('a sentence that is too long arrives cut between two characters, with its code', async () => {
  const before = 'NOT_FOUND: '.length;
  for (const [character, shift] of [
    ['x', 0],
    ['%', 0],
    ['ü', 1],
    ['世', 2],
    ['\u{1f600}', 0],
    ['\u{1f600}', 1],
    ['\n', 1],
  ] as const) {
    const sentence = 'a'.repeat(shift) + character.repeat(2 * limits.statusChars);
    const told = await crossed(new PlexiError('NOT_FOUND', sentence));
    assert.equal(told?.code, 'NOT_FOUND', character);
    const { message } = told;
    assert.ok(sentence.startsWith(message));
    const sent = before + 2 + encodeURI(message).length;
    assert.ok(sent <= limits.statusChars && sent > limits.statusChars - 14, `${sent} for ${character}`);
  }
});

test('half a character in a sentence breaks no call', async () => {
  const told = await crossed(new PlexiError('NOT_FOUND', 'half \ud83d of it'));
  assert.deepEqual([told?.code, told?.message], ['NOT_FOUND', 'half \ufffd of it']);
  assert.equal((await crossed(new Error('\udc00')))?.code, 'INTERNAL');
});
