/**
 * A wish on its way to the leader: written once under a key of its own, then waited for until it is in
 * force or refused. Any replica can do it, with or without a leader (protocol, rule 23).
 */
import { isErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type EtcdClient, type EtcdOperation, readKey, transact } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import { decode, leaderRecord, restoredRecord } from '../state/records.js';
import { type Intent, type IntentOutcome, outcomeRecord } from '../state/wish-records.js';

/** What stands in a key: an id with a slash would be a wish in the middle of another rollout's records. */
const rolloutIdPattern = /^[A-Za-z0-9._+-]{1,255}$/;
/** Characters of a wrong id that the sentence repeats. */
const shownChars = 80;

export class WishWriter {
  constructor(
    private readonly client: EtcdClient,
    private readonly keys: ClusterKeys,
    private readonly mirror: Mirror,
    private readonly nonce: () => string,
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
    if (!(await this.mirror.waitFor(() => this.mirror.get(key) !== undefined, limits.intentWaitMs)))
      throw new PlexiError('NO_LEADER', this.whyNotTaken());
    const entry = this.mirror.get(key);
    if (entry === undefined) throw new PlexiError('INTERNAL', 'the outcome of the wish disappeared');
    const outcome = decode(outcomeRecord, key, entry.value);
    if (outcome.error !== null) {
      const { code, message } = outcome.error;
      throw new PlexiError(isErrorCode(code) ? code : 'INTERNAL', message);
    }
    return outcome;
  }

  private whyNotTaken(): string {
    const entry = this.mirror.get(this.keys.leader);
    const waitedS = limits.intentWaitMs / 1_000;
    return entry === undefined
      ? 'the wish is recorded, but no controller leads; it is taken up once one does (plexictl status shows it)'
      : `the wish is recorded, but ${decode(leaderRecord, entry.key, entry.value).id}, which leads, has not taken it up within ${waitedS} s; look with plexictl status whether it is in force before you say it again`;
  }

  /**
   * Under a name that no other wish has, of any rollout or of none, also where etcd was restored in between:
   * its outcome stands under the same name, and would be taken for another's.
   */
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
    const n = `${revision}-${this.nonce()}`;
    const key = rollout === undefined ? this.keys.intent(n) : this.keys.rolloutIntent(rollout, n);
    const put: EtcdOperation = { kind: 'put', key, value: JSON.stringify(intent) };
    const done = await transact(this.client, [{ kind: 'createRevision', key, equals: 0n }], [put]);
    if (done === undefined)
      throw new PlexiError('CONFLICT', `a wish stands under ${key} already; say it again`);
    return n;
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
