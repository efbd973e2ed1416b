/**
 * A wish on its way to the leader: written once under a key of its own, then waited for until it is in
 * force or refused. Any replica can do it, with or without a leader (protocol, rule 23).
 */
import { isErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type EtcdClient, readKey, transact } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import { decode, restoredRecord } from '../state/records.js';
import { type Intent, type IntentOutcome, outcomeRecord } from '../state/wish-records.js';

/** Tries to find a free number, when others write at the same moment. */
const numbersMax = 50;
/** What stands in a key: an id with a slash would be a wish in the middle of another rollout's records. */
const rolloutIdPattern = /^[A-Za-z0-9._+-]{1,255}$/;
/** Characters of a wrong id that the sentence repeats. */
const shownChars = 80;

export class WishWriter {
  constructor(
    private readonly client: EtcdClient,
    private readonly keys: ClusterKeys,
    private readonly mirror: Mirror,
  ) {}

  /**
   * Stores a wish and waits for its outcome.
   * @param rollout the rollout it is about; undefined for one that belongs to none
   * @throws PlexiError the leader's refusal; ETCD_RESTORED while an operator's word on that is missing; NO_LEADER when nobody took it in time (it stays stored)
   */
  async wish(intent: Intent, rollout: string | undefined): Promise<IntentOutcome> {
    const restored = this.mirror.get(this.keys.restored);
    if (restored !== undefined)
      throw new PlexiError('ETCD_RESTORED', decode(restoredRecord, restored.key, restored.value).reason);
    const n = await this.store(intent, rollout);
    const key = this.keys.outcome(n);
    if (!(await this.mirror.waitFor(() => this.mirror.get(key) !== undefined, limits.intentWaitMs))) {
      throw new PlexiError(
        'NO_LEADER',
        `the wish is recorded, but no controller leads; it is taken up once one does (plexictl status shows it)`,
      );
    }
    const entry = this.mirror.get(key);
    if (entry === undefined) throw new PlexiError('INTERNAL', 'the outcome of the wish disappeared');
    const outcome = decode(outcomeRecord, key, entry.value);
    if (outcome.error !== null) {
      const { code, message } = outcome.error;
      throw new PlexiError(isErrorCode(code) ? code : 'INTERNAL', message);
    }
    return outcome;
  }

  /** Under a number that no wish had before: the revision of etcd, or the next free one. */
  private async store(intent: Intent, rollout: string | undefined): Promise<string> {
    if (rollout !== undefined) await this.refuseUnknown(rollout);
    const folder = rollout === undefined ? this.keys.intents : this.keys.rolloutIntents(rollout);
    if (this.mirror.under(folder).length >= limits.intents) {
      throw new PlexiError(
        'LIMIT_EXCEEDED',
        `${limits.intents} wishes wait for a leader already; start a controller first`,
      );
    }
    const { revision } = await readKey(this.client, this.keys.leader);
    const value = JSON.stringify(intent);
    for (let tries = 0n; tries < numbersMax; tries++) {
      const n = String(revision + tries);
      const key = rollout === undefined ? this.keys.intent(n) : this.keys.rolloutIntent(rollout, n);
      const done = await transact(
        this.client,
        [
          { kind: 'createRevision', key, equals: 0n },
          { kind: 'createRevision', key: this.keys.outcome(n), equals: 0n },
        ],
        [{ kind: 'put', key, value }],
      );
      if (done !== undefined) return n;
    }
    throw new PlexiError('CONFLICT', 'too many wishes at once; try again');
  }

  /** What stands under the name of no rollout is swept away, and a wish with it. */
  private async refuseUnknown(rollout: string): Promise<void> {
    const isName = rolloutIdPattern.test(rollout);
    const state = isName ? await readKey(this.client, this.keys.rolloutState(rollout)) : undefined;
    if (state?.entry !== undefined) return;
    const name = JSON.stringify(rollout.slice(0, shownChars));
    throw new PlexiError('NOT_FOUND', `there is no rollout ${name}; plexictl history lists them`);
  }
}

/** @throws PlexiError LIMIT_EXCEEDED for a reason that is longer than it may be */
export function checkReason(reason: string): void {
  if (reason.length > limits.reasonChars)
    throw new PlexiError('LIMIT_EXCEEDED', `the reason has more than ${limits.reasonChars} characters`);
}
