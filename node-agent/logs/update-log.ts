/**
 * A node's own log of what rollouts did on it: `agent/update.log`, JSON lines, set aside by size.
 * Every line goes there and to the log of the program, so agents that share a process have one file
 * each. A log that cannot be written stops no rollout: the program's log says so instead.
 */
import pino, { type LogFn, type Logger } from 'pino';
import { createStream, type RotatingFileStream } from 'rotating-file-stream';
import { limits } from '../../config/limits.js';

/** The name of the file in the agent's folder. */
export const updateLogName = 'update.log';

export interface NodeLog {
  readonly log: Logger;
  /** Resolves when all lines are in the file; later ones go to the program's log alone. */
  close(): Promise<void>;
}

/**
 * Opens the log of a node. The file gets what the program's log gets, and never less than `info`.
 * @param folder the agent's folder, absolute
 * @param outer the log of the program
 */
export function openNodeLog(folder: string, node: string, outer: Logger): NodeLog {
  const program = outer.child({ node });
  const file = new UpdateLog(folder, program);
  const levels: Readonly<Record<number, LogFn>> = {
    10: program.trace.bind(program),
    20: program.debug.bind(program),
    30: program.info.bind(program),
    40: program.warn.bind(program),
    50: program.error.bind(program),
    60: program.fatal.bind(program),
  };
  const log = pino(
    {
      level: program.isLevelEnabled('debug') ? program.level : 'info',
      base: { node },
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        logMethod(words, method, level) {
          method.apply(this, words);
          levels[level]?.(...words);
        },
      },
    },
    file,
  );
  return { log, close: () => file.close() };
}

class UpdateLog {
  /** Opened by the first line, and again by the next one after an error. */
  private stream: RotatingFileStream | undefined;
  private isClosed = false;

  constructor(
    private readonly folder: string,
    private readonly program: Logger,
  ) {}

  write(line: string): void {
    if (this.isClosed) return;
    this.stream ??= this.open();
    this.stream.write(line);
  }

  close(): Promise<void> {
    this.isClosed = true;
    const { stream } = this;
    if (stream === undefined || stream.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      stream.once('close', resolve);
      stream.end();
    });
  }

  private open(): RotatingFileStream {
    const stream = createStream(updateLogName, {
      path: this.folder,
      size: `${limits.updateLogBytes}B`,
      rotate: limits.updateLogsKept,
      mode: 0o600,
    });
    stream.on('error', (error) => {
      if (this.stream === stream) this.stream = undefined;
      this.program.error(
        { err: error },
        `${this.folder}/${updateLogName} cannot be written; make room there`,
      );
    });
    return stream;
  }
}
