/**
 * What the cases of faults rest on: a fault that happened is shown, and one that did not is not. Networks need
 * root; without it that part is skipped.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { tryAll } from '../crash/spread.test.part.js';
import { shownBy } from './fault-cases.test.part.js';
import { Networks, noNetworks } from './networks.test.part.js';
import { answerAt, dead, silent, stopped } from './proofs.test.part.js';
import { here } from './real-etcd.test.part.js';

test('each way to lose what is sent leaves a question without an answer, and only while it lasts', {
  skip: noNetworks() ?? false,
}, async (t) => {
  const networks = new Networks();
  t.after(() => networks.remove());
  const place = networks.place('c-0', 21);
  const server = createServer().listen(0, networks.home.address);
  t.after(() => server.close());
  await once(server, 'listening');
  const bound = server.address();
  assert.ok(typeof bound === 'object' && bound !== null);
  const address = `${networks.home.address}:${bound.port}`;
  const ways = {
    unplugged: () => networks.unplug('c-0'),
    mute: () => networks.mute('c-0'),
    deaf: () => networks.deafen('c-0'),
    cut: () => networks.cut('c-0', [networks.home]),
  };
  for (const [name, lose] of Object.entries(ways)) {
    assert.equal(await answerAt(place, address), 'answered', `before it is ${name}`);
    await assert.rejects(silent(place, address)(), /is answered/);
    const join = lose();
    assert.match(await silent(place, address)(), /is silent/, name);
    join();
  }
  assert.equal(await answerAt(place, address), 'answered');
});

test('a process that lives is neither dead nor stopped', async (t) => {
  const child = spawn(process.execPath, [
    '-e',
    "const s = require('node:net').createServer().listen(0, '127.0.0.1', () => console.log(s.address().port))",
  ]);
  t.after(() => child.kill('SIGKILL'));
  const [port] = await once(child.stdout, 'data');
  const address = `127.0.0.1:${Number(port)}`;
  await assert.rejects(dead(here, address)(), /is answered/);
  await assert.rejects(stopped(child.pid, 0)(), /is not stopped/);
  child.kill('SIGSTOP');
  assert.match(await stopped(child.pid)(), /is stopped/);
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  assert.match(await dead(here, address)(), /is refused/);
});

test('a case is invalid, and fails, when one of its proofs or each of them is missing', async () => {
  const seen = { status: 'fulfilled', value: 'a line is cut' } as const;
  const unseen = { status: 'rejected', reason: new Error('it is answered') } as const;
  assert.deepEqual(shownBy([seen]), { hit: 'a line is cut', unshown: [] });
  for (const proofs of [[], [unseen], [seen, unseen]]) {
    const { hit, unshown } = shownBy(proofs);
    const { passed, failures } = await tryAll([async () => ({ what: 'a case', hit, wrong: unshown })], {
      atOnce: 1,
    });
    assert.equal(passed, 0);
    assert.match(failures.join(), /a case: invalid, the fault did not happen/);
  }
});
