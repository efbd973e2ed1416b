/** What every door promises of its answers: a PlexiError with a sentence, and never a surprise. */
import assert from 'node:assert/strict';
import { errorCodes, PlexiError } from '../../config/errors.js';

/** Characters that no sentence needs, however long the input was that it speaks of. */
const sentenceChars = 20_000;

/** The code of what was thrown, when it is a clear refusal; fails for everything else. */
export function codeOf(thrown: unknown): string {
  assert.ok(thrown instanceof PlexiError, thrown instanceof Error ? thrown.stack : String(thrown));
  assert.ok(Object.hasOwn(errorCodes, thrown.code), thrown.code);
  assert.notEqual(thrown.code, 'INTERNAL', thrown.message);
  assert.ok(thrown.message.length > 5 && thrown.message.length < sentenceChars, thrown.message.slice(0, 500));
  return thrown.code;
}

/** `fine` when the work succeeds, else the code of its refusal. */
export async function endOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'fine';
  } catch (thrown) {
    return codeOf(thrown);
  }
}
