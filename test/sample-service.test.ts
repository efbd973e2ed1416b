/**
 * The sample service and its migrations: what the demo and the end-to-end tests lean on. Its data goes
 * forward with a migration and comes back byte for byte, and a release never reads another's format.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const assembleProgram = fileURLToPath(new URL('../deploy/sample-service/assemble.mjs', import.meta.url));
const running = new Set<ChildProcess>();
let work = '';

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'plexi-sample-'));
  for (const version of ['0a1', '0b1', '0b2', '0r1']) {
    execFileSync(process.execPath, [assembleProgram, version, join(work, version)]);
  }
});
after(async () => {
  for (const child of running) child.kill('SIGKILL');
  await rm(work, { recursive: true, force: true });
});

interface Service {
  url: string;
  stop(): Promise<number | null>;
}

interface Place {
  data: string;
  run: string;
}

async function place(name: string): Promise<Place> {
  const it = { data: join(work, name, 'data'), run: join(work, name, 'run') };
  await mkdir(it.data, { recursive: true });
  await mkdir(it.run, { recursive: true });
  return it;
}

function environment({ data, run }: Place) {
  return {
    PATH: process.env.PATH,
    PLEXI_NODE: 'node-1',
    PLEXI_DATA_DIR: data,
    PLEXI_RUN_DIR: run,
    PORT: '0',
  };
}

/** Starts a version; rejects with what it said when it ends before it listens. */
async function start(version: string, where: Place): Promise<Service> {
  const options = { cwd: join(work, version), env: environment(where) };
  const child = spawn(process.execPath, ['server.mjs'], { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  const exited = once(child, 'exit').then(([code]: (number | null)[]) => {
    running.delete(child);
    return code ?? null;
  });
  let said = '';
  const port = await new Promise<string>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      const listening = /listens on port (\d+)/.exec(said)?.[1];
      if (listening !== undefined) resolve(listening);
    });
    child.stderr.on('end', () => reject(new Error(said)));
  });
  const stop = (): Promise<number | null> => {
    child.kill('SIGTERM');
    return exited;
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}

async function post(url: string, author: string, text: string): Promise<Response> {
  return fetch(`${url}/messages`, { method: 'POST', body: JSON.stringify({ author, text }) });
}

async function messagesAt(url: string): Promise<Record<string, unknown>[]> {
  const answer: { messages: Record<string, unknown>[] } = JSON.parse(
    await (await fetch(`${url}/messages`)).text(),
  );
  return answer.messages;
}

function migrate(version: string, id: string, direction: string, where: Place): void {
  const options = { cwd: join(work, version), env: environment(where), stdio: 'pipe' as const };
  execFileSync(process.execPath, [`migrations/${id}.mjs`, direction], options);
}

describe('the sample service', () => {
  test('names its version and node, stores messages, and still has them after a restart', async () => {
    const where = await place('restart');
    const first = await start('0a1', where);
    assert.deepEqual(await (await fetch(`${first.url}/health`)).json(), {
      status: 'ok',
      version: '0a1',
      node: 'node-1',
    });
    assert.deepEqual(await readdir(where.data), [], 'a start writes nothing');
    assert.equal((await post(first.url, 'ada', 'hello')).status, 201);
    assert.equal(await first.stop(), 0, 'SIGTERM ends it with success');
    const second = await start('0a1', where);
    assert.deepEqual(
      (await messagesAt(second.url)).map(({ author, text }) => [author, text]),
      [['ada', 'hello']],
    );
    await second.stop();
  });

  test('in maintenance it refuses messages and stays healthy', async () => {
    const where = await place('maintenance');
    const service = await start('0a1', where);
    await writeFile(join(where.run, 'maintenance'), '');
    assert.equal((await fetch(`${service.url}/messages`)).status, 503);
    assert.equal((await post(service.url, 'ada', 'hello')).status, 503);
    assert.equal((await fetch(`${service.url}/health`)).status, 200);
    await rm(join(where.run, 'maintenance'));
    assert.equal((await post(service.url, 'ada', 'hello')).status, 201);
    await service.stop();
  });

  test('a wrong request is the sender’s mistake, and the service goes on', async () => {
    const where = await place('wrong');
    const service = await start('0b1', where);
    const send = (body: string) => fetch(`${service.url}/messages`, { method: 'POST', body });
    assert.equal((await send('not json')).status, 400);
    assert.equal((await send('{"author":"ada"}')).status, 400);
    assert.equal((await send(`{"author":"ada","text":"${'x'.repeat(70_000)}"}`)).status, 413);
    assert.equal((await fetch(`${service.url}/nothing`)).status, 404);
    assert.equal(existsSync(join(where.data, 'messages.json')), false);
    await service.stop();
  });

  test('0b2 answers, and is never healthy', async () => {
    const service = await start('0b2', await place('sick'));
    assert.equal((await fetch(`${service.url}/health`)).status, 503);
    await service.stop();
  });
});

describe('its migrations', () => {
  test('data goes up through all releases and comes back byte for byte', async () => {
    const where = await place('migrations');
    const service = await start('0a1', where);
    await post(service.url, 'ada', 'hello');
    await post(service.url, 'grace', 'good evening');
    await service.stop();
    const file = join(where.data, 'messages.json');
    const states = [await readFile(file, 'utf8')];
    const ids = ['001-rooms', '002-pins', '003-bodies'];
    for (const id of ids) {
      migrate('0b2', id, 'up', where);
      migrate('0b2', id, 'up', where);
      states.push(await readFile(file, 'utf8'));
    }
    assert.equal(new Set(states).size, 4, 'each migration changes the data');
    for (const id of ids.reverse()) {
      assert.equal(await readFile(file, 'utf8'), states.pop());
      migrate('0b2', id, 'down', where);
      migrate('0b2', id, 'down', where);
    }
    assert.equal(await readFile(file, 'utf8'), states.pop());
  });

  test('an empty data folder stays empty', async () => {
    const where = await place('empty');
    migrate('0b1', '001-rooms', 'up', where);
    migrate('0b1', '001-rooms', 'down', where);
    assert.deepEqual(await readdir(where.data), []);
  });

  test('each release reads its own format and refuses the other, with the reason', async () => {
    const where = await place('mixed');
    const old = await start('0a1', where);
    await post(old.url, 'ada', 'hello');
    await old.stop();
    await assert.rejects(start('0b1', where), /has format 1, this release reads format 2/);
    migrate('0b1', '001-rooms', 'up', where);
    await assert.rejects(start('0a1', where), /has format 2, this release reads format 1/);
    const current = await start('0b1', where);
    assert.deepEqual(
      (await messagesAt(current.url)).map(({ text, room }) => [text, room]),
      [['hello', 'lobby']],
    );
    await current.stop();
  });

  test('a migration cannot skip one', async () => {
    const where = await place('skipping');
    await writeFile(join(where.data, 'messages.json'), '[]\n');
    assert.throws(() => migrate('0r1', '002-pins', 'up', where), /the data has format 1, not 2/);
    assert.equal(await readFile(join(where.data, 'messages.json'), 'utf8'), '[]\n');
  });
});
