/**
 * What the migrations share: argv `up` or `down`, read, change each message, write. A migration that
 * was applied already (or undone already) changes nothing, so repeating one after a crash is safe.
 */
import { argv, env, exit } from 'node:process';
import { readDocument, writeDocument } from '../messages.mjs';

/** Runs one migration between two neighbouring formats; `up` and `down` change one message each. */
export function migrate({ from, to, up, down }) {
  const direction = argv[2];
  const dataDir = env.PLEXI_DATA_DIR ?? 'data';
  if (direction !== 'up' && direction !== 'down') refuse('say `up` or `down`');
  const document = readDocument(dataDir);
  if (document === undefined) return;
  const [before, after, change] = direction === 'up' ? [from, to, up] : [to, from, down];
  if (direction === 'up' ? document.format >= after : document.format <= after) return;
  if (document.format !== before) refuse(`the data has format ${document.format}, not ${before}`);
  writeDocument(dataDir, { format: after, messages: document.messages.map(change) });
}

function refuse(reason) {
  console.error(`migration ${argv[1]}: ${reason}`);
  exit(1);
}
