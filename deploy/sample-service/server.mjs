/**
 * The sample service: a small chat server over HTTP, in plain Node without packages. `plexictl dev`,
 * the demo and the end-to-end tests upgrade it, so it is built to show a mistake: it names its version
 * at /health, keeps its messages on disk, and refuses data of another release's format.
 *
 *   GET  /health     {status, version, node}; 503 in a release that is made to be sick
 *   POST /messages   {author, text} -> 201 and the stored message
 *   GET  /messages   {messages: [...]}
 *
 * While the file `maintenance` exists in its run folder, /messages answers 503 and /health goes on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { env, exit } from 'node:process';
import { openMessages } from './messages.mjs';

const bodyBytesMax = 64 * 1024;
const release = JSON.parse(readFileSync(new URL('release.json', import.meta.url), 'utf8'));
const node = env.PLEXI_NODE ?? 'unnamed';
const maintenanceMarker = join(env.PLEXI_RUN_DIR ?? '.', 'maintenance');

/** A request that the client got wrong; the status and the sentence go back to it. */
class BadRequest extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const messages = open();
const server = createServer((request, response) => {
  answer(request).then(
    ({ status, body }) => send(response, status, body),
    (error) => {
      if (!(error instanceof BadRequest)) console.error(error);
      const status = error instanceof BadRequest ? error.status : 500;
      send(response, status, { error: status === 500 ? 'the server failed' : error.message });
    },
  );
});
server.listen(Number(env.PORT ?? 8080), env.HOST ?? '127.0.0.1', () => {
  console.error(`chat ${release.version} on ${node} listens on port ${server.address().port}`);
});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, close);

function open() {
  try {
    return openMessages(env.PLEXI_DATA_DIR ?? 'data', release.dataFormat);
  } catch (error) {
    console.error(`chat ${release.version} cannot start: ${error.message}`);
    return exit(1);
  }
}

async function answer(request) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/health' && request.method === 'GET') return health();
  if (pathname !== '/messages')
    return { status: 404, body: { error: 'there is only /health and /messages' } };
  if (existsSync(maintenanceMarker)) return { status: 503, body: { error: 'in maintenance' } };
  if (request.method === 'GET') return { status: 200, body: { messages: messages.list() } };
  if (request.method !== 'POST') return { status: 405, body: { error: 'only GET and POST' } };
  return { status: 201, body: await messages.add(parsePost(await readBody(request))) };
}

function health() {
  const status = release.healthy ? 'ok' : 'sick';
  return { status: release.healthy ? 200 : 503, body: { status, version: release.version, node } };
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > bodyBytesMax) throw new BadRequest(413, `a message has at most ${bodyBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parsePost(text) {
  let post;
  try {
    post = JSON.parse(text);
  } catch {
    throw new BadRequest(400, 'the body is not JSON');
  }
  const isText = (value) => typeof value === 'string' && value.length > 0;
  if (!isText(post?.author) || !isText(post?.text)) {
    throw new BadRequest(400, 'author and text must be strings that are not empty');
  }
  return { author: post.author, text: post.text };
}

function send(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Finishes what is being answered, then ends; idle connections do not hold it up. */
function close() {
  server.close(() => exit(0));
  server.closeIdleConnections();
  setTimeout(() => server.closeAllConnections(), 2_000).unref();
}
