/** A repository that accepts connections and says nothing costs a plan, and not the leader's loop. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { openRepository } from '../../release/repository/fetch.js';
import { patientRepository } from './patient-repository.js';

test('a repository that hangs is given up after the time, with a sentence that says what to do', async () => {
  const open = new Set<Socket>();
  const server = createServer((socket) => open.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const location = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const repository = patientRepository(openRepository(location), 300);
  const refused = {
    code: 'DOWNLOAD_FAILED',
    message: `the release repository ${location} did not answer within 0.3 s; see that it can be reached from this controller, and say it again`,
  };
  await assert.rejects(repository.list(), refused);
  // The time is one for all of a plan.
  await assert.rejects(repository.manifest('0b1'), refused);
  assert.equal(open.size, 1);
  for (const socket of open) socket.destroy();
  server.close();
  await once(server, 'close');
});
