/** How a server's command line ends when its words are wrong, or only asked for help. */
import { errorCodes } from './errors.js';

/**
 * Ends the program after commander has printed what it had to say: 0 after help and version, else the
 * exit code of wrong usage, as everywhere (contract, exit codes).
 */
export function endOfUsage({ exitCode }: { readonly exitCode: number }): never {
  process.exit(exitCode === 0 ? 0 : errorCodes.USAGE);
}
