/**
 * `plexictl rollout` against controllers that play a script, over real gRPC with mutual TLS: what is
 * asked of them, what is printed, and the exit code, for each way in which it can go.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Plan } from '../../gen/plexi/v1/rollouts.js';
import { at, sampleNode, sampleStatus } from '../render/sample-status.test.part.js';
import {
  documentOf,
  errorOf,
  plexictl,
  type Script,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const id = 'update_0a1_0b1_20241219_120000';

const plan = Plan.fromPartial({
  cluster: 'dev',
  from: '0a1',
  to: '0b1',
  digest: 'd'.repeat(64),
  maxConcurrent: 1,
  requireConfirmation: true,
  steps: ['enter_maintenance', 'stop'],
  estimateMs: 30_000n,
  nodes: [
    {
      id: 'node-1',
      from: '0a1',
      to: '0b1',
      strategy: 'upgrade',
      wave: 0,
      orderReason: 'canary',
      migrations: ['001-topics'],
      estimateMs: 15_000n,
    },
    { id: 'node-2', from: '0a1', to: '0b1', strategy: 'upgrade', wave: 1, estimateMs: 15_000n },
  ],
});

const running = sampleStatus([sampleNode('node-1', 'probing'), sampleNode('node-2', 'pending')]);
const doneNodes = [sampleNode('node-1', 'done'), sampleNode('node-2', 'done')];
const succeeded = sampleStatus(doneNodes, { phase: 'succeeded', finishedAt: at(30), exitCode: 0 });
const probeFailed = { code: 'PROBE_FAILED', message: 'node-1 answered 500' };
const wentBack = [
  sampleNode('node-1', 'rolled_back', { error: probeFailed }),
  sampleNode('node-2', 'pending'),
];
const rolledBack = sampleStatus(wentBack, {
  phase: 'rolled_back',
  reason: 'node-1 failed',
  finishedAt: at(30),
  exitCode: 1,
});

async function* stream(...statuses: (typeof running)[]) {
  yield* statuses;
}

describe('plexictl rollout', () => {
  let cluster: ScriptedCluster;
  before(async () => {
    cluster = await scriptedCluster();
  });
  after(() => cluster.stop());

  const good: Script = {
    plan: () => plan,
    start: () => ({ id, nothingToDo: false }),
    status: () => running,
    watch: () => stream(running, succeeded),
  };
  const withScript = async (
    script: Partial<Script>,
  ): Promise<{ controller: ScriptedController; config: string }> => {
    const controller = await cluster.controller({ ...good, ...script });
    return { controller, config: await cluster.clientFile([controller.address]) };
  };
  const words = (controller: ScriptedController) => controller.asked.map(({ word }) => word);

  test('shows the plan, starts exactly that plan, follows it and ends 0', async () => {
    const { controller, config } = await withScript({});
    const ran = await plexictl(
      ['rollout', '--to', '0b1', '--yes', '--reason', 'new topics', '--canary', '1'],
      { config },
    );
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /Rollout 0a1 → 0b1 in cluster dev: 2 nodes to change, 1 out of service/);
    assert.match(ran.stdout, /1 {2}node-1 {2}0a1 {3}0b1 {2}upgrade {2,}0 {2,}15s {2}canary {3}001-topics/);
    assert.match(ran.stdout, /succeeded after 30s: 2 nodes at 0b1/);
    assert.match(ran.stderr, /node-1: probing/);
    assert.deepEqual(words(controller), ['plan', 'start', 'watch']);
    const start = controller.asked[1]?.request;
    assert.ok(
      start !== null &&
        typeof start === 'object' &&
        'planDigest' in start &&
        'requestId' in start &&
        'request' in start,
    );
    assert.equal(start.planDigest, plan.digest);
    assert.match(String(start.requestId), /^[\w-]{21}$/);
    assert.deepEqual(start.request, {
      to: '0b1',
      maxConcurrent: 0,
      canary: 1,
      canarySelector: '',
      nodes: [],
      selectors: [],
      exclude: [],
      force: false,
      reason: 'new topics',
      downgrade: false,
      restart: false,
      stageOnly: false,
      skipTests: false,
      reinstall: false,
    });
  });

  test('-o json prints the status document once, and nothing else on stdout', async () => {
    const { config } = await withScript({});
    const ran = await plexictl(['rollout', '--to', '0b1', '-y', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 0);
    assert.deepEqual(documentOf(ran), {
      cluster: 'dev',
      leader: { id: 'controller-0', term: 12, epoch: 1 },
      freeze: null,
      rollout: {
        id,
        from: '0a1',
        to: '0b1',
        phase: 'succeeded',
        reason: null,
        startedAt: '2024-12-19T12:00:00.000Z',
        finishedAt: '2024-12-19T12:00:30.000Z',
        planDigest: 'd'.repeat(64),
        counts: { done: 2 },
        nodes: ['node-1', 'node-2'].map((node) => ({
          id: node,
          phase: 'done',
          step: null,
          attempt: 0,
          version: '0b1',
          error: null,
          unknown: false,
          waitingOn: [],
        })),
      },
    });
  });

  test('-o jsonl prints one document a change', async () => {
    const { config } = await withScript({ watch: () => stream(running, running, succeeded) });
    const ran = await plexictl(['rollout', '--to', '0b1', '-y', '-o', 'jsonl'], { config });
    const phases = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).rollout.phase);
    assert.deepEqual(phases, ['rolling', 'succeeded']);
  });

  test('--dry-run prints the plan and starts nothing', async () => {
    const { controller, config } = await withScript({});
    const ran = await plexictl(['rollout', '--to', '0b1', '--dry-run', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 0);
    const document = documentOf(ran);
    assert.ok(document !== null && typeof document === 'object' && 'plan' in document);
    const shown = document.plan;
    assert.ok(shown !== null && typeof shown === 'object');
    for (const key of ['digest', 'steps', 'warnings', 'problems', 'pointOfNoReturn'])
      assert.ok(key in shown, key);
    assert.deepEqual(words(controller), ['plan']);
  });

  test('a plan with problems is refused with 3, dry run or not, and names them all', async () => {
    const { controller, config } = await withScript({
      plan: () => ({ ...plan, problems: ['node-1 is unhealthy', 'no 0b1 for arm64'] }),
    });
    const ran = await plexictl(['rollout', '--to', '0b1', '--yes', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 3);
    assert.equal(ran.stdout, '');
    assert.equal(errorOf(ran).code, 'PLAN_REFUSED');
    assert.deepEqual(errorOf(ran).details, {
      cluster: 'dev',
      problems: ['node-1 is unhealthy', 'no 0b1 for arm64'],
    });
    const dry = await plexictl(['rollout', '--to', '0b1', '--dry-run'], { config });
    assert.equal(dry.exitCode, 3);
    assert.match(dry.stdout, /Problems:\n {2}- node-1 is unhealthy\n {2}- no 0b1 for arm64/);
    assert.deepEqual(words(controller), ['plan', 'plan']);
  });

  test('without a terminal and without --yes it is refused with 3', async () => {
    const { controller, config } = await withScript({});
    const ran = await plexictl(['rollout', '--to', '0b1', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 3);
    assert.equal(errorOf(ran).code, 'NOT_CONFIRMED');
    assert.match(ran.stderr, /--yes/);
    assert.deepEqual(words(controller), ['plan']);
  });

  test('on a terminal it asks; only yes starts', async () => {
    const { controller, config } = await withScript({});
    const no = await plexictl(['rollout', '--to', '0b1'], { config, answer: '' });
    assert.equal(no.exitCode, 3);
    assert.match(no.stderr, /Go on\? \[y\/N\]/);
    const yes = await plexictl(['rollout', '--to', '0b1'], { config, answer: 'y' });
    assert.equal(yes.exitCode, 0);
    assert.deepEqual(words(controller), ['plan', 'plan', 'start', 'watch']);
  });

  test('a cluster that wants no confirmation is not asked about', async () => {
    const { config } = await withScript({ plan: () => ({ ...plan, requireConfirmation: false }) });
    assert.equal((await plexictl(['rollout', '--to', '0b1'], { config })).exitCode, 0);
  });

  test('nothing to do ends 0 and starts nothing', async () => {
    const nodes = plan.nodes.map((node) => ({ ...node, from: '0b1', strategy: 'none' }));
    const { controller, config } = await withScript({ plan: () => ({ ...plan, nodes }) });
    const ran = await plexictl(['rollout', '--to', '0b1'], { config });
    assert.deepEqual(ran, { exitCode: 0, stdout: 'every node runs 0b1 already\n', stderr: '' });
    const json = await plexictl(['rollout', '--to', '0b1', '-o', 'json'], { config });
    assert.deepEqual(documentOf(json), {
      cluster: 'dev',
      leader: { id: 'controller-0', term: 12, epoch: 1 },
      rollout: null,
      nothingToDo: true,
    });
    assert.ok(!words(controller).includes('start'));
  });

  test('--no-wait prints the id and ends 0', async () => {
    const { controller, config } = await withScript({});
    assert.deepEqual(await plexictl(['rollout', '--stable', '-y', '--no-wait', '-o', 'json'], { config }), {
      exitCode: 0,
      stdout: `{"cluster":"dev","rollout":"${id}"}\n`,
      stderr: '',
    });
    assert.deepEqual(words(controller), ['plan', 'start']);
  });

  test('a rollout that went back ends 1, with the document and the error of the node', async () => {
    const { config } = await withScript({ watch: () => stream(running, rolledBack) });
    const ran = await plexictl(['rollout', '--to', '0b1', '-y', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stdout, /"phase":"rolled_back".*"error":\{"code":"PROBE_FAILED"/);
    assert.equal(errorOf(ran).code, 'PROBE_FAILED');
    assert.deepEqual(errorOf(ran).details, {
      cluster: 'dev',
      rollout: id,
      phase: 'rolled_back',
      node: 'node-1',
    });
  });

  test('a rollout whose exit code is not known ends 4: nobody may take it for one that went back', async () => {
    for (const exitCode of [2, 6, 260]) {
      const strange = sampleStatus(wentBack, { phase: 'rolled_back', reason: '', exitCode });
      const { config } = await withScript({ watch: () => stream(running, strange) });
      const ran = await plexictl(['rollout', '--to', '0b1', '-y', '-o', 'json'], { config });
      assert.equal(ran.exitCode, 4, `${exitCode}`);
    }
    const noNode = sampleStatus([], { phase: 'failed', reason: '', exitCode: 6 });
    const { config } = await withScript({ watch: () => stream(running, noNode) });
    const ran = await plexictl(['rollout', '--to', '0b1', '-y', '-o', 'json'], { config });
    assert.deepEqual([ran.exitCode, errorOf(ran).code], [4, 'ROLLBACK_FAILED']);
  });

  test('a pause by an operator is followed on, a pause by a failure ends 5', async () => {
    const byOperator = sampleStatus(running.rollout?.nodes ?? [], {
      phase: 'paused',
      reason: 'ops paused it',
    });
    const { config } = await withScript({ watch: () => stream(running, byOperator, running, succeeded) });
    assert.equal((await plexictl(['rollout', '--to', '0b1', '-y'], { config })).exitCode, 0);
    const byFailure = sampleStatus(wentBack, { phase: 'paused', reason: 'node-1 failed', exitCode: 5 });
    const forEver = async function* () {
      yield byFailure;
      await new Promise(() => {});
    };
    const failed = await withScript({ watch: forEver });
    assert.equal((await plexictl(['rollout', '--to', '0b1', '-y'], { config: failed.config })).exitCode, 5);
  });

  test('Ctrl-C detaches with 130 and says how to attach again', async () => {
    const interrupt = new AbortController();
    const forEver = async function* () {
      yield running;
      interrupt.abort();
      await new Promise(() => {});
    };
    const { config } = await withScript({ watch: forEver });
    const ran = await plexictl(['rollout', '--to', '0b1', '-y'], { config, interrupt: interrupt.signal });
    assert.equal(ran.exitCode, 130);
    assert.match(ran.stderr, new RegExp(`plexictl watch ${id}`));
  });

  test('wrong use is refused with 2 before anybody is asked', async () => {
    const { controller, config } = await withScript({});
    const wrong = [
      [],
      ['--to', '0b1', '--latest'],
      ['--to', ''],
      ['--to', 'x'.repeat(65)],
      ['--to', '0b1', '--max-concurrent', '0'],
      ['--to', '0b1', '--max-concurrent', '1.5'],
      ['--to', '0b1', '--canary', '1', '--canary-selector', 'a=b'],
      ['--to', '0b1', '--selector', 'zone'],
      ['--to', '0b1', '--node', 'Node_1'],
      ['--to', '0b1', '--reason', 'x'.repeat(1_001)],
      ['--to', '0b1', '-o', 'xml'],
      ['--to', '0b1', '--forse'],
      ['--to', '0b1', 'more'],
    ];
    for (const options of wrong) {
      const ran = await plexictl(['rollout', ...options], { config });
      assert.equal(ran.exitCode, 2, options.join(' '));
      assert.match(ran.stderr, /^plexictl: .+\n$/);
    }
    assert.deepEqual(words(controller), []);
  });

  test('options that exclude one another are named, with why', async () => {
    const { controller, config } = await withScript({});
    const cases: readonly (readonly [string, RegExp])[] = [
      ['--to 0b1 --latest', /give only one of --to and --latest/],
      ['--latest --stable', /give only one of --latest and --stable/],
      ['--to 0b1 --stage-only --restart', /only one of --stage-only and --restart: staging restarts nothing/],
      ['--to 0b1 --stage-only --skip-tests', /only one of --stage-only and --skip-tests/],
      ['--to 0b1 --canary 1 --canary-selector a=b', /only one of --canary and --canary-selector/],
      ['--to 0b1 --node a b --exclude b', /b stands both under --node and under --exclude/],
      ['--to 0b1 --watch --no-wait', /only one of --watch and --no-wait/],
    ];
    for (const [options, sentence] of cases) {
      const ran = await plexictl(['rollout', ...options.split(' ')], { config });
      assert.equal(ran.exitCode, 2, options);
      assert.match(ran.stderr, sentence);
    }
    assert.deepEqual(words(controller), []);
  });

  test('--restart, --stage-only and --skip-tests are asked for as such', async () => {
    const { controller, config } = await withScript({});
    const flags = async (...options: string[]) => {
      await plexictl(['rollout', '--to', '0b1', '--dry-run', ...options], { config });
      const { request } = Object(controller.asked.at(-1)?.request);
      return [request.restart, request.stageOnly, request.skipTests];
    };
    assert.deepEqual(await flags('--restart', '--skip-tests'), [true, false, true]);
    assert.deepEqual(await flags('--stage-only'), [false, true, false]);
  });

  test('the same problem of many nodes is one line with their names', async () => {
    const many = Array.from({ length: 12 }, (_, index) => ({
      ...plan.nodes[0],
      id: `node-${index + 1}`,
    }));
    const problems = many.map(({ id: node }) => `${node} runs 0r1, which is newer`);
    const made = Plan.fromPartial({ ...plan, nodes: many, problems: [...problems, 'the budget is spent'] });
    const { config } = await withScript({ plan: () => made });
    const ran = await plexictl(['rollout', '--to', '0b1', '-o', 'json'], { config });
    assert.match(
      errorOf(ran).message,
      /has 2 problems, .*: node-1, node-2, .*node-10 and 2 more runs 0r1, which is newer; the budget is spent$/,
    );
    assert.equal(Object(errorOf(ran).details).problems.length, 13);
    const dry = await plexictl(['rollout', '--to', '0b1', '--dry-run'], { config });
    assert.match(dry.stdout, /Problems:\n {2}- node-1, node-2, .* newer\n {2}- the budget is spent\n/);
  });

  test('downgrade asks for the older version', async () => {
    const { controller, config } = await withScript({});
    await plexictl(['downgrade', '--to', '0a1', '--dry-run'], { config });
    const request = controller.asked[0]?.request;
    assert.ok(request !== null && typeof request === 'object' && 'request' in request);
    assert.ok(
      request.request !== null && typeof request.request === 'object' && 'downgrade' in request.request,
    );
    assert.equal(request.request.downgrade, true);
  });
});
