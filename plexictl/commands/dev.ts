/**
 * `plexictl dev up|down|status`: a whole cluster of real processes on this machine (contract, section
 * 5). In the foreground `up` stops them at Ctrl-C; with `--detach` it returns once the cluster is ready.
 * Run again on a folder, it starts what is not running and keeps shape and state.
 */
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type CliContext, withOutput } from '../context.js';
import { counted } from '../dev/counted.js';
import { stopCluster } from '../dev/down.js';
import { firstVersion, Layout, readShape, type Shape } from '../dev/layout.js';
import { readProcesses } from '../dev/processes.js';
import type { ShapeWishes } from '../dev/shape.js';
import { processStatuses } from '../dev/status.js';
import { parseDurationMs } from '../duration.js';
import { table } from '../render/table.js';
import { wholeNumber } from './option-values.js';

interface UpOptions {
  readonly dir: string;
  readonly nodes?: number;
  readonly controllers?: number;
  readonly etcd?: number;
  readonly soak?: number;
  readonly detach?: boolean;
}

/** Adds the commands under `dev`. */
export function registerDev(program: Command, context: CliContext): void {
  const dev = program
    .command('dev')
    .summary('a whole cluster on this machine, to try it')
    .description('Start and stop a whole cluster of real processes on this machine, to try and to test.')
    .addHelpText('after', '\nExample:\n  plexictl dev up --dir /tmp/plexi --detach');
  registerUp(dev, context);
  registerDown(dev, context);
  registerStatus(dev, context);
}

function registerUp(dev: Command, context: CliContext): void {
  const up = dev
    .command('up')
    .summary('start it, or what of it does not run')
    .description('Start etcd, controllers, node agents and the sample service, all on loopback with mTLS.')
    .requiredOption('--dir <dir>', 'folder of the cluster; made when there is none')
    .option('--nodes <n>', 'nodes (default: 3)', wholeNumber('--nodes', 1, limits.devNodes))
    .option(
      '--controllers <n>',
      'controller replicas (default: 1)',
      wholeNumber('--controllers', 1, limits.devControllers),
    )
    .option('--etcd <n>', 'etcd members: 1, 3 or 5 (default: 1)', wholeNumber('--etcd', 1, 5))
    .option('--soak <duration>', 'soak of each node (default: 2s)', (text) => parseDurationMs(text, '--soak'))
    .option('--detach', 'return once the cluster is ready, and leave it running')
    .addHelpText(
      'after',
      '\nExample:\n  plexictl dev up --dir /tmp/plexi --nodes 5 --controllers 3 --detach',
    );
  withOutput(up).action((options: UpOptions) => runUp(options, context));
}

async function runUp(options: UpOptions, context: CliContext): Promise<void> {
  // Loaded here, since it is a fifth of plexictl, and no other word needs it.
  const { bringUp, chooseShape } = await import('../dev/up.js');
  const layout = new Layout(resolve(options.dir));
  const shape = await chooseShape(layout, shapeWishes(options));
  const interrupt = interruptSignal();
  const say = (text: string): void => context.stderr(`dev: ${text}\n`);
  try {
    await bringUp({ layout, interrupt, say }, shape);
    context.show(upDocument(layout), () => upText(layout, shape, options.detach === true));
    if (options.detach !== true) await watchUntil(interrupt, layout, shape, say);
  } catch (thrown) {
    if (!interrupt.aborted) throw thrown;
    context.exitWith(130);
  } finally {
    if (options.detach !== true) await stop(layout, say);
  }
}

/** Says it when a process ends by itself, until somebody wants all of them to. */
async function watchUntil(interrupt: AbortSignal, layout: Layout, shape: Shape, say: (text: string) => void) {
  let running = runningNames(layout, shape);
  const timer = setInterval(() => {
    const now = runningNames(layout, shape);
    for (const name of running.filter((name) => !now.includes(name))) {
      say(`${name} has ended; start it again with \`plexictl dev up --dir ${layout.folder} --detach\``);
    }
    running = now;
  }, 500);
  if (!interrupt.aborted) await once(interrupt, 'abort');
  clearInterval(timer);
}

function runningNames(layout: Layout, shape: Shape): string[] {
  return processStatuses(layout, shape).flatMap(({ name, running }) => (running ? [name] : []));
}

/** Aborted by the first signal that asks this process to end; from then on a second one ends it at once. */
function interruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => interrupted.abort());
  return interrupted.signal;
}

function shapeWishes({ nodes, controllers, etcd, soak }: UpOptions): ShapeWishes {
  return {
    ...(nodes === undefined ? {} : { nodes }),
    ...(controllers === undefined ? {} : { controllers }),
    ...(etcd === undefined ? {} : { etcd }),
    ...(soak === undefined ? {} : { soakMs: soak }),
  };
}

async function stop(layout: Layout, say: (text: string) => void): Promise<void> {
  const shape = readShape(layout);
  if (shape === undefined) return;
  const ended = await stopCluster(layout, shape);
  if (ended > 0) say(`${counted(ended, 'process', 'processes')} stopped`);
}

function upDocument(layout: Layout): object {
  return { dir: layout.folder, config: layout.clientFile, processes: readProcesses(layout) };
}

function upText(layout: Layout, shape: Shape, detached: boolean): string {
  const sizes = [
    counted(shape.etcd.length, 'etcd member'),
    counted(shape.controllers.length, 'controller'),
    shape.settled
      ? counted(shape.nodes.length, 'node')
      : `${counted(shape.nodes.length, 'node')} at ${firstVersion}`,
  ];
  const end = detached ? `stop it with:  plexictl dev down --dir ${layout.folder}` : 'stop it with:  Ctrl-C';
  return [
    `ready: ${sizes.join(', ')}`,
    `  use it:        export PLEXI_CONFIG=${layout.clientFile}`,
    '  try:           plexictl rollout --to 0b1',
    `  ${end}`,
  ].join('\n');
}

function registerDown(dev: Command, context: CliContext): void {
  const down = dev
    .command('down')
    .summary('stop it; its files stay')
    .description('Stop every process of the cluster; its files stay.')
    .addHelpText('after', '\nExample:\n  plexictl dev down --dir /tmp/plexi')
    .requiredOption('--dir <dir>', 'folder of the cluster');
  withOutput(down).action(async ({ dir }: { dir: string }) => {
    const { layout, shape } = existing(dir);
    const stopped = await stopCluster(layout, shape);
    context.show({ dir: layout.folder, stopped }, () =>
      stopped === 0 ? 'nothing was running' : `stopped ${counted(stopped, 'process', 'processes')}`,
    );
  });
}

function registerStatus(dev: Command, context: CliContext): void {
  const status = dev
    .command('status')
    .summary('which of its processes run')
    .description('Say which processes of the cluster run, and where they listen and log.')
    .addHelpText('after', '\nExample:\n  plexictl dev status --dir /tmp/plexi')
    .requiredOption('--dir <dir>', 'folder of the cluster');
  withOutput(status).action(({ dir }: { dir: string }) => {
    const { layout, shape } = existing(dir);
    const processes = processStatuses(layout, shape);
    const columns = [
      { heading: 'PROCESS' },
      { heading: 'STATE' },
      { heading: 'PID' },
      { heading: 'ENDPOINT' },
      { heading: 'LOG' },
    ];
    context.show({ dir: layout.folder, processes }, () =>
      table(
        columns,
        processes.map(({ name, running, pid, endpoint, log }) => [
          name,
          running ? 'running' : 'stopped',
          String(pid ?? ''),
          endpoint ?? '',
          log,
        ]),
      ),
    );
  });
}

function existing(dir: string): { layout: Layout; shape: Shape } {
  const layout = new Layout(resolve(dir));
  const shape = readShape(layout);
  if (shape !== undefined) return { layout, shape };
  throw new PlexiError(
    'USAGE',
    `${layout.folder} holds no dev cluster; make one with \`plexictl dev up --dir ${dir}\``,
  );
}
