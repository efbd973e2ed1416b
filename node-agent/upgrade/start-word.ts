/**
 * A person's word to start the service, on its way from the node's door to the step that waits for it.
 * Invariant: that step alone starts the service, so no start is under way when it has ended, and a word that it
 * does not take is refused. Rule: whether a job may still be started is said by the job, not by the disk, which
 * gets to know of a taking back later.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';

interface Asked {
  resolve(): void;
  reject(why: unknown): void;
}

export class StartWord {
  private asked: Asked | undefined;
  private wake: () => void = () => undefined;

  /** Hands the word over. Resolves when the service was started. @throws why it was not, or why nobody took the word */
  ask(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.asked = { resolve, reject };
      this.wake();
    });
  }

  /**
   * Waits for the word, and no longer than so many milliseconds; ends at once when the signal is aborted.
   * @returns whether it was said
   */
  async isAsked(forMs: number, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    this.wake = () => over.abort();
    signal.addEventListener('abort', this.wake);
    if (signal.aborted || this.asked !== undefined) over.abort();
    // Nobody waits for this wait: an agent that has stopped, its server closed, may end.
    await sleep(forMs, undefined, { signal: over.signal, ref: false }).catch(() => undefined);
    signal.removeEventListener('abort', this.wake);
    return this.asked !== undefined;
  }

  /** Does what was said, and tells how it went to whoever said it, and to nobody else. */
  async answer(work: () => Promise<void>): Promise<void> {
    const { asked } = this;
    try {
      await work();
      asked?.resolve();
    } catch (thrown) {
      asked?.reject(thrown);
    }
    this.asked = undefined;
  }

  /** Nobody takes it any more. */
  refuse(why: PlexiError): void {
    this.asked?.reject(why);
    this.asked = undefined;
  }
}

/** Why a start by hand is refused. */
export function notAwaited(node: string, why: string): PlexiError {
  return new PlexiError('CONFLICT', `${node} does not wait for a start: ${why}; nothing was started`);
}

/** The same, where what shall run does so already. */
export function runsAlready(node: string): PlexiError {
  return new PlexiError('CONFLICT', `the service of ${node} runs already; nothing was started`);
}
