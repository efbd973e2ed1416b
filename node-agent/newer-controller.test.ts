/**
 * A controller of a later version commands this agent, and then one of today again: fields that the agent does
 * not know are passed over and are no other contents of a command, and an order that it does not know is
 * refused with a sentence, before anything is touched.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from '@grpc/grpc-js';
import { fromServiceError } from '../config/grpc-status.js';
import { grpcChannel } from '../config/tls.js';
import {
  Command,
  type CommandEvent,
  ExecuteRequest,
  NodeAgentServiceService,
} from '../gen/plexi/v1/node_agent.js';
import { speakNewer } from '../test/cluster/newer-messages.test.part.js';
import { CheckedNode, clusterWith, linkTo } from './upgrade/checked-node.test.part.js';

/** The first number of an order that no agent of today knows. */
const unknownOrder = 16;

const { cluster, old, next } = await clusterWith('0b3');

/** The request as a controller of a later version writes it. */
function newer(command: Command): Uint8Array {
  const protocol = speakNewer();
  try {
    return ExecuteRequest.encode({ command }).finish();
  } finally {
    protocol.end();
  }
}

/** Sends the bytes of a request; what comes of it, event by event. */
async function send(port: number, bytes: Uint8Array): Promise<CommandEvent[]> {
  const { credentials, options } = grpcChannel(cluster.tls('controller', 'controller-0'), {
    cluster: 'test',
    role: 'agent',
    name: 'node-1',
  });
  const client = new Client(`127.0.0.1:${port}`, credentials, options);
  const { path, responseDeserialize } = NodeAgentServiceService.execute;
  const asIs = (request: Uint8Array): Buffer => Buffer.from(request);
  const deadline = Date.now() + 20_000;
  const events: CommandEvent[] = [];
  try {
    const stream = client.makeServerStreamRequest(path, asIs, responseDeserialize, bytes, { deadline });
    for await (const { event } of stream) if (event !== undefined) events.push(event);
    return events;
  } catch (thrown) {
    throw fromServiceError(thrown) ?? thrown;
  } finally {
    client.close();
  }
}

describe('a controller of a later version', () => {
  test('upgrades the node, and the same command from one of today is told the same result again', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const port = checked.agent?.port ?? 0;
    await send(port, newer(checked.preflightOrder(old, next)));
    await send(port, newer(checked.stageOrder(next)));
    const order = checked.upgradeOrder(old, next, { backup: true });
    assert.notDeepEqual(newer(order), ExecuteRequest.encode({ command: order }).finish());
    const last = (await send(port, newer(order))).at(-1)?.event;
    assert.ok(last?.$case === 'finished');
    assert.equal(last.value.outcome, 'done', last.value.failure?.message);
    assert.equal((await checked.node.links()).current, linkTo(next));

    const journal = await checked.node.journal();
    for (const bytes of [ExecuteRequest.encode({ command: order }).finish(), newer(order)]) {
      const again = await send(port, bytes);
      assert.deepEqual(
        again.map(({ event }) => event?.$case),
        ['accepted', 'finished'],
      );
      assert.deepEqual(again[0]?.event, { $case: 'accepted', value: { known: true } });
      assert.deepEqual(again[1]?.event, last);
    }
    assert.deepEqual(await checked.node.journal(), journal, 'nothing was done again');
  });

  test('is refused an order that the agent does not know, which then obeys what it knows', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const port = checked.agent?.port ?? 0;
    const { commandId, rolloutId, token, planDigest } = checked.next(undefined);
    const writer = Command.encode(
      Command.fromPartial({ commandId, rolloutId, planDigest, attempt: 1, ...(token && { token }) }),
    );
    const command = writer
      .uint32((unknownOrder << 3) | 2)
      .bytes(Uint8Array.of(0x08, 0x01))
      .finish();
    const request = Buffer.concat([
      Buffer.from([0x0a, (command.length % 128) | 128, command.length >> 7]),
      command,
    ]);
    await assert.rejects(send(port, request), {
      code: 'COMMAND_CONFLICT',
      message: `this agent does not know the order in ${commandId}; upgrade the agent`,
    });
    assert.deepEqual(await checked.node.journal(), {});
    assert.deepEqual(checked.node.isInMaintenance(), { record: false, hook: false });
    const { result } = await checked.caller.execute(checked.preflightOrder(old, next));
    assert.equal(result.outcome, 'done', result.failure?.message);
  });
});
