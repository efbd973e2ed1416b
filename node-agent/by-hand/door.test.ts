/** The local door: one at a time has it, only its owner may knock, and whatever comes in gets an answer or nothing. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { askAt, type Doorkeeper, openDoor } from './door.js';
import { parseAnswer, parseRequest } from './requests.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-door-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;

async function opened(t: TestContext, answer: Doorkeeper, path = join(folder, `${++count}.sock`)) {
  const door = await openDoor(path, answer);
  t.after(() => door.close());
  return path;
}

/** A socket behind which nobody is: its file stays, as after SIGKILL. */
async function deadSocket(kept: string): Promise<void> {
  const path = join(folder, `${++count}.sock`);
  const dead = createServer().listen(path);
  await once(dead, 'listening');
  linkSync(path, kept);
  await new Promise((resolve) => dead.close(resolve));
}

/** The door of an agent that was killed. */
async function leftBehind(): Promise<string> {
  const kept = join(folder, `kept-${++count}.sock`);
  mkdirSync(kept, { mode: 0o700 });
  await deadSocket(join(kept, 'dead.sock'));
  return kept;
}

const value = z.object({ heard: z.unknown() });
const echo: Doorkeeper = async (heard) => ({ heard });

describe('the local door', () => {
  test('passes a request in and an answer out, and is closed for everybody else', async (t) => {
    const path = await opened(t, echo);
    const asked = await askAt(path, { word: 'status' });
    assert.deepEqual(parseAnswer(asked?.answer, value), { heard: { word: 'status' } });
    assert.equal(statSync(path).mode & 0o777, 0o700);
    const [socket = ''] = readdirSync(path);
    assert.equal(statSync(join(path, socket)).mode & 0o777, 0o600);
  });

  test('tells an error with its code', async (t) => {
    const path = await opened(t, async () => {
      throw new PlexiError('CONFLICT', 'not now');
    });
    const asked = await askAt(path, {});
    assert.throws(() => parseAnswer(asked?.answer, value), { code: 'CONFLICT', message: 'not now' });
  });

  test('that somebody has cannot be had by another; nobody there is no answer', async (t) => {
    const path = await opened(t, echo);
    await assert.rejects(openDoor(path, echo), { code: 'CONFLICT' });
    assert.notEqual(await askAt(path, 1), undefined, 'the first one still has it');
    assert.equal(await askAt(join(folder, 'nobody.sock'), 1), undefined);
  });

  test('that a killed agent has left is taken over', async (t) => {
    const kept = await leftBehind();
    assert.ok(statSync(join(kept, 'dead.sock')).isSocket());
    assert.equal(await askAt(kept, 1), undefined);
    await opened(t, echo, kept);
    assert.notEqual(await askAt(kept, 1), undefined);
    assert.equal(readdirSync(kept).length, 1, 'what is dead is gone');
  });

  test("that is a socket itself is an older agent: alive it has the node, dead it is in nobody's way", async (t) => {
    const path = join(folder, 'older.sock');
    const older = createServer((socket) => socket.destroy()).listen(path);
    await once(older, 'listening');
    await assert.rejects(openDoor(path, echo), { code: 'CONFLICT' });
    await new Promise((resolve) => older.close(resolve));
    await deadSocket(path);
    await opened(t, echo, path);
    assert.notEqual(await askAt(path, 1), undefined);
  });

  test('that a killed agent has left is taken over, whatever name any user of the machine has taken', async (t) => {
    const kept = await leftBehind();
    const { dev, ino } = statSync(folder);
    // Names in no folder are anybody's: this one could be computed by whoever may look at the folder.
    const name = createHash('sha256')
      .update(`${dev}:${ino}:${basename(kept)}`)
      .digest('hex');
    const squatter = createServer().listen(`\0plexi-node-agent-${name}`);
    await once(squatter, 'listening');
    t.after(() => squatter.close());
    await opened(t, echo, kept);
    assert.notEqual(await askAt(kept, 1), undefined);
  });

  test('that a killed agent has left is taken over by one, however many come for it', async () => {
    for (let round = 0; round < 10; round++) {
      const kept = await leftBehind();
      const comers = Array.from({ length: 8 }, (_, name) => openDoor(kept, async () => ({ heard: name })));
      const ends = await Promise.allSettled(comers);
      const doors = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
      for (const end of ends) if (end.status === 'rejected') assert.equal(end.reason.code, 'CONFLICT');
      assert.equal(doors.length, 1);
      const winner = ends.findIndex(({ status }) => status === 'fulfilled');
      const asked = await askAt(kept, 1);
      assert.deepEqual(parseAnswer(asked?.answer, value), { heard: winner });
      await Promise.all(doors.map((door) => door.close()));
    }
  });

  test('that nobody has is taken by one, and nothing is left beside it or behind it', async () => {
    const empty = mkdtempSync(join(folder, 'run-'));
    const path = join(empty, 'agent.sock');
    const ends = await Promise.allSettled(Array.from({ length: 8 }, () => openDoor(path, echo)));
    const doors = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    assert.equal(doors.length, 1);
    assert.deepEqual(readdirSync(empty), ['agent.sock']);
    await doors[0]?.close();
    assert.deepEqual(readdirSync(empty), []);
  });

  test('that is let go by one can be had by the next at once', async () => {
    const path = join(folder, 'next.sock');
    for (let round = 0; round < 10; round++) {
      const door = await openDoor(path, echo);
      const closed = door.close();
      const next = await openDoor(path, echo);
      await closed;
      assert.notEqual(await askAt(path, 1), undefined, 'the one before has removed only its own');
      await next.close();
    }
  });

  test('works in a folder whose name is too long for an address', async (t) => {
    const deep = join(folder, 'x'.repeat(120));
    mkdirSync(deep);
    const path = await opened(t, echo, join(deep, 'agent.sock'));
    assert.notEqual(await askAt(path, 1), undefined);
    await assert.rejects(openDoor(path, echo), { code: 'CONFLICT' });
  });

  test('lives on after garbage, silence, too much, and whoever goes away', async (t) => {
    const path = await opened(t, async (json) => parseRequest(json).word);
    const sent = async (bytes: string, ends = true): Promise<string> => {
      const socket = connect(join(path, readdirSync(path)[0] ?? ''));
      let answer = '';
      socket.on('data', (piece) => {
        answer += String(piece);
      });
      socket.on('error', () => undefined);
      if (ends) socket.end(bytes);
      else socket.destroy();
      await once(socket, 'close');
      return answer;
    };
    assert.match(await sent('{"word":'), /INTERNAL/);
    assert.match(await sent('{"word":"format"}'), /USAGE/);
    assert.equal(await sent(''), '');
    await sent(' '.repeat(4 * limits.byHandRequestBytes));
    await sent('', false);
    assert.match(await sent('{"word":"status"}'), /"value":"status"/);
  });
});
