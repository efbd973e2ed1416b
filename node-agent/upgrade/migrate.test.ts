/**
 * Migrations that leave workers behind, through a real agent: none of them writes under the restore, nor behind
 * the flush, whichever way the migration ended.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { liveProcess } from '../service/process-table.js';
import { CheckedNode, clusterWith } from './checked-node.test.part.js';

/** Starts a worker that writes into the data for ever, and ends once that has begun, with the code that run/code says. */
const migration = `
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const { PLEXI_RUN_DIR: run, PLEXI_DATA_DIR: data } = process.env;
const worker = \`
process.on('SIGTERM', () => {});
const { appendFileSync, writeFileSync } = require('fs');
writeFileSync('\${run}/worker', String(process.pid));
setInterval(() => { try { appendFileSync('\${data}/written', 'x') } catch {} }, 1);
\`;
spawn(process.execPath, ['-e', worker], { stdio: 'ignore' }).unref();
while (!existsSync(data + '/written')) await sleep(5);
process.exit(existsSync(run + '/fail-migration') ? 3 : 0);
`;

const { cluster, old, next } = await clusterWith('0b3', {
  files: { 'workers.mjs': migration },
  yaml: `migrations:
  - {id: 001-workers, scope: node, up: [node, workers.mjs], down: ["true"], timeout_seconds: 60}
`,
});

const migrations = next.manifest.migrations.map(({ id, checksum }) => ({ id, checksum, direction: 'up' }));

describe('what a migration has started', () => {
  for (const [how, outcome] of [
    ['failed', 'rolled_back'],
    ['succeeded', 'done'],
  ] as const) {
    test(`does not outlive one that ${how}`, async (t) => {
      const checked = await CheckedNode.start(t, cluster);
      const { node } = checked;
      if (how === 'failed') await node.mark('fail-migration');
      const { result } = await checked.stageAndUpgrade(old, next, { migrations, backup: true });
      const worker = Number(readFileSync(node.at('run', 'worker'), 'utf8'));
      t.after(() => liveProcess(worker) && process.kill(worker, 'SIGKILL'));
      assert.equal(result.outcome, outcome, result.failure?.message);
      assert.equal(liveProcess(worker), undefined, 'the worker has ended');
      if (how === 'succeeded') return;
      assert.match(result.failure?.message ?? '', /ended with exit code 3/);
      assert.equal(existsSync(node.at('data', 'written')), false, 'the data is as it was');
    });
  }
});
