/**
 * strace on one thread of a driver: which calls the agent makes for its own root, and a fault at the k-th
 * of a kind. Each thread is attached to by itself, so nothing that the agent starts is counted, and the
 * count begins where the harness says.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/** The calls that change what a disk holds, or make it last. */
const writing = ['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2'];
const flushing = ['fsync', 'fdatasync'];
const naming = ['rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat'];
const making = ['mkdir', 'mkdirat', 'rmdir', 'symlink', 'symlinkat'];
const calls = [...writing, ...flushing, ...naming, ...making];

export type Thread = 'main' | 'pool';

/** The k-th call of a kind that a thread makes (from 1). */
export interface CallPoint {
  readonly thread: Thread;
  readonly call: string;
  readonly nth: number;
  /** Only calls that name it are counted. */
  readonly path?: string | undefined;
}

/** A call as the trace has it. */
export interface TracedCall extends CallPoint {
  /** The how manieth of its thread and kind it is that concerns the root, from 1; 0: it does not. */
  readonly ordinal: number;
  /** The call and the paths below the root that it names, as they are in each run. */
  readonly what: string;
  /** The how manieth of its thread that is the same, from 1. */
  readonly which: number;
  /** The same place told by a path below the root that it has in each run; undefined for names that are drawn at random. */
  readonly atPath: { readonly path: string; readonly nth: number } | undefined;
  /** Seconds since 1970, when it began. */
  readonly at: number;
  readonly line: string;
}

/**
 * What happens at a point. `from`: also at every later call of this kind. `nothing`: the call is not made,
 * then and later, and tells that it was.
 */
export type Fault =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'kill' }
  | { readonly kind: 'EIO' | 'ENOSPC'; readonly from?: boolean };

/** Why the harness cannot run here; undefined when it can. */
export function whyNoStrace(): string | undefined {
  if (spawnSync('strace', ['-V']).error !== undefined) return 'strace is not installed';
  const probe = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']);
  return probe.status === 0 ? undefined : `strace may not trace here: ${probe.stderr}`;
}

export class Tracer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly thread: Thread,
    private readonly log: string,
  ) {}

  /** Resolves once the thread is watched. */
  static async attach(options: {
    readonly thread: Thread;
    readonly tid: number;
    readonly log: string;
    readonly fault?: { readonly point: CallPoint; readonly fault: Fault };
  }): Promise<Tracer> {
    const { thread, tid, log } = options;
    const traced = options.fault === undefined ? calls : [options.fault.point.call];
    const words = [
      '-ttt',
      '-y',
      '-s',
      '0',
      '-e',
      `trace=${traced.join(',')}`,
      '-e',
      'signal=none',
      '-o',
      log,
    ];
    if (options.fault !== undefined) words.push('-e', injection(options.fault.point, options.fault.fault));
    const path = options.fault?.point.path;
    if (path !== undefined) words.push('-P', path);
    const child = spawn('strace', [...words, '-p', String(tid)], { stdio: ['ignore', 'ignore', 'pipe'] });
    await new Promise<void>((resolve, reject) => {
      let text = '';
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`strace ended with ${code}: ${text}`)));
      child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (text.includes('attached')) resolve();
      });
    });
    return new Tracer(child, thread, log);
  }

  /** Lets the thread go, and tells what it called. */
  async end(root: string): Promise<TracedCall[]> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exit = once(this.child, 'exit');
      this.child.kill('SIGINT');
      await exit;
    }
    return this.calls(root);
  }

  private calls(root: string): TracedCall[] {
    const nthOf = counting();
    const ordinalOf = counting();
    const whichOf = counting();
    const ofPath = counting();
    return readFileSync(this.log, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, at = '', call = ''] = /^([0-9.]+) (\w+)\(/.exec(line) ?? [];
        if (call === '') return [];
        const concerns = line.includes(`${root}/`) || line.includes(`${root}>`);
        const ordinal = concerns ? ordinalOf(call) : 0;
        const paths = pathsIn(line, root);
        const what = [call, ...paths].join(' ');
        // strace looks at the first path of a call.
        const [path = drawn] = paths;
        const isDrawn = path.includes(drawn);
        const atPath = isDrawn ? undefined : { path, nth: ofPath(`${call} ${path}`) };
        const counts = { nth: nthOf(call), ordinal, which: whichOf(what) };
        return [{ thread: this.thread, call, ...counts, what, atPath, at: Number(at), line }];
      });
  }
}

/** Counts from 1, each key by itself. */
function counting(): (key: string) => number {
  const counts = new Map<string, number>();
  return (key) => {
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count;
  };
}

/** Stands for a name of something unfinished, which is drawn at random. */
const drawn = '/.tmp';

/** The paths of a call below the root, which each run has for itself, without what is drawn at random. */
function pathsIn(line: string, root: string): string[] {
  const paths = line.split(root).slice(1);
  return paths.map((rest) => rest.replace(/[">].*/s, '').replace(/\/\.tmp-[\w-]+/g, drawn));
}

export function nameOf({ thread, call, nth }: CallPoint): string {
  return `${call} ${nth} of the ${thread} thread`;
}

function injection({ call, nth }: CallPoint, fault: Fault): string {
  if (fault.kind === 'kill') return `inject=${call}:signal=KILL:when=${nth}`;
  if (fault.kind === 'nothing') return `inject=${call}:retval=0:when=${nth}+`;
  return `inject=${call}:error=${fault.kind}:when=${nth}${fault.from === true ? '+' : ''}`;
}
