/** `plexictl audit` for people: one line a record, newest first; `wide` has its hash and cuts nothing. */
import type { AuditRecord, AuditVerification } from '../../gen/plexi/v1/audit.js';
import { pageCells, table } from './table.js';

/** The records as a table, and below it what the check of the chain came to. */
export function auditText(
  records: readonly AuditRecord[],
  verification: AuditVerification | undefined,
  wide: boolean,
): string {
  return `${recordsText(records, wide)}${verificationText(verification)}`;
}

function recordsText(records: readonly AuditRecord[], wide: boolean): string {
  if (records.length === 0) return 'Nothing has been recorded yet.\n';
  const rows = records.map((record) => [
    String(record.sequence),
    secondOf(record.at),
    record.what,
    record.who,
    record.text,
    wide ? record.hash : '',
  ]);
  const headings = ['NR', 'AT', 'WHAT', 'WHO', 'TEXT', 'HASH'];
  const columns = headings.map((heading) => ({ heading }));
  return table(columns, rows, wide ? {} : { widthCells: pageCells });
}

function verificationText(verification: AuditVerification | undefined): string {
  if (verification === undefined || verification.problem !== '') return '';
  const { first, last, lastHash } = verification;
  if (first === 0n) return '';
  return `\nRecords ${first} to ${last} follow on one another; the hash of the last is\n${lastHash}\n`;
}

/** `2024-12-19 12:00:00`, in UTC. */
function secondOf(at: Date | undefined): string {
  return at === undefined ? '' : at.toISOString().slice(0, 19).replace('T', ' ');
}
