/**
 * Many agents in one process: `agents.js CONFIG…`. Each has its own port, journal, root and service.
 * At SIGTERM the agents stop, and their services too.
 */
import { nanoid } from 'nanoid';
import pino from 'pino';
import { loadNodeAgentConfig } from '../../config/load.js';
import { openNode, startAgent } from '../../node-agent/agent.js';
import { installRelease } from '../../node-agent/install.js';
import { ProcessService } from '../../node-agent/service/process.js';

const clock = { nowMs: () => performance.now(), wall: () => new Date() };
const log = pino({ level: 'error' }, pino.destination(2));
const environment = { clock, random: Math.random, newId: () => nanoid(), log };

const configs = process.argv.slice(2).map((file) => loadNodeAgentConfig(file));
for (const config of configs) await installRelease(await openNode(config, environment), '0a1');
const agents = await Promise.all(configs.map((config) => startAgent(config, environment)));

process.once('SIGTERM', () => {
  stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});

async function stop(): Promise<void> {
  await Promise.all(agents.map((agent) => agent.stop()));
  for (const config of configs) await new ProcessService(config.root).stop(2_000);
}
