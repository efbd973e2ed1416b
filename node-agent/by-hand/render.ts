/** What people read of a word on the node. Text of others is printed without its control characters. */
import type { ByHandOutcome, NodeDocument } from './requests.js';

/** `status`, one fact a line. */
export function statusText(document: NodeDocument): string {
  const { release, maintenance, job, needsOperator, next } = document;
  const rows: [string, string][] = [
    ['node', document.node],
    ['agent', `${document.agentVersion}, ${document.agentRuns ? 'runs' : 'does not run'}`],
    ['release', release.version === '' ? 'cannot be read' : release.version],
    ['current', document.current ?? 'none'],
    ['previous', document.previous ?? 'none'],
    ['service', serviceWord(document.serviceRuns)],
    [
      'maintenance',
      maintenance === null ? 'no' : `${maintenance.reason} (since ${maintenance.since || '?'})`,
    ],
    ['last job', job === null ? 'none' : jobText(job)],
    ['fence', document.fence ?? 'cannot be read'],
    ['asks for', needsOperator === null ? 'nothing' : `${needsOperator.code}: ${needsOperator.message}`],
    ['next', next ?? 'nothing to do'],
  ];
  return rows.map(([name, text]) => `${`${name}:`.padEnd(13)}${printable(text)}\n`).join('');
}

/** One sentence, and what to do next. */
export function outcomeText(
  node: string,
  word: string,
  { outcome, release, failure, inMaintenance }: ByHandOutcome,
  setAside: readonly string[] = [],
): string {
  const version = release.version === '' ? 'a release that cannot be read' : release.version;
  const how = failure === null ? '' : `: ${failure.message}`;
  const place = inMaintenance ? 'in maintenance' : 'in service';
  const lines = [`${node}: ${word} ${outcomeWord(outcome)}${how}; it has ${version} and is ${place}`];
  for (const name of setAside) lines.push(`${node}: agent/quarantine/${name} was set aside`);
  if (outcome === 'rollback_failed') lines.push('next: plexi-node-agent status --config FILE');
  else if (inMaintenance) lines.push('next: plexi-node-agent maintenance off --config FILE --reason TEXT');
  return `${lines.map(printable).join('\n')}\n`;
}

function outcomeWord(outcome: ByHandOutcome['outcome']): string {
  switch (outcome) {
    case 'done':
      return 'is done';
    case 'rolled_back':
      return 'is done, the node is as it was before';
    case 'failed':
      return 'failed';
    case 'rollback_failed':
      return 'failed, and the node holds';
  }
}

function serviceWord(runs: boolean | null): string {
  if (runs === null) return 'cannot be told';
  return runs ? 'runs' : 'does not run';
}

function jobText({
  commandId,
  step,
  state,
  committed,
  goingBack,
  byHand,
}: NonNullable<NodeDocument['job']>): string {
  const way = goingBack ? ', going back' : committed ? ', committed' : '';
  const where = state === 'open' ? `open, at ${step}${way}` : state;
  const who = byHand === null ? '' : ` (by ${byHand.by}: ${byHand.reason})`;
  return `${commandId}, ${where}${who}`;
}

/** Names, reasons and outputs come from elsewhere: none of them moves a terminal's cursor. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
