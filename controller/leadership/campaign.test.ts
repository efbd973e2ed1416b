/**
 * The campaign against a real etcd that is frozen, killed and restarted. Whatever happens there is at
 * most one candidate who believes to lead, it is the one whom the key names, and terms only rise.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { eventually, keyThatExpires } from '../../test/cluster/asking.test.part.js';
import { TcpProxy } from '../../test/cluster/proxy.test.part.js';
import { RealEtcd } from '../../test/cluster/real-etcd.test.part.js';
import { clusterKeys } from '../state/keys.js';
import { Mirror } from '../state/mirror.js';
import { type CampaignEnvironment, campaign, type Lead } from './campaign.js';
import { type EtcdClient, readKey, transact } from './etcd.js';
import { FencedStore } from './fenced-store.js';

const nothing = async () => ({ operations: [], guards: [], head: { sequence: 1 } });

const log = pino({ level: 'silent' });
const ttlSeconds = 2;
const marginMs = 700;
/** A lease that nobody could wait for here. */
const longTtlSeconds = 60;

let etcd: RealEtcd;
let client: EtcdClient;
let keys = clusterKeys('none');
let mirror: Mirror;
let field: Field;
let count = 0;
before(async () => {
  etcd = await RealEtcd.start();
  client = etcd.client();
});
beforeEach(async () => {
  keys = clusterKeys(`campaign-${++count}`);
  mirror = new Mirror(etcd.connection(), keys.prefix, keys.audit, log);
  await mirror.start();
  field = new Field();
});
afterEach(async () => {
  etcd.thaw();
  await field.stop();
  await mirror.stop();
});
after(() => etcd.remove());

/** One candidate that campaigns again whenever its lead is over, as a replica does. */
class Candidate {
  lead: Lead | undefined;
  /** When its last lead was over, on the clock of its campaign. */
  overMs = 0;
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  readonly client: EtcdClient;

  constructor(
    readonly id: string,
    private readonly changed: () => void,
    port?: number,
    private readonly ttl = ttlSeconds,
  ) {
    this.client = etcd.client(port);
  }

  get leads(): boolean {
    return this.lead !== undefined && !this.lead.signal.aborted;
  }

  start(): this {
    this.running = this.run();
    return this;
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.lead?.resign('the test is over').catch(() => 'etcd is away; the lease expires by itself');
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const lead = await campaign(
        this.client,
        keys,
        { id: this.id, address: '127.0.0.1:1', ttlSeconds: this.ttl, marginMs },
        { nowMs: () => performance.now(), wall: () => new Date(), nonce: randomUUID, entering: nothing, log },
        async (timeoutMs) => {
          await mirror.waitFor(() => mirror.get(keys.leader) === undefined, timeoutMs);
        },
        this.stopping.signal,
      );
      if (lead === undefined) return;
      this.lead = lead;
      // It may have won while it was being stopped.
      if (this.stopping.signal.aborted) return lead.resign('the test is over');
      this.changed();
      if (!lead.signal.aborted)
        await new Promise((resolve) => lead.signal.addEventListener('abort', resolve, { once: true }));
      this.overMs = performance.now();
      this.changed();
    }
  }
}

type Transaction = Parameters<EtcdClient['kv']['txn']>[0];
type Answer = ReturnType<EtcdClient['kv']['txn']>;

/** The same client, whose transactions something happens to. */
function withTransactions(
  real: EtcdClient,
  happens: (request: Transaction, commit: () => Answer) => Answer,
): EtcdClient {
  const { kv, leaseClient } = real.member;
  const between = Object.create(kv, {
    txn: { value: (request: Transaction) => happens(request, () => kv.txn(request)) },
  });
  return Object.create(real, { member: { value: { kv: between, leaseClient } } });
}

/** All candidates of one test, and what must hold of them at every change of lead. */
class Field {
  readonly candidates: Candidate[] = [];
  readonly terms: bigint[] = [];
  private readonly leads: Lead[] = [];
  /** Set by a test that takes a leader's lease away behind its back. */
  mayOverlap = false;
  private readonly waiting = new Set<() => void>();

  add(id: string, port?: number, ttl?: number): Candidate {
    const candidate = new Candidate(id, () => this.check(), port, ttl).start();
    this.candidates.push(candidate);
    return candidate;
  }

  /** One campaign to its end; the lead is given back when the test is over. */
  async campaignAs(
    id: string,
    entering: CampaignEnvironment['entering'],
    by: EtcdClient = client,
  ): Promise<Lead> {
    const lead = await campaign(
      by,
      keys,
      { id, address: '127.0.0.1:1', ttlSeconds, marginMs },
      { nowMs: () => performance.now(), wall: () => new Date(), nonce: randomUUID, entering, log },
      async () => undefined,
      new AbortController().signal,
    );
    assert.ok(lead);
    this.leads.push(lead);
    return lead;
  }

  get leading(): Candidate[] {
    return this.candidates.filter((candidate) => candidate.leads);
  }

  /** Resolves with the only leader, once there is one other than those named. */
  async leader(...notThese: (Candidate | undefined)[]): Promise<Candidate> {
    const find = () => this.leading.find((candidate) => !notThese.includes(candidate));
    return (await this.until(find)) ?? assert.fail('nobody leads');
  }

  async until<T>(find: () => T | undefined, timeoutMs = 10_000): Promise<T | undefined> {
    for (let found = find(); ; found = find()) {
      if (found !== undefined) return found;
      const timedOut = await new Promise<boolean>((resolve) => {
        const wake = (): void => done(false);
        const timer = setTimeout(() => done(true), timeoutMs);
        const done = (late: boolean): void => {
          clearTimeout(timer);
          this.waiting.delete(wake);
          resolve(late);
        };
        this.waiting.add(wake);
      });
      if (timedOut) return undefined;
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.candidates.map((candidate) => candidate.stop()));
    await Promise.all(this.leads.map((lead) => lead.resign('the test is over')));
  }

  private check(): void {
    const { leading } = this;
    assert.ok(
      this.mayOverlap || leading.length <= 1,
      `${leading.map(({ id }) => id).join(' and ')} believe to lead`,
    );
    const term = leading.at(-1)?.lead?.term;
    if (term !== undefined && term !== this.terms.at(-1)) {
      assert.ok(
        this.terms.every((earlier) => earlier < term),
        `term ${term} after ${this.terms.join()}`,
      );
      this.terms.push(term);
    }
    for (const wake of [...this.waiting]) wake();
  }
}

/** When each renewal of a candidate that was answered was sent, on the clock of its campaign. */
function renewalsOf({ client }: Candidate): number[] {
  const answered: number[] = [];
  const { leaseClient } = client;
  const keepAlive = leaseClient.leaseKeepAlive.bind(leaseClient);
  leaseClient.leaseKeepAlive = async (...words) => {
    const sentMs = performance.now();
    const stream = await keepAlive(...words);
    stream.on('data', () => answered.push(sentMs));
    return stream;
  };
  return answered;
}

/** What is promised of a leader that is cut off: its lead was over before its lease could be. */
function assertOverInTime({ id, overMs }: Candidate, renewals: readonly number[]): void {
  const expiresMs = (renewals.at(-1) ?? assert.fail('no renewal was answered')) + ttlSeconds * 1_000;
  assert.ok(overMs < expiresMs, `${id} believed to lead for ${overMs - expiresMs} ms more than its lease`);
}

/** Campaigns until so many tries have failed; returns what was warned of them. */
async function triedInVain(tries: number): Promise<string[]> {
  const stopping = new AbortController();
  const warned: string[] = [];
  const write = (line: string): void => void (warned.push(line) >= tries && stopping.abort());
  const lead = await campaign(
    client,
    keys,
    { id: 'a', address: '127.0.0.1:1', ttlSeconds: longTtlSeconds, marginMs },
    {
      ...{ nowMs: () => performance.now(), wall: () => new Date(), nonce: randomUUID, entering: nothing },
      log: pino({ level: 'warn' }, { write }),
    },
    async () => undefined,
    stopping.signal,
  );
  assert.equal(lead, undefined);
  return warned;
}

/** Who the key in etcd says leads, and its term. */
async function keyHolder(): Promise<{ id: string; term: bigint } | undefined> {
  const { entry } = await readKey(client, keys.leader);
  if (entry === undefined) return undefined;
  const { id }: { id: string } = JSON.parse(entry.value);
  return { id, term: entry.createRevision };
}

async function assertKeyNames(candidate: Candidate): Promise<void> {
  assert.deepEqual(await keyHolder(), { id: candidate.id, term: candidate.lead?.term });
}

function write(candidate: Candidate, value: string, guards: Parameters<FencedStore['write']>[1] = []) {
  assert.ok(candidate.lead);
  const store = new FencedStore(candidate.client, keys.leader, candidate.lead.term);
  return store.write([{ kind: 'put', key: `${keys.prefix}x`, value }], guards);
}

function isNotLeader(thrown: unknown): boolean {
  return thrown instanceof PlexiError && thrown.code === 'NOT_LEADER';
}

function reasonOf(lead: Lead | undefined): string {
  return lead?.signal.reason instanceof Error ? lead.signal.reason.message : 'it still leads';
}

describe('who leads', () => {
  test('one of three wins, and its term is the create_revision of its key', async () => {
    for (const id of ['a', 'b', 'c']) field.add(id);
    const winner = await field.leader();
    await assertKeyNames(winner);
    const { entry } = await readKey(client, keys.leader);
    const value: { epoch: number; address: string } = JSON.parse(entry?.value ?? '');
    assert.deepEqual([value.epoch, value.address], [1, '127.0.0.1:1']);
    assert.notEqual(entry?.lease, '0', 'the key stands on a lease');
    assert.equal(winner.lead?.epoch, 1n);
    assert.deepEqual(JSON.parse((await readKey(client, keys.epoch)).entry?.value ?? ''), { epoch: 1 });
  });

  test('after a resignation another one leads at once, with a higher term', async () => {
    for (const id of ['a', 'b', 'c']) field.add(id, undefined, longTtlSeconds);
    const first = await field.leader();
    await first.stop();
    const second = await field.leader(first);
    assert.equal(reasonOf(first.lead), 'the test is over');
    assert.ok((second.lead?.term ?? 0n) > (first.lead?.term ?? 0n));
    await assertKeyNames(second);
  });

  test('of A, B, C with B stopped, C follows A', async () => {
    const a = field.add('a');
    assert.equal(await field.leader(), a);
    const b = field.add('b');
    const c = field.add('c');
    await b.stop();
    await a.stop();
    assert.equal(await field.leader(a), c);
    await assertKeyNames(c);
  });

  test('a lead is renewed for longer than its lease', async () => {
    const only = field.add('a');
    await field.leader();
    const asLong = await keyThatExpires(client, `${keys.prefix}as-long`, ttlSeconds);
    await asLong();
    assert.ok(only.leads, reasonOf(only.lead));
    await assertKeyNames(only);
    assert.equal(field.terms.length, 1);
  });

  test('candidates do not throng while the mirror is behind etcd', async () => {
    field.add('a');
    await field.leader();
    const looksAtMs: number[] = [];
    const stopping = new AbortController();
    const settings = { id: 'b', address: '127.0.0.1:1', ttlSeconds, marginMs };
    let nowMs = 0;
    const environment = {
      nowMs: () => {
        nowMs = performance.now();
        return nowMs;
      },
      wall: () => new Date(),
      nonce: randomUUID,
      entering: nothing,
      log,
    };
    // From the candidate's own look at the clock: this process may stand still behind it.
    const look = async (): Promise<void> => {
      if (looksAtMs.push(nowMs) === 5) stopping.abort();
    };
    assert.equal(await campaign(client, keys, settings, environment, look, stopping.signal), undefined);
    // A busy machine only makes them longer; a timer may be early by the part of a millisecond.
    const pausesMs = looksAtMs.slice(1).map((atMs, index) => atMs - (looksAtMs[index] ?? 0));
    assert.ok(
      pausesMs.every((ms) => ms >= 18),
      `looks with ${pausesMs.join(' and ')} ms in between`,
    );
  });

  test('a candidate that cannot read the epoch leaves no lease behind at any of its tries', async () => {
    const leases = async () => (await client.leaseClient.leaseLeases()).leases.map(({ ID }) => ID);
    const before = await leases();
    await transact(client, [], [{ kind: 'put', key: keys.epoch, value: 'no epoch' }]);
    const warned = await triedInVain(2);
    assert.match(warned[0] ?? '', /does not hold an epoch/);
    assert.deepEqual(
      (await leases()).filter((id) => !before.includes(id)),
      [],
    );
  });

  test('a candidate that cannot find out whether it wrote the key leaves no lease behind either', async () => {
    const leases = async () => (await client.leaseClient.leaseLeases()).leases.map(({ ID }) => ID);
    const before = await leases();
    const candidate = field.add('a');
    const { kv } = candidate.client;
    const [txn, range] = [kv.txn.bind(kv), kv.range.bind(kv)];
    let isLost = false;
    kv.txn = async (request, options) => {
      const isOurs = request.success?.some(({ request_put }) => String(request_put?.key) === keys.leader);
      if (isOurs !== true || isLost) return txn(request, options);
      isLost = true;
      throw new Error('the answer was lost');
    };
    let refused = 0;
    kv.range = async (request, options) => {
      if (!isLost || refused > 0) return range(request, options);
      refused += 1;
      throw new Error('and so was what was read back');
    };
    assert.equal(await field.leader(), candidate);
    const left = (await leases()).filter((id) => !before.includes(id));
    assert.deepEqual([refused, left.length], [1, 1], 'only the lease that it leads under');
  });

  test('a key that etcd has lost ends the lead at the next renewal', async () => {
    const a = field.add('a');
    const b = field.add('b');
    const first = await field.leader();
    const { entry } = await readKey(client, keys.leader);
    // Until then two may believe to lead; that is why every write is guarded by the term.
    field.mayOverlap = true;
    const { lead } = first;
    await client.leaseClient.leaseRevoke({ ID: entry?.lease ?? '' });
    await field.until(() => (lead?.signal.aborted ? true : undefined));
    assert.equal(reasonOf(lead), 'etcd says that the lease is gone');
    const next = await field.leader();
    assert.ok([a, b].includes(next) && next.lead !== lead);
    await assertKeyNames(next);
  });
});

describe('the answer to the transaction that writes the leader key is lost', () => {
  /** A candidate whose first such transaction ends with an error, committed or not; and the term that it wrote. */
  function unlucky(isCommitted: boolean): { candidate: Candidate; written: () => bigint | undefined } {
    let written: bigint | undefined;
    const candidate = field.add('a');
    const txn = candidate.client.kv.txn.bind(candidate.client.kv);
    let isFirst = true;
    candidate.client.kv.txn = async (request, options) => {
      const isOurs = request.success?.some(({ request_put: put }) => put?.key?.toString() === keys.leader);
      if (isOurs !== true || !isFirst) return txn(request, options);
      isFirst = false;
      if (isCommitted) written = BigInt((await txn(request, options)).header.revision);
      throw new Error('the answer was lost');
    };
    return { candidate, written: () => written };
  }

  for (const isCommitted of [true, false])
    test(`${isCommitted ? 'behind' : 'before'} the commit: it leads under the key that stands`, async () => {
      const { candidate, written } = unlucky(isCommitted);
      assert.equal(await field.leader(), candidate);
      await assertKeyNames(candidate);
      if (isCommitted) assert.equal(candidate.lead?.term, written(), 'it leads under the key that it wrote');
    });
});

describe('the epoch', () => {
  test('nobody wins with an epoch that was raised while he campaigned', async () => {
    const write = (epoch: number) =>
      transact(client, [], [{ kind: 'put', key: keys.epoch, value: JSON.stringify({ epoch }) }]);
    await write(4);
    // It has read the epoch, and its transaction has not arrived yet when the epoch is raised.
    const candidate = field.add('a');
    const txn = candidate.client.kv.txn.bind(candidate.client.kv);
    let raised = false;
    candidate.client.kv.txn = async (request, options) => {
      if (!raised) await write(9);
      raised = true;
      return txn(request, options);
    };
    const a = await field.leader();
    assert.deepEqual([raised, a.lead?.epoch, field.terms.length], [true, 9n, 1]);
  });

  test('one that cannot be read lets nobody lead, and leaves no key behind', async () => {
    await transact(client, [], [{ kind: 'put', key: keys.epoch, value: '{"epoch": "nine"}' }]);
    const warned = await triedInVain(3);
    for (const line of warned) assert.match(line, /does not hold an epoch/);
    assert.equal((await readKey(client, keys.leader)).entry, undefined);
  });
});

describe('what a leader may write', () => {
  test('a write of a term that is over is refused, and changes nothing', async () => {
    const a = field.add('a');
    await field.leader();
    field.add('b');
    assert.equal(typeof (await write(a, 'of a')), 'bigint');
    await a.stop();
    const b = await field.leader(a);
    await write(b, 'of b');
    await assert.rejects(write(a, 'too late'), isNotLeader);
    assert.equal((await readKey(client, `${keys.prefix}x`)).entry?.value, 'of b');
  });

  test('with nobody leading it is refused too', async () => {
    const a = field.add('a');
    await field.leader();
    await a.stop();
    await assert.rejects(write(a, 'too late'), isNotLeader);
  });

  test('a guard that did not hold is told from a lost lead', async () => {
    const a = field.add('a');
    await field.leader();
    const done = await write(a, '1');
    assert.ok(typeof done === 'bigint');
    const key = `${keys.prefix}x`;
    await transact(client, [], [{ kind: 'put', key, value: 'somebody else' }]);
    assert.equal(await write(a, '2', [{ kind: 'modRevision', key, equals: done }]), 'raced');
    assert.equal((await readKey(client, key)).entry?.value, 'somebody else');
    assert.ok(a.leads, 'losing a race is not losing the lead');
  });
});

describe('the lineage', () => {
  const terms = async (): Promise<{ term: string; nonce: string }[]> =>
    JSON.parse((await readKey(client, keys.lineage)).entry?.value ?? '{"terms":[]}').terms;

  test('every term is appended with its nonce', async () => {
    const a = field.add('a');
    await field.leader();
    field.add('b');
    await a.stop();
    const b = await field.leader(a);
    const expected = [a, b].map(({ lead }) => ({ term: String(lead?.term), nonce: lead?.nonce, audit: 1 }));
    assert.deepEqual(await terms(), expected);
    assert.deepEqual(b.lead?.lineage, expected);
    assert.notEqual(expected[0]?.nonce, expected[1]?.nonce);
  });

  test('it is bounded: the oldest falls out', async () => {
    const old = Array.from({ length: limits.lineageTerms }, (_, index) => ({
      term: String(index),
      nonce: `n${index}`,
    }));
    const value = JSON.stringify({ terms: old });
    await transact(client, [], [{ kind: 'put', key: keys.lineage, value }]);
    field.add('a');
    const a = await field.leader();
    const now = await terms();
    assert.equal(now.length, limits.lineageTerms);
    assert.deepEqual([now[0]?.nonce, now.at(-1)?.nonce], ['n1', a.lead?.nonce]);
  });

  test('what a newer controller wrote beside the terms is kept', async () => {
    const value = JSON.stringify({ terms: [], newer: { by: 'somebody' } });
    await transact(client, [], [{ kind: 'put', key: keys.lineage, value }]);
    field.add('a');
    const a = await field.leader();
    const stored = JSON.parse((await readKey(client, keys.lineage)).entry?.value ?? '');
    assert.deepEqual(stored, {
      newer: { by: 'somebody' },
      terms: [{ term: String(a.lead?.term), nonce: a.lead?.nonce, audit: 1 }],
    });
  });

  test('a lead that is lost while it is entered is no lead; the campaign goes on to the next term', async () => {
    let entered = 0;
    const lead = await field.campaignAs('a', async () => {
      if (++entered === 1) await transact(client, [], [{ kind: 'delete', key: keys.leader }]);
      return nothing();
    });
    assert.equal(entered, 2);
    const { entry } = await readKey(client, keys.lineage);
    assert.deepEqual(JSON.parse(entry?.value ?? ''), {
      terms: [{ term: String(lead.term), nonce: lead.nonce, audit: 1 }],
    });
  });

  test('a lead that cannot be entered is given back at once', async () => {
    await transact(client, [], [{ kind: 'put', key: keys.lineage, value: 'no JSON' }]);
    field.add('a');
    const stood = await mirror.waitFor(() => mirror.get(keys.leader) !== undefined, 5_000);
    assert.ok(stood);
    assert.ok(
      await mirror.waitFor(() => mirror.get(keys.leader) === undefined, 1_000),
      'the key does not stand for a candidate that does not lead',
    );
  });
});

describe('while etcd is away', () => {
  test('an answer that was lost after the key was written: it is read back, and the lead taken', async () => {
    let lost = 0;
    const losing = withTransactions(client, async (request, commit) => {
      const answer = await commit();
      const takesLead = request.success?.some(({ request_put }) => String(request_put?.key) === keys.leader);
      if (takesLead && lost++ === 0) throw new Error('the answer was lost');
      return answer;
    });
    const lead = await field.campaignAs('a', nothing, losing);
    assert.equal(lost, 1, 'the key was written once');
    const { entry } = await readKey(client, keys.leader);
    assert.equal(entry?.createRevision, lead.term);
  });

  test('a frozen etcd: the lead is over by its own clock before the lease can expire, and comes back once', async () => {
    const all = new Map(
      ['a', 'b', 'c'].map((id) => {
        const candidate = field.add(id);
        return [candidate, renewalsOf(candidate)] as const;
      }),
    );
    const first = await field.leader();
    const renewals = all.get(first) ?? [];
    // It is the renewed lease that must not be overstayed.
    await eventually(
      async () => renewals.length,
      (count) => count > 0,
      'the lease is not renewed',
    );
    etcd.freeze();
    await field.until(() => (first.leads ? undefined : true));
    assertOverInTime(first, renewals);
    assert.equal(reasonOf(first.lead), 'the lease could not be renewed in time');
    assert.deepEqual(field.leading, [], 'nobody leads without etcd');
    etcd.thaw();
    const next = await field.leader();
    assert.ok((next.lead?.term ?? 0n) > (first.lead?.term ?? 0n) || next === first);
    assert.ok(field.terms.length === 2 && (field.terms[1] ?? 0n) > (field.terms[0] ?? 0n));
    await assertKeyNames(next);
    await assertNoPhantom(next);
  });

  test('a killed etcd that comes back with its data', async () => {
    for (const id of ['a', 'b']) field.add(id);
    const first = await field.leader();
    const [term = 0n] = field.terms;
    await etcd.kill();
    await field.until(() => (first.leads ? undefined : true));
    await etcd.run();
    const next = await field.leader();
    assert.ok((next.lead?.term ?? 0n) > term);
    await assertKeyNames(next);
    await assertNoPhantom(next);
  });

  test('a leader that is cut off from etcd gives way to one that is not', async () => {
    const proxy = await TcpProxy.start(etcd.port);
    try {
      const a = field.add('a', proxy.port);
      const renewals = renewalsOf(a);
      assert.equal(await field.leader(), a);
      await eventually(
        async () => renewals.length,
        (count) => count > 0,
        'the lease is not renewed',
      );
      field.add('b');
      proxy.set('up', 'lose');
      proxy.set('down', 'lose');
      // That there is one leader at a time is looked at whenever somebody begins or ends to lead.
      const b = await field.leader(a);
      assert.equal(reasonOf(a.lead), 'the lease could not be renewed in time');
      assertOverInTime(a, renewals);
      await assertKeyNames(b);
    } finally {
      proxy.set('up', 'pass');
      proxy.set('down', 'pass');
      await proxy.stop();
    }
  });
});

/** Until every lease of before an outage is over by etcd's own clock, the key goes on to name the one who leads. */
async function assertNoPhantom(leader: Candidate): Promise<void> {
  const asLong = await keyThatExpires(client, `${keys.prefix}as-long`, ttlSeconds);
  await asLong();
  const other = field.leading.find((candidate) => candidate !== leader);
  assert.equal(other, undefined, `${other?.id} believes to lead beside ${leader.id}`);
  await assertKeyNames(leader);
}

test('a lead that took as long to take up as its lease lasts is given up at once, and won anew', async () => {
  let aheadMs = 0;
  let entered = 0;
  const environment: CampaignEnvironment = {
    ...{ nowMs: () => performance.now() + aheadMs, wall: () => new Date(), nonce: randomUUID, log },
    entering: async () => {
      if (entered++ === 0) aheadMs = ttlSeconds * 1_000;
      return nothing();
    },
  };
  const settings = { id: 'late', address: 'late:1', ttlSeconds, marginMs };
  const forever = new AbortController().signal;
  const lead = await campaign(client, keys, settings, environment, async () => undefined, forever);
  assert.equal(entered, 2);
  assert.equal((await readKey(client, keys.leader)).entry?.createRevision, lead?.term);
  await lead?.resign('the test is over');
});
