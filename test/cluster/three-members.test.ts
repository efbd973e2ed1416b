/**
 * An etcd of three members loses one of them, each in turn, by death and by silence: the controllers go on
 * with the other two, and the leader does not even lose its lead.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readKey } from '../../controller/leadership/etcd.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { eventually } from './asking.test.part.js';
import { type Calls, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';

/** Long enough for an election among the members; short enough that a lead would be lost by waiting. */
const leadership = { ttl_seconds: 5, margin_ms: 1_200 };

describe('an etcd of three members', { concurrency: false }, () => {
  let members: RealEtcd[];
  let cluster: TestCluster;
  let calls: Calls;
  before(async () => {
    members = await RealEtcd.startThree();
    const [first] = members;
    assert.ok(first);
    const etcd = {
      folder: first.folder,
      connection: () => ({
        endpoints: members.map(({ port }) => `https://127.0.0.1:${port}`),
        tls: first.tls,
      }),
      client: () => first.client(),
    };
    cluster = await TestCluster.create('three', etcd);
    await cluster.replica('controller-0', { leadership });
    calls = await cluster.calls((await cluster.replica('controller-1', { leadership })).address);
    const agent = await cluster.agent('node-1');
    const node = { nodeId: 'node-1', address: agent.address, labels: {} };
    await retried(() => calls.ask(NodesServiceService.add, node));
  });
  after(async () => {
    for (const member of members) member.thaw();
    await cluster?.stop();
    await Promise.all(members.map((member) => member.kill()));
    await members[0]?.remove();
  });

  const losses: [name: string, lose: (member: RealEtcd) => unknown, back: (member: RealEtcd) => unknown][] = [
    ['is silent', (member) => member.freeze(), (member) => member.thaw()],
    ['dies', (member) => member.kill(), (member) => member.run()],
  ];
  // Each of them in turn, so that the one that leads among them is lost in each way.
  for (const [name, lose, back] of losses)
    for (const index of [0, 1, 2])
      test(`member ${index + 1} ${name}: wishes are fulfilled, and the lead is kept`, async (t) => {
        const member = members[index];
        assert.ok(member);
        await wished(calls);
        const { leader } = await calls.status();
        await lose(member);
        const beganMs = performance.now();
        await wished(calls);
        t.diagnostic(
          `the first wish was in force ${Math.round(performance.now() - beganMs)} ms after the loss`,
        );
        await renewed(members[(index + 1) % 3], cluster.keys.leader);
        await wished(calls);
        assert.deepEqual((await retried(() => calls.status())).leader, leader, 'the lead is the same');
        await back(member);
        await wished(calls);
      });
});

/** Resolves once the leader's lease was renewed, by the word of a member that is there. */
async function renewed(member: RealEtcd | undefined, leaderKey: string): Promise<void> {
  assert.ok(member);
  const client = member.client();
  const { entry } = await retried(() => readKey(client, leaderKey));
  assert.ok(entry, 'nobody leads');
  let before = 0;
  await eventually(
    () =>
      client.leaseClient.leaseTimeToLive({ ID: entry.lease }).then(
        ({ TTL }) => Number(TTL),
        () => before,
      ),
    (leftSeconds) => {
      const isRenewed = leftSeconds > before && before > 0;
      before = leftSeconds;
      return isRenewed;
    },
    'the lease is not renewed',
  );
}

/** One wish, from the replica through etcd to the leader and back; it is said again when nobody knows. */
async function wished(calls: Calls): Promise<void> {
  await retried(() =>
    calls.ask(NodesServiceService.setHold, { nodeId: 'node-1', on: true, reason: 'a member is away' }),
  );
}

async function retried<T>(ask: () => Promise<T>): Promise<T> {
  const answer = await eventually(
    () =>
      ask().then(
        (value) => ({ value }),
        () => undefined,
      ),
    (got) => got !== undefined,
    'it does not succeed',
  );
  if (answer === undefined) throw new Error('unreachable');
  return answer.value;
}
