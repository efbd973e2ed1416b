/**
 * Puts the release folder of one version together, ready for `plexictl release build`: the shared
 * server, the migrations up to that version, and the files that name it. What differs between versions
 * stands in versions/<version>.json and nowhere else.
 *
 *   node deploy/sample-service/assemble.mjs 0b1 /tmp/chat-0b1
 */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv, exit } from 'node:process';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const [version, folder] = argv.slice(2);
const versions = readdirSync(join(here, 'versions')).map((name) => name.replace(/\.json$/, ''));

if (folder === undefined || !versions.includes(version)) {
  console.error(`usage: assemble.mjs VERSION FOLDER, with VERSION one of ${versions.join(', ')}`);
  exit(2);
}

const description = readFileSync(join(here, 'versions', `${version}.json`), 'utf8');
const { migrations } = JSON.parse(description);
mkdirSync(join(folder, 'migrations'), { recursive: true });
const copied = ['server.mjs', 'messages.mjs', 'migrations/migrate.mjs', ...migrations.map(script)];
for (const file of copied) copyFileSync(join(here, file), join(folder, file));
writeFileSync(join(folder, 'release.json'), description);
writeFileSync(join(folder, 'VERSION.txt'), `${version}\n`);
writeFileSync(join(folder, 'release.yml'), releaseFile());

function script(migration) {
  return `migrations/${migration}.mjs`;
}

function releaseFile() {
  const rows = migrations.map(
    (id) =>
      `  - id: ${id}\n    scope: node\n    up: [node, ${script(id)}, up]\n    down: [node, ${script(id)}, down]\n    timeout_seconds: 60\n`,
  );
  const list = rows.length === 0 ? 'migrations: []\n' : `migrations:\n${rows.join('')}`;
  return `name: chat\nservice:\n  start: [node, server.mjs]\n${list}tests: []\n`;
}
