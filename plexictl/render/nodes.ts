/** `plexictl nodes` for people: one line a node; `wide` adds digest, labels and the agent's version. */
import type { Node } from '../../gen/plexi/v1/nodes.js';
import { minuteOf } from './status.js';
import { table } from './table.js';

/** The nodes as a table. */
export function nodesText(nodes: readonly Node[], wide: boolean): string {
  if (nodes.length === 0) {
    return 'No nodes yet. Start an agent on a host, or name one with `plexictl node add NODE --address HOST:PORT`.\n';
  }
  const rows = nodes.map((node) => [
    node.id,
    node.version === '' ? '?' : node.version,
    node.unknown ? 'unknown' : node.health,
    node.inService ? 'yes' : 'no',
    node.phase,
    node.since === undefined ? '' : minuteOf(node.since),
    node.address,
    wide ? node.digest.slice(0, 12) : '',
    wide ? node.agentVersion : '',
    wide ? labelsText(node.labels) : '',
  ]);
  return table(
    ['NODE', 'VERSION', 'HEALTH', 'IN SERVICE', 'PHASE', 'SINCE', 'ADDRESS', 'DIGEST', 'AGENT', 'LABELS'].map(
      (heading) => ({ heading }),
    ),
    rows,
  );
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}
