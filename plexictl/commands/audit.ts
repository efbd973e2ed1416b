/**
 * `plexictl audit`: what was wished, commanded and answered in this cluster, and who led. With `--verify`
 * the controller checks the whole chain of records; one that is broken ends with exit code 4.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { AuditVerification } from '../../gen/plexi/v1/audit.js';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { auditText } from '../render/audit.js';
import { auditDocument } from '../render/documents.js';
import { wholeNumber } from './option-values.js';

interface AuditOptions extends ConnectionOptions {
  readonly limit: number;
  readonly verify?: true;
}

/** Adds `audit` to the program. */
export function registerAudit(program: Command, context: CliContext): void {
  const command = program
    .command('audit')
    .summary('what was done in this cluster, and by whom')
    .description('Show wishes, commands, outcomes, ends and changes of leader, newest first.')
    .option('--limit <n>', 'how many', wholeNumber('--limit', 1, limits.auditListed), 20)
    .option('--verify', 'check that no record was changed or taken out');
  withConnection(command)
    .addHelpText('after', '\nExamples:\n  plexictl audit --limit 50\n  plexictl audit --verify')
    .action((options: AuditOptions) =>
      withCluster(context, options, async (client) => {
        const { records, verification } = await client.audit(options.limit, options.verify === true);
        context.show(auditDocument(records, verification), () =>
          auditText(records, verification, context.output() === 'wide'),
        );
        refuseBroken(verification);
      }),
    );
}

function refuseBroken(verification: AuditVerification | undefined): void {
  if (verification !== undefined && verification.problem !== '')
    throw new PlexiError('STORE_INVALID', verification.problem);
}
