/** What a disk refuses is tried again, a bounded number of times; everything else is told at once. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asPlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { triedAgain } from './refusal.js';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: refused`), { code });
}

/** Work that throws what it is given, one after the other, and then is done. */
function workThatMeets(...errors: unknown[]) {
  const work = {
    tries: 0,
    run: async (): Promise<string> => {
      const error = errors[work.tries++];
      if (error !== undefined) throw error;
      return 'done';
    },
  };
  return work;
}

describe('what a disk refuses', () => {
  test('is tried again, also where the refusal is the cause of what was thrown', async () => {
    const cause = asPlexiError(systemError('ENOSPC'), 'RESTORE_FAILED', 'the backup');
    const work = workThatMeets(systemError('EIO'), cause);
    assert.equal(await triedAgain(work.run), 'done');
    assert.equal(work.tries, 3);
  });

  test('for good is told after a bounded number of tries', async () => {
    const work = workThatMeets(...Array.from({ length: 50 }, () => systemError('EDQUOT')));
    await assert.rejects(triedAgain(work.run), { code: 'EDQUOT' });
    assert.equal(work.tries, limits.diskTries);
  });

  test('is told apart from everything else, which is told at once', async () => {
    const work = workThatMeets(systemError('ENOENT'));
    await assert.rejects(triedAgain(work.run), { code: 'ENOENT' });
    assert.equal(work.tries, 1);
    await assert.rejects(triedAgain(workThatMeets('no error at all').run), /^no error at all$/);
  });
});
