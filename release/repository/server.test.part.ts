/** A small http server for tests: serves a folder, and answers wrongly where a test says so. */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** Answers a request in its own way; `bytes` is the file asked for. */
export type Answer = (response: ServerResponse, bytes: Buffer, request: IncomingMessage) => void;

/** The server, what it was asked, and how to make it misbehave. */
export interface TestServer {
  readonly url: string;
  /** Paths that were asked for, as they came, with the range where one was asked. */
  readonly asked: string[];
  /** Takes the next answers for archives off this list; honest when it is empty. */
  readonly archiveAnswers: Answer[];
  close(): Promise<void>;
}

/** Sends everything, or from the first byte of a range on. */
export const honest: Answer = (response, bytes, request) => {
  const [, from = ''] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? [];
  const start = from === '' ? 0 : Number(from);
  if (start > 0 && start >= bytes.length) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    return;
  }
  const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
  const headers = {
    'content-length': bytes.length - start,
    ...(from === '' ? {} : { 'content-range': range }),
  };
  response.writeHead(from === '' ? 200 : 206, headers).end(bytes.subarray(start));
};

/** Sends everything, whatever part was asked for. */
export const rangeless: Answer = (response, bytes) => void response.writeHead(200).end(bytes);

/** Promises everything, sends a part (counted in the whole file), and cuts the connection. */
export function cutAfter(count: number): Answer {
  return (response, bytes, request) => {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const range = { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': bytes.length - start,
      ...(start > 0 ? range : {}),
    });
    response.write(bytes.subarray(start, Math.max(start, count)), () => response.destroy());
  };
}

/** Sends everything without telling the length, and cuts the connection behind the last byte. */
export const cutBehindEnd: Answer = (response, bytes) => {
  response.writeHead(200);
  response.write(bytes, () => response.destroy());
};

/** Ends the answer early and in good order, as a broken proxy does. */
export function endAfter(count: number): Answer {
  return (response, bytes) => void response.writeHead(200).end(bytes.subarray(0, count));
}

/** Only a status. */
export function status(code: number, headers: Record<string, string> = {}): Answer {
  return (response) => void response.writeHead(code, headers).end();
}

/** Serves a folder on a free port of this machine. */
export async function serveFolder(folder: string): Promise<TestServer> {
  const asked: string[] = [];
  const archiveAnswers: Answer[] = [];
  const server = createServer((request, response) => {
    const { url = '', headers } = request;
    asked.push(headers.range === undefined ? url : `${url} ${headers.range}`);
    readFile(join(folder, decodeURIComponent(url))).then(
      (bytes) =>
        ((url.endsWith('.tar.gz') ? archiveAnswers.shift() : undefined) ?? honest)(response, bytes, request),
      () => response.writeHead(404).end('no such file'),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    archiveAnswers,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
