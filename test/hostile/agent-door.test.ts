/** The agent's port, attacked from below the protocol. */
import { after, before } from 'node:test';
import { type RunningAgent, startAgent } from '../../node-agent/agent.js';
import { environment } from '../../node-agent/agent-node.test.part.js';
import { AgentRoots } from './agent-root.test.part.js';
import { attackDoor, type Door } from './door.test.part.js';

const roots = await AgentRoots.make();
let agent: RunningAgent;
let door: Door;

before(async () => {
  agent = await startAgent(roots.config(`${roots.folder}/ended`), environment);
  door = {
    port: agent.port,
    files: roots.certificate('controller'),
    foreign: await roots.foreign(),
    path: '/plexi.v1.NodeAgentService/Describe',
    async goodCall() {
      const caller = roots.connect(agent);
      try {
        await caller.describe();
      } finally {
        caller.close();
      }
    },
  };
});
after(async () => {
  await agent.stop();
  await roots.remove();
});

attackDoor(import.meta.url, 'the agent', () => door);
