/**
 * What a command of plexictl gets from the outside: where its words go, in which form, and how it
 * finds the cluster. Commands never touch `process` for these, so a test can run them in its own
 * process. Invariant: with `-o json|jsonl|yaml` stdout carries documents and nothing else; progress,
 * questions and errors go to stderr (contract, section 2).
 */
import { createInterface } from 'node:readline';
import { type Command, Option } from 'commander';
import { stringify } from 'yaml';

/** The forms a command can answer in. `wide` is text with more columns. */
export const outputFormats = ['text', 'json', 'jsonl', 'yaml', 'wide'] as const;

/** One of the forms a command can answer in. */
export type OutputFormat = (typeof outputFormats)[number];

/** The options that say how the cluster is reached; absent ones were not given. */
export interface ConnectionOptions {
  /** `--controller`: HOST:PORT[,HOST:PORT]. */
  readonly controller?: string;
  /** `--config`: path of the client file. */
  readonly config?: string;
  /** `--context`: the name of a context in the client file. */
  readonly context?: string;
}

/** What a command may use of the world. */
export interface CliContext {
  /** Writes text, or bytes of somebody else's, to stdout as they are; the caller ends its lines. */
  stdout(text: string | Uint8Array): void;
  /** Writes to stderr as it is; the caller ends its lines. */
  stderr(text: string): void;
  /** The form asked for with `-o` on the command that runs. */
  output(): OutputFormat;
  /** Prints one answer: as a document in the machine forms, else as the text that `asText` makes. */
  show(document: object, asText: () => string): void;
  /** Sets the exit code of a command that ends without throwing. */
  exitWith(code: number): void;
  /** The environment variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Whether stdin is a terminal, so that somebody can be asked. */
  readonly stdinIsTerminal: boolean;
  /** Whether stdout is a terminal. */
  readonly stdoutIsTerminal: boolean;
  /** Whether stderr is a terminal, so that it can be redrawn. */
  readonly stderrIsTerminal: boolean;
  /** stderr itself when it is a terminal, for the live view, which needs its size; else absent. */
  readonly stderrTerminal: NodeJS.WriteStream | undefined;
  /** Asks somebody on the terminal a question and returns the line; absent on Ctrl-C or Ctrl-D. */
  ask(question: string): Promise<string | undefined>;
  /**
   * From this call until `release()` Ctrl-C does not end the process but aborts the signal; so does a
   * reader of stdout that goes away.
   */
  interruptible(): Interruptible;
}

/** A signal for Ctrl-C, and how to give Ctrl-C back its usual meaning. */
export interface Interruptible {
  readonly signal: AbortSignal;
  release(): void;
}

/** How a process's context is told what was parsed; only the program itself uses it. */
export interface ProcessContext extends CliContext {
  /** Sets what `output()` answers. */
  setOutput(format: OutputFormat): void;
  /** The exit code that was set with `exitWith`, else 0. */
  exitCode(): number;
}

/**
 * Adds `-o, --output` to a leaf command. Every leaf command has it. The program reads the parsed
 * value before the action runs; the command asks `context.output()`.
 */
export function withOutput(command: Command): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'form of the answer').choices(outputFormats).default('text'),
  );
}

/** Adds `--controller`, `--config`, `--context` and `-o` to a leaf command that talks to the cluster. */
export function withConnection(command: Command): Command {
  return withOutput(
    command
      .option(
        '--controller <hosts>',
        'controllers, HOST:PORT[,HOST:PORT], instead of those in the client file',
      )
      .option('--config <file>', 'client file (default: $PLEXI_CONFIG, else ~/.config/plexi/client.yml)')
      .option(
        '--context <name>',
        'cluster in the client file (default: $PLEXI_CONTEXT, else the current one)',
      ),
  );
}

/** Whether the asked form is read by a program and not by a person. */
export function isMachineOutput(format: OutputFormat): boolean {
  return format === 'json' || format === 'jsonl' || format === 'yaml';
}

/** Whether colours may be used on a stream: only on a terminal, and never against `NO_COLOR`. */
export function mayColour(isTerminal: boolean, environment: CliContext['environment']): boolean {
  const noColour = environment.NO_COLOR;
  return isTerminal && (noColour === undefined || noColour === '') && environment.TERM !== 'dumb';
}

/** Makes the context of this process, over its real streams. */
export function processContext(): ProcessContext {
  let format: OutputFormat = 'text';
  let exitCode = 0;
  const stdoutClosed = new AbortController();
  quietBrokenPipe(process.stdout, () => stdoutClosed.abort());
  quietBrokenPipe(process.stderr, () => {});
  const stdout = (text: string | Uint8Array): void => {
    if (!stdoutClosed.signal.aborted) process.stdout.write(text);
  };
  return {
    stdout,
    stderr: (text) => void process.stderr.write(text),
    output: () => format,
    setOutput: (next) => {
      format = next;
    },
    show: (document, asText) => stdout(inForm(format, document, asText)),
    exitWith: (code) => {
      exitCode = code;
    },
    exitCode: () => exitCode,
    environment: process.env,
    stdinIsTerminal: process.stdin.isTTY === true,
    stdoutIsTerminal: process.stdout.isTTY === true,
    stderrIsTerminal: process.stderr.isTTY === true,
    stderrTerminal: process.stderr.isTTY === true ? process.stderr : undefined,
    ask: askOnTerminal,
    interruptible: () => interruptible(stdoutClosed.signal),
  };
}

/** The text that stands for one answer in a form, its last newline included. */
export function inForm(format: OutputFormat, document: object, asText: () => string): string {
  if (format === 'json' || format === 'jsonl') return `${escaped(JSON.stringify(document))}\n`;
  if (format === 'yaml') {
    const plain = yamlOf(document, 'PLAIN');
    return escaped(plain) === plain ? plain : escaped(yamlOf(document, 'QUOTE_DOUBLE'));
  }
  const text = asText();
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

/** By the rules of 1.1 a key such as `on` is quoted too; readers of 1.2 see the same. */
function yamlOf(document: object, defaultKeyType: 'PLAIN' | 'QUOTE_DOUBLE'): string {
  return stringify(document, { version: '1.1', defaultStringType: 'QUOTE_DOUBLE', defaultKeyType });
}

/** Neither JSON nor YAML escapes the last control characters by itself, and a terminal obeys them. */
function escaped(text: string): string {
  return text.replace(
    /[^\P{Cc}\n]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** The question goes to stderr, so that stdout stays clean. Ctrl-C and Ctrl-D are no answer. */
function askOnTerminal(question: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    lines.once('close', () => resolve(undefined));
    lines.question(question, (answer) => {
      resolve(answer);
      lines.close();
    });
  });
}

function interruptible(stdoutClosed: AbortSignal): Interruptible {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  process.on('SIGINT', interrupt);
  return {
    signal: AbortSignal.any([interrupted.signal, stdoutClosed]),
    release: () => void process.off('SIGINT', interrupt),
  };
}

/** A reader that went away (`plexictl history | head -1`) is no error of ours. */
function quietBrokenPipe(stream: NodeJS.WriteStream, onClosed: () => void): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') {
      // A full disk says nothing about a rollout, so it must not look like the end of one.
      process.stderr.write(`plexictl: the output cannot be written (${error.code}); see where it goes to\n`);
      process.exit(2);
    }
    onClosed();
  });
}
