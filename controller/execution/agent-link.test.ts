/**
 * The leader's line to a node: that it says again and again, under its token of now, that somebody looks after the
 * node (protocol, rule 5). The agent is a real server that plays a script; only the clock of the pings is turned.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import pino from 'pino';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { TlsFiles } from '../../config/tls.js';
import type { Token } from '../../gen/plexi/v1/node_agent.js';
import { eventually } from '../../test/cluster/asking.test.part.js';
import { ScriptedAgent } from '../../test/cluster/scripted-agent.test.part.js';
import { AgentLink } from './agent-link.js';

const cluster = 'test';
const node = 'node-1';
const host = '127.0.0.1';
/** Between two pings, as rule 5 has it. */
const pingMs = 10_000;
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-link-'));
  await createAuthority(folder, { cluster });
});
after(() => rm(folder, { recursive: true, force: true }));

async function certificate(role: 'agent' | 'controller', name: string): Promise<TlsFiles> {
  const out = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await issueCertificate(folder, { identity: { cluster, role, name }, hosts: [host], out });
  return { ca: join(folder, 'ca.pem'), ...out };
}

test('a node is pinged every 10 s under the token of that moment, until the line is closed', async (t) => {
  const release = { version: '0a1', digest: 'd'.repeat(64) };
  const agent = await ScriptedAgent.start({
    cluster,
    node,
    tls: await certificate('agent', node),
    release,
    host,
  });
  t.after(() => agent.stop());
  const tls = await certificate('controller', 'controller-0');
  const target = { node, cluster, tls, address: agent.address };
  let seq = 1n;
  let heard = 0;
  const token = (): Token => ({ epoch: 1n, term: 7n, seq });
  const listener = { status: () => void heard++, lost: assert.fail };
  t.mock.timers.enable({ apis: ['setInterval'] });
  const link = new AgentLink(target, token, listener, pino({ level: 'silent' }));
  t.after(() => link.close());
  const pinged = async (seqs: bigint[]): Promise<void> => {
    await eventually(
      async () => Math.min(agent.pings.length, heard),
      (count) => count >= seqs.length,
      `the node is not pinged and heard ${seqs.length} times`,
    );
    assert.deepEqual(
      agent.pings,
      seqs.map((each) => ({ epoch: 1n, term: 7n, seq: each })),
    );
  };
  await pinged([1n]);
  t.mock.timers.tick(pingMs - 1);
  // A ping that came too early would bear the token of before.
  seq = 2n;
  t.mock.timers.tick(1);
  await pinged([1n, 2n]);
  seq = 3n;
  t.mock.timers.tick(2 * pingMs);
  await pinged([1n, 2n, 3n, 3n]);
  link.close();
  t.mock.timers.tick(pingMs);
  // Whatever was sent before it would have come before the answer to a new line.
  const next = new AgentLink(
    target,
    () => ({ epoch: 1n, term: 8n, seq: 1n }),
    { ...listener, lost: () => undefined },
    pino({ level: 'silent' }),
  );
  t.after(() => next.close());
  await eventually(
    async () => agent.pings.length,
    (count) => count >= 5,
    'the next line is not opened',
  );
  assert.deepEqual(
    agent.pings.map(({ term }) => term),
    [7n, 7n, 7n, 7n, 8n],
  );
});
