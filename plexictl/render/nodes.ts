/**
 * `plexictl nodes` for people: one line a node of at most 80 cells, and in a note whatever keeps rollouts
 * or traffic from it. `wide` adds since when, address, digest, the agent's version and labels, and cuts
 * nothing.
 */
import type { Node } from '../../gen/plexi/v1/nodes.js';
import { minuteOf } from './status.js';
import { pageCells, table } from './table.js';

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
    wide && node.since !== undefined ? minuteOf(node.since) : '',
    wide ? node.address : '',
    wide ? node.digest.slice(0, 12) : '',
    wide ? node.agentVersion : '',
    wide ? labelsText(node.labels) : '',
    noteOfNode(node),
  ]);
  const text = table(
    headings.map((heading) => ({ heading })),
    rows,
    wide ? {} : { widthCells: pageCells },
  );
  const isExplained = nodes.some((node) => noteOfNode(node) !== '');
  return isExplained && !wide ? `${text}\n\`plexictl why NODE\` says more.\n` : text;
}

const headings = [
  'NODE',
  'VERSION',
  'HEALTH',
  'IN SERVICE',
  'PHASE',
  'SINCE',
  'ADDRESS',
  'DIGEST',
  'AGENT',
  'LABELS',
  'NOTE',
];

/** What needs somebody stands first; the table may cut the end. */
function noteOfNode(node: Node): string {
  return [
    node.needsOperator === '' ? '' : `needs operator: ${node.needsOperator}`,
    node.order === '' ? '' : `under way: ${node.order}`,
    node.inMaintenance ? 'in maintenance' : '',
    node.held === '' ? '' : `held: ${node.held}`,
  ]
    .filter((note) => note !== '')
    .join('; ');
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}
