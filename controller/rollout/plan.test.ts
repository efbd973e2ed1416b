/** The plan: which nodes in which order, what speaks against it, and that the same cluster gives the same plan. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NONE } from '../../release/version.js';
import {
  sampleInputs,
  sampleNode,
  samplePlan,
  sampleTarget,
} from '../../test/scenarios/sample-plan.test.part.js';
import { makePlan } from './plan.js';
import type { NodeFacts, PlannedRollout, PlanRequest } from './plan-inputs.js';

const three = ['node-1', 'node-2', 'node-3'].map((id) => sampleNode(id, '0a1'));

/** A plan to 0b1 whose request differs from the plain one. */
function planWith(nodes: readonly NodeFacts[], request: Partial<PlanRequest>): PlannedRollout {
  const inputs = sampleInputs({ nodes, to: '0b1' });
  return makePlan({ ...inputs, request: { ...inputs.request, ...request } });
}

/** `node-1 0 zone`: the nodes in order, with wave and reason. */
function order({ plan }: PlannedRollout): string[] {
  return plan.parts.map((part) => `${part.node} ${part.wave} ${part.orderReason}`);
}

describe('the order of the nodes', () => {
  test('by zone, then by name; the index counts it', () => {
    const zones = ['b', 'a', 'b', 'a'];
    const nodes = zones.map((zone, index) => sampleNode(`node-${index + 1}`, '0a1', { labels: { zone } }));
    const { plan } = samplePlan({ nodes, to: '0b1' });
    assert.deepEqual(
      plan.parts.map((part) => part.node),
      ['node-2', 'node-4', 'node-1', 'node-3'],
    );
    assert.deepEqual(
      plan.parts.map((part) => part.index),
      [0, 1, 2, 3],
    );
  });

  test('unhealthy nodes first, then canaries, and the host of the leader last', () => {
    const nodes = ['node-1', 'node-2', 'node-3', 'node-4'].map((id) =>
      sampleNode(id, '0a1', { health: id === 'node-3' ? 'unhealthy' : 'healthy' }),
    );
    const inputs = { ...sampleInputs({ nodes, to: '0b1', canary: 1 }), leaderHost: 'node-2' };
    assert.deepEqual(order(makePlan(inputs)), [
      'node-3 0 unhealthy',
      'node-1 0 canary',
      'node-4 1 zone',
      'node-2 1 leader host',
    ]);
  });

  test('a leader whose host has all the nodes changes nothing', () => {
    const nodes = ['node-1', 'node-2'].map((id) => sampleNode(id, '0a1', { host: '127.0.0.1' }));
    const inputs = { ...sampleInputs({ nodes, to: '0b1' }), leaderHost: '127.0.0.1' };
    assert.deepEqual(order(makePlan(inputs)), ['node-1 0 zone', 'node-2 0 zone']);
  });

  test('canaries by number and by label are a wave of their own', () => {
    const labelled = three.map((node) => ({
      ...node,
      labels: { tier: node.id === 'node-3' ? 'canary' : 'rest' },
    }));
    assert.deepEqual(order(samplePlan({ nodes: three, to: '0b1', canary: 2 })), [
      'node-1 0 canary',
      'node-2 0 canary',
      'node-3 1 zone',
    ]);
    assert.deepEqual(order(planWith(labelled, { canarySelector: 'tier=canary' })), [
      'node-3 0 canary',
      'node-1 1 zone',
      'node-2 1 zone',
    ]);
  });
});

describe('which nodes', () => {
  const nodes = three.map((node) => ({ ...node, labels: { rack: node.id === 'node-2' ? 'r2' : 'r1' } }));
  const cases: { title: string; request: Partial<PlanRequest>; chosen: string[] }[] = [
    { title: '--node', request: { nodes: ['node-3', 'node-1'] }, chosen: ['node-1', 'node-3'] },
    { title: '--exclude', request: { exclude: ['node-1'] }, chosen: ['node-2', 'node-3'] },
    { title: '--selector', request: { selectors: ['rack=r1'] }, chosen: ['node-1', 'node-3'] },
    {
      title: 'all of them together',
      request: { selectors: ['rack=r1'], exclude: ['node-1'] },
      chosen: ['node-3'],
    },
  ];
  for (const { title, request, chosen } of cases) {
    test(title, () => {
      const planned = planWith(nodes, request);
      assert.deepEqual(planned.problems, []);
      assert.deepEqual(
        planned.plan.parts.map((part) => part.node),
        chosen,
      );
      assert.equal(planned.plan.header.nodeCount, chosen.length);
    });
  }

  test('names that nobody has, and selectors that nobody matches, are problems', () => {
    const unknown = planWith(nodes, { nodes: ['node-1', 'node-9'], exclude: ['node-8'] });
    assert.deepEqual(unknown.problems, [
      'there is no node node-9; plexictl nodes lists them',
      'there is no node node-8; plexictl nodes lists them',
    ]);
    const nobody = planWith(nodes, { selectors: ['rack=r9'] });
    assert.deepEqual(nobody.problems, ['no node matches; plexictl nodes lists them with their labels']);
  });
});

describe('what a node is to do', () => {
  test('install, upgrade, nothing, and the oldest version found is where it comes from', () => {
    const nodes = [sampleNode('node-1', '0b1'), sampleNode('node-2', '0a1'), sampleNode('node-3', 'none')];
    const { plan } = samplePlan({ nodes, to: '0b1' });
    assert.deepEqual(
      plan.parts.map((part) => part.strategy),
      ['none', 'upgrade', 'install'],
    );
    assert.equal(plan.header.from, 'none');
    assert.equal(samplePlan({ nodes: nodes.slice(0, 2), to: '0b1' }).plan.header.from, '0a1');
  });

  test('the same version with another tree is an upgrade', () => {
    const [part] = samplePlan({ nodes: [sampleNode('node-1', '0b1', { digest: 'f00' })], to: '0b1' }).plan
      .parts;
    assert.equal(part?.strategy, 'upgrade');
  });

  test('migrations are asked for by what the node runs, and not where there is nothing to do', () => {
    const step = { id: '002-pins', checksum: 'c', direction: 'up' } as const;
    const target = sampleTarget('0b1', {
      migrationsFrom: (from) => (from === '0a1' ? [step] : []),
      oneWay: ['002-pins'],
    });
    const nodes = [sampleNode('node-1', '0a1'), sampleNode('node-2', '0b1')];
    const { plan } = makePlan({ ...sampleInputs({ nodes, to: '0b1' }), targetOf: () => target });
    assert.deepEqual(
      plan.parts.map((part) => part.migrations),
      [[step], []],
    );
    assert.match(plan.header.pointOfNoReturn, /002-pins has no way down/);
  });
});

describe('what speaks against it', () => {
  test('a newer node is refused, and plexictl downgrade named', () => {
    const { problems } = samplePlan({ nodes: [sampleNode('node-1', '0r1')], to: '0b1' });
    assert.deepEqual(problems, ['node-1 runs 0r1, which is newer; go back with plexictl downgrade --to 0b1']);
    assert.deepEqual(planWith([sampleNode('node-1', '0r1')], { downgrade: true }).problems, []);
  });

  test('an older node is refused to a downgrade, and plexictl rollout named', () => {
    const { problems } = planWith([sampleNode('node-1', '0a1')], { downgrade: true });
    assert.deepEqual(problems, ['node-1 runs 0a1, which is older; go on with plexictl rollout --to 0b1']);
  });

  test('nodes of which none ever answered are refused one by one, and the plan comes from nothing', () => {
    const silent = ['node-1', 'node-2'].map((id) => sampleNode(id, '', { digest: '', unknown: true }));
    const { plan, problems } = samplePlan({ nodes: silent, to: '0b1' });
    assert.equal(plan.header.from, NONE);
    assert.deepEqual(problems, [
      'node-1 cannot be reached; start its agent, or leave it out with --exclude node-1',
      'node-2 cannot be reached; start its agent, or leave it out with --exclude node-2',
    ]);
  });

  test('a group that can spare no node is named, where a node of it is to go out', () => {
    const labelled = three.map((node) => ({
      ...node,
      labels: { role: node.id === 'node-3' ? 'db' : 'web' },
    }));
    const groups = [{ name: 'db', labels: { role: 'db' }, minAvailable: 1 }];
    const inputs = sampleInputs({ nodes: labelled, to: '0b1' });
    const spread = { ...inputs.spread, groups };
    const [problem, ...others] = makePlan({ ...inputs, spread }).problems;
    assert.match(
      problem ?? '',
      /^group db has 1 nodes and needs 1 of them at any time, so none can be upgraded/,
    );
    assert.deepEqual(others, []);
    const request = { ...inputs.request, exclude: ['node-3'] };
    assert.deepEqual(makePlan({ ...inputs, spread, request }).problems, []);
  });

  test('all problems are told at once', () => {
    const step = { id: '002-pins', checksum: 'c', direction: 'up' } as const;
    const target = sampleTarget('0b1', {
      artifactFor: (_os, arch) =>
        arch === 'x64' ? { artifactSha256: 'a', digest: 'd', unpackedBytes: 1 } : undefined,
      migrationsFrom: (from) => (from === '0a1' ? [step] : []),
    });
    const nodes = [
      sampleNode('node-1', '0a1'),
      sampleNode('node-2', '0r1'),
      sampleNode('node-3', '0b2', { arch: 'arm64' }),
      sampleNode('node-4', '', { unknown: true, digest: '' }),
    ];
    const inputs = sampleInputs({
      nodes,
      to: '0b1',
      backups: { enabled: false, always: true },
      stuck: ['node-9'],
    });
    const { problems } = makePlan({ ...inputs, targetOf: () => target });
    const expected = [
      /^node-4 cannot be reached; .*--exclude node-4$/,
      /^0b1 migrates the data of node-1, and backups are off; .*backup\.enabled/,
      /^node-2 runs 0r1, which is newer/,
      /^release 0b1 has no artifact for the platform of node-3$/,
      /^node-3 runs 0b2, which is newer/,
      /^node-9 needs an operator; .*plexictl node confirm node-9/,
    ];
    assert.equal(problems.length, expected.length, problems.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(problems[index] ?? '', pattern);
  });

  test('a stuck node within the failure budget does not', () => {
    const policy = { failureBudget: 1 };
    assert.deepEqual(samplePlan({ nodes: three, to: '0b1', policy, stuck: ['node-9'] }).problems, []);
  });

  test('a stuck node has no part in a rollout, whatever the failure budget', () => {
    const policy = { failureBudget: 1 };
    const { problems } = samplePlan({ nodes: three, to: '0b1', policy, stuck: ['node-2'] });
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /^node-2 needs an operator .*--exclude node-2$/);
  });

  test('a canary selector that matches no node is a problem, and only canaries a warning', () => {
    assert.match(
      planWith(three, { canarySelector: 'zone=zzz' }).problems.join(),
      /no node is a canary by zone=zzz/,
    );
    const all = samplePlan({ nodes: three, to: '0b1', canary: 9 });
    assert.deepEqual(
      [all.problems, all.warnings],
      [[], ['every node is a canary, so none goes before the others']],
    );
  });

  test('warnings: everything at once, no backup', () => {
    const { warnings } = samplePlan({
      nodes: three,
      to: '0b1',
      policy: { maxConcurrent: 3 },
      backups: { enabled: false, always: true },
    });
    assert.deepEqual(warnings, [
      'all 3 nodes may be out of service at a time',
      'no backup is made: data cannot go back',
    ]);
  });

  test('a node that is not healthy needs --force, one where nothing is installed does not', () => {
    const sick = { health: 'unhealthy', healthReason: 'connection refused' } as const;
    const nodes = [sampleNode('node-1', '0a1', sick), sampleNode('node-2', NONE, sick)];
    const { problems } = samplePlan({ nodes, to: '0b1' });
    assert.equal(problems.length, 1, problems.join());
    assert.match(problems[0] ?? '', /^node-1 is not healthy before .*connection refused.*--force$/);
    const forced = samplePlan({ nodes, to: '0b1', force: true });
    assert.deepEqual(forced.problems, []);
    assert.match(forced.warnings.join(), /node-1 is not healthy .*it goes on by --force/);
    assert.deepEqual(samplePlan({ nodes, to: '0b1', stageOnly: true }).problems, []);
  });

  test('majors are not jumped over, not even with --force', () => {
    const { problems } = samplePlan({ nodes: [sampleNode('node-1', '0r1')], to: '2a1', force: true });
    assert.match(problems.join(), /^node-1: 0r1 to 2a1 jumps over major 1; go to a release of 1 first$/);
    assert.deepEqual(samplePlan({ nodes: [sampleNode('node-1', '0r1')], to: '1a1' }).problems, []);
    assert.deepEqual(samplePlan({ nodes: [sampleNode('node-1', '3.0.0')], to: '0a1' }).problems, []);
  });

  test('a node with an order under way is not planned over', () => {
    const nodes = [sampleNode('node-1', '0a1', { order: 'adopt 0a1' })];
    assert.match(
      samplePlan({ nodes, to: '0b1' }).problems.join(),
      /node-1 has an order under way \(adopt 0a1\)/,
    );
  });
});

describe('what the policy says of the cluster as a whole', () => {
  const all = { manyNodes: true, coordination: true, rolling: true };

  test('clustering.enabled false and cluster_coordination false are for one node only', () => {
    const cluster = { ...all, manyNodes: false, coordination: false };
    const { problems } = samplePlan({ nodes: three, to: '0b1', cluster });
    assert.equal(problems.length, 2);
    assert.match(problems.join(), /clustering\.enabled is false.*behavior\.cluster_coordination is false/);
    assert.deepEqual(samplePlan({ nodes: three.slice(0, 1), to: '0b1', cluster }).problems, []);
  });

  test('rolling_updates false: all at once, and only with --force', () => {
    const cluster = { ...all, rolling: false };
    const refused = samplePlan({ nodes: three, to: '0b1', cluster });
    assert.match(refused.problems.join(), /rolling_updates is false, so all 3 nodes .*--force/);
    const forced = samplePlan({ nodes: three, to: '0b1', cluster, force: true });
    assert.deepEqual(forced.problems, []);
    assert.equal(forced.plan.header.policy.maxConcurrent, 3);
    assert.match(forced.warnings.join(), /all 3 nodes may be out of service/);
  });

  test('auto_backup false: a backup only where a migration needs one', () => {
    const step = { id: '002-pins', checksum: 'c', direction: 'up' } as const;
    const target = sampleTarget('0b1', { migrationsFrom: (from) => (from === '0a1' ? [step] : []) });
    const nodes = [sampleNode('node-1', '0a1'), sampleNode('node-2', '0a2')];
    const inputs = sampleInputs({ nodes, to: '0b1', backups: { enabled: true, always: false } });
    const { plan } = makePlan({ ...inputs, targetOf: () => target });
    assert.deepEqual(
      plan.parts.map((part) => part.backup),
      [true, false],
    );
  });
});

describe('nodes that an operator holds', () => {
  const nodes = three.map((node) => ({ ...node, held: node.id === 'node-2' ? 'new disk' : null }));

  test('are left out with a warning, and a problem when they were named', () => {
    const left = samplePlan({ nodes, to: '0b1' });
    assert.deepEqual(
      left.plan.parts.map((part) => part.node),
      ['node-1', 'node-3'],
    );
    assert.match(left.warnings.join(), /node-2 is held \(new disk\) and is left out; .*node release node-2/);
    assert.match(planWith(nodes, { nodes: ['node-2'] }).problems.join(), /node-2 is held \(new disk\); /);
    const untold = samplePlan({ nodes: three.map((node) => ({ ...node, held: '' })), to: '0b1' });
    assert.match(untold.warnings.join(), /node-1 is held \(no reason given\) and is left out/);
  });

  test('go back all the same', () => {
    const back = samplePlan({ nodes, to: '0a1', direction: 'back', rollbackOf: 'update_x' });
    assert.equal(back.plan.parts.length, 3);
  });
});

describe('the same version again', () => {
  const nodes = [sampleNode('node-1', '0b1'), sampleNode('node-2', '0a1')];

  test('restart and reinstall are for those that have it; a restart copies no data', () => {
    const strategies = (change: Parameters<typeof planWith>[1]) =>
      planWith(nodes, change).plan.parts.map((part) => [part.strategy, part.backup]);
    assert.deepEqual(strategies({}), [
      ['none', false],
      ['upgrade', true],
    ]);
    assert.deepEqual(strategies({ restart: true }), [
      ['restart', false],
      ['upgrade', true],
    ]);
    assert.deepEqual(strategies({ reinstall: true }), [
      ['reinstall', true],
      ['upgrade', true],
    ]);
  });
});

describe('the digest', () => {
  test('the same cluster gives the same digest, in whatever order it is listed', () => {
    const { plan } = samplePlan({ nodes: three, to: '0b1', canary: 1 });
    const shuffled = [2, 0, 1].flatMap((index) => three[index] ?? []);
    assert.equal(samplePlan({ nodes: three, to: '0b1', canary: 1 }).plan.digest, plan.digest);
    assert.equal(samplePlan({ nodes: shuffled, to: '0b1', canary: 1 }).plan.digest, plan.digest);
  });

  test('it changes with each thing that the plan says', () => {
    const { digest } = samplePlan({ nodes: three, to: '0b1' }).plan;
    const others = [
      samplePlan({ nodes: three.slice(1), to: '0b1' }),
      samplePlan({ nodes: three, to: '0b2' }),
      samplePlan({ nodes: three, to: '0b1', canary: 1 }),
      samplePlan({ nodes: three, to: '0b1', policy: { soakMs: 1 } }),
      samplePlan({ nodes: three.map((node) => ({ ...node, inMaintenance: true })), to: '0b1' }),
      samplePlan({ nodes: three, to: '0b1', rollbackOf: 'update_0a1_0b1_20241219_120000' }),
    ].map(({ plan }) => plan.digest);
    assert.equal(new Set([digest, ...others]).size, others.length + 1);
  });
});
