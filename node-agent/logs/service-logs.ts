/**
 * Where the services of a node print to, and what they have printed since a job started them. The
 * place is marked durably before the start, so that a restart of the agent in between loses nothing.
 * Invariant: a log that is missing, or was rotated away, is an error and never "nothing was printed".
 */
import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { isSystemError, readBounded, writeDurably } from '../disk/durable-file.js';
import type { AgentNode, NodePaths } from '../node.js';

/** Where one service prints to; without a path the agent knows no file, and says why. */
export interface ServiceLogPlace {
  readonly service: string;
  readonly path: string | undefined;
  /** Where else it may be read, for people; empty when there is a path. */
  readonly instead: string;
}

const markSchema = z.object({
  commandId: z.string(),
  places: z.array(
    z.object({ path: z.string(), inode: z.number().nullable(), sizeBytes: z.number().nonnegative() }),
  ),
});

type Place = z.output<typeof markSchema>['places'][number];

/** Where each service of a node prints to, in the order of the configuration. */
export function serviceLogPlaces(config: NodeAgentConfig, paths: NodePaths): ServiceLogPlace[] {
  return config.services.map((service) => placeOf(service, paths));
}

function placeOf(service: NodeAgentConfig['services'][number], paths: NodePaths): ServiceLogPlace {
  switch (service.adapter) {
    case 'process':
      return { service: service.name, path: join(paths.run, `${service.name}.log`), instead: '' };
    case 'command':
      return {
        service: service.name,
        path: service.logFile,
        instead: service.logFile === undefined ? 'name its log_file in node-agent.yml' : '',
      };
    case 'systemd':
      return { service: service.name, path: undefined, instead: `see journalctl -u ${service.unit}` };
  }
}

/** Remembers durably how long the logs are before a job starts the service; the first mark of a job stays. */
export async function markServiceLogs(
  node: Pick<AgentNode, 'config' | 'paths'>,
  commandId: string,
): Promise<void> {
  if ((await readMark(node.paths))?.commandId === commandId) return;
  const places: Place[] = [];
  for (const { path } of serviceLogPlaces(node.config, node.paths)) {
    if (path === undefined) continue;
    const facts = await factsOf(path);
    places.push({ path, inode: facts?.ino ?? null, sizeBytes: facts?.size ?? 0 });
  }
  await writeDurably(markFile(node.paths), `${JSON.stringify({ commandId, places })}\n`);
}

/**
 * The log in which a text stands since the mark of a job; undefined when it stands in none.
 * Errors: TEST_FAILED when a log cannot be read from the mark on.
 */
export async function whereLoggedSince(
  node: Pick<AgentNode, 'config' | 'paths'>,
  commandId: string,
  text: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const mark = await readMark(node.paths);
  for (const { service, path, instead } of serviceLogPlaces(node.config, node.paths)) {
    if (path === undefined) throw unreadable(service, `the agent cannot read it; ${instead}`);
    const place = mark?.commandId === commandId ? mark.places.find((it) => it.path === path) : undefined;
    if (place === undefined) throw unreadable(service, 'nothing tells how long it was before the start');
    for (const part of await partsSince(service, place))
      if (await holdsText(part.path, part.fromByte, text, signal)) return path;
  }
  return undefined;
}

/** The pieces of a log since a mark: the file itself, and the one that a start has set aside. */
async function partsSince(service: string, place: Place): Promise<{ path: string; fromByte: number }[]> {
  const now = await factsOf(place.path);
  if (now === undefined) throw unreadable(service, `${place.path} is missing`);
  if (now.ino === place.inode) {
    if (now.size < place.sizeBytes) throw unreadable(service, `${place.path} was cut off`);
    return [{ path: place.path, fromByte: place.sizeBytes }];
  }
  const whole = { path: place.path, fromByte: 0 };
  if (place.inode === null) return [whole];
  const aside = `${place.path}.1`;
  if ((await factsOf(aside))?.ino !== place.inode)
    throw unreadable(service, `${place.path} was replaced since`);
  return [{ path: aside, fromByte: place.sizeBytes }, whole];
}

async function holdsText(
  path: string,
  fromByte: number,
  text: string,
  signal: AbortSignal,
): Promise<boolean> {
  const wanted = Buffer.from(text);
  let held = Buffer.alloc(0);
  const stream = createReadStream(path, { start: fromByte, signal });
  for await (const piece of stream) {
    held = Buffer.concat([held, piece]);
    if (held.includes(wanted)) return true;
    // The text may begin in one piece and end in the next.
    held = held.subarray(Math.max(0, held.length - wanted.length + 1));
  }
  return false;
}

async function readMark(paths: NodePaths): Promise<z.output<typeof markSchema> | undefined> {
  const bytes = await readBounded(markFile(paths), limits.journalRecordBytes);
  if (bytes === undefined) return undefined;
  try {
    return markSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (thrown) {
    throw new PlexiError(
      'TEST_FAILED',
      `${markFile(paths)} cannot be understood; remove it, and start the rollout again`,
      { cause: thrown },
    );
  }
}

async function factsOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}

function markFile(paths: NodePaths): string {
  return join(paths.agent, 'log-mark.json');
}

function unreadable(service: string, why: string): PlexiError {
  return new PlexiError(
    'TEST_FAILED',
    `what the service ${service} printed cannot be searched: ${why}; without it a test that forbids a text cannot pass`,
  );
}
