/**
 * The journal over real files: what is appended is read back; whatever is damaged makes it
 * unreadable and is left as it was; and pruning, cut off anywhere, never shows a job that is open.
 */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { journalDisk } from '../agent.js';
import {
  accepted,
  appendAll,
  facts,
  finished,
  goingBack,
  result,
  resumed,
  step,
  wholeJob,
} from './job-records.test.part.js';
import { Journal } from './journal.js';
import { type Death, MemoryJournalDisk } from './memory-disk.test.part.js';
import type { NewRecord } from './records.js';

const wallClock = () => new Date('2024-12-19T12:00:00.000Z');

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-journal-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function open(): Promise<Journal> {
  return Journal.open(journalDisk(folder), wallClock);
}

/** A finished job (records 1 to 3) and one that goes back (records 4 to 7). */
async function writeSample(): Promise<Journal> {
  const journal = await open();
  await appendAll(journal, [
    ...wholeJob('first'),
    accepted('second'),
    step('second', 'enter_maintenance', 'stop'),
    resumed('second', 'stop'),
    goingBack('second', 'stop', 'start_old'),
  ]);
  return journal;
}

const at = (sequence: number) => join(folder, `${String(sequence).padStart(10, '0')}.json`);

function contents(): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [
        name,
        statSync(join(folder, name)).isFile() ? readFileSync(join(folder, name), 'latin1') : 'no file',
      ]),
  );
}

function change(sequence: number, changes: Record<string, unknown>): void {
  writeFileSync(
    at(sequence),
    JSON.stringify({ ...JSON.parse(readFileSync(at(sequence), 'utf8')), ...changes }),
  );
}

describe('the journal', () => {
  test('is empty at first, and reads back every kind of record as it was appended', async () => {
    const fresh = await open();
    assert.deepEqual(fresh.list(), []);
    assert.equal(fresh.open(), undefined);
    const written = await writeSample();
    const read = await open();
    assert.deepEqual(read.list(), written.list());
    assert.deepEqual(read.open(), written.find('second'));
    assert.deepEqual(read.find('first')?.result, result);
    assert.deepEqual(read.find('second'), {
      commandId: 'second',
      command: { commandId: 'second', rolloutId: 'update_0a1_0b1' },
      payloadHash: 'hash of second',
      token: { epoch: '1', term: '18446744073709551615', seq: '3' },
      begun: ['enter_maintenance', 'stop'],
      facts,
      committed: false,
      goingBack: {
        failure: { code: 'PROBE_FAILED', message: 'it did not get healthy' },
        failedStep: 'stop',
        begun: ['start_old'],
      },
      resumed: 0,
      result: undefined,
      records: [4, 5, 6, 7].map((sequence) => `${String(sequence).padStart(10, '0')}.json`),
    });
  });

  test('counts the restarts within one step only, and never forgets a commit', async () => {
    const journal = await open();
    await appendAll(journal, [accepted('job', 'probe'), resumed('job', 'probe'), resumed('job', 'probe')]);
    assert.equal((await open()).open()?.resumed, 2);
    await appendAll(journal, [step('job', 'probe', 'commit'), resumed('job', 'commit')]);
    assert.equal((await open()).open()?.resumed, 1);
    await journal.append(step('job', 'commit', 'leave_maintenance'));
    const { committed, resumed: restarts, begun } = (await open()).open() ?? {};
    assert.deepEqual(
      { committed, restarts, begun },
      {
        committed: true,
        restarts: 0,
        begun: ['probe', 'commit', 'leave_maintenance'],
      },
    );
  });

  test('takes a word by hand: as a job of its own, or in the job that it takes back', async () => {
    const said = { by: 'ada', reason: 'alone', setAside: ['20241219T120000Z-fence.json'] };
    const own = { word: 'restore', directory: 'backups' } as const;
    const journal = await open();
    await appendAll(journal, [
      { kind: 'by_hand', commandId: 'own', act: own, ...said, step: 'stop_by_hand', facts },
      step('own', 'stop_by_hand', 'restore_by_hand'),
      finished('own'),
      accepted('job', 'probe'),
      { kind: 'by_hand', commandId: 'job', act: { word: 'take_back' }, ...said, step: 'probe', facts },
    ]);
    const read = await open();
    assert.deepEqual(read.list(), journal.list());
    assert.deepEqual(read.find('own')?.byHand, { act: own, ...said });
    assert.deepEqual(read.find('own')?.begun, ['stop_by_hand', 'restore_by_hand']);
    assert.deepEqual(read.open()?.byHand, { act: { word: 'take_back' }, ...said });
  });

  const said = { by: 'ada', reason: 'alone', setAside: [], step: 'probe', facts };
  const takeBack = (commandId: string): NewRecord => ({
    ...{ kind: 'by_hand', commandId, act: { word: 'take_back' }, ...said },
  });
  const asItIs = (commandId: string): NewRecord => ({
    ...{ kind: 'by_hand', commandId, act: { word: 'as_it_is' }, ...said },
  });

  test('refuses what cannot follow before it is on the disk, and goes on', async () => {
    const journal = await open();
    await assert.rejects(journal.append(takeBack('x')), { code: 'CONFLICT', message: /has no beginning/ });
    assert.deepEqual(contents(), {});
    await appendAll(journal, wholeJob('first'));
    const before = contents();
    for (const record of [takeBack('first'), step('first', 'stop', 'backup'), finished('first')])
      await assert.rejects(journal.append(record), { code: 'CONFLICT', message: /goes on after its end/ });
    await assert.rejects(journal.append(accepted('first')), { message: /begins twice, so nothing was/ });
    assert.deepEqual(contents(), before);
    await journal.append(accepted('second'));
    assert.equal((await open()).open()?.commandId, 'second');
  });

  test('takes no second job beside an open one', async () => {
    const journal = await writeSample();
    const before = contents();
    for (const record of [accepted('third'), asItIs('third'), asItIs('second')])
      await assert.rejects(journal.append(record), { code: 'BUSY', message: 'the node works on second' });
    assert.deepEqual(contents(), before);
    await journal.append(finished('second'));
    await journal.append(asItIs('third'));
    assert.equal((await open()).open()?.commandId, 'third');
  });

  test('asks whether a record is still wanted in its own turn, behind those before it', async () => {
    const journal = await writeSample();
    const seen: unknown[] = [];
    const late = journal.append(finished('second')).then(
      () => 'written',
      () => 'refused',
    );
    const word = journal.append(takeBack('second'), (job) => {
      seen.push(job?.result?.outcome);
      throw new Error('it has ended');
    });
    await assert.rejects(word, { message: 'it has ended' });
    assert.deepEqual([await late, seen], ['written', ['done']]);
    assert.equal((await open()).find('second')?.byHand, undefined);
  });

  test('records that come at once get a number each, in their order', async () => {
    const journal = await open();
    await journal.append(accepted('job', 'probe'));
    await Promise.all(Array.from({ length: 5 }, () => journal.append(resumed('job', 'probe'))));
    assert.equal((await open()).open()?.resumed, 5);
  });

  test('one file a record, for its owner only, and numbers go on after a restart', async () => {
    await writeSample();
    await (await open()).append(finished('second'));
    assert.deepEqual(
      readdirSync(folder).sort(),
      [1, 2, 3, 4, 5, 6, 7, 8].map((sequence) => at(sequence).slice(folder.length + 1)),
    );
    assert.equal(statSync(at(8)).mode & 0o777, 0o600);
    assert.equal(JSON.parse(readFileSync(at(8), 'utf8')).at, '2024-12-19T12:00:00.000Z');
    assert.equal((await open()).open(), undefined);
  });

  test('a record that is too long, or that the disk refuses, changes nothing', async () => {
    const journal = await writeSample();
    const before = contents();
    const long: NewRecord = {
      ...step('second', 'start_old', 'probe_old'),
      step: 'x'.repeat(limits.journalRecordBytes),
    } as NewRecord;
    await assert.rejects(journal.append(long), { code: 'LIMIT_EXCEEDED' });
    mkdirSync(at(8));
    await assert.rejects(journal.append(finished('second')), { code: 'EEXIST' });
    assert.equal(journal.open()?.commandId, 'second');
    rmSync(at(8), { recursive: true });
    assert.deepEqual(contents(), before);
    await journal.append(finished('second'));
    assert.equal((await open()).find('second')?.result?.outcome, 'done');
  });

  test('what a crash left of a record that never came to be is no record', async () => {
    await writeSample();
    writeFileSync(join(folder, '.tmp-abc'), '{"schema":1,');
    assert.equal((await open()).open()?.commandId, 'second');
  });
});

describe('a damaged journal is unreadable, and nothing in it is touched', () => {
  const damages: [what: string, named: number, damage: () => void][] = [
    ['a torn record', 5, () => truncateSync(at(5), 40)],
    ['a torn last record', 7, () => truncateSync(at(7), 40)],
    ['an empty record', 7, () => truncateSync(at(7), 0)],
    ['a zero-filled record', 7, () => writeFileSync(at(7), Buffer.alloc(statSync(at(7)).size))],
    ['a record with something behind it', 7, () => writeFileSync(at(7), 'x', { flag: 'a' })],
    ['a record of an unknown kind', 6, () => change(6, { kind: 'rebooted' })],
    ['a record of an unknown schema', 6, () => change(6, { schema: 2 })],
    ['a command that cannot be read back', 4, () => change(4, { command: { token: { epoch: 'first' } } })],
    ['a command that cannot be told', 4, () => change(4, { command: { attempt: 0.5 } })],
    [
      'a token of more than 64 bits',
      4,
      () => change(4, { token: { ...facts, epoch: '1', term: '9'.repeat(20), seq: '1' } }),
    ],
    ['a record without its step', 5, () => change(5, { step: undefined })],
    [
      'a record that is too long to be read',
      6,
      () => change(6, { step: 'x'.repeat(limits.journalRecordBytes) }),
    ],
    [
      'a folder in the place of a record',
      6,
      () => {
        unlinkSync(at(6));
        mkdirSync(at(6));
      },
    ],
    ['a record under the name of another', 9, () => renameSync(at(7), at(9))],
    [
      'a record with a name of no record',
      0,
      () => writeFileSync(join(folder, '0.json'), readFileSync(at(1))),
    ],
    ['a gap', 6, () => unlinkSync(at(5))],
    [
      'a gap of a whole job',
      8,
      () => {
        for (const sequence of [4, 5, 6, 7]) unlinkSync(at(sequence));
        writeFileSync(at(8), JSON.stringify({ schema: 1, sequence: 8, at: '', ...accepted('third') }));
      },
    ],
    ['a job that goes on after its end', 4, () => change(4, { ...step('first', 'stop', 'backup') })],
    ['a job that ends twice', 4, () => change(4, { ...finished('first') })],
    ['a job that begins twice', 5, () => change(5, { ...accepted('second') })],
    [
      'a job that begins twice, the second time by hand',
      5,
      () =>
        change(5, {
          ...{ kind: 'by_hand', commandId: 'second', act: { word: 'restore', directory: 'backups' } },
          ...{ by: 'ada', reason: 'alone', setAside: [], step: 'stop_by_hand', facts },
        }),
    ],
    ['a finished job that begins again', 4, () => change(4, { ...accepted('first') })],
    [
      'an open job that begins again by hand',
      5,
      () =>
        change(5, {
          ...{ kind: 'by_hand', act: { word: 'as_it_is' }, by: 'ada', reason: 'alone', setAside: [] },
          ...{ step: 'as_it_is', facts },
        }),
    ],
    ['a job without a beginning', 4, () => change(4, { ...step('second', 'stop', 'backup') })],
    [
      'an open job that lost its beginning, and is the only one',
      2,
      () => {
        for (const sequence of [4, 5, 6, 7]) unlinkSync(at(sequence));
        unlinkSync(at(3));
        unlinkSync(at(1));
      },
    ],
    [
      'an open job that lost its beginning, before others',
      3,
      () => {
        change(3, { ...step('first', 'stop', 'backup') });
        unlinkSync(at(1));
      },
    ],
  ];
  for (const [what, named, damage] of damages) {
    test(what, async () => {
      await writeSample();
      damage();
      const before = contents();
      await assert.rejects(open(), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'JOURNAL_UNREADABLE');
        const name = named === 0 ? '0.json' : at(named).slice(folder.length + 1);
        assert.ok(error.message.includes(`record ${name} cannot be trusted`), error.message);
        return true;
      });
      assert.deepEqual(contents(), before);
    });
  }
});

test('a record that is gone when it is read is missed, and not passed over', async () => {
  const disk = new MemoryJournalDisk();
  const journal = await Journal.open(disk, () => new Date(0));
  await appendAll(journal, [accepted('job', 'stop'), step('job', 'stop', 'backup')]);
  const vanishing = disk.revived();
  vanishing.read = async (name) => (name.startsWith('0000000002') ? undefined : disk.read(name));
  await assert.rejects(
    Journal.open(vanishing, () => new Date(0)),
    {
      code: 'JOURNAL_UNREADABLE',
      message: /record 0000000002.json cannot be trusted: it disappeared while it was read/,
    },
  );
});

describe('pruning', () => {
  const excess = 3;

  /** As many finished jobs as are kept and a few more, and, if wanted, an open one behind them. */
  async function filled(
    withOpenJob: boolean,
    death?: Death,
  ): Promise<{ disk: MemoryJournalDisk; journal: Journal }> {
    const before = new MemoryJournalDisk();
    const journal = await Journal.open(before, wallClock);
    for (let number = 1; number <= limits.journalJobsKept + excess; number++)
      await appendAll(journal, wholeJob(`job-${number}`));
    if (withOpenJob) await appendAll(journal, [accepted('open'), step('open', 'enter_maintenance', 'stop')]);
    const disk = before.revived(death);
    return { disk, journal: await Journal.open(disk, wallClock) };
  }

  for (const withOpenJob of [false, true]) {
    test(`keeps the newest finished jobs${withOpenJob ? ', and the open one' : ''}`, async () => {
      const { disk, journal } = await filled(withOpenJob);
      await journal.prune();
      const kept = Array.from({ length: limits.journalJobsKept }, (_, index) => `job-${index + 1 + excess}`);
      const expected = withOpenJob ? [...kept, 'open'] : kept;
      assert.deepEqual(
        journal.list().map(({ commandId }) => commandId),
        expected,
      );
      assert.deepEqual((await Journal.open(disk, wallClock)).list(), journal.list());
      const calls = disk.calls.remove;
      await journal.prune();
      assert.equal(disk.calls.remove, calls);
    });

    const states = withOpenJob ? 'shows just the job that is open' : 'shows no open job';
    test(`cut off after any number of removals, it ${states}, and is taken up again`, async () => {
      for (let call = 1; call <= 3 * excess; call++) {
        for (const effect of ['lost', 'kept'] as const) {
          const { disk, journal } = await filled(withOpenJob, { at: 'remove', call, effect });
          await assert.rejects(journal.prune(), /was killed/);
          const revived = disk.revived();
          const after = await Journal.open(revived, wallClock);
          assert.equal(after.open()?.commandId, withOpenJob ? 'open' : undefined, `${call} ${effect}`);
          assert.ok(
            after.list().every(({ commandId, result: end }) => commandId === 'open' || end !== undefined),
          );
          await after.append(withOpenJob ? finished('open') : accepted('next'));
          await after.prune();
          const whole = await Journal.open(revived, wallClock);
          assert.deepEqual(whole.list(), after.list());
          assert.equal(whole.list()[0]?.commandId, withOpenJob ? `job-${excess + 2}` : `job-${excess + 1}`);
          assert.equal(revived.records()[0]?.kind, 'accepted');
        }
      }
    });
  }
});
