/** What loads the sources into this process, for another one that runs some of them. */
import { execArgv } from 'node:process';

/** The options of this process that name its loaders; none where it runs as it is built. */
export const loader: readonly string[] = execArgv.filter(
  (word, index) => word === '--import' || execArgv[index - 1] === '--import',
);
