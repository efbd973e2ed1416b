/**
 * The question before something is started. Somebody at a terminal is asked; a script has to say
 * `--yes`, because silence must never count as consent.
 */
import { PlexiError } from '../../config/errors.js';
import type { CliContext } from '../context.js';

/** Returns once somebody typed yes. `question` says what and in which cluster. Errors: NOT_CONFIRMED. */
export async function confirmed(context: CliContext, cluster: string, question: string): Promise<void> {
  if (!context.stdinIsTerminal) {
    throw new PlexiError(
      'NOT_CONFIRMED',
      `cluster ${cluster} wants a confirmation and there is no terminal to ask on; look at what would be done and add --yes`,
      { details: { cluster } },
    );
  }
  const answer = await context.ask(`\n${question} in cluster ${cluster}. Go on? [y/N] `);
  if (answer !== undefined && /^\s*y(es)?\s*$/i.test(answer)) return;
  throw new PlexiError('NOT_CONFIRMED', 'not confirmed, nothing was started', { details: { cluster } });
}
