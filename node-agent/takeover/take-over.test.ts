/** A taking over that a restart of the agent met after the switch only goes forward. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, describe, type TestContext, test } from 'node:test';
import { TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { openNode } from '../agent.js';
import { environment } from '../agent-node.test.part.js';
import type { Job } from '../journal/journal.js';
import { createTinyCluster, type TinyCluster, TinyNode } from '../tiny-node.test.part.js';
import { abandon, type TakeOver, takeOver } from './take-over.js';

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** The job found nothing installed; by now `current` leads to 0a1. No service runs. */
async function switched(t: TestContext, resumed: number): Promise<{ node: TinyNode; context: TakeOver }> {
  const node = await TinyNode.create(cluster);
  t.after(() => node.remove());
  const job: Job = {
    ...{ commandId: 'adopt', command: {}, payloadHash: '', begun: ['take_over'], committed: false, resumed },
    token: { epoch: '1', term: '1', seq: '1' },
    facts: {
      ...{ wasInMaintenance: false, folderBefore: null, previousBefore: null },
      ...{ folderAfter: null, backupId: '' },
    },
    ...{ goingBack: undefined, result: undefined, records: [] },
  };
  const order = TakeOverStep.fromPartial({ version: '0a1', directory: node.at('data'), timeoutMs: 5_000n });
  const opened = await openNode(node.config, environment);
  return { node, context: { node: opened, order, job, earlier: [], progress: () => undefined } };
}

describe('a taking over', () => {
  test('that a restart met after the switch is finished, and nothing is looked for again', async (t) => {
    const { node, context } = await switched(t, 1);
    const links = await node.links();
    await takeOver(context);
    assert.match(await abandon(context), /the release is in use/);
    assert.deepEqual(await node.links(), links);
  });

  test('that no restart met takes `current` for what it is', async (t) => {
    const { context } = await switched(t, 0);
    await assert.rejects(takeOver(context), { code: 'TAKE_OVER_FAILED', message: /no process of this user/ });
  });
});
