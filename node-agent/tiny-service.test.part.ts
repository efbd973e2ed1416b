/**
 * A release repository with three versions of a service that is as small as a service can be: it
 * answers /health with its version, and does not start on data of another format. 0b1 migrates the
 * data; 0b2 does so too, and is never healthy.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuiltRelease, buildRelease } from '../release/repository/publish.js';

export const versions = ['0a1', '0b1', '0b2'] as const;
export type TinyVersion = (typeof versions)[number];
export type TinyReleases = Record<TinyVersion, BuiltRelease>;

/** The data that 0a1 works on; 0b1 works on format 2. */
export const firstData = '{"format":1,"notes":["a","b"]}\n';

const server = `
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { spawn } from 'node:child_process';
const release = JSON.parse(readFileSync(new URL('release.json', import.meta.url), 'utf8'));
const { format } = JSON.parse(readFileSync(process.env.PLEXI_DATA_DIR + '/notes.json', 'utf8'));
if (format !== release.format) throw new Error('data of format ' + format + ' is not for ' + release.version);
// A program that outlives its service, where a test asks for one.
if (process.env.LEAVES_CHILD) spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
createServer((request, response) => {
  response.writeHead(release.healthy ? 200 : 503, { connection: 'close' });
  response.end(JSON.stringify({ version: release.version, format }));
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

/** Waits while run/hold-migration is there, fails when run/fail-migration is, half-way. */
const migration = `
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const [from, to] = process.argv[2] === 'up' ? [1, 2] : [2, 1];
const file = process.env.PLEXI_DATA_DIR + '/notes.json';
const run = process.env.PLEXI_RUN_DIR;
const document = JSON.parse(readFileSync(file, 'utf8'));
if (document.format !== from) throw new Error('migrated twice');
writeFileSync(process.env.PLEXI_DATA_DIR + '/migrated', 'half');
while (existsSync(run + '/hold-migration')) await sleep(10);
if (existsSync(run + '/fail-migration')) throw new Error('told to fail');
writeFileSync(file, JSON.stringify({ ...document, format: to }) + '\\n');
`;

/** Builds the releases into `<folder>/repository`. */
export async function buildTinyReleases(
  folder: string,
): Promise<{ repository: string; releases: TinyReleases }> {
  const repository = join(folder, 'repository');
  const build = async (version: TinyVersion): Promise<BuiltRelease> => {
    const from = join(folder, 'source', version);
    const migrates = version !== '0a1';
    await mkdir(from, { recursive: true });
    const facts = { version, format: migrates ? 2 : 1, healthy: version !== '0b2' };
    await writeFile(join(from, 'release.json'), JSON.stringify(facts));
    await writeFile(join(from, 'server.mjs'), server);
    if (migrates) await writeFile(join(from, 'format.mjs'), migration);
    const list = migrates
      ? 'migrations:\n  - {id: 001-format, scope: node, up: [node, format.mjs, up], down: [node, format.mjs, down], timeout_seconds: 600}\n'
      : '';
    await writeFile(join(from, 'release.yml'), `name: tiny\nservice:\n  start: [node, server.mjs]\n${list}`);
    return buildRelease({ version, from, repository, allowDirty: true });
  };
  return {
    repository,
    releases: { '0a1': await build('0a1'), '0b1': await build('0b1'), '0b2': await build('0b2') },
  };
}
