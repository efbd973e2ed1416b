/**
 * The same steps as the agents take, in a shell loop, without a controller, a journal or a lock: what
 * orchestration is measured against. One bash for each node, `xargs -P` of them at a time.
 *
 * For `nothing` these are: end the service and wait until it is gone, point three links as an agent
 * does and remove the one of the trial, start the new service, ask the stub once over HTTP. For
 * `reference`: maintenance on, end the service, tar.gz and SHA-256 of the data, unpack the release,
 * its migration, switch the link, start the service, ask until it says the new version, maintenance off.
 * The probe is bash's own /dev/tcp and the waiting is a loop, so that no program's start is charged to
 * the shell that an agent would not need. The services that run before are started outside of the time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../plexictl/dev/ports.js';
import { listening, Processes } from './processes.js';
import type { Workload } from './workload.js';

/** What a shell loop goes over. */
export interface ShellLoop {
  readonly workload: Workload;
  readonly nodes: number;
  readonly concurrency: number;
  /** The release repository that the agents used. */
  readonly releases: string;
}

const endService = `
read -r pid < pid
kill "$pid"
while kill -0 "$pid" 2>/dev/null; do :; done
`;

const nothingStep = `cd "$1" || exit 1
${endService}
ln -sfn releases/0a1 previous
ln -sfn releases/0b1 trial
ln -sfn releases/0b1 current
sleep 100000 > log 2>&1 < /dev/null &
echo $! > pid
exec 3<> "/dev/tcp/127.0.0.1/$STUB"
printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3
read -r answer <&3
rm trial
case $answer in *200*) ;; *) exit 1 ;; esac
`;

const referenceStep = `cd "$1" || exit 1
touch maintenance
${endService}
tar -czf backup.tar.gz data
sha256sum backup.tar.gz > backup.sha256
mkdir releases/0b1
tar -xzf "$ARTIFACT" -C releases/0b1
PLEXI_DATA_DIR=$PWD/data sh releases/0b1/up.sh
ln -sfn releases/0b1 current
read -r port < port
PORT=$port "$NODE" current/service.mjs > log 2>&1 < /dev/null &
echo $! > pid
for try in $(seq 1000); do
  if exec 3<> "/dev/tcp/127.0.0.1/$port"; then
    printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3
    case $(cat <&3) in *'"0b1"'*) rm maintenance; exit 0 ;; esac
  fi
  sleep 0.01
done 2> /dev/null
exit 1
`;

/** Runs it. @returns milliseconds for all nodes. Errors: a step that did not end well. */
export async function shellLoopMs(loop: ShellLoop): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-shell-'));
  const processes = new Processes();
  const services: ChildProcess[] = [];
  const nodes = Array.from({ length: loop.nodes }, (_, index) => join(folder, `node-${index + 1}`));
  try {
    const [stub = 0, ...ports] = await freePorts(loop.nodes + 1);
    processes.start([process.execPath, fileURLToPath(new URL('stub.js', import.meta.url)), String(stub)]);
    for (const [index, node] of nodes.entries())
      services.push(await prepare(loop.workload, node, ports[index] ?? 0));
    await listening(stub);
    if (loop.workload.name === 'reference') for (const port of ports) await listening(port);
    const script = join(folder, 'step.sh');
    await writeFile(script, loop.workload.name === 'nothing' ? nothingStep : referenceStep);
    const artifact = (await readdir(loop.releases, { recursive: true })).find((name) =>
      /0b1.*\.tar\.gz$/.test(name),
    );
    const environment = { STUB: String(stub), ARTIFACT: join(loop.releases, artifact ?? '') };
    return await timed(script, nodes, loop.concurrency, environment);
  } finally {
    for (const service of services) service.kill('SIGKILL');
    for (const node of nodes) await endServiceOf(node);
    await processes.end();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A node's folder with the release that it runs, and that service. Our own child, so that its end is collected. */
async function prepare(workload: Workload, node: string, port: number): Promise<ChildProcess> {
  const release = join(node, 'releases', '0a1');
  await mkdir(release, { recursive: true });
  await workload.fillNode(node);
  await symlink('releases/0a1', join(node, 'current'));
  await writeFile(join(node, 'port'), `${port}\n`);
  if (workload.name === 'reference') await workload.writeSource(release, '0a1');
  const argv =
    workload.name === 'nothing' ? ['sleep', '100000'] : [process.execPath, join(release, 'service.mjs')];
  const [program = '', ...words] = argv;
  const service = spawn(program, words, {
    stdio: 'ignore',
    env: { ...process.env, PORT: String(port) },
  });
  await once(service, 'spawn');
  await writeFile(join(node, 'pid'), `${service.pid}\n`);
  return service;
}

async function timed(
  script: string,
  nodes: readonly string[],
  concurrency: number,
  environment: Record<string, string>,
): Promise<number> {
  const startedMs = performance.now();
  const child = spawn('xargs', ['-P', String(concurrency), '-n', '1', 'bash', script], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: { ...process.env, NODE: process.execPath, ...environment },
  });
  child.stdin.end(nodes.map((node) => `${node}\n`).join(''));
  const [status] = await once(child, 'exit');
  if (status !== 0) throw new Error(`the shell loop ended with ${status}`);
  return Math.round(performance.now() - startedMs);
}

/** Ends the service that the loop has started on a node. */
async function endServiceOf(node: string): Promise<void> {
  try {
    process.kill(Number(await readFile(join(node, 'pid'), 'utf8')), 'SIGKILL');
  } catch (thrown) {
    const isGone = thrown instanceof Error && 'code' in thrown && /ESRCH|ENOENT/.test(String(thrown.code));
    if (!isGone) throw thrown;
  }
}
