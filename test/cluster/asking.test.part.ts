/** For the tests of replicas: what is asked until it holds, and what must be refused. */
import assert from 'node:assert/strict';
import { PlexiError } from '../../config/errors.js';
import { type EtcdClient, grantLease, readKey, transact } from '../../controller/leadership/etcd.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import type { Calls } from './cluster.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

/** For assert.rejects: a PlexiError with this code, and a sentence that fits. */
export function refused(code: string, sentence = /./) {
  return (thrown: unknown): boolean => {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    assert.deepEqual([thrown.code, sentence.test(thrown.message)], [code, true], thrown.message);
    return true;
  };
}

/** Resolves once something holds of what a replica answers; polls, since there is no event for it. */
export async function eventually<T>(
  ask: () => Promise<T>,
  holds: (answer: T) => boolean,
  what: string,
  patienceMs = 60_000,
): Promise<T> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const answer = await ask();
    if (holds(answer)) return answer;
    if (performance.now() > deadlineMs) throw new Error(`${what}: ${JSON.stringify(answer, bigintAsText)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Puts a key that etcd takes away after so many seconds, by its own clock; resolves to what waits for that. */
export async function keyThatExpires(
  client: EtcdClient,
  key: string,
  seconds: number,
): Promise<() => Promise<unknown>> {
  const lease = await grantLease(client, seconds);
  await transact(client, [], [{ kind: 'put', key, value: '', lease }]);
  const isGone = ({ entry }: Awaited<ReturnType<typeof readKey>>): boolean => entry === undefined;
  return () => eventually(() => readKey(client, key), isGone, `${key} does not expire`);
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

/** Names the nodes, and waits until the leader has seen each of them. */
export async function addNodes(calls: Calls, agents: readonly ScriptedAgent[]): Promise<void> {
  for (const { node, address } of agents)
    await calls.ask(NodesServiceService.add, { nodeId: node, address, labels: {} });
  await eventually(
    () => calls.ask(NodesServiceService.list, {}),
    ({ nodes }) => agents.every((agent) => nodes.some((node) => node.id === agent.node && node.inService)),
    'not every node is in service',
  );
}
