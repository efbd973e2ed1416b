/** A node for tests of the agent: a root of its own, real folders and keys, short intervals, no log. */
import pino from 'pino';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { type AgentEnvironment, openNode } from './agent.js';
import type { AgentNode } from './node.js';

export const environment: AgentEnvironment = {
  clock: { nowMs: () => performance.now(), wall: () => new Date() },
  random: () => 0.5,
  newId: () => crypto.randomUUID(),
  log: pino({ level: 'silent' }),
};

/** The configuration of node-1 of the cluster `test`, whose controller does not answer. */
export function agentConfig(root: string, changes: Partial<NodeAgentConfig> = {}): NodeAgentConfig {
  return {
    cluster: 'test',
    node: 'node-1',
    root,
    listen: '127.0.0.1:0',
    address: '127.0.0.1:1',
    controllers: ['127.0.0.1:1'],
    tls: { ca: '', cert: '', key: '' },
    repository: `${root}/no-repository`,
    versionScheme: 'plexi',
    services: [{ name: 'service', adapter: 'process', start: undefined, env: {} }],
    secrets: {},
    probes: [],
    probeIntervalMs: 50,
    maintenance: { enter: undefined, leave: undefined },
    backup: { paths: ['data', 'config'] },
    orphan: { afterMs: 600_000, action: 'roll_back' },
    registerIntervalMs: 600_000,
    log: { level: 'silent' },
    ...changes,
  };
}

/** A node whose service was never started. */
export function openTestNode(root: string): Promise<AgentNode> {
  return openNode(agentConfig(root), environment);
}
