/**
 * Many agents in one process: `agents.ts STUB_PORT INSTALL CONFIG…`. Each has its own port, journal,
 * root and service. The stub answers every probe. At SIGTERM the agents stop, and their services too.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { nanoid } from 'nanoid';
import pino from 'pino';
import { loadNodeAgentConfig } from '../../config/load.js';
import { openNode, startAgent } from '../../node-agent/agent.js';
import { installRelease } from '../../node-agent/install.js';
import { ProcessService } from '../../node-agent/service/process.js';

const [stubPort = '0', , ...files] = process.argv.slice(2);
const clock = { nowMs: () => performance.now(), wall: () => new Date() };
const log = pino({ level: 'error' }, pino.destination(2));

const stub = createServer((_request, response) => response.end('ok\n'));
stub.listen(Number(stubPort), '127.0.0.1');
await once(stub, 'listening');

const configs = files.map((file) => loadNodeAgentConfig(file));
for (const config of configs) await installRelease(await openNode(config, { clock, log }), '0a1');
const agents = await Promise.all(
  configs.map((config) => startAgent(config, { clock, random: Math.random, newId: () => nanoid(), log })),
);

process.once('SIGTERM', () => {
  stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});

async function stop(): Promise<void> {
  await Promise.all(agents.map((agent) => agent.stop()));
  await Promise.all(configs.map((config) => new ProcessService(config.root).stop(2_000)));
}
