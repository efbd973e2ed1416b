/**
 * The node agent's program: `plexi-node-agent --config FILE`, and the words that work on the node
 * itself: `install`, `start`, and those of by-hand/. Here, and only here, real clocks and randomness are made.
 */

import { Command } from 'commander';
import { nanoid } from 'nanoid';
import pino, { type Logger } from 'pino';
import { checkNodeAgentConfig, fineOrThrow, mayPassSentence } from '../config/check-config.js';
import { PlexiError } from '../config/errors.js';
import { logWarnings } from '../config/log-warnings.js';
import { ownVersion } from '../config/own-version.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { endOfUsage } from '../config/usage.js';
import { startAgent } from './agent.js';
import { addByHandWords } from './by-hand/cli.js';
import { installOffline, startThroughDoor } from './by-hand/offline.js';

const clock = { nowMs: () => performance.now(), wall: () => new Date() };

const program = new Command('plexi-node-agent')
  .description(
    'Runs on each node: upgrades its service when the leading controller says so, and takes it back when that fails.',
  )
  .version(ownVersion)
  .exitOverride(endOfUsage)
  .enablePositionalOptions()
  .option('--config <file>', 'the configuration, node-agent.yml')
  .option('--check-config', 'only say whether the configuration and the files it names are fine')
  .action(({ config, checkConfig }: { config?: string; checkConfig?: true }) =>
    checkConfig === true ? check(required(config)) : serve(required(config)),
  );

program
  .command('install')
  .description('place the first release on this node, without a controller')
  .requiredOption('--config <file>', 'the configuration, node-agent.yml')
  .requiredOption('--version <version>', 'the version to install')
  .action((options: { config: string; version: string }) => install(options));

program
  .command('start')
  .description('start the service, when an upgrade waits for a person to do so')
  .requiredOption('--config <file>', 'the configuration, node-agent.yml')
  .action((options: { config: string }) => start(options));

addByHandWords(program, { clock, load: loadConfig });

await program.parseAsync().catch((thrown: unknown) => {
  const error = thrown instanceof PlexiError ? thrown : undefined;
  process.stderr.write(`plexi-node-agent: ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  process.exitCode = error?.exitCode ?? 1;
});

function required(file: string | undefined): string {
  if (file !== undefined) return file;
  throw new PlexiError('USAGE', 'say which configuration: plexi-node-agent --config FILE');
}

function check(file: string): void {
  process.stdout.write(fineOrThrow(file, checkNodeAgentConfig(file)));
}

async function serve(file: string): Promise<void> {
  const { config, log } = loadConfig(file);
  logWarnings(log);
  const agent = await startAgent(config, { clock, random: Math.random, newId: () => nanoid(), log });
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'the node agent stops; its service runs on');
    agent.stop().then(
      () => process.exit(0),
      (thrown) => {
        log.error({ err: thrown }, 'the node agent could not stop in order');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

async function install(options: { config: string; version: string }): Promise<void> {
  const { config, log } = loadConfig(options.config);
  const folder = await installOffline(config, { clock, log }, options.version);
  process.stdout.write(`${config.node}: releases/${folder} is current; start plexi-node-agent to run it\n`);
}

async function start(options: { config: string }): Promise<void> {
  const { config } = loadConfig(options.config);
  const { version } = await startThroughDoor(config);
  process.stdout.write(`${config.node}: ${version} was started; the upgrade goes on once it is healthy\n`);
}

/** What is wrong and does not stop a start is told in the log. */
function loadConfig(file: string): { config: NodeAgentConfig; log: Logger } {
  const { config, mayPass } = checkNodeAgentConfig(file);
  const log = logger(config);
  const toldAtStart = mayPassSentence(mayPass);
  if (toldAtStart !== undefined) log.warn(toldAtStart);
  return { config, log };
}

function logger(config: NodeAgentConfig): Logger {
  return pino({ level: config.log.level }, pino.destination({ fd: 2, sync: true }));
}
