/**
 * Asks all services for their messages, again and again, as their users would: in each round all of
 * them at once. It counts in how many rounds how many answered.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { answers } from './requests.mjs';

const pauseMs = 50;

/** Begins at once. */
export class Watcher {
  #nodes;
  #stopped = false;
  #ended;

  constructor(nodes) {
    this.#nodes = nodes;
    /** Rounds, requests sent, requests answered, and the fewest nodes that answered in one round. */
    this.observed = { rounds: 0, asked: 0, answered: 0, fewest: nodes.length };
    this.#ended = this.#run();
  }

  /** Ends after the round under way. */
  async stop() {
    this.#stopped = true;
    await this.#ended;
  }

  async #run() {
    while (!this.#stopped) {
      const got = await Promise.all(this.#nodes.map(({ url }) => answers(`${url}/messages`)));
      const answered = got.filter(Boolean).length;
      this.observed.rounds += 1;
      this.observed.asked += got.length;
      this.observed.answered += answered;
      this.observed.fewest = Math.min(this.observed.fewest, answered);
      await delay(pauseMs);
    }
  }
}
