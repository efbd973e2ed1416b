/**
 * Guarantee 9 for what is no command: the wishes that were taken, the terms that began and the rollouts that
 * ended, as etcd itself has seen them. The audit record must tell each of them, once, and nothing else.
 */
import assert from 'node:assert/strict';
import type { TakenRecord } from '../scenarios/deeds.test.part.js';
import type { ModelChange, ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';

/** Phases of which none follows. */
const finalPhases: readonly unknown[] = ['succeeded', 'rolled_back', 'aborted', 'failed'];

export class Recorded {
  /** By key; a wish that is taken is deleted. */
  private readonly waiting = new Map<string, string>();
  private readonly wishes: string[] = [];
  private readonly terms: string[] = [];
  private readonly ends = new Map<string, string>();

  constructor(etcd: ModelEtcd) {
    etcd.listen((change) => this.changed(change));
  }

  /** @param records all of them, oldest first */
  check(records: readonly TakenRecord[]): void {
    const told = (what: string): TakenRecord[] => records.filter((record) => record.what === what);
    const wishes = told('wish').map(({ wish, who, reason, details, error }) => {
      const { requestId } = details as { requestId?: string };
      return wishText(String(wish), String(who), requestId ?? String(reason), error !== null);
    });
    const terms = told('leader').map(({ term }) => String(term));
    const ends = told('end').map(({ rollout, phase, exitCode }) => `${rollout} ${phase} ${exitCode}`);
    assert.deepEqual(
      wishes.sort(),
      this.wishes.sort(),
      'the wishes of the audit record are those that were taken',
    );
    assert.deepEqual(terms, this.terms, 'the leaders of the audit record are the terms that began');
    assert.deepEqual(ends, [...this.ends.values()], 'the ends of the audit record are those of the rollouts');
  }

  private changed({ changed }: ModelChange): void {
    for (const [key, entry] of changed) {
      if (isIntent(key)) {
        if (entry === undefined) this.taken(key, changed);
        else this.waiting.set(key, entry.value);
      } else if (key === keys.lineage && entry !== undefined) {
        const { terms }: { terms: { term: string }[] } = JSON.parse(entry.value);
        this.terms.push(terms.at(-1)?.term ?? '');
      } else if (key.startsWith(keys.rollouts) && key.endsWith('/state') && entry !== undefined) {
        const { phase, exitCode }: { phase: string; exitCode: number } = JSON.parse(entry.value);
        const id = key.slice(keys.rollouts.length, -'/state'.length);
        if (finalPhases.includes(phase)) this.ends.set(id, `${id} ${phase} ${exitCode}`);
      }
    }
  }

  /** What came of it stands in the same transaction. */
  private taken(key: string, changed: ModelChange['changed']): void {
    const outcome = changed.get(keys.outcome(key.slice(key.lastIndexOf('/') + 1)))?.value;
    const { error }: { error: unknown } = JSON.parse(outcome ?? '{"error":null}');
    const { kind, by, reason, requestId }: Wish = JSON.parse(this.waiting.get(key) ?? '{}');
    this.waiting.delete(key);
    this.wishes.push(wishText(kind, by, requestId ?? reason, error !== null));
  }
}

/** A wish as it stood in etcd; one for a rollout has an id, and says its reason elsewhere. */
interface Wish {
  readonly kind: string;
  readonly by: string;
  readonly reason: string;
  readonly requestId?: string;
}

function wishText(kind: string, by: string, name: string, isRefused: boolean): string {
  return `${kind} by ${by} (${name})${isRefused ? ', refused' : ''}`;
}

function isIntent(key: string): boolean {
  return (
    key.startsWith(keys.intents) ||
    (key.startsWith(keys.rollouts) && /^[^/]+\/intents\//.test(key.slice(keys.rollouts.length)))
  );
}
