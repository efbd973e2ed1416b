/**
 * `npm run demo`: a whole cluster on this machine goes from 0a1 to 0b1 while its services are asked all
 * the time. It brings everything that it needs, uses free ports and a folder of its own, and leaves
 * nothing running. Exit 0 only when the proof holds:
 *
 *   - every node's service answers with 0b1,
 *   - the message that each of them stored before is still there, migrated,
 *   - whenever all were asked, all but at most one answered.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkout } from '../setup/checkout.mjs';
import { build } from '../setup/compile.mjs';
import { ensureEtcd } from '../setup/etcd.mjs';
import { installPackages } from '../setup/packages.mjs';
import { getJson, postJson } from './requests.mjs';
import { Watcher } from './watcher.mjs';

const say = (text) => process.stdout.write(`${text}\n`);
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupted.abort());

process.exitCode = await main().catch((error) => {
  say(interrupted.signal.aborted ? 'demo: interrupted' : `demo: ${error.message}`);
  return interrupted.signal.aborted ? 130 : 1;
});

async function main() {
  say('Set-up and build …');
  await installPackages(say);
  ensureEtcd(say);
  await build();
  const folder = mkdtempSync(join(tmpdir(), 'plexi-demo-'));
  let holds = false;
  try {
    holds = await demonstrate(folder);
  } finally {
    await plexictl(['dev', 'down', '--dir', folder], { always: true });
    // After a failure the logs are what one wants to see.
    if (holds) rmSync(folder, { recursive: true, force: true });
    else say(`The cluster is stopped; its files and logs are in ${folder}`);
  }
  return holds ? 0 : 1;
}

async function demonstrate(folder) {
  say('\nA cluster on this machine: etcd, a controller, three nodes, each with a chat server at 0a1 …');
  await mustSucceed(['dev', 'up', '--dir', folder, '--detach']);
  const nodes = readNodes(folder);
  for (const { name, url } of nodes) {
    await postJson(`${url}/messages`, { author: 'demo', text: `written on ${name} before the rollout` });
  }
  say('\n$ plexictl rollout --to 0b1 --yes');
  const watcher = new Watcher(nodes);
  const environment = { PLEXI_CONFIG: join(folder, 'client.yml') };
  const status = await plexictl(['rollout', '--to', '0b1', '--yes'], { environment }).finally(() =>
    watcher.stop(),
  );
  const { observed } = watcher;
  // All of them are shown, also when the first one fails.
  const proofs = [await proveNodes(nodes), proveService(nodes, observed), proveExit(status)];
  return proofs.every(Boolean);
}

function readNodes(folder) {
  const processes = JSON.parse(readFileSync(join(folder, 'processes.json'), 'utf8'));
  return Object.entries(processes)
    .filter(([, entry]) => entry.service !== undefined)
    .map(([name, entry]) => ({ name, url: entry.service }));
}

/** Each node's service says which version it is, and still has its message, in the new form. */
async function proveNodes(nodes) {
  say('\nThe proof');
  let holds = true;
  for (const { name, url } of nodes) {
    const { version } = await getJson(`${url}/health`);
    const { messages } = await getJson(`${url}/messages`);
    const kept = messages.find(({ text }) => text === `written on ${name} before the rollout`);
    const fate = kept === undefined ? 'LOST' : kept.room === 'lobby' ? 'still there, migrated' : 'as it was';
    holds &&= version === '0b1' && kept?.room === 'lobby';
    say(`  ${name}  answers ${version};  its message is ${fate}`);
  }
  return holds;
}

function proveService(nodes, { rounds, asked, answered, fewest }) {
  say(`  ${answered} of ${asked} requests were answered, the others refused in maintenance`);
  say(`  in each of ${rounds} rounds at least ${fewest} of ${nodes.length} nodes answered`);
  return rounds > 0 && fewest >= nodes.length - 1;
}

function proveExit(status) {
  if (status !== 0) say(`  plexictl rollout ended with ${status}`);
  return status === 0;
}

async function mustSucceed(words) {
  const status = await plexictl(words);
  if (status !== 0) throw new Error(`plexictl ${words.join(' ')} ended with ${status}`);
}

/**
 * Runs plexictl on this terminal and returns its exit code. An interrupt ends it early, and then this
 * rejects, once it has ended; `always` is for what has to be done also after an interrupt.
 */
function plexictl(words, { environment = {}, always = false } = {}) {
  const { signal } = interrupted;
  return new Promise((resolve, reject) => {
    if (signal.aborted && !always) return reject(new Error('interrupted'));
    const child = spawn(process.execPath, [join(checkout, 'bin', 'plexictl'), ...words], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...environment },
      // Ctrl-C goes to a whole process group: what cleans up must not hear it.
      detached: always,
    });
    const interrupt = () => child.kill('SIGTERM');
    if (!always) signal.addEventListener('abort', interrupt);
    child.on('error', reject);
    child.on('close', (code) => {
      signal.removeEventListener('abort', interrupt);
      if (signal.aborted && !always) reject(new Error('interrupted'));
      else resolve(code ?? 1);
    });
  });
}
