/**
 * What `status` says to type next where a job came to no good end, or state is damaged: never first what loses
 * data, when nothing has gone back. And who may ask, and where there is nothing to be asked about.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { agentConfig, openTestNode } from '../agent-node.test.part.js';
import { accepted, appendAll, facts, goingBack, step } from '../journal/job-records.test.part.js';
import { Journal } from '../journal/journal.js';
import type { JobResult, NewRecord } from '../journal/records.js';
import { openIdentity } from '../open-identity.js';
import { refuseOtherUser } from '../start-by-hand.js';
import { journalDisk } from '../state-disk.js';
import { takeOverStep } from '../takeover/take-over.js';
import { statusOffline } from './offline.js';
import { nodeDocumentOf } from './status.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-status-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function newNode() {
  const node = await openTestNode(mkdtempSync(join(folder, 'node-')));
  await node.closeLog();
  return node;
}

const restoreAsItIs = 'plexi-node-agent restore --as-it-is --reason TEXT';

describe('what to type next', () => {
  /** A job that ended like this, behind the backup of its data. */
  async function ended(end: Pick<JobResult, 'outcome' | 'failure' | 'failedStep'>, inMaintenance: boolean) {
    const node = await newNode();
    await openIdentity(node, () => 'an-installation');
    const journal = await Journal.open(journalDisk(node.paths.journal), () => new Date(0));
    await journal.append(accepted('u'));
    await journal.append({ kind: 'step', commandId: 'u', done: 'backup', step: 'migrate', committed: false });
    const rest = { release: { version: '0b1', digest: 'b' }, timings: [], backupId: 'job-1' };
    await journal.append({ kind: 'finished', commandId: 'u', result: { ...end, ...rest } });
    const record = { reason: 'u', since: '2026-11-21T00:00:00Z' };
    if (inMaintenance) await writeFile(join(node.paths.agent, 'maintenance.json'), JSON.stringify(record));
    return statusOffline(node.config);
  }

  test('after a commit that could not leave maintenance: what lies there is right', async () => {
    const failure = { code: 'HOOK_FAILED', message: 'the maintenance leave hook failed: exit code 1' };
    const end = { outcome: 'failed', failure, failedStep: 'leave_maintenance' } as const;
    const held = await ended(end, true);
    assert.equal(held.needsOperator?.code, 'HOOK_FAILED');
    assert.match(
      held.needsOperator?.message ?? '',
      /stays in maintenance: the maintenance leave hook failed/,
    );
    assert.equal(held.next, `${restoreAsItIs}, then plexi-node-agent maintenance off --reason TEXT`);
    const served = await ended(end, false);
    assert.equal(served.next, restoreAsItIs);
  });

  test('after a failure whose code this agent does not know, or that told none', async () => {
    for (const failure of [{ code: 'FROM_THE_FUTURE', message: 'x' }, null]) {
      const end = { outcome: 'failed', failure, failedStep: 'commit' } as const;
      const { needsOperator, next } = await ended(end, true);
      assert.equal(needsOperator?.code, 'INTERNAL');
      assert.match(next ?? '', /^plexi-node-agent restore --as-it-is/);
    }
  });

  test('after a rollback that failed: its backup first', async () => {
    const failure = { code: 'HOOK_FAILED', message: 'x' };
    const end = { outcome: 'rollback_failed', failure, failedStep: 'restore' } as const;
    const { needsOperator, next } = await ended(end, true);
    assert.equal(needsOperator?.code, 'ROLLBACK_FAILED');
    assert.match(next ?? '', /^plexi-node-agent restore --backup job-1 --reason TEXT, or when .* --as-it-is/);
  });

  test('with an open job that an agent of another version began: that agent, and never this one', async () => {
    const node = await newNode();
    await openIdentity(node, () => 'an-installation');
    const journal = await Journal.open(journalDisk(node.paths.journal), () => new Date(0));
    const begun = accepted('u');
    if (begun.kind !== 'accepted') throw new Error(`a job begins with ${begun.kind}`);
    await journal.append({ ...begun, command: { ...begun.command, upgrade: {} } });
    await journal.append({ kind: 'step', commandId: 'u', done: '', step: 'reseal', committed: false });
    const { next } = await statusOffline(node.config);
    assert.match(next ?? '', /^start the agent that began the step reseal, .*; or plexi-node-agent restore /);
  });

  /** What is said beside an open job with these steps. */
  async function beside(order: Command['step'], records: readonly NewRecord[], agentRuns = true) {
    const node = await newNode();
    const journal = await Journal.open(journalDisk(node.paths.journal), () => new Date(0));
    const firstSteps = new Map([
      ['maintenance', 'maintenance'],
      ['takeOver', takeOverStep],
    ]);
    const begun = accepted('u', firstSteps.get(order?.$case ?? ''));
    assert.ok(begun.kind === 'accepted');
    const command = Object(Command.toJSON(Command.fromPartial({ commandId: 'u', step: order as never })));
    await appendAll(journal, [{ ...begun, command }, ...records]);
    const fence = { current: undefined };
    return nodeDocumentOf({ node, journal, fence, agentRuns, needsOperator: undefined });
  }
  const upgrade = Command.fromPartial({ step: { $case: 'upgrade', value: {} } }).step;
  const back = { word: 'take_back' } as const;
  const takenBack: NewRecord = {
    ...{ kind: 'by_hand', commandId: 'u', act: back, by: 'ada', reason: 'x', setAside: [] },
    ...{ step: 'await_start', facts },
  };
  const waits = step('u', 'apply', 'await_start');

  for (const [what, order, records, next] of [
    ['an upgrade', upgrade, [], 'plexi-node-agent rollback --reason TEXT, or wait for its end'],
    [
      'an upgrade that waits for a start',
      upgrade,
      [waits],
      'plexi-node-agent start, for which the upgrade waits, or plexi-node-agent rollback --reason TEXT',
    ],
    ['one that is taken back already', upgrade, [waits, takenBack], 'wait for its end'],
    ['one on its way back', upgrade, [goingBack('u', 'probe', 'stop_new')], 'wait for its end'],
    ['a committed one', upgrade, [step('u', 'probe', 'commit')], 'wait for its end'],
    ['maintenance', { $case: 'maintenance', value: { on: true } }, [], 'wait for its end'],
    ['a taking over', { $case: 'takeOver', value: {} }, [], 'wait for its end'],
  ] as [string, Command['step'], NewRecord[], string][])
    test(`beside ${what}: nothing that is refused there`, async () => {
      assert.equal((await beside(order, records)).next, next);
    });

  test('beside an upgrade that waits for a start, without an agent: who takes it up, and what it waits for', async () => {
    const { next } = await beside(upgrade, [waits], false);
    assert.match(next ?? '', /^start plexi-node-agent: .* waits for plexi-node-agent start$/);
  });

  test('where an agent has left a hook running: end that, which no restore does', async () => {
    const node = await newNode();
    const needsOperator = { code: 'COMMAND_LEFT_RUNNING', message: 'a hook does not end (pid 7)' };
    const parts = { node, journal: undefined, fence: { current: undefined }, agentRuns: true };
    const { next } = await nodeDocumentOf({ ...parts, needsOperator });
    assert.match(next ?? '', /^end what an agent has left running, then start plexi-node-agent again/);
  });

  test('with a damaged record of maintenance: data and release are right', async () => {
    const node = await newNode();
    await writeFile(join(node.paths.agent, 'maintenance.json'), '{"re');
    const { needsOperator, next } = await statusOffline(node.config);
    assert.equal(needsOperator?.code, 'STORE_INVALID');
    assert.equal(next, `${restoreAsItIs}, then plexi-node-agent maintenance off --reason TEXT`);
  });
});

describe('where no agent ever ran', () => {
  test('status says so, and nothing is made', async () => {
    const root = join(folder, 'nothing');
    for (const prepare of [() => undefined, () => mkdirSync(root)]) {
      prepare();
      await assert.rejects(statusOffline(agentConfig(root)), {
        code: 'NOT_FOUND',
        message: /^no agent ever ran on node-1: there is no \S+nothing\/agent; start plexi-node-agent/,
      });
    }
  });
});

test('status is for the user of the agent, and for root, who can read it all', async () => {
  const { config } = await newNode();
  const own = process.geteuid?.() ?? 0;
  await refuseOtherUser(config, 'status', own);
  await refuseOtherUser(config, 'status', 0);
  for (const word of ['status', 'restore'])
    await assert.rejects(refuseOtherUser(config, word, own + 1), {
      code: 'USAGE',
      message: new RegExp(`say ${word} on node-1 as the user of its agent: sudo -u '#${own}'`),
    });
});
