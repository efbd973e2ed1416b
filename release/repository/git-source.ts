/**
 * Which commit a release is built from. Invariant: a release that names a commit was built from
 * exactly that commit, or its manifest says `-dirty`; and without `--allow-dirty` nothing is built
 * from a tree that git calls changed (issue: a rollout must be traceable to its source).
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { quoted } from '../quoted.js';

const run = promisify(execFile);

/** Changed files that the error names. */
const changesShown = 5;

/**
 * The commit of the work tree that holds the folder, with `-dirty` when it has changes that were
 * allowed; null outside a work tree. GIT_DIRTY when there are changes and they are not allowed.
 */
export async function sourceCommitOf(folder: string, allowDirty: boolean): Promise<string | null> {
  const inside = await git(folder, ['rev-parse', '--is-inside-work-tree']);
  if (inside.failure !== undefined) {
    if (allowDirty || inside.failure.includes('not a git repository')) return null;
    throw cannotAsk(folder, inside.failure);
  }
  if (inside.answer.trim() !== 'true') return null;
  const status = await git(folder, ['status', '--porcelain', '--untracked-files=all', '--', '.']);
  if (status.failure !== undefined && !allowDirty) throw cannotAsk(folder, status.failure);
  const changes = status.answer.split('\n').filter((line) => line !== '');
  const dirty = changes.length > 0 || status.failure !== undefined;
  if (dirty && !allowDirty) throw gitDirty(folder, changes);
  const head = await git(folder, ['rev-parse', '--verify', '--quiet', 'HEAD']);
  const commit = head.answer.trim();
  if (commit === '') return null;
  return dirty ? `${commit}-dirty` : commit;
}

interface GitAnswer {
  answer: string;
  failure: string | undefined;
}

async function git(folder: string, words: readonly string[]): Promise<GitAnswer> {
  try {
    const { stdout } = await run('git', ['-c', 'core.fsmonitor=false', '-C', folder, ...words], {
      env: environment(),
      timeout: limits.gitCallMs,
      maxBuffer: limits.gitAnswerBytes,
    });
    return { answer: stdout, failure: undefined };
  } catch (thrown) {
    return { answer: '', failure: failureOf(thrown) };
  }
}

/** A machine without git has no work tree to ask about. */
function failureOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if ('code' in thrown && thrown.code === 'ENOENT') return 'not a git repository: there is no git';
  return 'stderr' in thrown && thrown.stderr !== '' ? String(thrown.stderr).trim() : thrown.message;
}

/** Without GIT_DIR and the like, which would make git answer about another tree. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'));
  return { ...Object.fromEntries(kept), LC_ALL: 'C', GIT_OPTIONAL_LOCKS: '0' };
}

function gitDirty(folder: string, changes: readonly string[]): PlexiError {
  const shown = changes.slice(0, changesShown).map((line) => quoted(line.slice(3)));
  const more = changes.length > shown.length ? ` and ${changes.length - shown.length} more` : '';
  return new PlexiError(
    'GIT_DIRTY',
    `${folder} has changes that are in no commit: ${shown.join(', ')}${more}; commit them, or build with --allow-dirty.`,
    { details: { changes: changes.slice(0, limits.treeDifferences) } },
  );
}

function cannotAsk(folder: string, failure: string): PlexiError {
  return new PlexiError(
    'GIT_DIRTY',
    `git cannot say whether ${folder} has changes (${quoted(failure, 200)}); repair that, or build with --allow-dirty.`,
  );
}
