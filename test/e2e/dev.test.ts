/**
 * `plexictl dev` as the contract (section 5) has it, with real programs: a cluster comes up with the
 * files and addresses that scripts rely on, what was killed comes back with shape and state, and `down`
 * leaves nothing running.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';

const plexictl = fileURLToPath(new URL('../../bin/plexictl', import.meta.url));

interface Entry {
  pid: number;
  log: string;
  endpoint: string;
  http?: string;
  service?: string;
}

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-e2e-dev-'));
});
after(async () => {
  await dev('down').catch(() => 'there was none');
  await rm(folder, { recursive: true, force: true });
});

/** Runs a `plexictl dev` word on the folder; returns stdout. Rejects with the exit code and stderr. */
async function dev(word: string, ...options: string[]): Promise<string> {
  const words = [plexictl, 'dev', word, '--dir', join(folder, 'cluster'), ...options];
  return (await promisify(execFile)(process.execPath, words)).stdout;
}

async function processes(): Promise<Record<string, Entry>> {
  return JSON.parse(await readFile(join(folder, 'cluster', 'processes.json'), 'utf8'));
}

async function entry(name: string): Promise<Entry> {
  const found = (await processes())[name];
  assert.ok(found, `${name} is missing in processes.json`);
  return found;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: that is what is asked.
    return false;
  }
}

async function messagesOf(name: string): Promise<string[]> {
  const { service } = await entry(name);
  const answer: { messages: { text: string }[] } = JSON.parse(
    await (await fetch(`${service}/messages`)).text(),
  );
  return answer.messages.map(({ text }) => text);
}

async function serviceVersion(name: string): Promise<string> {
  const { service } = await entry(name);
  const answer: { version: string } = JSON.parse(await (await fetch(`${service}/health`)).text());
  return answer.version;
}

/** Processes that were started for this folder and still live. */
async function leftOver(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const of = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    const text = `${await of('cmdline')}\0${await of('environ')}`;
    if (text.includes(folder) && Number(pid) !== process.pid) found.push(`${pid}: ${text.slice(0, 200)}`);
  }
  return found;
}

describe('plexictl dev', () => {
  test('up --detach returns with a cluster that is ready, and with the files of the contract', async () => {
    const answer = JSON.parse(
      await dev('up', '--nodes', '2', '--controllers', '2', '--soak', '500ms', '--detach', '-o', 'json'),
    );
    assert.equal(answer.config, join(folder, 'cluster', 'client.yml'));
    assert.deepEqual(Object.keys(await processes()).sort(), [
      'controller-0',
      'controller-1',
      'etcd-0',
      'node-1',
      'node-2',
    ]);
    assert.equal(await serviceVersion('node-1'), '0a1');
    assert.equal(await serviceVersion('node-2'), '0a1');
    assert.match((await entry('controller-0')).http ?? '', /^https:\/\/localhost:\d+$/);
    const client: { controllers: string[]; tls: Record<string, string> } = parse(
      await readFile(join(folder, 'cluster', 'client.yml'), 'utf8'),
    );
    assert.deepEqual(client.controllers, [
      (await entry('controller-0')).endpoint,
      (await entry('controller-1')).endpoint,
    ]);
    assert.ok(Object.values(client.tls).every(isAbsolute));
    const archives = (await readdir(join(folder, 'cluster', 'releases'), { recursive: true })).filter(
      (name) => name.endsWith('.tar.gz'),
    );
    for (const version of ['0a1', '0b1', '0b2', '0r1'])
      assert.ok(
        archives.some((name) => name.includes(`-${version}-`)),
        version,
      );
  });

  test('etcd.env lets etcdctl see the leader, whose id is its key in processes.json', async () => {
    const script = 'set -a; . "$1"; etcdctl get --print-value-only /plexi/v1/dev/leader';
    const environment = join(folder, 'cluster', 'etcd.env');
    const { stdout } = await promisify(execFile)('sh', ['-c', script, 'sh', environment]);
    const leader: { id: string } = JSON.parse(stdout);
    assert.ok(leader.id in (await processes()), leader.id);
  });

  test('what was killed comes back with up --detach, and shape and state are as before', async () => {
    const { service } = await entry('node-1');
    await fetch(`${service}/messages`, {
      method: 'POST',
      body: JSON.stringify({ author: 'ada', text: 'hello' }),
    });
    const before = await processes();
    for (const name of ['etcd-0', 'controller-0', 'node-1']) process.kill(before[name]?.pid ?? 0, 'SIGKILL');
    await dev('up', '--detach');
    const now = await processes();
    for (const [name, { pid, endpoint }] of Object.entries(before)) {
      const wasKilled = ['etcd-0', 'controller-0', 'node-1'].includes(name);
      assert.equal(now[name]?.endpoint, endpoint, `${name} keeps its address`);
      assert.equal(
        now[name]?.pid === pid,
        !wasKilled,
        `${name} ${wasKilled ? 'is a new process' : 'runs on'}`,
      );
      assert.ok(isRunning(now[name]?.pid ?? 0), name);
    }
    assert.deepEqual(await messagesOf('node-1'), ['hello']);
    await assert.rejects(dev('up', '--nodes', '5', '--detach'), { code: 2 });
  });

  test('status names every process; down stops them all, services too, and leaves the files', async () => {
    const status: { processes: { name: string; running: boolean }[] } = JSON.parse(
      await dev('status', '-o', 'json'),
    );
    assert.equal(status.processes.length, 5);
    assert.ok(status.processes.every(({ running }) => running));
    await dev('down');
    assert.deepEqual(await leftOver(), []);
    assert.ok((await readdir(join(folder, 'cluster', 'nodes'))).includes('node-1'));
  });

  test('in the foreground Ctrl-C stops everything; the messages are still there', async () => {
    const words = [plexictl, 'dev', 'up', '--dir', join(folder, 'cluster')];
    const up = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'ignore'] });
    const [said] = await Promise.race([once(up.stdout, 'data'), once(up, 'exit').then(() => ['it ended'])]);
    assert.match(String(said), /^ready: /);
    assert.deepEqual(await messagesOf('node-1'), ['hello']);
    up.kill('SIGINT');
    assert.deepEqual(await once(up, 'exit'), [0, null]);
    assert.deepEqual(await leftOver(), []);
  });
});
