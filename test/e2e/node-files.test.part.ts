/** What stands on a node's disk: its journal, and the digest of a folder with everything in it. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type JournalRecord, journalRecord } from '../../node-agent/journal/records.js';

/** SHA-256 over every path below a folder, with its type, mode and content. */
export function treeHash(folder: string): string {
  const hash = createHash('sha256');
  const add = (path: string, mode: number): void => void hash.update(`${path}\0${mode.toString(8)}\0`);
  add('.', statSync(folder).mode);
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => ({
    entry,
    path: join(entry.parentPath, entry.name),
  }));
  for (const { entry, path } of entries.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (entry.isSymbolicLink()) hash.update(`${path}\0${readlinkSync(path)}\0`);
    else add(path, statSync(path).mode);
    if (entry.isFile()) hash.update(readFileSync(path)).update('\0');
  }
  return hash.digest('hex');
}

/** The records of a node's journal, oldest first; `root` is the node's. */
export function readJournal(root: string): JournalRecord[] {
  const folder = join(root, 'agent', 'journal');
  const names = readdirSync(folder)
    .filter((name) => /^\d+\.json$/.test(name))
    .sort();
  return names.map((name) => journalRecord.parse(JSON.parse(readFileSync(join(folder, name), 'utf8'))));
}

/** The steps that one command began, in order, on the way forward and on the way back. */
export function stepsOf(records: readonly JournalRecord[], commandId: string): string[] {
  return records.flatMap((record) =>
    record.commandId === commandId && record.kind !== 'finished' ? [record.step] : [],
  );
}

/** The ids of the commands in a journal, one for each time that one was accepted. */
export function acceptedCommands(records: readonly JournalRecord[]): string[] {
  return records.filter(({ kind }) => kind === 'accepted').map(({ commandId }) => commandId);
}
