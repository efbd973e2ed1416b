/**
 * Secrets: programs get them as they are on the disk at that moment, in a variable or on a pipe;
 * what others may read is refused; and nothing of a value stands anywhere on the node, in a log or in
 * an answer.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { limits } from '../../config/limits.js';
import { environment } from '../agent-node.test.part.js';
import { createTinyCluster, type TinyCluster } from '../tiny-node.test.part.js';
import { buildChecked, CheckedNode } from '../upgrade/checked-node.test.part.js';
import { readSecrets, secretProblems } from './read-secrets.js';
import { Redaction } from './redaction.js';

let folder = '';
let cluster: TinyCluster;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-secrets-'));
  cluster = await createTinyCluster();
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await rm(cluster.folder, { recursive: true, force: true });
});

async function secretFile(name: string, content: string | Buffer, mode = 0o600): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
}

describe('a secret on a node', () => {
  test('reaches hooks, migrations and tests in a variable or on a pipe, and stands nowhere else', async (t) => {
    const first = 'tr0ub4dor-and-three';
    const second = 'correct-horse\nbattery-staple';
    const variable = await secretFile('variable', `${first}\n`);
    const piped = await secretFile('piped', second);
    const program = `
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
const piped = readFileSync(Number(process.env.KEY_FD), 'utf8');
const sha = (text) => createHash('sha256').update(text).digest('hex');
appendFileSync(process.env.PLEXI_RUN_DIR + '/got', [process.argv[2], sha(process.env.TOKEN), sha(piped)].join(' ') + '\\n');
console.log('using ' + process.env.TOKEN + ' and ' + piped);
console.error(process.env.TOKEN + '!');
if (process.argv[2] === 'migration') process.exit(7);
`;
    const hook = await secretFile('hook.mjs', program);
    const release = await buildChecked(cluster, '0b3', {
      files: { 'use.mjs': program },
      yaml: `migrations:
  - {id: 001-use, scope: node, up: [node, use.mjs, migration], down: ["true"], timeout_seconds: 5}
tests:
  - {name: use, command: [node, use.mjs, test], timeout_seconds: 5}
`,
    });
    let logged = '';
    const log = pino(
      { level: 'trace' },
      {
        write: (line: string) => {
          logged += line;
        },
      },
    );
    const checked = await CheckedNode.start(
      t,
      cluster,
      {
        secrets: { TOKEN: { file: variable, as: 'environment' }, KEY: { file: piped, as: 'descriptor' } },
        maintenance: { enter: ['node', hook, 'enter'], leave: ['node', hook, 'leave'] },
      },
      { ...environment, log },
    );
    const { node } = checked;
    const old = cluster.releases['0a1'];
    const [migration] = release.manifest.migrations;
    assert.ok(migration);
    const failed = await checked.stageAndUpgrade(old, release, {
      migrations: [{ id: migration.id, checksum: migration.checksum, direction: 'up' }],
      backup: true,
    });
    assert.equal(failed.result.outcome, 'rolled_back');
    assert.match(failed.result.failure?.message ?? '', /migration 001-use \(up\): .*exit code 7.*\*\*\*/);
    await writeFile(variable, 'changed-meanwhile');
    const done = await checked.caller.execute(checked.upgradeOrder(old, release));
    assert.equal(done.result.outcome, 'done', done.result.failure?.message);

    const got = (await readFile(node.at('run', 'got'), 'utf8')).trim().split('\n');
    const [one, two, three] = [first, second, 'changed-meanwhile'].map(sha256);
    assert.deepEqual(got, [
      ...['enter', 'migration', 'leave'].map((who) => `${who} ${one} ${two}`),
      ...['enter', 'test', 'leave'].map((who) => `${who} ${three} ${two}`),
    ]);
    await checked.stop();
    const places: [string, string][] = [
      ['the log', logged],
      ['the answers', JSON.stringify([failed.events, done.events], (_, it) => plain(it))],
    ];
    for (const file of await filesBelow(node.at())) places.push([file, await readFile(file, 'latin1')]);
    assert.ok(places.some(([place]) => place.endsWith('agent/hooks/001-use.log')));
    for (const [place, text] of places) {
      for (const value of [first, 'changed-meanwhile', 'correct-horse', 'battery-staple'])
        assert.ok(!text.includes(value), `${value} stands in ${place}`);
    }
    assert.match(logged, /using \*\*\* and \*\*\*/);
  });

  test('is refused when others may read it, and the sentence says what to do', async () => {
    const files = {
      group: await secretFile('group', 'x', 0o640),
      empty: await secretFile('empty', '\n'),
      long: await secretFile('long', ''),
      binary: await secretFile('binary', Buffer.from([1, 0, 2])),
      folder,
      gone: join(folder, 'gone'),
    };
    await truncate(files.long, limits.secretBytes + 1);
    const config = Object.fromEntries(
      Object.entries(files).map(([name, file]) => [name, { file, as: 'environment' as const }]),
    );
    const problems = await secretProblems(config);
    assert.ok(problems.every(({ code }) => code === 'SECRET_UNREADABLE'));
    const expected = [
      /chmod 600/,
      /is empty/,
      /more than 16384 bytes/,
      /as: descriptor/,
      /no regular file/,
      /cannot be opened/,
    ];
    assert.equal(problems.length, expected.length);
    for (const [index, pattern] of expected.entries()) assert.match(problems[index]?.message ?? '', pattern);
  });

  test('loses the end of its line, and nothing else', async () => {
    const contents = ['a\n', 'a\r\n', 'a\n\n', 'a', ' a \n'];
    const values: string[] = [];
    for (const content of contents) {
      const file = await secretFile('ends', content);
      const [secret] = await readSecrets({ A: { file, as: 'environment' } });
      values.push(secret?.value.toString() ?? '');
    }
    assert.deepEqual(values, ['a', 'a', 'a\n', 'a', ' a ']);
  });
});

describe('redaction', () => {
  const values = ['secret', 'secretive plan', '(.*)', 'ü'].map((text) => Buffer.from(text));
  const said = Buffer.from('a secret, a secretive plan; (.*) über secretsecre');
  const shown = 'a ***, a ***; *** ***ber ***secre';

  test('finds each value wherever the output is cut', () => {
    for (let first = 0; first <= said.length; first++) {
      for (let second = first; second <= said.length; second++) {
        const redaction = new Redaction(values);
        const pieces = [said.subarray(0, first), said.subarray(first, second), said.subarray(second)];
        const parts = [...pieces.map((piece) => redaction.take(piece)), redaction.end()];
        assert.equal(Buffer.concat(parts).toString(), shown, `cut at ${first} and ${second}`);
      }
    }
  });

  test('without secrets changes nothing', () => {
    const redaction = new Redaction([]);
    assert.equal(Buffer.concat([redaction.take(said), redaction.end()]).compare(said), 0);
  });
});

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Bigints have no JSON of their own. */
function plain(value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
