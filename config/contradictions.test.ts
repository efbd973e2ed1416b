/**
 * What an operator wrote that cannot both be meant is refused with both places; what a default says
 * never is. All files are real, and all contradictions come at once.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadControllerConfig, loadUpdateConfig } from './load.js';
import { ConfigInvalidError } from './problems.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-contradictions-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const updateFile = join(folder, 'update.yml');
const controllerFile = join(folder, 'controller.yml');
const tls = '{ca: ca.pem, cert: c.pem, key: c.key}';
const replica = `cluster: dev
id: controller-0
listen: 127.0.0.1:7400
tls: ${tls}
etcd: {endpoints: ["https://127.0.0.1:2379"], tls: ${tls}}
repository: releases
update_file: update.yml
`;

/** What is refused in an update.yml of these groups, as `line: key: message`. */
function refusedPolicy(text: string): string[] {
  writeFileSync(updateFile, `update_system:\n${text}`);
  return problemsOf(() => loadUpdateConfig(updateFile));
}

/** The same for a controller.yml with this `rollout`, beside that policy. */
function refusedRollout(rollout: string, policy = '  {}\n'): string[] {
  writeFileSync(updateFile, `update_system:\n${policy}`);
  writeFileSync(controllerFile, `${replica}rollout: ${rollout}\n`);
  return problemsOf(() => loadControllerConfig(controllerFile));
}

function problemsOf(load: () => unknown): string[] {
  try {
    load();
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigInvalidError, String(error));
    return error.problems.map((problem) => `${problem.line}: ${problem.key}: ${problem.message}`);
  }
}

describe('update.yml', () => {
  test('several contradictions come together, each with both lines', () => {
    const found = refusedPolicy(`  behavior:
    # Only for one node.
    cluster_coordination: false
  clustering:
    enabled: false
    rolling_updates: false
    max_concurrent_nodes: 3
`);
    assert.deepEqual(
      found.map((line) => line.replace(/:[^:]*$/, '')),
      [
        '8: update_system.clustering.max_concurrent_nodes: 3 contradicts clustering.enabled: false (line 6)',
        '8: update_system.clustering.max_concurrent_nodes: 3 contradicts clustering.rolling_updates: false (line 7)',
      ],
    );
  });

  test('several nodes out of service at a time are coordinated', () => {
    assert.match(
      refusedPolicy(
        '  behavior: {cluster_coordination: false}\n  clustering: {max_concurrent_nodes: 2}\n',
      ).join(),
      /^3: update_system\.clustering\.max_concurrent_nodes: 2 contradicts behavior\.cluster_coordination/,
    );
  });

  for (const [what, text] of [
    [
      'no backups at all, whatever auto_backup says',
      '  backup: {enabled: false}\n  behavior: {auto_backup: true}\n',
    ],
    [
      'nobody coordinates, which is for a plan to refuse where there are several nodes',
      '  behavior: {cluster_coordination: false}\n  clustering: {enabled: true}\n',
    ],
    [
      'no backups, and rollback_on_failure',
      '  backup: {enabled: false}\n  safety: {rollback_on_failure: true}\n',
    ],
    ['all at once, and nothing said of a bound', '  clustering: {rolling_updates: false}\n'],
    [
      'all at once, and the bound of the sample',
      '  clustering: {rolling_updates: false, max_concurrent_nodes: 1}\n',
    ],
    ['one node, and at most one at a time', '  clustering: {enabled: false, max_concurrent_nodes: 1}\n'],
    ['nothing but the key', '  {}\n'],
  ] as const)
    test(`allowed: ${what}`, () => assert.deepEqual(refusedPolicy(text), []));

  const sample = readFileSync(new URL('samples/update.yml', import.meta.url), 'utf8');
  const switches = [...sample.matchAll(/^ +(\w+): (true|false)$/gm)];
  test('the sample has every switch', () => assert.equal(switches.length, 12));
  for (const { 0: line, 1: name, 2: value, index } of switches)
    test(`the sample with the ${name} of line ${sample.slice(0, index).split('\n').length} turned loads`, () => {
      const turned = line.replace(/\w+$/, value === 'true' ? 'false' : 'true');
      writeFileSync(updateFile, sample.slice(0, index) + turned + sample.slice(index + line.length));
      assert.deepEqual(
        problemsOf(() => loadUpdateConfig(updateFile)),
        [],
      );
      cpSync(new URL('samples/controller.yml', import.meta.url), controllerFile);
      assert.deepEqual(
        problemsOf(() => loadControllerConfig(controllerFile)),
        [],
      );
    });

  for (const [directory, expected] of [
    ['data/backups', /would back up its own backups/],
    ['config', /would back up its own backups/],
    ['releases', /is the agent's own/],
    ['agent/backups', /is the agent's own/],
    ['/var/backups', /must be a plain path below the node's root/],
    ['a/../data', /must be a plain path/],
  ] as const)
    test(`backups do not go to ${directory}`, () =>
      assert.match(refusedPolicy(`  backup: {directory: ${directory}}\n`).join('\n'), expected));
});

describe('controller.yml', () => {
  test('a canary that nobody watches, and one where all go at once', () => {
    const found = refusedRollout('{canary: 1, soak_ms: 0}', '  clustering:\n    rolling_updates: false\n');
    assert.deepEqual(
      found.map((line) => line.replace(/:[^:]*$/, '')),
      [
        '8: rollout.canary: 1 contradicts rollout.soak_ms: 0 (line 8)',
        '8: rollout.canary: 1 contradicts clustering.rolling_updates: false (update.yml:3)',
      ].map((line) => line.replace('rollout.soak_ms', 'soak_ms')),
    );
  });

  test('a sample that may take longer than all of them', () => {
    const found = refusedRollout(
      '{timeouts: {probe_ms: 4000}, probe: {try_ms: 9000, interval_max_ms: 5000}}',
    );
    assert.equal(found.length, 2);
    assert.match(
      found[0] ?? '',
      /rollout\.probe\.try_ms: 9000 contradicts timeouts\.probe_ms: 4000 \(line 8\)/,
    );
  });

  test('a short file is never refused for a default', () => {
    assert.deepEqual(refusedRollout('{canary: 1}'), []);
    assert.deepEqual(refusedRollout('{soak_ms: 0}'), []);
    assert.deepEqual(refusedRollout('{timeouts: {probe_ms: 500}, soak_ms: 0}'), []);
  });

  test('is told also when other keys are wrong', () => {
    const found = refusedRollout('{canary: 1, soak_ms: 0, sook_ms: 1}', '  clustring: {}\n');
    assert.equal(found.length, 3);
    assert.match(found.join('\n'), /sook_ms: is not a known key here; did you mean soak_ms\?/);
    assert.match(found.join('\n'), /2: update_system\.clustring: .* did you mean clustering\?/);
  });
});
