/**
 * Many controllers, some of them down: which one is asked, when another is, and what an operator is
 * told when nobody can be. Real gRPC servers with mutual TLS on loopback.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createAuthority, issueCertificate } from '../config/certificate-authority.js';
import { PlexiError } from '../config/errors.js';
import { type ClusterStatus, RolloutsServiceService as rollouts } from '../gen/plexi/v1/rollouts.js';
import { at, sampleNode, sampleStatus } from './render/sample-status.test.part.js';
import { Replicas } from './replicas.js';
import {
  deadAddress,
  errorOf,
  plexictl,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from './scripted-controller.test.part.js';

const running = sampleStatus([sampleNode('node-1', 'probing')]);
const later = sampleStatus([sampleNode('node-1', 'soaking')]);
const succeeded = sampleStatus([sampleNode('node-1', 'done')], { phase: 'succeeded', finishedAt: at(9) });

describe('the replicas', () => {
  let cluster: ScriptedCluster;
  before(async () => {
    cluster = await scriptedCluster();
  });
  after(() => cluster.stop());

  test('the next controller answers when the first is down', async () => {
    const alive = await cluster.controller({ status: () => running });
    const config = await cluster.clientFile([await deadAddress(), alive.address]);
    const ran = await plexictl(['status', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(
      alive.asked.map(({ word }) => word),
      ['get'],
    );
  });

  test('an answer is final: a refusal is not taken to the next controller', async () => {
    const refusing = await cluster.controller({
      status: refuse('NOT_FOUND', 'there is no rollout x; see plexictl history'),
    });
    const other = await cluster.controller({ status: () => running });
    const config = await cluster.clientFile([refusing.address, other.address]);
    const ran = await plexictl(['status', 'x', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 3);
    assert.deepEqual(errorOf(ran), {
      code: 'NOT_FOUND',
      message: 'there is no rollout x; see plexictl history',
      details: {},
    });
    assert.deepEqual(other.asked, []);
  });

  test('a controller without its store is passed over for a question, not for a wish', async () => {
    const blind = refuse('STORE_UNAVAILABLE', 'etcd does not answer');
    const first = await cluster.controller({ status: blind, wish: blind });
    const second = await cluster.controller({ status: () => running, wish: () => 'update_x' });
    const config = await cluster.clientFile([first.address, second.address]);
    assert.equal((await plexictl(['status'], { config })).exitCode, 0);
    assert.equal((await plexictl(['pause'], { config })).exitCode, 6);
    assert.deepEqual(
      second.asked.map(({ word }) => word),
      ['get'],
    );
  });

  test('with no controller at all the exit code is 6 and the sentence names them', async () => {
    const dead = [await deadAddress(), await deadAddress()];
    const config = await cluster.clientFile(dead);
    for (const words of [
      ['status'],
      ['watch'],
      ['pause'],
      ['node', 'add', 'node-9'],
      ['rollout', '--to', '0b1', '-y'],
    ]) {
      const ran = await plexictl([...words, '-o', 'json'], { config });
      assert.equal(ran.exitCode, 6, words.join(' '));
      assert.equal(errorOf(ran).code, 'NO_CONTROLLER');
      for (const address of dead) assert.match(errorOf(ran).message, new RegExp(address));
    }
  });

  test('--controller replaces the controllers of the client file', async () => {
    const alive = await cluster.controller({ status: () => running });
    const config = await cluster.clientFile([await deadAddress()]);
    const ran = await plexictl([
      'status',
      '--controller',
      `127.0.0.1:1,${alive.address}`,
      '--config',
      config,
    ]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal((await plexictl(['status', '--controller', 'nowhere', '--config', config])).exitCode, 2);
  });

  test('a missing, empty or unreadable client file is exit 2', async () => {
    const empty = join(cluster.folder, 'empty.yml');
    await writeFile(empty, '');
    const broken = join(cluster.folder, 'broken.yml');
    await writeFile(broken, 'controllers: [');
    for (const config of [join(cluster.folder, 'missing.yml'), empty, broken, cluster.folder]) {
      const ran = await plexictl(['nodes', '-o', 'json'], { config });
      assert.equal(ran.exitCode, 2, config);
      assert.equal(errorOf(ran).code, 'CONFIG_INVALID');
    }
    assert.equal((await plexictl(['nodes'])).exitCode, 2, 'neither PLEXI_CONFIG nor a file at home');
  });

  test('a certificate of another authority is told from a controller that is down', async () => {
    const alive = await cluster.controller({ status: () => running });
    const folder = join(cluster.folder, 'other');
    await createAuthority(folder, { cluster: 'dev' });
    const files = { ca: join(folder, 'ca.pem'), cert: join(folder, 'x.pem'), key: join(folder, 'x.key') };
    const identity = { cluster: 'dev', role: 'operator', name: 'x' } as const;
    await issueCertificate(folder, { identity, hosts: [], out: { cert: files.cert, key: files.key } });
    for (const tls of [files, { ...files, ca: cluster.files.ca }]) {
      const config = await cluster.clientFile([alive.address], tls);
      for (const words of [['status'], ['watch'], ['node', 'add', 'node-9']]) {
        const ran = await plexictl([...words, '-o', 'json'], { config });
        assert.deepEqual(
          [ran.exitCode, errorOf(ran).code],
          [2, 'CERTIFICATE_REFUSED'],
          `${words} ${ran.stderr}`,
        );
      }
    }
    assert.deepEqual(alive.asked, []);
  });

  test('a server that is not a controller is refused', async () => {
    const files = await cluster.certificate('agent', 'node-1');
    const agent = await cluster.controller({ status: () => running }, files);
    const ran = await plexictl(['status', '-o', 'json'], {
      config: await cluster.clientFile([agent.address]),
    });
    assert.deepEqual([ran.exitCode, errorOf(ran).code], [2, 'CERTIFICATE_REFUSED']);
  });

  test('a controller that accepts connections and says nothing is passed over', async () => {
    const sockets: { destroy(): void }[] = [];
    const silent = createServer((socket) => sockets.push(socket.on('error', () => socket.destroy())));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    assert.ok(address !== null && typeof address === 'object');
    const alive = await cluster.controller({ wish: () => 'update_x' });
    const config = await cluster.clientFile([`127.0.0.1:${address.port}`, alive.address]);
    const ran = await plexictl(['pause'], { config });
    for (const socket of sockets) socket.destroy();
    silent.close();
    assert.equal(ran.exitCode, 0, ran.stderr);
  });
});

describe('a followed rollout', () => {
  let cluster: ScriptedCluster;
  before(async () => {
    cluster = await scriptedCluster();
  });
  after(() => cluster.stop());

  test('goes on at the next controller when the first is killed, and repeats nothing', async () => {
    const killed: ScriptedController = await cluster.controller({
      watch: async function* () {
        yield running;
        setImmediate(() => killed.kill());
        await new Promise(() => {});
      },
    });
    const second = await cluster.controller({ watch: () => stream(running, later, succeeded) });
    const config = await cluster.clientFile([killed.address, second.address]);
    const ran = await plexictl(['watch', '-o', 'jsonl'], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    const phases = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).rollout.nodes[0].phase);
    assert.deepEqual(phases, ['probing', 'soaking', 'done']);
    assert.match(ran.stderr, new RegExp(`lost the controller at ${killed.address}`));
    const id = running.rollout?.id;
    assert.deepEqual(second.asked, [{ word: 'watch', request: { id } }], 'the same rollout is asked for');
  });

  test('a stream that ends before the rollout does is taken up again', async () => {
    let tries = 0;
    const controller = await cluster.controller({
      watch: () => stream(...(++tries === 1 ? [running] : [later, succeeded])),
    });
    const ran = await plexictl(['watch'], { config: await cluster.clientFile([controller.address]) });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(tries, 2);
  });

  test('gives up with NO_CONTROLLER once nobody answered for long enough', async () => {
    const controller: ScriptedController = await cluster.controller({
      watch: async function* () {
        yield running;
        setImmediate(() => controller.kill());
        await new Promise(() => {});
      },
    });
    const patienceMs = 700;
    const replicas = new Replicas([controller.address], cluster.files, 'dev', patienceMs);
    const { signal } = new AbortController();
    const seen: (ClusterStatus | undefined)[] = [];
    const startedMs = performance.now();
    await assert.rejects(
      async () => {
        const answers = replicas.follow(
          rollouts.watch,
          () => ({ id: '' }),
          () => false,
          signal,
          () => {},
        );
        for await (const { status } of answers) seen.push(status);
      },
      (error) => error instanceof PlexiError && error.code === 'NO_CONTROLLER' && error.exitCode === 6,
    );
    replicas.close();
    assert.equal(seen.length, 1);
    assert.ok(performance.now() - startedMs >= patienceMs);
  });

  test('a refusal ends it at once', async () => {
    const controller = await cluster.controller({
      watch: refuse('FORBIDDEN', 'role viewer may not do this'),
    });
    const ran = await plexictl(['watch', '-o', 'json'], {
      config: await cluster.clientFile([controller.address]),
    });
    assert.deepEqual([ran.exitCode, errorOf(ran).code], [2, 'FORBIDDEN']);
  });

  test('when there never was a rollout, it says so and ends 0', async () => {
    const none = { leader: running.leader, rollout: undefined, freeze: undefined };
    const controller = await cluster.controller({ watch: () => stream(none) });
    const ran = await plexictl(['watch'], { config: await cluster.clientFile([controller.address]) });
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stdout, /No rollout yet/);
  });
});

async function* stream(...statuses: ClusterStatus[]) {
  yield* statuses;
}

function refuse(code: ConstructorParameters<typeof PlexiError>[0], sentence: string): () => never {
  return () => {
    throw new PlexiError(code, sentence);
  };
}
