/**
 * Loads real files. What is shown: the samples load and say the defaults, all problems come at once
 * with file, line and key, a `0b1` stays a text, and no hostile file gets further than a sentence.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaults } from './defaults.js';
import { PlexiError } from './errors.js';
import { limits } from './limits.js';
import {
  loadClientConfig,
  loadControllerConfig,
  loadNodeAgentConfig,
  loadUpdateConfig,
  resolveClientConfig,
} from './load.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-config-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const samples = join(dirname(fileURLToPath(import.meta.url)), 'samples');

let count = 0;
function write(content: string | Buffer, name = `file-${++count}.yml`): string {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

/** Runs it, and returns the sentence of the CONFIG_INVALID that it must throw. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof PlexiError, String(error));
    assert.equal(error.code, 'CONFIG_INVALID');
    assert.equal(error.exitCode, 2);
    return error.message;
  }
  return assert.fail('nothing was refused');
}

const tls = 'tls: {ca: ca.pem, cert: c.pem, key: c.key}';
const controllerMinimal = `cluster: dev
id: controller-0
listen: 127.0.0.1:7400
${tls}
etcd: {endpoints: ["https://127.0.0.1:2379"], ${tls}}
repository: releases
`;
const nodeMinimal = `cluster: dev
node: node-1
root: root
listen: 127.0.0.1:7500
controllers: ["127.0.0.1:7400"]
${tls}
repository: https://example.net/r
service: {adapter: process}
probes: [{kind: http, url: "http://127.0.0.1:4001/health", version_field: version}]
`;

describe('samples', () => {
  test('the sample of a controller says the defaults', () => {
    const sample = loadControllerConfig(join(samples, 'controller.yml'));
    const minimal = loadControllerConfig(write(controllerMinimal));
    assert.deepEqual(sample.rollout, minimal.rollout);
    assert.deepEqual(sample.leadership, minimal.leadership);
    assert.deepEqual(sample.update, minimal.update);
    assert.deepEqual(sample.log, minimal.log);
    assert.equal(sample.zoneLabel, minimal.zoneLabel);
    assert.equal(sample.versionScheme, minimal.versionScheme);
    assert.equal(sample.tls.key, join(samples, 'tls/controller-0.key'));
    assert.equal(sample.repository, 'https://releases.example.net/chat');
  });

  test('the sample of a node agent says the defaults', () => {
    const sample = loadNodeAgentConfig(join(samples, 'node-agent.yml'));
    const minimal = loadNodeAgentConfig(write(nodeMinimal));
    assert.deepEqual(sample.backup, minimal.backup);
    assert.equal(sample.probeIntervalMs, minimal.probeIntervalMs);
    assert.equal(sample.registerIntervalMs, minimal.registerIntervalMs);
    assert.deepEqual(sample.maintenance.enter, ['/usr/local/bin/drain', 'node-1']);
    assert.deepEqual(sample.services, [
      { name: 'service', adapter: 'process', start: undefined, env: { PORT: '4001' } },
    ]);
  });

  test('the samples of the client and of the policy load', () => {
    assert.equal(loadClientConfig(join(samples, 'client.yml')).controllers.length, 3);
    assert.deepEqual(loadUpdateConfig(join(samples, 'update.yml')), defaults.update);
  });

  test('the policy sample names every key of the schema', () => {
    const keys = [...readFileSync(join(samples, 'update.yml'), 'utf8').matchAll(/^ {4}([a-z_]+):/gm)];
    assert.equal(keys.length, Object.values(defaults.update).flatMap((part) => Object.keys(part)).length);
  });
});

describe('what holds when little is said', () => {
  test('a controller', () => {
    const config = loadControllerConfig(write(controllerMinimal, 'deep/controller.yml'));
    assert.equal(config.address, '127.0.0.1:7400');
    assert.equal(config.http, undefined);
    assert.equal(config.repository, join(folder, 'deep/releases'));
    assert.equal(config.tls.ca, join(folder, 'deep/ca.pem'));
    assert.equal(config.rollout.timeouts.stageMs, 3_600_000);
    assert.equal(config.rollout.probe.goodInARow, 3);
    assert.equal(config.update.clustering.maxConcurrentNodes, 1);
    assert.equal(config.update.safety.requireConfirmation, true);
  });

  test('one key of a group leaves the others at their defaults', () => {
    const config = loadControllerConfig(
      write(`${controllerMinimal}rollout: {probe: {spacing_ms: 50}, soak_ms: 0}\n`),
    );
    assert.deepEqual(config.rollout.probe, {
      goodInARow: 3,
      spacingMs: 50,
      intervalMaxMs: 1_000,
      tryMs: 5_000,
    });
    assert.equal(config.rollout.soakMs, 0);
    assert.equal(config.rollout.timeouts.stopMs, 30_000);
  });

  test('a node agent', () => {
    const config = loadNodeAgentConfig(write(nodeMinimal));
    assert.deepEqual(config.backup.paths, ['data', 'config']);
    assert.deepEqual(config.probes, [
      { kind: 'http', url: 'http://127.0.0.1:4001/health', status: 200, versionField: 'version' },
    ]);
    assert.deepEqual(config.maintenance, { enter: undefined, leave: undefined });
    assert.equal(config.root, join(folder, 'root'));
  });

  test('0b1 is a text, also where YAML 1.1 would read a number', () => {
    const config = loadNodeAgentConfig(
      write(nodeMinimal.replace('{adapter: process}', '{adapter: process, env: {V: 0b1, W: 1e}}')),
    );
    assert.deepEqual(config.services[0]?.env, { V: '0b1', W: '1e' });
    const message = refusal(() => loadNodeAgentConfig(write(`%YAML 1.1\n---\n${nodeMinimal}`)));
    assert.match(message, /:1: has a %YAML directive/);
  });
});

describe('all problems at once, each with file, line and key', () => {
  test('five mistakes in one file', () => {
    const file = write(`cluster: Dev
id: 7
listen: 127.0.0.1
${tls}
etcd:
  endpoints: ["http://127.0.0.1:2379"]
  tls: {ca: a, cert: b}
repository: releases
rollout:
  soak: 5
  probe: {spacing_ms: 5000}
leadership: {margin_ms: 10000}
`);
    const message = refusal(() => loadControllerConfig(file));
    const lines = message.split('\n').map((line) => line.trim());
    assert.equal(lines[0], '8 problems in the configuration:');
    assert.deepEqual(
      lines.slice(1).map((line) => line.replace(`${file}:`, '').split(': ').slice(0, 2).join(' ')),
      [
        '1 cluster',
        '2 id',
        '3 listen',
        '6 etcd.endpoints[0]',
        '7 etcd.tls.key',
        '10 rollout.soak',
        '11 rollout.probe.spacing_ms',
        '12 leadership.margin_ms',
      ],
    );
    assert.match(message, /:10: rollout\.soak: is not a known key/);
    assert.match(message, /:7: etcd\.tls\.key: is missing; it must be text/);
    assert.match(
      message,
      /:12: leadership\.margin_ms: must be below two thirds of ttl_seconds \(6666 ms; it is 10000 ms\)/,
    );
  });

  test('problems of controller.yml and of its update.yml come together', () => {
    const update = write('update_system:\n  clustering:\n    max_concurrent_nodes: 0\n');
    const file = write(`${controllerMinimal}update_file: ${update}\nlistenn: x\n`);
    const message = refusal(() => loadControllerConfig(file));
    assert.ok(
      message.includes(`${update}:3: update_system.clustering.max_concurrent_nodes: must be at least 1`),
      message,
    );
    assert.ok(message.includes(`${file}:8: listenn: is not a known key`), message);
  });

  test('the problems stand in the details for scripts', () => {
    const file = write(`${nodeMinimal}probe_interval_ms: soon\n`);
    assert.throws(
      () => loadNodeAgentConfig(file),
      (error: PlexiError) => {
        assert.deepEqual(error.details, {
          problems: [
            { file, line: 10, key: 'probe_interval_ms', message: 'must be a whole number, not text' },
          ],
        });
        return true;
      },
    );
  });

  for (const [what, content, expected] of [
    [
      'a number where a name must be text',
      nodeMinimal.replace('node-1', '12'),
      /:2: node: must be text, not 12; put it in quotes/,
    ],
    [
      'an adapter that there is not',
      nodeMinimal.replace('adapter: process', 'adapter: docker'),
      /service\.adapter: must be one of process/,
    ],
    [
      'no adapter',
      nodeMinimal.replace('{adapter: process}', '{}'),
      /service\.adapter: is missing; it must be one of process/,
    ],
    [
      'no probe at all',
      nodeMinimal.replace(/probes: .*/, 'probes: []'),
      /probes: must have at least 1 entry/,
    ],
    ['a key with dashes', `${nodeMinimal}pid-file: 5\n`, /keys are written with underscores/],
    [
      'a listen address that cannot be dialled',
      nodeMinimal.replace('127.0.0.1:7500', '0.0.0.0:7500'),
      /address: is missing; listen names every interface/,
    ],
    [
      'a backup of the releases',
      `${nodeMinimal}backup: {paths: [releases]}\n`,
      /backup\.paths\[0\]: is the agent's own/,
    ],
    [
      'a backup path that leaves the root',
      `${nodeMinimal}backup: {paths: [../x]}\n`,
      /backup\.paths\[0\]: must be a plain path/,
    ],
    ['a placeholder', nodeMinimal.replace('root: root', `root: \${HOME}/x`), /root: holds a placeholder/],
    [
      'a variable that is kept for the agent',
      nodeMinimal.replace('{adapter: process}', '{adapter: process, env: {PLEXI_NODE: x}}'),
      /begins with PLEXI_/,
    ],
    ['a port above 65535', nodeMinimal.replace(':7500', ':75000'), /listen: must be HOST:PORT/],
    [
      'the root of the machine',
      nodeMinimal.replace('root: root', 'root: /'),
      /root: must be a folder of its own/,
    ],
    ['a list where keys belong', '- a\n- b\n', /:1: must be a group of keys, not a list/],
    [
      'a password in a URL',
      nodeMinimal.replace('https://example.net', 'https://me:pw@example.net'),
      /repository: must be a folder, or a URL/,
    ],
    ['__proto__', `${nodeMinimal}__proto__: {a: 1}\n`, /__proto__: is not a known key/],
    [
      'an empty hook',
      `${nodeMinimal}maintenance: {enter: []}\n`,
      /maintenance\.enter: must have at least 1 entry/,
    ],
  ] as const) {
    test(what, () =>
      assert.match(
        refusal(() => loadNodeAgentConfig(write(content))),
        expected,
      ),
    );
  }
});

describe('files that are no configuration', () => {
  const hostile: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ['empty', '  \n', /is empty/],
    ['only comments', '# nothing\n', /holds only comments/],
    ['the same key twice', 'a: 1\nb: 2\na: 3\n', /:3: the same key stands here twice/],
    ['an anchor', 'a: &x 1\n', /:1: anchors/],
    ['an alias', 'a: 1\nb: *x\n', /:2: /],
    ['a bomb of aliases', 'a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n', /aliases|anchors/],
    ['a merge key', '<<: {a: 1}\n', /merge keys/],
    ['a tag', 'a: !!binary aGk=\n', /tags/],
    ['two documents', 'a: 1\n---\nb: 1\n', /a second document/],
    ['a tab', 'a:\n\tb: 1\n', /:2: is not valid YAML/],
    ['not UTF-8', Buffer.from([0x61, 0x3a, 0x20, 0xff]), /is not UTF-8/],
    ['too deep, in brackets', `a: ${'['.repeat(300_000)}`, /nested deeper/],
    ['too deep, in dashes', `${'- '.repeat(200_000)}x`, /nested deeper/],
    ['too big', Buffer.alloc(limits.configBytes + 1, 0x23), /is bigger than/],
    ['a key that is a list', '? [a]\n: b\n', /is not valid YAML/],
  ];
  for (const [what, content, expected] of hostile) {
    test(what, () =>
      assert.match(
        refusal(() => loadClientConfig(write(content))),
        expected,
      ),
    );
  }

  test('missing, and a folder', () => {
    assert.match(
      refusal(() => loadClientConfig(join(folder, 'none.yml'))),
      /none\.yml: does not exist$/,
    );
    assert.match(
      refusal(() => loadClientConfig(folder)),
      /not a regular file|is a folder/,
    );
  });
});

describe('the client file', () => {
  const client = write(`controllers: ["127.0.0.1:1", "[::1]:2"]\n${tls}\n`, 'home/.config/plexi/client.yml');
  const other = write(`controllers: ["127.0.0.1:9"]\n${tls}\n`);
  const homedir = join(folder, 'home');

  test('--config comes before PLEXI_CONFIG, and that before the home folder', () => {
    assert.deepEqual(resolveClientConfig({ env: {}, homedir }).controllers, ['127.0.0.1:1', '[::1]:2']);
    assert.deepEqual(resolveClientConfig({ env: { PLEXI_CONFIG: other }, homedir }).controllers, [
      '127.0.0.1:9',
    ]);
    const both = { env: { PLEXI_CONFIG: other }, homedir, configFlag: client };
    assert.equal(resolveClientConfig(both).controllers.length, 2);
    assert.equal(resolveClientConfig({ env: { PLEXI_CONFIG: '' }, homedir }).controllers.length, 2);
  });

  test('--controller replaces only the controllers', () => {
    const config = resolveClientConfig({ env: {}, homedir, controllersFlag: 'a.example:1, b.example:2' });
    assert.deepEqual(config.controllers, ['a.example:1', 'b.example:2']);
    assert.equal(config.tls.ca, join(homedir, '.config/plexi/ca.pem'));
  });

  test('a bad --controller is a wrong usage', () => {
    assert.throws(
      () => resolveClientConfig({ env: {}, homedir, controllersFlag: 'here' }),
      (error: PlexiError) => error.code === 'USAGE' && /'here' is not HOST:PORT/.test(error.message),
    );
  });

  test('a missing file is exit 2, with or without --controller', () => {
    const nowhere = join(folder, 'nowhere');
    assert.match(
      refusal(() => resolveClientConfig({ env: {}, homedir: nowhere })),
      /--config FILE or PLEXI_CONFIG/,
    );
    refusal(() => resolveClientConfig({ env: {}, homedir: nowhere, controllersFlag: '127.0.0.1:1' }));
    refusal(() => resolveClientConfig({ env: { PLEXI_CONFIG: join(nowhere, 'x.yml') }, homedir }));
  });

  describe('with contexts', () => {
    const east = `{controllers: ["10.0.0.1:1"], ${tls}}`;
    const west = `{controllers: ["10.0.0.2:1"], ${tls}}`;
    const two = `contexts:\n  east: ${east}\n  west: ${west}\n`;
    const file = write(`${two}current_context: west\n`);
    const chosen = (context?: string, env: Record<string, string> = {}, configFlag = file) =>
      resolveClientConfig({ env, homedir, configFlag, contextFlag: context }).controllers[0];

    test('--context comes before PLEXI_CONTEXT, and that before current_context', () => {
      assert.equal(chosen(), '10.0.0.2:1');
      assert.equal(chosen(undefined, { PLEXI_CONTEXT: 'east' }), '10.0.0.1:1');
      assert.equal(chosen('west', { PLEXI_CONTEXT: 'east' }), '10.0.0.2:1');
      assert.equal(chosen(undefined, { PLEXI_CONTEXT: '' }), '10.0.0.2:1');
      assert.equal(chosen(undefined, {}, write(`contexts: {east: ${east}}\n`)), '10.0.0.1:1');
    });

    test('a context that is not known is a wrong usage that lists the known ones', () => {
      const wrong = (run: () => unknown, sentence: RegExp) =>
        assert.throws(run, (error: PlexiError) => error.exitCode === 2 && sentence.test(error.message));
      wrong(() => chosen('north'), /no context north; .* knows east, west$/);
      wrong(
        () => chosen(undefined, {}, write(two)),
        /which cluster is meant\? .* knows east, west; name one/,
      );
      wrong(() => chosen('east', {}, client), /is for one cluster and has no contexts/);
    });

    test('everything that is wrong comes at once, with its line', () => {
      const both = write(
        `controllers: ["127.0.0.1:1"]\n${tls}\ncontexts:\n  East: ${east}\n  west: {controllers: []}\ncurrent_context: north\nextra: 1\n`,
      );
      const message = refusal(() => loadClientConfig(both));
      const places = message
        .split('\n')
        .slice(1)
        .map((line) => line.trim().replace(`${both}:`, '').split(': ').slice(0, 2).join(' '));
      assert.deepEqual(places, [
        '1 controllers',
        '2 tls',
        '4 contexts.East',
        '5 contexts.west.controllers',
        '5 contexts.west.tls',
        '6 current_context',
        '7 extra',
      ]);
      assert.match(message, /:1: controllers: stands beside contexts; move it into one of them/);
      const missing = refusal(() => loadClientConfig(write('current_context: east\n')));
      assert.match(missing, /controllers: is missing; it must be a list/);
      assert.match(missing, /tls: is missing; it must be a group of keys/);
      assert.match(missing, /current_context: names a context, and the file has no contexts/);
      assert.match(
        refusal(() => loadClientConfig(write('contexts: [a]\n'))),
        /contexts: must be a group of keys, not a list/,
      );
    });
  });
});
