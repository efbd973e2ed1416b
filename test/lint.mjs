/**
 * `npm run lint`: proto rules and format (buf), format and lint (Biome), import directions
 * (dependency-cruiser). All of them run, so that one look shows all that is wrong.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { exit } from 'node:process';
import { checkout } from '../deploy/setup/checkout.mjs';
import { generateCode } from '../deploy/setup/compile.mjs';
import { rooms } from './rooms.mjs';

const buf = join('node_modules', '@bufbuild', 'buf', 'bin', 'buf');
const cruised = rooms.filter((room) => existsSync(join(checkout, room)));
const checks = [
  { name: 'buf lint', words: [buf, 'lint'] },
  { name: 'buf format', words: [buf, 'format', '--diff', '--exit-code'] },
  {
    name: 'biome',
    words: [
      join('node_modules', '@biomejs', 'biome', 'bin', 'biome'),
      'ci',
      '--colors=off',
      '--diagnostic-level=warn',
      '.',
    ],
  },
  {
    name: 'dependency-cruiser',
    words: [
      join('node_modules', 'dependency-cruiser', 'bin', 'dependency-cruise.mjs'),
      '--config',
      '.dependency-cruiser.cjs',
      '--output-type',
      'err-long',
      ...cruised,
    ],
  },
];

// Generated code is not committed, and imports of it have to lead somewhere.
await generateCode();
const results = await Promise.all(checks.map(run));
const failed = results.filter((result) => result.status !== 0);
for (const { name, output } of failed) process.stdout.write(`lint: ${name} found something:\n${output}\n`);
if (failed.length === 0)
  process.stdout.write(`lint: ${checks.map((check) => check.name).join(', ')}: clean\n`);
exit(failed.length === 0 ? 0 : 1);

function run({ name, words }) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, words, { cwd: checkout, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks = [];
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (status) => resolve({ name, status, output: Buffer.concat(chunks).toString('utf8') }));
  });
}
