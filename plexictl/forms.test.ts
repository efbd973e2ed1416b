/**
 * The forms of an answer: every word that only looks answers in each form that `-o` knows, the machine
 * forms say the same, and nothing but the answer stands on stdout.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { Node } from '../gen/plexi/v1/nodes.js';
import { Plan } from '../gen/plexi/v1/rollouts.js';
import { inForm } from './context.js';
import { at, sampleNode, sampleStatus } from './render/sample-status.test.part.js';
import { plexictl, type ScriptedCluster, scriptedCluster } from './scripted-controller.test.part.js';

const waitingOn = [{ reason: 'wave 0 is not over', since: at(3), unblock: 'the end of its last soak' }];
const working = {
  ...sampleStatus([sampleNode('node-1', 'probing'), sampleNode('node-2', 'ready', { waitingOn })]),
  freeze: { reason: 'yes: "1e5"', by: 'ops', since: at(0) },
};
const over = sampleStatus([sampleNode('node-1', 'done')], { phase: 'succeeded', finishedAt: at(9) });
/** Versions that a careless YAML reader would take for numbers. */
const nodes = [
  Node.fromPartial({ id: 'node-1', version: '0b1', phase: 'probing', health: 'healthy', since: at(0) }),
  Node.fromPartial({ id: 'node-2', version: '1e5', phase: 'ready', held: 'null', labels: { on: 'off' } }),
];
const plan = Plan.fromPartial({
  cluster: 'dev',
  from: '0a1',
  to: '0b1',
  nodes: [{ id: 'node-1', from: '0a1', to: '0b1', strategy: 'upgrade' }],
});
const logLine = '{"time":1734609600000,"step":"stop","msg":"ended"}';

const looking = [
  'status',
  'status update_x',
  'rollout status',
  'update status',
  'why node-1',
  'why node-2',
  'history',
  'rollout history',
  'update history',
  'nodes',
  'node list',
  'logs node-1 --service',
  'version',
  'version --detailed',
  'version compare 0a1 0b1',
  'update version',
  'rollout --to 0b1 --dry-run',
  'rollout restart --to 0b1 --dry-run',
  'downgrade --to 0a1 --dry-run',
  'update upgrade --to 0b1 --dry-run',
  'update downgrade --to 0a1 --dry-run',
  'node reinstall node-1 --dry-run',
];

describe('every word that only looks', () => {
  let cluster: ScriptedCluster;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    const controller = await cluster.controller({
      status: () => working,
      history: () => (working.rollout === undefined ? [] : [working.rollout]),
      nodes: () => nodes,
      plan: () => plan,
      logs: async function* () {
        yield Buffer.from(`${logLine}\n`);
      },
      watch: async function* () {
        yield working;
        yield over;
      },
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());
  const run = async (line: string, form: string) => {
    const ran = await plexictl([...line.split(' '), '-o', form], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    return ran.stdout;
  };

  for (const line of looking) {
    test(`${line} answers the same as json, jsonl and yaml, and as text and wide`, async () => {
      const json = await run(line, 'json');
      assert.match(json, /^\{[^\n]+\}\n$/);
      const document = JSON.parse(json);
      assert.deepEqual(parse(await run(line, 'yaml')), document);
      // Another reader, by the older rules of YAML, must not see other values.
      assert.deepEqual(parse(await run(line, 'yaml'), { version: '1.1' }), document);
      if (!line.startsWith('logs')) assert.equal(await run(line, 'jsonl'), json);
      for (const form of ['text', 'wide']) {
        const text = await run(line, form);
        assert.ok(text.endsWith('\n') && text.length > 1, form);
        if (!line.startsWith('logs')) assert.throws(() => JSON.parse(text));
      }
    });
  }

  test('a stream has a document a line as jsonl, and its last one as json and yaml', async () => {
    const lines = (await run('watch', 'jsonl')).trimEnd().split('\n');
    const phases = lines.map((line) => JSON.parse(line).rollout.phase);
    assert.deepEqual(phases, ['rolling', 'succeeded']);
    const last = JSON.parse(lines[1] ?? '');
    assert.deepEqual(JSON.parse(await run('watch', 'json')), last);
    const yaml = await run('watch', 'yaml');
    assert.equal(parseAllDocuments(yaml).length, 1);
    assert.deepEqual(parse(yaml), last);
    assert.deepEqual(JSON.parse(await run('logs node-1', 'jsonl')), JSON.parse(logLine));
  });

  test('a frozen cluster says so, in text too', async () => {
    assert.match(await run('status', 'text'), /\nFreeze {3}on since 2024-12-19 12:00Z by ops: yes: "1e5"\n/);
    const { freeze } = JSON.parse(await run('status', 'json'));
    assert.deepEqual(freeze, { reason: 'yes: "1e5"', by: 'ops', since: '2024-12-19T12:00:00.000Z' });
  });

  test('a form that there is not is refused, and -o stands on every word that answers', async () => {
    for (const line of looking) {
      const ran = await plexictl([...line.split(' '), '-o', 'xml'], { config });
      assert.deepEqual([ran.exitCode, ran.stdout], [2, ''], line);
    }
  });
});

test('no control character of a node reaches the terminal in a machine form, and none is lost', () => {
  const named = String.fromCharCode(0x7f, 0x85, 0x9b);
  const document = { nodes: [{ labels: { [named]: `\u0007${named}`, plain: 'x' } }] };
  for (const [form, read] of [
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parse(text)],
  ] as const) {
    const text = inForm(form, document, () => '');
    assert.doesNotMatch(text, /[^\P{Cc}\n]/u);
    assert.deepEqual(read(text), document);
  }
});
