/** An upgrade of a node with several services, one of which does not end: what was stopped comes back. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { ServiceConfig } from '../../config/schema/service.js';
import { TinyPlan } from '../caller.test.part.js';
import { RunningNode } from '../running-node.test.part.js';
import { createTinyCluster, freePort, type TinyCluster } from '../tiny-node.test.part.js';

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** A node with a data base whose stop does nothing, and the tiny service behind it. */
async function nodeWithDataBase(
  t: TestContext,
): Promise<{ running: RunningNode; version(): Promise<string> }> {
  const port = await freePort();
  const isUp = `${cluster.folder}/db-${port}`;
  const services: ServiceConfig[] = [
    {
      ...{ name: 'db', adapter: 'command', env: {}, logFile: undefined },
      ...{ start: ['touch', isUp], stop: ['true'], status: ['test', '-e', isUp] },
    },
    { name: 'service', adapter: 'process', start: undefined, env: { PORT: String(port) } },
  ];
  const url = `http://127.0.0.1:${port}/health`;
  const running = await RunningNode.start(t, cluster, {
    services,
    probes: [{ kind: 'http', url, status: 200, versionField: 'version' }],
  });
  const version = async () => (await fetch(url)).text();
  return { running, version };
}

describe('an upgrade of several services', () => {
  test('that cannot stop one of them starts the others again, and the node is back', async (t) => {
    const { running, version } = await nodeWithDataBase(t);
    const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
    await running.caller.execute(plan.stage('s', [1, 5, 1]));
    const order = plan.upgrade('u', [1, 5, 2]);
    if (order.step?.$case === 'upgrade' && order.step.value.timeouts !== undefined)
      order.step.value.timeouts.stopMs = 800n;
    const { result } = await running.caller.execute(order);
    assert.equal(result.failedStep, 'stop');
    assert.match(result.failure?.message ?? '', /db still runs|did not end/);
    assert.equal(result.outcome, 'rolled_back', result.failure?.message);
    assert.match(await version(), /"version":"0a1"/);
    assert.equal((await running.caller.describe()).needsOperator, undefined);
    assert.deepEqual(running.node.isInMaintenance(), { record: false, hook: false });
  });
});
