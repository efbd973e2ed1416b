/**
 * Guarantee 10 for the sentence of an end: it is taken from what nodes report, or from an operator's word, and
 * names the node or says the word. A sentence that fits every end tells nothing.
 */
import assert from 'node:assert/strict';
import type { Rollout } from '../../controller/rollout/rollout.js';

/** What was said in the course of one rollout. */
export class Told {
  /** What was wrong with each node, in the words that stood in its record. */
  private readonly errors = new Map<string, Set<string>>();
  private readonly words = new Set<string>();

  /** The record of a node says what is wrong with it. */
  failed(node: string, message: string): void {
    this.errors.set(node, (this.errors.get(node) ?? new Set()).add(message));
  }

  /** The reason that an operator gave for a word about the rollout. */
  said(reason: string): void {
    this.words.add(reason);
  }

  check({ phase, reason, plan, nodes }: Rollout): void {
    if (phase === 'succeeded') {
      const versions = [plan.header.to, ...plan.parts.map(({ to }) => to.version)];
      assert.ok(
        versions.some((version) => reason.includes(version)),
        `it does not say what runs: ${reason}`,
      );
      return;
    }
    if ([...nodes.values()].every(({ state }) => state.phase === 'skipped')) return;
    const sources = [
      ...this.errors.keys(),
      ...this.words,
      ...[...this.errors.values()].flatMap((it) => [...it]),
    ];
    assert.ok(
      sources.some((source) => reason.includes(source)),
      `it is taken from no node and from no operator: ${reason}`,
    );
  }
}
