/**
 * The agent's own files, damaged as disks and hands damage them. Its start either says what is wrong and
 * ends, or it stands there, says what is wrong, and obeys nobody; what it does understand is the whole of
 * a file, never a part. A digit that changed into another digit is not noticed: the files have no sums.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { startAgent } from '../../node-agent/agent.js';
import { environment } from '../../node-agent/agent-node.test.part.js';
import { Fence } from '../../node-agent/api/fence.js';
import { type Caller, maintenance } from '../../node-agent/caller.test.part.js';
import { Journal } from '../../node-agent/journal/journal.js';
import { AgentRoots, type StateFile } from './agent-root.test.part.js';
import { Canary } from './canary.test.part.js';
import {
  type JsonWound,
  jsonWounds,
  type Wound,
  wounded,
  woundedJson,
  wounds,
} from './mutations.test.part.js';
import { endOf } from './promise.test.part.js';
import { hostile } from './target.test.part.js';

const roots = await AgentRoots.make();
let canary: Canary;
before(async () => {
  canary = await Canary.set(roots.folder, ['roots']);
});
after(() => roots.remove());

/** What the agent says is wrong with it, when it obeys nobody for that. */
const holding = ['JOURNAL_UNREADABLE', 'FENCE_UNREADABLE'];

/** Starts an agent on the damaged root, and sees what it says and whether it obeys. */
async function live(file: StateFile, content: Uint8Array): Promise<string> {
  const root = roots.copy(file, content);
  let said = '';

  try {
    const refused = await endOf(async () => {
      const agent = await startAgent(roots.config(root), environment);
      const caller = roots.connect(agent);
      try {
        said = await obedience(caller);
      } finally {
        caller.close();
        await agent.stop();
      }
    });
    await canary.check();
    return refused === 'fine' ? said : `no start: ${refused}`;
  } finally {
    roots.discard(root);
  }
}

async function obedience(caller: Caller): Promise<string> {
  const { needsOperator, inMaintenance } = await caller.statusWhen(
    ({ phase, needsOperator: trouble }) => phase === 'idle' || trouble !== undefined,
  );
  const trouble = needsOperator?.code ?? '';
  const adopted = await endOf(() => caller.adopt([9, 9, 1], 'next'));
  const obeyed = await endOf(() => caller.execute(maintenance('after', [9, 9, 2], inMaintenance)));
  if (holding.includes(trouble)) assert.equal(obeyed, trouble);
  return trouble === '' ? `obeys: ${adopted}, ${obeyed}` : trouble;
}

type Case = { readonly file: number } & (
  | { readonly json: readonly JsonWound[] }
  | { readonly bytes: readonly Wound[] }
);
const file = fc.nat(roots.stateFiles.length - 1);

hostile<Case>(import.meta.url, {
  name: 'an agent with one damaged file says what is wrong, or ends, and holds when it must',
  cases: fc.oneof(fc.record({ file, json: jsonWounds }), fc.record({ file, bytes: wounds })),
  casesMin: 2,
  check: (drawn) => {
    const damaged = roots.stateFiles[drawn.file];
    assert.ok(damaged);
    const sample = roots.sample(damaged);
    const isJson = damaged.path.endsWith('.json') && 'json' in drawn;
    const content = isJson
      ? Buffer.from(woundedJson(JSON.parse(sample.toString()), drawn.json))
      : wounded(sample, 'bytes' in drawn ? drawn.bytes : [{ kind: 'flip', at: drawn.file * 911, bit: 1 }]);
    return live(damaged, content);
  },
});

const fenceFile: StateFile = { state: 'ended', path: 'agent/fence.json' };

/** The fence that these bytes are; undefined when they are none. */
async function fenceOf(bytes: Uint8Array): Promise<unknown> {
  return (await Fence.open({ read: async () => bytes, write: async () => undefined })).current;
}

describe('a part of a file is never taken for the whole', () => {
  test('the fence, ended at each byte and zero-filled from each byte', async () => {
    const whole = roots.sample(fenceFile);
    const meant = await fenceOf(whole);
    assert.ok(meant !== undefined);
    for (let length = 0; length < whole.length; length++) {
      for (const bytes of [whole.subarray(0, length), Buffer.from(whole).fill(0, length)]) {
        const read = await fenceOf(bytes);
        // Without its last line end it still says all that it said.
        if (read !== undefined) assert.deepEqual([read, bytes.length], [meant, whole.length - 1]);
      }
    }
  });

  test('each record of the journal, ended at each byte, and zero-filled', async () => {
    // This one has a record of each kind, and those of the jobs before.
    const records = roots.stateFiles.filter(
      ({ state, path }) => state === 'upgrading' && path.startsWith('agent/journal/'),
    );
    for (const damaged of records) {
      const whole = roots.sample(damaged);
      const name = damaged.path.slice('agent/journal/'.length);
      for (let length = 0; length < whole.length - 1; length++)
        // Zeros come in blocks; what begins at other places is no other case.
        for (const bytes of [
          whole.subarray(0, length),
          ...(length % 64 === 0 ? [Buffer.from(whole).fill(0, length)] : []),
        ])
          assert.equal(await endOf(() => openWith(damaged, name, bytes)), 'JOURNAL_UNREADABLE');
    }
  });

  test('each bit of the fence turned round is noticed, or is another value of the same shape', async () => {
    const whole = roots.sample(fenceFile);
    let noticed = 0;
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      if ((await fenceOf(bytes)) === undefined) noticed += 1;
    }
    assert.ok(noticed > whole.length * 4, `${noticed} of ${whole.length * 8}`);
  });
});

/** Opens the journal of a root with one record as given, from memory. */
async function openWith(damaged: StateFile, name: string, bytes: Uint8Array): Promise<void> {
  const names = roots.stateFiles
    .filter(({ state, path }) => state === damaged.state && path.startsWith('agent/journal/'))
    .map(({ path }) => path.slice('agent/journal/'.length))
    .filter((other) => other <= name);
  await Journal.open(
    {
      list: async () => names,
      read: async (wanted) =>
        wanted === name ? bytes : roots.sample({ ...damaged, path: `agent/journal/${wanted}` }),
      create: async () => undefined,
      remove: async () => undefined,
    },
    () => new Date(),
  );
}
