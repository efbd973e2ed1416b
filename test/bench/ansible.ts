/**
 * Ansible over the same steps, in the same run, where it is installed: `ansible-playbook` with
 * pipelining against an sshd of our own on loopback, with keys of our own, in the foreground. Each node
 * is one host with its own folder, and the steps of the shell loop are one task each: end the service,
 * the links, the start, the probe. No facts are gathered.
 */
import { execFile } from 'node:child_process';
import { access, constants, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { freePorts } from '../../plexictl/dev/ports.js';
import { listening, Processes } from './processes.js';
import { type Row, round } from './row.js';
import { shellLoopMs } from './shell-loop.js';
import { nothing, publish } from './workload.js';

const run = promisify(execFile);
const sshd = '/usr/sbin/sshd';
const playMs = 300_000;

/** The version of Ansible, when it and an sshd are here. */
export async function ansibleVersion(): Promise<string | undefined> {
  try {
    await access(sshd, constants.X_OK);
    const { stdout } = await run('ansible-playbook', ['--version'], { timeout: playMs });
    return stdout.split('\n')[0];
  } catch {
    // Not installed, which is no failure of a measurement.
    return undefined;
  }
}

/** One run of the playbook over so many hosts. Errors: the playbook's. */
export async function measureAnsible(nodes: number, concurrency: number): Promise<Row> {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-ansible-'));
  const processes = new Processes();
  try {
    const [sshPort = 0, stub = 0] = await freePorts(2);
    await startSshd(processes, folder, sshPort);
    processes.start([process.execPath, fileURLToPath(new URL('stub.js', import.meta.url)), String(stub)]);
    await Promise.all([listening(sshPort), listening(stub)]);
    const roots = Array.from({ length: nodes }, (_, index) => join(folder, `node-${index + 1}`));
    for (const root of roots) await mkdir(join(root, 'releases', '0a1'), { recursive: true });
    await writeFile(join(folder, 'inventory.yml'), stringify(inventory(folder, sshPort, roots)));
    await play(folder, 'start', concurrency, [task('start the service', startService)]);
    const commandMs = await play(folder, 'upgrade', concurrency, [
      task('end the service', 'read -r pid < pid; kill "$pid"; while kill -0 "$pid" 2>/dev/null; do :; done'),
      task(
        'links',
        'ln -sfn releases/0a1 previous; ln -sfn releases/0b1 trial; ln -sfn releases/0b1 current',
      ),
      task('start the service', startService),
      task('probe', probe(stub)),
    ]);
    await play(folder, 'end', concurrency, [task('end the service', 'read -r pid < pid; kill -9 "$pid"')]);
    const releases = await publish(nothing, folder);
    const shellMs = await shellLoopMs({ workload: nothing, nodes, concurrency, releases });
    const overheadMsPerNode = round((commandMs - shellMs) / nodes);
    return {
      ...{ case: 'ansible', nodes, concurrency, wallMs: commandMs, commandMs, shellLoopMs: shellMs },
      ...{ overheadMsPerNode, commandOverheadMsPerNode: overheadMsPerNode },
    };
  } finally {
    await processes.end();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const startService = 'setsid sleep 100000 > log 2>&1 < /dev/null & echo $! > pid';

function probe(stub: number): string {
  const ask = `exec 3<> /dev/tcp/127.0.0.1/${stub}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; read -r answer <&3`;
  return `${ask}; rm trial; case $answer in *200*) ;; *) exit 1 ;; esac`;
}

function task(name: string, shell: string): object {
  return { name, 'ansible.builtin.shell': { cmd: shell, executable: '/bin/bash', chdir: '{{ root }}' } };
}

function inventory(folder: string, port: number, roots: readonly string[]): object {
  const hosts = Object.fromEntries(roots.map((root, index) => [`node-${index + 1}`, { root }]));
  const vars = {
    ansible_host: '127.0.0.1',
    ansible_port: port,
    ansible_user: userInfo().username,
    ansible_ssh_private_key_file: join(folder, 'key'),
    ansible_ssh_common_args: `-o UserKnownHostsFile=${join(folder, 'known')} -o StrictHostKeyChecking=no`,
    ansible_python_interpreter: '/usr/bin/python3',
  };
  return { all: { hosts, vars } };
}

async function startSshd(processes: Processes, folder: string, port: number): Promise<void> {
  for (const name of ['host', 'key'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  await run('cp', [join(folder, 'key.pub'), join(folder, 'authorized')]);
  // Where sshd keeps its unprivileged half; a service would have made it.
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const settings = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    `PidFile ${join(folder, 'sshd.pid')}`,
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'StrictModes no',
    'UsePAM no',
    'MaxStartups 200',
  ];
  await writeFile(join(folder, 'sshd_config'), `${settings.join('\n')}\n`);
  processes.start([sshd, '-D', '-f', join(folder, 'sshd_config')], { quiet: true });
}

/** @returns milliseconds of the whole command */
async function play(
  folder: string,
  name: string,
  concurrency: number,
  tasks: readonly object[],
): Promise<number> {
  const file = join(folder, `${name}.yml`);
  await writeFile(file, stringify([{ hosts: 'all', gather_facts: false, serial: concurrency, tasks }]));
  const startedMs = performance.now();
  await run('ansible-playbook', ['-i', join(folder, 'inventory.yml'), '-f', String(concurrency), file], {
    timeout: playMs,
    env: { ...process.env, ANSIBLE_PIPELINING: '1', ANSIBLE_LOCAL_TEMP: join(folder, 'tmp') },
    maxBuffer: 64 * 1024 * 1024,
  });
  return Math.round(performance.now() - startedMs);
}
