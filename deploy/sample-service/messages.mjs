/**
 * The messages on disk: one file, data/messages.json, replaced whole and fsynced for each new message.
 * It is written only when a message is posted, never at a start, so that a rollback finds the data
 * folder exactly as the backup left it.
 *
 * Formats, each a step of a migration:
 *   1 (0a1)  [{id, at, author, text}]
 *   2 (0b1)  {schema: 2, messages: [{..., room}]}
 *   3 (0r1)  {schema: 3, messages: [{..., pinned}]}
 *   4 (0b2)  {schema: 4, messages: [{..., body: {format, text}}]} without `text`
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Reads the stored document and its format; an absent file is undefined, for any format. */
export function readDocument(dataDir) {
  const file = join(dataDir, 'messages.json');
  let text;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
  const document = JSON.parse(text);
  if (Array.isArray(document)) return { format: 1, messages: document };
  return { format: document.schema, messages: document.messages };
}

/** Replaces the document: a temporary file, fsync, rename, fsync of the folder. */
export function writeDocument(dataDir, { format, messages }) {
  const document = format === 1 ? messages : { schema: format, messages };
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, 'messages.json');
  const temporary = `${file}.new`;
  const handle = openSync(temporary, 'w', 0o644);
  try {
    writeSync(handle, `${JSON.stringify(document, null, 2)}\n`);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(temporary, file);
  const folder = openSync(dataDir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Opens the messages; throws when the data was written in another format than this release's. */
export function openMessages(dataDir, format) {
  const document = readDocument(dataDir) ?? { format, messages: [] };
  if (document.format !== format) {
    throw new Error(
      `${join(dataDir, 'messages.json')} has format ${document.format}, this release reads format ${format}: run its migrations, or restore the backup`,
    );
  }
  let messages = document.messages;
  return {
    list: () => messages,
    add({ author, text }) {
      const message = shape({ id: randomUUID(), at: new Date().toISOString(), author, text }, format);
      const longer = [...messages, message];
      writeDocument(dataDir, { format, messages: longer });
      messages = longer;
      return message;
    },
  };
}

function shape({ text, ...message }, format) {
  const content = format < 4 ? { text } : { body: { format: 'plain', text } };
  const room = format < 2 ? {} : { room: 'lobby' };
  const pinned = format < 3 ? {} : { pinned: false };
  return { ...message, ...content, ...room, ...pinned };
}
