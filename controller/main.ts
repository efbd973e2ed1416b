/**
 * The controller's program: `plexi-controller --config FILE`, with `--check-config` to look only. One
 * replica: it answers every call from etcd, and campaigns for the lead. Here, and only here, real clocks and randomness are made.
 */
import { Command } from 'commander';
import { nanoid } from 'nanoid';
import pino from 'pino';
import { checkControllerConfig, fineOrThrow, mayPassSentence } from '../config/check-config.js';
import { PlexiError } from '../config/errors.js';
import { logWarnings } from '../config/log-warnings.js';
import { ownVersion } from '../config/own-version.js';
import { endOfUsage } from '../config/usage.js';
import { openRepository } from '../release/repository/fetch.js';
import { runReplica } from './replica.js';

const startedWallMs = Date.now() - performance.now();

const program = new Command('plexi-controller')
  .description('Plans rollouts and drives the node agents; run several, one of them leads.')
  .version(ownVersion)
  .exitOverride(endOfUsage)
  .requiredOption('--config <file>', 'the configuration, controller.yml')
  .option('--check-config', 'only say whether the configuration and the files it names are fine')
  .action(({ config, checkConfig }: { config: string; checkConfig?: true }) =>
    checkConfig === true ? check(config) : serve(config),
  );

await program.parseAsync().catch((thrown: unknown) => {
  process.stderr.write(`plexi-controller: ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  process.exit(thrown instanceof PlexiError ? thrown.exitCode : 1);
});

function check(file: string): void {
  process.stdout.write(fineOrThrow(file, checkControllerConfig(file)));
}

async function serve(file: string): Promise<void> {
  const { config, mayPass } = checkControllerConfig(file);
  const log = pino(
    { level: config.log.level, base: { controller: config.id } },
    pino.destination({ fd: 2, sync: true }),
  );
  logWarnings(log);
  const toldAtStart = mayPassSentence(mayPass);
  if (toldAtStart !== undefined) log.warn(toldAtStart);
  const stopping = new AbortController();
  const replica = runReplica({
    config,
    repository: openRepository(config.repository),
    monotonicMs: () => performance.now(),
    nowMs: () => Math.round(startedWallMs + performance.now()),
    wall: () => new Date(),
    nonce: () => nanoid(),
    signal: stopping.signal,
    log,
  });
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'the controller stops');
    stopping.abort();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  await replica;
  process.exit(0);
}
