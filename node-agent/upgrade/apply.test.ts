/** What runs after a start that was not needed is judged as what shall run, too. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openNode } from '../agent.js';
import { agentConfig, environment } from '../agent-node.test.part.js';
import { ensureRunning } from './apply.js';

test('a release that somebody else has started already is the one whose version is expected', async (t) => {
  const server = createServer((_request, response) => response.end('{"version":"0a1"}')).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const root = mkdtempSync(join(tmpdir(), 'plexi-apply-'));
  const url = `http://127.0.0.1:${Object(server.address()).port}/`;
  const probes = [{ kind: 'http', url, status: 200, versionField: 'version' }] as const;
  const node = await openNode(agentConfig(root, { probes: [...probes] }), environment);
  t.after(async () => {
    await node.monitor.stop();
    await node.closeLog();
    server.close();
    rmSync(root, { recursive: true, force: true });
  });
  node.service.isRunning = async () => true;
  node.monitor.expect('0b1');
  await ensureRunning(node, Object({ version: '0a1' }));
  const sampled = once(node.monitor, 'sample');
  node.monitor.start();
  await sampled;
  assert.equal(node.monitor.health, 'healthy', node.monitor.reason);
});
