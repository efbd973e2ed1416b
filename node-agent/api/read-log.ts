/**
 * ReadLog: the logs of this node, over the wire. A caller names a source and a name, never a path, so
 * nothing else of the node can be read this way. What is not taken is not read: a slow caller costs
 * one piece of memory.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { PlexiError } from '../../config/errors.js';
import { toServiceError } from '../../config/grpc-status.js';
import { limits } from '../../config/limits.js';
import { type ReadLogRequest, ReadLogResponse } from '../../gen/plexi/v1/node_agent.js';
import { isSystemError } from '../disk/durable-file.js';
import { hookLogNames, hookLogPath } from '../logs/hook-log.js';
import { serviceLogPlaces } from '../logs/service-logs.js';
import { tailLog } from '../logs/tail.js';
import { updateLogName } from '../logs/update-log.js';
import type { AgentNode } from '../node.js';

/** Lines that are told when the caller does not say how many. */
const linesUsually = 100;

type LogNode = Pick<AgentNode, 'config' | 'paths' | 'hookLogs'>;

/** Answers one call, until the log has ended or the caller goes away. */
export function readLog(call: ServerWritableStream<ReadLogRequest, ReadLogResponse>, node: LogNode): void {
  const gone = new AbortController();
  call.on('cancelled', () => gone.abort());
  sendLog(call, node, gone.signal).then(
    () => call.end(),
    (thrown) => {
      if (!gone.signal.aborted) call.emit('error', toServiceError(thrown));
    },
  );
}

async function sendLog(
  call: ServerWritableStream<ReadLogRequest, ReadLogResponse>,
  node: LogNode,
  signal: AbortSignal,
): Promise<void> {
  const { follow, tailLines } = call.request;
  if (tailLines > limits.logTailLines) {
    throw new PlexiError(
      'LIMIT_EXCEEDED',
      `${tailLines} lines are too many; ask for ${limits.logTailLines} at the most`,
    );
  }
  const lines = tailLines === 0 ? linesUsually : tailLines;
  const path = await pathOf(call.request, node);
  try {
    for await (const data of tailLog({ path, lines, follow, signal })) {
      if (!call.write(ReadLogResponse.fromPartial({ data }))) await once(call, 'drain', { signal });
    }
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT'))
      throw notFound(node, `there is no ${path} yet; nothing has been printed`);
    throw thrown;
  }
}

async function pathOf({ source, name }: ReadLogRequest, node: LogNode): Promise<string> {
  switch (source) {
    case 'agent':
      return join(node.paths.agent, updateLogName);
    case 'service':
      return servicePath(node, name);
    case 'hook':
      return hookPath(node, name);
    default:
      throw new PlexiError(
        'USAGE',
        `there is no log of ${JSON.stringify(source.slice(0, 80))}; ask for agent, service or hook`,
      );
  }
}

function servicePath(node: LogNode, name: string): string {
  const places = serviceLogPlaces(node.config, node.paths);
  const place = name === '' ? places[0] : places.find(({ service }) => service === name);
  if (place === undefined) {
    const there = places.map(({ service }) => service).join(', ');
    throw notFound(node, `there is no service ${JSON.stringify(name.slice(0, 80))}; there are: ${there}`);
  }
  if (place.path !== undefined) return place.path;
  throw notFound(node, `the agent knows no file that ${place.service} prints to; ${place.instead}`);
}

async function hookPath(node: LogNode, name: string): Promise<string> {
  const names = await hookLogNames(node.hookLogs);
  if (names.includes(name)) return hookLogPath(node.hookLogs, name);
  const there =
    names.length === 0 ? 'no hook, migration or test has run yet' : `there are: ${names.join(', ')}`;
  throw notFound(node, `there is no log of the hook ${JSON.stringify(name.slice(0, 80))}; ${there}`);
}

function notFound(node: LogNode, why: string): PlexiError {
  return new PlexiError('NOT_FOUND', `${node.config.node}: ${why}`);
}
