/**
 * What an operator wrote that cannot both be meant. Invariant: only what stands in a file counts, a
 * default never does; so a short file is never refused for something that it does not say. Nor does a
 * value of the shipped sample clash with one of its switches: whoever copies it can turn each alone. A
 * contradiction is placed at the key that is to be changed, and names the file and line of the other.
 */
import { basename, dirname } from 'node:path';
import type { ConfigProblem, PlacedDocument } from './problems.js';
import { valueAt } from './problems.js';

/** Two keys that do not go together, and what to do about it. */
interface Contradiction {
  readonly at: Written;
  readonly with: Written;
  readonly message: string;
}

/** A key that stands in a file. */
interface Written {
  readonly document: PlacedDocument;
  readonly path: readonly string[];
}

/** What contradicts itself within update.yml. */
export function updateContradictions(update: PlacedDocument): ConfigProblem[] {
  const key = keysOf(update, 'update_system');
  const coordination = key('behavior', 'cluster_coordination');
  const clustering = key('clustering', 'enabled');
  const rolling = key('clustering', 'rolling_updates');
  const most = key('clustering', 'max_concurrent_nodes');
  const found: Contradiction[] = [];
  if (is(clustering, false) && exceeds(most, 1))
    found.push(clash(most, clustering, 'there is only one node; leave it out, or set it to 1'));
  else if (is(coordination, false) && exceeds(most, 1))
    found.push(
      clash(most, coordination, 'that is only for a cluster of one node; leave it out, or set it to 1'),
    );
  if (is(rolling, false) && exceeds(most, 1))
    found.push(
      clash(most, rolling, 'all nodes go at once and nothing bounds them; leave it out, or set it to 1'),
    );
  return found.map(problemOf);
}

/** What controller.yml and update.yml contradict each other in, and controller.yml itself. */
export function rolloutContradictions(
  controller: PlacedDocument,
  update: PlacedDocument | undefined,
): ConfigProblem[] {
  const key = keysOf(controller, 'rollout');
  const canary = key('canary');
  const soak = key('soak_ms');
  const probing = key('timeouts', 'probe_ms');
  const found: Contradiction[] = [];
  if (exceeds(canary, 0) && is(soak, 0))
    found.push(clash(canary, soak, 'nobody would watch the first nodes; raise soak_ms, or set canary to 0'));
  for (const knob of [key('probe', 'try_ms'), key('probe', 'interval_max_ms')]) {
    if (isAbove(knob, probing))
      found.push(clash(knob, probing, 'all samples together end there; set it lower'));
  }
  if (update !== undefined) found.push(...againstPolicy(canary, update));
  return found.map(problemOf);
}

function againstPolicy(canary: Written, update: PlacedDocument): Contradiction[] {
  const key = keysOf(update, 'update_system');
  const rolling = key('clustering', 'rolling_updates');
  const clustering = key('clustering', 'enabled');
  if (!exceeds(canary, 0)) return [];
  if (is(rolling, false)) return [clash(canary, rolling, 'all nodes go at once; set canary to 0')];
  return is(clustering, false) ? [clash(canary, clustering, 'there is only one node; set canary to 0')] : [];
}

function keysOf(document: PlacedDocument, root: string) {
  return (...path: string[]): Written => ({ document, path: [root, ...path] });
}

function clash(at: Written, other: Written, message: string): Contradiction {
  return { at, with: other, message };
}

function written({ document, path }: Written): unknown {
  return valueAt(document.value, path);
}

function is(key: Written, value: unknown): boolean {
  return written(key) === value;
}

function exceeds(key: Written, bound: number): boolean {
  const value = written(key);
  return typeof value === 'number' && value > bound;
}

function isAbove(key: Written, other: Written): boolean {
  const bound = written(other);
  return typeof bound === 'number' && exceeds(key, bound);
}

/** For example: `2 contradicts clustering.enabled: false (line 12): there is only one node; …`. */
function problemOf({ at, with: other, message }: Contradiction): ConfigProblem {
  const { document, path } = at;
  const name = other.path.slice(1).join('.');
  return {
    file: document.file,
    line: document.lineOf(path),
    key: path.join('.'),
    message: `${String(written(at))} contradicts ${name}${otherPlace(at, other)}: ${message}`,
  };
}

function otherPlace(at: Written, other: Written): string {
  const line = other.document.lineOf(other.path);
  const file = other.document.file;
  const shownFile = dirname(file) === dirname(at.document.file) ? basename(file) : file;
  return `: ${String(written(other))} (${other.document === at.document ? `line ${line}` : `${shownFile}:${line}`})`;
}
