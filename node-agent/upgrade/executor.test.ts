/**
 * The executor over a journal in memory and phases that act on a model of a node: which steps run in
 * which order, what is written before each, how a failure and a cancellation end, and that an agent
 * killed anywhere, any two times, ends old or new and never runs a migration twice.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { openTestNode } from '../agent-node.test.part.js';
import { type Job, Journal } from '../journal/journal.js';
import { type Death, MemoryJournalDisk } from '../journal/memory-disk.test.part.js';
import type { JobFacts, JobResult } from '../journal/records.js';
import type { AgentNode } from '../node.js';
import { Executor, type JobProgress } from './executor.js';
import { ModelNode, type ModelState } from './model-node.test.part.js';

const forward = [
  'enter_maintenance',
  'stop',
  'backup',
  'migrate',
  'apply',
  'probe',
  'commit',
  'leave_maintenance',
];
const back = ['stop_new', 'restore', 'switch_back', 'start_old', 'probe_old', 'leave_maintenance_back'];
const beforeCommit = forward.slice(0, forward.indexOf('commit'));
const wallClock = () => new Date(0);

let root = '';
let node: AgentNode;
before(async () => {
  root = mkdtempSync(join(tmpdir(), 'plexi-executor-'));
  node = await openTestNode(root);
});
after(() => rmSync(root, { recursive: true, force: true }));

interface Order {
  readonly backup?: boolean;
  readonly migrations?: boolean;
  readonly stepMs?: number;
}

function upgradeCommand({ backup = true, migrations = true, stepMs = 60_000 }: Order): Command {
  const ms = BigInt(stepMs);
  return Command.fromPartial({
    commandId: 'job',
    rolloutId: 'update_0a1_0b1',
    token: { epoch: 1n, term: 1n, seq: 1n },
    step: {
      $case: 'upgrade',
      value: {
        from: { version: '0a1', digest: 'a' },
        to: { version: '0b1', digest: 'b' },
        migrations: migrations ? [{ id: '001', checksum: 'c', direction: 'up' }] : [],
        backup,
        timeouts: {
          maintenanceMs: ms,
          stopMs: ms,
          backupMs: ms,
          migrateMs: ms,
          applyMs: ms,
          probeMs: ms,
          rollbackMs: ms,
        },
      },
    },
  });
}

const usualFacts: JobFacts = {
  wasInMaintenance: false,
  folderBefore: '0a1-aaaaaaaaaaaa',
  previousBefore: null,
  folderAfter: '0b1-bbbbbbbbbbbb',
  backupId: 'job',
};

interface Life {
  readonly disk: MemoryJournalDisk;
  readonly journal: Journal;
  readonly executor: Executor;
}

/** One life of the agent, from its start to its death. */
async function live(model: ModelNode, disk: MemoryJournalDisk): Promise<Life> {
  const journal = await Journal.open(disk, wallClock);
  const executor = new Executor(node, journal, model.forwardPhases, model.backPhases);
  return { disk, journal, executor };
}

/** Writes the intent, as the command's admission does. */
function accept({ journal, executor }: Life, order: Order = {}, facts: JobFacts = usualFacts): Promise<Job> {
  const command = upgradeCommand(order);
  if (command.step?.$case !== 'upgrade') throw new Error('it is an upgrade');
  return journal.append({
    kind: 'accepted',
    commandId: 'job',
    command: Command.toJSON(command) as Record<string, unknown>,
    payloadHash: '',
    token: { epoch: '1', term: '1', seq: '1' },
    step: executor.firstStep(command.step.value, facts),
    facts,
  });
}

/** A whole job, without a death. */
async function run(model: ModelNode, order: Order = {}, facts: JobFacts = usualFacts) {
  const life = await live(model, new MemoryJournalDisk());
  const result = await life.executor.start(await accept(life, order, facts));
  return { ...life, result, records: life.disk.records() };
}

function stepsIn(records: readonly Record<string, unknown>[]): unknown[] {
  return records.filter(({ kind }) => kind !== 'finished').map(({ step }) => step);
}

const oldNode: Partial<ModelState> = { service: 'old', current: 'old', data: 'old', inMaintenance: false };
const newNode: Partial<ModelState> = { service: 'new', current: 'new', data: 'new', inMaintenance: false };

function stateOf({ state }: ModelNode): Partial<ModelState> {
  const { backup: _backup, ...rest } = state;
  return rest;
}

describe('an upgrade', () => {
  test('takes the steps in their order, each announced by one record, and tells each', async () => {
    const model = new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    const told: JobProgress[] = [];
    life.executor.watch((commandId, progress) => {
      assert.equal(commandId, 'job');
      told.push(progress);
    });
    let idle = 0;
    life.executor.onIdle(() => {
      assert.equal(life.executor.runningCommandId, undefined);
      idle++;
    });
    const done = life.executor.start(await accept(life));
    assert.equal(life.executor.runningCommandId, 'job');
    assert.equal(life.executor.wait('job'), done);
    assert.equal(life.executor.wait('another'), undefined);
    const result = await done;
    assert.deepEqual(model.ran, forward);
    assert.deepEqual(stateOf(model), newNode);
    const records = life.disk.records();
    assert.equal(records.length, 9);
    assert.deepEqual(
      records.map(({ kind }) => kind),
      ['accepted', ...forward.slice(1).map(() => 'step'), 'finished'],
    );
    assert.deepEqual(stepsIn(records), forward);
    assert.deepEqual(
      records.slice(1, -1).map(({ done: ended }) => ended),
      forward.slice(0, -1),
    );
    assert.deepEqual(
      records.filter(({ committed }) => committed === true).map(({ step }) => step),
      ['commit'],
    );
    assert.deepEqual(
      told.map(({ phase }) => phase),
      [
        'entering_maintenance',
        'stopping',
        'backing_up',
        'migrating',
        'applying',
        'probing',
        'committing',
        'leaving_maintenance',
      ],
    );
    assert.equal(idle, 1);
    const { outcome, failure, failedStep, timings, backupId } = result;
    assert.deepEqual(
      { outcome, failure, failedStep, backupId },
      { outcome: 'done', failure: null, failedStep: '', backupId: 'job' },
    );
    assert.deepEqual(
      timings.map(({ step }) => step),
      forward,
    );
    assert.deepEqual((await Journal.open(life.disk, wallClock)).find('job')?.result, result);
  });

  test('writes each record before the step that it announces', async () => {
    const model = new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    for (const step of forward) {
      model.disturbances.push({
        step,
        moment: 'before',
        act: () => assert.equal(life.disk.records().at(-1)?.step, step),
      });
    }
    assert.equal((await life.executor.start(await accept(life))).outcome, 'done');
  });

  for (const [what, order, facts, expected] of [
    [
      'without backup and migrations',
      { backup: false, migrations: false },
      {},
      ['enter_maintenance', 'stop', 'apply', 'probe', 'commit', 'leave_maintenance'],
    ],
    [
      'of a node in maintenance',
      {},
      { wasInMaintenance: true },
      ['stop', 'backup', 'migrate', 'apply', 'probe', 'commit'],
    ],
  ] as const) {
    test(`${what} leaves out what it does not need`, async () => {
      const model = new ModelNode();
      if (expected.every((step) => step !== 'migrate')) model.state.data = 'new';
      const { records, result } = await run(model, order, { ...usualFacts, ...facts });
      assert.equal(result.outcome, 'done');
      assert.deepEqual(model.ran, expected);
      assert.deepEqual(stepsIn(records), expected);
      assert.equal(records.length, expected.length + 1);
    });
  }

  test('is the only job at a time', async () => {
    const model = new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    const job = await accept(life);
    const done = life.executor.start(job);
    assert.throws(() => life.executor.start(job), { code: 'BUSY' });
    await done;
    assert.equal(life.executor.progress, undefined);
  });
});

const wayBack: Record<string, readonly string[]> = {
  enter_maintenance: ['leave_maintenance_back'],
  stop: ['start_old', 'probe_old', 'leave_maintenance_back'],
  backup: ['start_old', 'probe_old', 'leave_maintenance_back'],
  migrate: ['restore', 'start_old', 'probe_old', 'leave_maintenance_back'],
  apply: back,
  probe: back,
};

describe('a step that fails', () => {
  for (const step of beforeCommit) {
    test(`${step}: the node goes back, by the steps that are needed and no other`, async () => {
      const model = new ModelNode().fail(step);
      const { result, records } = await run(model);
      const begun = forward.slice(0, forward.indexOf(step) + 1);
      assert.deepEqual(model.ran, [...begun, ...(wayBack[step] ?? [])]);
      assert.deepEqual(stepsIn(records), model.ran);
      assert.deepEqual(
        records.filter(({ kind }) => kind === 'going_back').map(({ failedStep }) => failedStep),
        [step],
      );
      assert.deepEqual(stateOf(model), oldNode);
      assert.equal(result.outcome, 'rolled_back');
      assert.equal(result.failedStep, step);
      assert.deepEqual(result.failure, { code: 'PROBE_FAILED', message: `${step} does not work` });
    });
  }

  for (const [what, step, order, facts, expected] of [
    [
      'there is no backup',
      'probe',
      { backup: false, migrations: false },
      {},
      back.filter((name) => name !== 'restore'),
    ],
    [
      'nothing was installed',
      'probe',
      {},
      { folderBefore: null },
      ['stop_new', 'restore', 'switch_back', 'leave_maintenance_back'],
    ],
    [
      'the node was in maintenance before',
      'migrate',
      {},
      { wasInMaintenance: true },
      ['restore', 'start_old', 'probe_old'],
    ],
  ] as const) {
    test(`when ${what}, going back leaves that out`, async () => {
      const model = new ModelNode().fail(step);
      const { result } = await run(model, order, { ...usualFacts, ...facts });
      assert.equal(result.outcome, 'rolled_back');
      assert.deepEqual(model.ran.slice(model.ran.indexOf(step) + 1), expected);
    });
  }

  for (const step of ['commit', 'leave_maintenance']) {
    test(`${step}: the node has committed, so it does not go back`, async () => {
      const model = new ModelNode().fail(step);
      const { result, records } = await run(model);
      assert.equal(result.outcome, 'failed');
      assert.equal(result.failedStep, step);
      assert.deepEqual(model.ran, forward.slice(0, forward.indexOf(step) + 1));
      assert.deepEqual(stateOf(model), { ...newNode, inMaintenance: true });
      assert.ok(records.every(({ kind }) => kind !== 'going_back'));
    });
  }

  for (const step of back) {
    test(`${step}, on the way back: the node stays in maintenance and says both reasons`, async () => {
      const model = new ModelNode().fail('probe').fail(step);
      const { result } = await run(model);
      assert.equal(result.outcome, 'rollback_failed');
      assert.equal(result.failedStep, step);
      assert.equal(result.failure?.code, 'ROLLBACK_FAILED');
      assert.match(
        result.failure?.message ?? '',
        new RegExp(`probe does not work; .* ${step}: ${step} does not work`),
      );
      assert.deepEqual(model.ran, [...forward.slice(0, 6), ...back.slice(0, back.indexOf(step) + 1)]);
      assert.equal(model.state.inMaintenance, true);
    });
  }

  test('because it is taken back for a very long reason still goes back', async () => {
    const model = new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    const act = (): void => void life.executor.cancel('job', '\u0001'.repeat(limits.journalRecordBytes));
    model.disturbances.push({ step: 'backup', moment: 'middle', act });
    const { outcome, failure } = await life.executor.start(await accept(life));
    assert.equal(outcome, 'rolled_back');
    assert.equal(failure?.message, '\u0001'.repeat(limits.failureChars));
    assert.deepEqual(stateOf(model), oldNode);
  });

  test('may say very much: the journal takes it, and the node goes back', async () => {
    const model = new ModelNode();
    const act = () => Promise.reject(new Error('\u0001'.repeat(limits.journalRecordBytes)));
    model.disturbances.push(
      { step: 'probe', moment: 'middle', act },
      { step: 'start_old', moment: 'after', act },
    );
    const { result } = await run(model);
    assert.equal(result.outcome, 'rollback_failed');
    assert.ok(model.ran.includes('start_old'));
  });

  test('whose migration cannot be ended is not restored under, even when its time was over', async () => {
    const model = new ModelNode();
    model.disturbances.push({
      step: 'migrate',
      moment: 'middle',
      act: async ({ signal }) => {
        await new Promise((resolve) => {
          // A signal alone does not keep the process alive.
          const alive = setTimeout(resolve, 10_000);
          signal.addEventListener('abort', () => resolve(clearTimeout(alive)), { once: true });
        });
        throw new PlexiError('COMMAND_LEFT_RUNNING', 'it may still act');
      },
    });
    const { result } = await run(model, { stepMs: 50 });
    assert.equal(result.outcome, 'rollback_failed');
    assert.equal(result.failure?.code, 'COMMAND_LEFT_RUNNING');
    assert.ok(!model.ran.includes('restore'), 'nothing is restored beside what may still write');
  });

  test('by taking too long is TIMED_OUT, whatever it throws then', async () => {
    const model = new ModelNode();
    model.disturbances.push({
      step: 'migrate',
      moment: 'middle',
      act: async ({ signal }) => {
        await new Promise((resolve) => {
          // A signal alone does not keep the process alive.
          const alive = setTimeout(resolve, 10_000);
          signal.addEventListener('abort', () => resolve(clearTimeout(alive)), { once: true });
        });
        throw new Error('the program was stopped');
      },
    });
    const { result } = await run(model, { stepMs: 50 });
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failure?.code, 'TIMED_OUT');
    assert.match(result.failure?.message ?? '', /migrate did not end within 50 ms/);
  });
});

describe('a cancelled upgrade', () => {
  /** Cancels at a moment of a step; the step goes on by itself. */
  async function cancelledAt(step: string, moment: 'before' | 'after', further?: ModelNode) {
    const model = further ?? new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    let told: Promise<JobResult> | undefined;
    model.disturbances.push({
      step,
      moment,
      act: () => {
        told = life.executor.cancel('job', 'the rollout turned back');
      },
    });
    const done = life.executor.start(await accept(life));
    assert.equal(life.executor.cancel('another', 'x'), undefined);
    const result = await done;
    assert.equal(await told, result);
    return { model, result };
  }

  for (const step of beforeCommit) {
    test(`in ${step}: ends that step, begins no other, and goes back`, async () => {
      const { model, result } = await cancelledAt(step, 'after');
      assert.deepEqual(model.ran, [...forward.slice(0, forward.indexOf(step) + 1), ...(wayBack[step] ?? [])]);
      assert.deepEqual(stateOf(model), oldNode);
      assert.equal(result.outcome, 'rolled_back');
      assert.deepEqual(result.failure, { code: 'CANCELLED', message: 'the rollout turned back' });
    });
  }

  for (const step of forward) {
    const interruptible = ['enter_maintenance', 'backup', 'probe'].includes(step);
    test(`${interruptible ? 'interrupts' : 'does not interrupt'} ${step}`, async () => {
      const model = new ModelNode();
      let aborted: boolean | undefined;
      model.disturbances.push({
        step,
        moment: 'middle',
        act: ({ signal }) => {
          aborted = signal.aborted;
          if (aborted) throw new Error('interrupted');
        },
      });
      const { result } = await cancelledAt(step, 'before', model);
      assert.equal(aborted, interruptible);
      if (interruptible)
        assert.deepEqual(result.failure, { code: 'CANCELLED', message: 'the rollout turned back' });
    });
  }

  for (const step of ['commit', 'leave_maintenance']) {
    test(`in ${step}: is too late, the node is done`, async () => {
      const { model, result } = await cancelledAt(step, 'before');
      assert.equal(result.outcome, 'done');
      assert.deepEqual(stateOf(model), newNode);
    });
  }

  test('that goes back already keeps its own reason', async () => {
    const { result } = await cancelledAt('restore', 'before', new ModelNode().fail('apply'));
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failure?.code, 'PROBE_FAILED');
  });

  test('before its first step goes back from there', async () => {
    const model = new ModelNode();
    const life = await live(model, new MemoryJournalDisk());
    const done = life.executor.start(await accept(life));
    await life.executor.cancel('job', 'changed our mind');
    assert.equal((await done).outcome, 'rolled_back');
    assert.ok(!model.ran.includes('stop'));
  });
});

/** Runs a job in one life after another; each dies where it is told, the last one not at all. */
async function overLives(
  model: ModelNode,
  deaths: readonly (Death | undefined)[],
): Promise<{ result: JobResult | undefined; creates: number[] }> {
  const creates: number[] = [];
  let disk = new MemoryJournalDisk(deaths[0]);
  for (let number = 0; ; number++) {
    const life = await live(model, disk);
    const work =
      number === 0
        ? async () => life.executor.start(await accept(life))
        : async () => (await life.executor.recover())?.ended;
    const end = await work().then(
      (result) => ({ result }),
      () => undefined,
    );
    creates.push(disk.calls.create);
    if (end !== undefined) return { result: life.journal.find('job')?.result, creates };
    assert.ok(number < deaths.length, 'a life without a death comes to an end');
    disk = disk.revived(deaths[number + 1]);
  }
}

function assertOldOrNew(model: ModelNode, result: JobResult | undefined, what: string): void {
  assert.ok(model.ran.filter((step) => step === 'migrate').length <= 1, `${what}: migrated twice`);
  if (result === undefined) assert.deepEqual(model.ran, [], `${what}: began without an intent`);
  const expected = result?.outcome === 'done' ? newNode : oldNode;
  assert.ok(
    ['done', 'rolled_back', undefined].includes(result?.outcome),
    `${what}: ${JSON.stringify(result)}`,
  );
  assert.deepEqual(stateOf(model), expected, `${what}: ${result?.outcome}, ran ${model.ran.join(' ')}`);
}

const bothEffects = ['lost', 'kept'] as const;

describe('an agent that is killed and started again', () => {
  for (const failing of [undefined, ...beforeCommit]) {
    const which = failing === undefined ? 'good' : `failing (${failing})`;
    test(`at any record of a ${which} upgrade, and again at any record after it, ends old or new`, async () => {
      const model = () => (failing === undefined ? new ModelNode() : new ModelNode().fail(failing));
      const { creates } = await overLives(model(), []);
      for (let first = 1; first <= (creates[0] ?? 0); first++) {
        for (const effect of bothEffects) {
          const deaths: Death[] = [{ at: 'create', call: first, effect }];
          const once = model();
          const ended = await overLives(once, deaths);
          assertOldOrNew(once, ended.result, `killed at record ${first} (${effect})`);
          for (let second = 1; second <= (ended.creates[1] ?? 0); second++) {
            const twice = model();
            const { result } = await overLives(twice, [...deaths, { at: 'create', call: second, effect }]);
            assertOldOrNew(
              twice,
              result,
              `killed at record ${first} and ${second} of the next life (${effect})`,
            );
          }
        }
      }
    });
  }

  for (const step of [...forward, ...back]) {
    test(`before, in the middle of, and after what ${step} does, ends old or new`, async () => {
      for (const moment of ['before', 'middle', 'after'] as const) {
        for (const times of [1, 2, 3]) {
          const model = back.includes(step) ? new ModelNode().fail('probe') : new ModelNode();
          let disk = new MemoryJournalDisk();
          let left = times;
          model.disturbances.push({
            step,
            moment,
            act: () => {
              if (left-- > 0) disk.die();
              if (left >= 0) throw new Error('killed');
            },
          });
          const first = await live(model, disk);
          await assert.rejects(first.executor.start(await accept(first)), /was killed/);
          let life = first;
          for (let lives = 1; lives <= times; lives++) {
            disk = disk.revived();
            life = await live(model, disk);
            const recovery = await life.executor.recover();
            await recovery?.ended.catch(() => undefined);
          }
          const result = life.journal.find('job')?.result;
          assertOldOrNew(model, result, `killed ${times} times ${moment} ${step}`);
          const committed = forward.indexOf(step) >= forward.indexOf('commit');
          const redone = times <= limits.journalRedo && forward.includes(step) && step !== 'migrate';
          assert.equal(result?.outcome, committed || redone ? 'done' : 'rolled_back', `${times} ${moment}`);
        }
      }
    });
  }

  test('tells why it went back', async () => {
    const model = new ModelNode();
    const records = forward.indexOf('migrate') + 1;
    const { result } = await overLives(model, [{ at: 'create', call: records, effect: 'kept' }]);
    assert.equal(result?.failure?.code, 'INTERRUPTED');
    assert.equal(result?.failedStep, 'migrate');
    assert.match(result?.failure?.message ?? '', /in the middle of migrate/);
    assert.ok(!model.ran.includes('migrate'));
  });

  test('after the last record has nothing to do', async () => {
    const model = new ModelNode();
    const { disk } = await run(model);
    const life = await live(model, disk.revived());
    assert.equal(await life.executor.recover(), undefined);
    assert.deepEqual(model.ran, forward);
  });

  test('takes up open maintenance', async () => {
    const life = await live(new ModelNode(), new MemoryJournalDisk());
    const command = Command.fromPartial({
      commandId: 'drain',
      step: { $case: 'maintenance', value: { on: true, reason: 'disks', timeoutMs: 10_000n } },
    });
    await life.journal.append({
      kind: 'accepted',
      commandId: 'drain',
      command: Command.toJSON(command) as Record<string, unknown>,
      payloadHash: '',
      token: { epoch: '1', term: '1', seq: '1' },
      step: 'maintenance',
      facts: { ...usualFacts, folderBefore: null, folderAfter: null, backupId: '' },
    });
    const next = await live(new ModelNode(), life.disk.revived());
    const result = await (await next.executor.recover())?.ended;
    assert.equal(result?.outcome, 'done');
    assert.equal(node.maintenance.current?.reason, 'disks');
  });
});

describe('a journal that cannot be gone on with', () => {
  test('stops the job where it is: no step is begun that is not announced', async () => {
    for (let call = 2; call <= 9; call++) {
      const model = new ModelNode();
      const life = await live(model, new MemoryJournalDisk({ at: 'create', call, effect: 'lost' }));
      await assert.rejects(life.executor.start(await accept(life)), /was killed/);
      assert.deepEqual(model.ran, forward.slice(0, call - 1));
      assert.match(life.executor.broken?.message ?? '', /was killed/);
    }
  });

  const unknown: [string, readonly ('step' | 'going_back')[]][] = [
    ['forward', ['step']],
    ['back', ['going_back']],
  ];
  for (const [way, kinds] of unknown) {
    test(`an unknown step on the way ${way} is left alone, and an operator is asked for`, async () => {
      const model = new ModelNode();
      const life = await live(model, new MemoryJournalDisk());
      await accept(life);
      for (const kind of kinds) {
        if (kind === 'step')
          await life.journal.append({
            kind,
            commandId: 'job',
            done: 'stop',
            step: 'defragment',
            committed: false,
          });
        else
          await life.journal.append({
            kind,
            commandId: 'job',
            failure: { code: 'X', message: '' },
            failedStep: 'stop',
            step: 'defragment',
          });
      }
      for (let start = 1; start <= 3; start++) {
        const next = await live(model, life.disk.revived());
        await (await next.executor.recover())?.ended.catch(() => undefined);
        assert.equal(next.executor.broken?.code, 'JOURNAL_UNREADABLE');
        assert.match(next.executor.broken?.message ?? '', /defragment/);
        assert.equal(next.executor.runningCommandId, undefined);
      }
      assert.deepEqual(model.ran, []);
      assert.equal(life.disk.records().length, 2, 'no start adds a record');
    });
  }

  for (const steps of [['stop_by_hand', 'verify_by_hand'], ['look_by_hand']]) {
    test(`an unknown step of a word on the node is left alone, too: ${steps.join(', ')}`, async () => {
      const life = await live(new ModelNode(), new MemoryJournalDisk());
      const [first = '', ...more] = steps;
      await life.journal.append({
        kind: 'by_hand',
        commandId: 'by-hand-restore',
        act: { word: 'restore', directory: 'backups' },
        ...{ by: 'ada', reason: 'a bad disk', setAside: [] },
        step: first,
        facts: usualFacts,
      });
      for (const step of more)
        await life.journal.append({
          ...{ kind: 'step', commandId: 'by-hand-restore', done: first, step, committed: false },
        });
      const records = life.disk.records().length;
      for (let start = 1; start <= 3; start++) {
        const next = await live(new ModelNode(), life.disk.revived());
        assert.equal(await next.executor.recover(), undefined);
        assert.equal(next.executor.broken?.code, 'JOURNAL_UNREADABLE');
        assert.match(next.executor.broken?.message ?? '', new RegExp(steps.at(-1) ?? ''));
        assert.equal(next.executor.runningCommandId, undefined);
        const open = next.journal.open();
        assert.ok(open !== undefined && !Executor.knows(open), 'restore may close it');
        assert.equal(life.disk.records().length, records, 'no start adds a record');
      }
    });
  }
});

describe('what the disk refuses', () => {
  /** A step that the disk refuses so often, in its middle. */
  function refusing(model: ModelNode, step: string, times: number): ModelNode {
    let left = times;
    const act = (): void => {
      if (left-- > 0) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
    model.disturbances.push({ step, moment: 'middle', act });
    return model;
  }
  const timesRun = ({ ran }: ModelNode, step: string) => ran.filter((name) => name === step).length;

  for (const step of ['restore', 'switch_back', 'leave_maintenance_back'])
    test(`once on the way back, at ${step}, is asked for again, and the node is old`, async () => {
      const model = refusing(new ModelNode().fail('probe'), step, 1);
      const { result } = await run(model);
      assert.equal(result.outcome, 'rolled_back', result.failure?.message);
      assert.equal(timesRun(model, step), 2);
      assert.deepEqual(stateOf(model), oldNode);
    });

  test('once behind the commit is asked for again, and the node is new', async () => {
    const model = refusing(new ModelNode(), 'leave_maintenance', 1);
    const { result } = await run(model);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.deepEqual(stateOf(model), newNode);
  });

  test('for good on the way back fails it, after a bounded number of tries', async () => {
    const model = refusing(new ModelNode().fail('probe'), 'restore', 100);
    const { result } = await run(model);
    assert.equal(result.outcome, 'rollback_failed');
    assert.equal(timesRun(model, 'restore'), limits.diskTries);
  });

  test('before the commit turns the node back at once', async () => {
    const model = refusing(new ModelNode(), 'backup', 1);
    const { result } = await run(model);
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(timesRun(model, 'backup'), 1);
  });

  test('while old jobs are removed makes nobody ask for an operator', async (t) => {
    const life = await live(new ModelNode(), new MemoryJournalDisk());
    t.mock.method(life.journal, 'prune', () => Promise.reject(new Error('EIO')));
    const { outcome } = await life.executor.start(await accept(life));
    assert.deepEqual([outcome, life.executor.broken], ['done', undefined]);
  });
});
