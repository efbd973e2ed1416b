/** Channels that are closed at any moment leave no connection behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Client, credentials } from '@grpc/grpc-js';
import { closeChannel } from './close-channel.js';

describe('a channel that is closed', () => {
  let server: Http2Server;
  let address: string;
  const open = new Set<Socket>();
  before(async () => {
    server = createServer();
    server.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    for (const socket of open) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  const client = (): Client =>
    new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const ready = (one: Client): Promise<void> =>
    new Promise((resolve, reject) => {
      one.waitForReady(Date.now() + 10_000, (error) => (error === undefined ? resolve() : reject(error)));
    });

  test('in the turn of its first call has no connection', async () => {
    const hasty = client();
    hasty.getChannel().getConnectivityState(true);
    closeChannel(hasty);
    // This one asks later, so its connection comes behind that of the other, where there is one.
    const patient = client();
    await ready(patient);
    const isEnough = AbortSignal.timeout(10_000);
    while (open.size !== 1 && !isEnough.aborted) await new Promise(setImmediate);
    assert.equal(open.size, 1, 'only the second channel is connected');
    closeChannel(patient);
    const [socket] = open;
    if (socket !== undefined) await once(socket, 'close');
    assert.equal(open.size, 0);
  });
});
