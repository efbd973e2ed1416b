/**
 * Every write of the leader: one transaction that compares the leader key's create_revision with the
 * term. A failed guard is looked into, because losing a race is not losing the lead (protocol, 23).
 */
import { PlexiError } from '../../config/errors.js';
import { type EtcdClient, type EtcdCompare, type EtcdOperation, readKey, transact } from './etcd.js';

export class FencedStore {
  constructor(
    private readonly client: EtcdClient,
    private readonly leaderKey: string,
    readonly term: bigint,
  ) {}

  /**
   * @returns the revision of the write, or `raced` when a guard of the caller's did not hold
   * @throws PlexiError NOT_LEADER when the term is over, STORE_UNAVAILABLE when nobody knows
   */
  async write(
    operations: readonly EtcdOperation[],
    guards: readonly EtcdCompare[] = [],
  ): Promise<bigint | 'raced'> {
    const leads: EtcdCompare = { kind: 'createRevision', key: this.leaderKey, equals: this.term };
    const revision = await transact(this.client, [leads, ...guards], operations);
    if (revision !== undefined) return revision;
    const { entry } = await readKey(this.client, this.leaderKey);
    if (entry?.createRevision !== this.term) {
      throw new PlexiError('NOT_LEADER', `term ${this.term} is over; another controller leads`);
    }
    return 'raced';
  }
}
