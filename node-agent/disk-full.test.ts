/**
 * The disk is full before a step of an upgrade, for each step of the way forward and back: on a small
 * filesystem of the node's own. The job ends, or stops at a record that cannot be written and says so; nothing
 * is lost by that, and the next agent that finds room again brings the node to the old release or the new one,
 * with its data.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, writeSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { Command } from '../gen/plexi/v1/node_agent.js';
import { folderToRun } from '../release/repository/place.js';
import { openNode } from './agent.js';
import { environment } from './agent-node.test.part.js';
import { nodeDocumentOf } from './by-hand/status.js';
import { TinyPlan } from './caller.test.part.js';
import { Journal } from './journal/journal.js';
import type { JobFacts, JobResult } from './journal/records.js';
import { type AgentNode, linkedFolder, localRelease } from './node.js';
import { journalDisk } from './state-disk.js';
import { failedJobTrouble } from './takeover/failed-job.js';
import { createTinyCluster, type TinyCluster, TinyNode } from './tiny-node.test.part.js';
import { firstData } from './tiny-service.test.part.js';
import { startService } from './upgrade/apply.js';
import { Executor } from './upgrade/executor.js';
import type { Phase } from './upgrade/phase.js';
import { rollBackPhases, upgradePhases } from './upgrade/phases.js';
import { stage } from './upgrade/stage.js';

let cluster: TinyCluster;
let mounts = '';
const skip = whyNot();
before(async () => {
  cluster = await createTinyCluster();
  mounts = mkdtempSync(join(cluster.folder, 'mounts-'));
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function whyNot(): string | false {
  if (process.geteuid?.() !== 0) return 'mounting a small filesystem needs root';
  const probe = mkdtempSync('/tmp/plexi-mount-');
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', probe]);
  if (mounted.status === 0) spawnSync('umount', [probe]);
  spawnSync('rmdir', [probe]);
  return mounted.status === 0 ? false : 'no small filesystem can be mounted here';
}

/** A node on a filesystem of 16 MiB, with 0a1 running and the target staged. */
async function smallNode(t: TestContext, plan: TinyPlan) {
  const folder = mkdtempSync(join(mounts, 'm-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', folder]);
  assert.equal(mounted.status, 0, String(mounted.stderr));
  const tiny = await TinyNode.create({ ...cluster, folder });
  t.after(async () => {
    await tiny.remove();
    // Lazily: logs of the node are closed after this.
    spawnSync('umount', ['--lazy', folder]);
  });
  const node = await openNode(tiny.config, environment);
  t.after(() => node.closeLog());
  const order = plan.stage('s', [1, 5, 1]).step;
  assert.ok(order?.$case === 'stage');
  assert.equal((await stage(node, order.value, () => undefined, 's')).outcome, 'done');
  const release = await localRelease(node.paths, await linkedFolder(node.paths.current));
  assert.ok(release);
  await startService(node, release);
  return { tiny, node, full: join(folder, 'full') };
}

/** Takes all that is left. */
function fill(file: string): void {
  const opened = openSync(file, 'w');
  try {
    for (const size of [64 * 1024, 4 * 1024, 1]) {
      const piece = Buffer.alloc(size);
      try {
        for (;;) if (writeSync(opened, piece) < size) break;
      } catch (thrown) {
        assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
      }
    }
  } finally {
    closeSync(opened);
  }
}

/** The real phases; before one of them the disk is full. */
function filledBefore(phases: readonly Phase[], step: string, full: string): Phase[] {
  return phases.map((phase) => ({
    ...phase,
    run: async (context) => {
      if (phase.step === step) fill(full);
      await phase.run(context);
    },
  }));
}

async function intent(node: AgentNode, plan: TinyPlan, executor: Executor, journal: Journal) {
  const command = plan.upgrade('u', [1, 5, 2]);
  assert.ok(command.step?.$case === 'upgrade');
  const to = plan.release(plan.to);
  const facts: JobFacts = {
    wasInMaintenance: false,
    folderBefore: (await linkedFolder(node.paths.current)) ?? null,
    previousBefore: null,
    folderAfter: (await folderToRun(node.paths.releases, to.version, to.digest)) ?? null,
    backupId: 'u',
  };
  return journal.append({
    kind: 'accepted',
    commandId: 'u',
    command: Object(Command.toJSON(command)),
    payloadHash: '',
    token: { epoch: '1', term: '5', seq: '2' },
    step: executor.firstStep(command.step.value, facts),
    facts,
  });
}

async function openJournal(node: AgentNode): Promise<Journal> {
  return Journal.open(journalDisk(node.paths.journal), () => new Date());
}

/** Old with old data or new with new data, in service, and nothing else: a full disk breaks no node. */
async function assertClean(
  tiny: TinyNode,
  node: AgentNode,
  result: JobResult,
  journal: Journal,
): Promise<void> {
  const data = await readFile(tiny.at('data', 'notes.json'), 'utf8');
  const trouble = failedJobTrouble(journal.list(), node);
  const current = (await tiny.links()).current ?? '';
  switch (result.outcome) {
    case 'done':
      assert.match(current, /^releases\/0b1-/);
      assert.match(data, /"format":2/);
      break;
    case 'rolled_back':
      assert.match(current, /^releases\/0a1-/);
      assert.equal(data, firstData);
      break;
    default:
      assert.fail(`${JSON.stringify(result)}`);
  }
  assert.equal(trouble, undefined);
  assert.equal(await tiny.serviceVersion(), result.release.version);
  assert.deepEqual(tiny.isInMaintenance(), { record: false, hook: false });
}

const cases: [step: string, to: '0b1' | '0b2'][] = [
  ...upgradePhases
    .map(({ step }) => step)
    .filter((step) => !['await_start', 'test'].includes(step))
    .map((step): [string, '0b1'] => [step, '0b1']),
  ...rollBackPhases.map(({ step }): [string, '0b2'] => [step, '0b2']),
];

/** Every third step; all of them in the deep run. */
const isDeep = process.env.PLEXI_DEEP_MINUTES !== undefined;

describe('a disk that is full', { skip, concurrency: 2 }, () => {
  for (const [step, to] of isDeep ? cases : cases.filter((_, index) => index % 3 === 0)) {
    test(`before ${step}: the node says so, and comes to one end when there is room again`, async (t) => {
      const plan = new TinyPlan(cluster.releases, '0a1', to);
      const { tiny, node, full } = await smallNode(t, plan);
      const journal = await openJournal(node);
      const executor = new Executor(
        node,
        journal,
        filledBefore(upgradePhases, step, full),
        filledBefore(rollBackPhases, step, full),
      );
      const job = await intent(node, plan, executor, journal);
      const ended = await executor.start(job).then(
        (result) => result,
        () => undefined,
      );
      assert.ok((await readFile(full)).length > 0, 'the disk was full');
      if (ended === undefined) {
        assert.match(executor.broken?.message ?? '', /ENOSPC/);
        const { needsOperator, next } = await nodeDocumentOf({
          ...{ node, journal, fence: { current: undefined } },
          ...{ agentRuns: true, needsOperator: executor.broken },
        });
        assert.match(needsOperator?.message ?? '', /no space left/);
        assert.match(next ?? '', /then start plexi-node-agent again/);
      }
      await rm(full);
      const later = await openNode(tiny.config, environment);
      t.after(() => later.closeLog());
      const next = await openJournal(later);
      await (await new Executor(later, next).recover())?.ended;
      const result = next.find('u')?.result;
      assert.ok(result);
      await assertClean(tiny, later, result, next);
      if (to === '0b2') assert.equal(result.outcome, 'rolled_back');
    });
  }
});
