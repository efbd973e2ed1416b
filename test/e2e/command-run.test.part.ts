/**
 * One run of a program, with all that it said and a deadline: a program that hangs is a failed test
 * with its words in the message, never a test run that stands still.
 */
import { type ChildProcess, spawn } from 'node:child_process';

export interface RunOptions {
  /** After so long it is killed, and `ended` rejects. */
  readonly deadlineMs?: number;
  /** Beside the environment of the test; PLEXI_ variables are not inherited. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** How a program ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandRun {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  #isOver = false;
  #onText: () => void = () => undefined;

  /** Starts it; standard input is no terminal. */
  constructor(program: string, words: readonly string[], options: RunOptions = {}) {
    const environment = { ...withoutOurs(process.env), ...options.environment };
    this.#child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], env: environment });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#onText();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#onText();
    });
    this.ended = this.#end(words.join(' '), options.deadlineMs ?? 60_000);
    // Whoever awaits it gets the error; a test that failed before does not.
    this.ended.catch(() => undefined);
  }

  /** What it said so far. */
  get stdout(): string {
    return this.#stdout;
  }
  get stderr(): string {
    return this.#stderr;
  }
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves once it has said this on stderr. Rejects when it ends without. */
  async said(pattern: RegExp): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      this.#onText = () => {
        if (pattern.test(this.#stderr)) resolve();
      };
      this.#onText();
    });
    const endedWithout = this.ended.then(({ code }) => {
      if (!pattern.test(this.#stderr))
        throw new Error(`ended with ${code} and never said ${pattern}:\n${this.#stderr}`);
    });
    await Promise.race([heard, endedWithout]);
  }

  /** Ctrl-C. */
  interrupt(): void {
    this.#child.kill('SIGINT');
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended.catch(() => undefined);
  }

  #end(words: string, deadlineMs: number): Promise<Ended> {
    return new Promise((resolve, reject) => {
      let isLate = false;
      const deadline = setTimeout(() => {
        isLate = true;
        this.#child.kill('SIGKILL');
      }, deadlineMs);
      this.#child.once('error', reject);
      this.#child.once('close', (code) => {
        clearTimeout(deadline);
        this.#isOver = true;
        const ended = { code, stdout: this.#stdout, stderr: this.#stderr };
        if (!isLate) return resolve(ended);
        reject(new Error(`${words} did not end within ${deadlineMs} ms:\n${ended.stdout}\n${ended.stderr}`));
      });
    });
  }
}

function withoutOurs(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('PLEXI_')));
}
