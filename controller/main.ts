/**
 * The controller's program: `plexi-controller --config FILE`. One replica: it answers every call from
 * etcd, and campaigns for the lead. Here, and only here, real clocks and randomness are made.
 */
import { Command } from 'commander';
import { nanoid } from 'nanoid';
import pino from 'pino';
import { PlexiError } from '../config/errors.js';
import { loadControllerConfig } from '../config/load.js';
import { readOwnIdentity } from '../config/tls.js';
import { openRepository } from '../release/repository/fetch.js';
import { runReplica } from './replica.js';

const startedWallMs = Date.now() - performance.now();

const program = new Command('plexi-controller')
  .description('Plans rollouts and drives the node agents; run several, one of them leads.')
  .requiredOption('--config <file>', 'the configuration, controller.yml')
  .action(({ config }: { config: string }) => serve(config));

await program.parseAsync().catch((thrown: unknown) => {
  process.stderr.write(`plexi-controller: ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  process.exit(thrown instanceof PlexiError ? thrown.exitCode : 1);
});

async function serve(file: string): Promise<void> {
  const config = loadControllerConfig(file);
  const identity = readOwnIdentity(config.tls);
  if (identity.role !== 'controller' || identity.name !== config.id || identity.cluster !== config.cluster) {
    throw new PlexiError(
      'CERTIFICATE_REFUSED',
      `the certificate ${config.tls.cert} names ${identity.role} ${identity.name} of cluster ${identity.cluster}, not controller ${config.id} of ${config.cluster}; issue one with plexictl certs issue`,
    );
  }
  const log = pino(
    { level: config.log.level, base: { controller: config.id } },
    pino.destination({ fd: 2, sync: true }),
  );
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
