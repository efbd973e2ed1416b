/**
 * What can happen to a cluster in pieces: to who leads, to members of etcd, to the lines to the agents, and to
 * two of them at once. Each says how long it lasts by an event, but for the one that is a length of time.
 */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { readPrefix } from '../../controller/leadership/etcd.js';
import type { Lead, PartedCluster } from './parted.test.part.js';
import { dead, type Proof, silent, stopped } from './proofs.test.part.js';

/**
 * Until when it lasts. `over`: the rollout has ended under it, led by the other one. `led`: the other one leads,
 * and the rollout goes on after it. `ended`: the rollout has ended under it, whoever leads. `down`: who led has
 * stepped down. `sent`: what the rollout waited for was let go.
 */
export type Lasting = 'over' | 'led' | 'ended' | 'down' | 'sent';

/** A fault that was begun. */
export interface Happening {
  readonly end: () => Promise<void>;
  /** What shows that it happened, while it lasts; without all of it the case shows nothing. */
  readonly proofs: readonly Proof[];
}

export interface Fault {
  readonly name: string;
  readonly lasts: Lasting;
  /** Lets it happen; resolves with what ends it, and what shows it. */
  begin(parted: PartedCluster, lead: Lead): Promise<Happening>;
}

type Begin = Fault['begin'];
type Join = () => void;

/** A fault of the network, which what is returned puts right, and the questions that it leaves unanswered. */
const cut =
  (
    way: (parted: PartedCluster, lead: Lead) => Join,
    questions: (parted: PartedCluster, lead: Lead) => Proof[],
  ): Begin =>
  async (parted, lead) => {
    const join = way(parted, lead);
    return { end: async () => join(), proofs: questions(parted, lead) };
  };

const member =
  (index: number | 'leading', hurt: (parted: PartedCluster, index: number) => Promise<Happening>): Begin =>
  async (parted) =>
    hurt(parted, index === 'leading' ? await parted.etcdLeader() : index);

const killed = async ({ members, networks }: PartedCluster, index: number) => {
  const one = members[index] ?? assert.fail(`no member ${index}`);
  await one.kill();
  return { end: () => one.run(), proofs: [dead(networks.home, one.address)] };
};

const frozen = async ({ members }: PartedCluster, index: number) => {
  const one = members[index] ?? assert.fail(`no member ${index}`);
  one.freeze();
  return { end: async () => one.thaw(), proofs: [stopped(one.pid)] };
};

/** A member and the network: neither the test nor the member beside it gets an answer. */
const parting =
  (how: 'unplug' | 'deafen' | 'mute') =>
  async ({ members, memberPlaces, networks }: PartedCluster, index: number) => {
    const { address } = members[index] ?? assert.fail(`no member ${index}`);
    const beside = memberPlaces[(index + 1) % memberPlaces.length] ?? assert.fail('no member beside it');
    const join = networks[how](`etcd-${index}`);
    return {
      end: async () => join(),
      proofs: [silent(networks.home, address), silent(beside, address)],
    };
  };

/** The process of the one that leads ends, and is started again. */
const leaderEnds =
  (signal: NodeJS.Signals): Begin =>
  async (parted, { leading }) => {
    const { address, kill } = leading.process;
    await kill(signal);
    return { end: () => parted.revive(leading), proofs: [dead(parted.networks.home, address)] };
  };

const leaderFrozen: Begin = async (_parted, { leading }) => {
  const { process } = leading.process;
  process.kill('SIGSTOP');
  const end = async (): Promise<void> => {
    process.kill('SIGCONT');
  };
  return { end, proofs: [stopped(process.pid)] };
};

/** A controller and the network: neither the test nor a member of etcd gets an answer. */
const seatParting = (how: 'unplug' | 'deafen' | 'mute', who: 'leading' | 'other'): Begin =>
  cut(
    ({ networks }, lead) => networks[how](lead[who].network),
    ({ networks, memberPlaces }, lead) =>
      [networks.home, ...memberPlaces.slice(0, 1)].map((from) => silent(from, lead[who].process.address)),
  );

const leaderUnplugged = seatParting('unplug', 'leading');

/** What a controller says to these members of etcd is lost. */
const fromMembers = (begin: number, end: number): Begin =>
  cut(
    ({ networks, memberPlaces }, { leading }) =>
      networks.cut(leading.network, memberPlaces.slice(begin, end)),
    ({ members }, { leading }) =>
      members.slice(begin, end).map(({ address }) => silent(leading.place, address)),
  );

const agentsUnheardBy = (who: 'leading' | 'other'): Begin =>
  cut(
    ({ networks, agentsPlace }, lead) => networks.cut(lead[who].network, [agentsPlace]),
    ({ agents }, lead) => agents.slice(0, 1).map(({ address }) => silent(lead[who].place, address)),
  );
const agentsUnheard = agentsUnheardBy('leading');

/** Two at once, the second one as soon as the first one is there; ended in reverse. */
const both =
  (one: Begin, other: Begin): Begin =>
  async (parted, lead) => {
    const first = await one(parted, lead);
    const second = await other(parted, lead);
    const end = async (): Promise<void> => {
      await second.end();
      await first.end();
    };
    return { end, proofs: [...first.proofs, ...second.proofs] };
  };

/** Seconds that all members stand still. */
const stillSeconds = 8;

const frozenFor: Begin = async ({ members }) => {
  for (const each of members) each.freeze();
  const sinceMs = performance.now();
  const end = async (): Promise<void> => {
    await sleep(Math.max(0, stillSeconds * 1_000 - (performance.now() - sinceMs)));
    for (const each of members) each.thaw();
  };
  return { end, proofs: members.map(({ pid }) => stopped(pid)) };
};

/** Two of three: the one that is left may not answer. They come back together, since one waits for the other. */
const twoKilled: Begin = async ({ members, networks }) => {
  const two = members.slice(0, 2);
  await Promise.all(two.map((one) => one.kill()));
  const end = async (): Promise<void> => {
    await Promise.all(two.map((one) => one.run()));
  };
  return { end, proofs: two.map(({ address }) => dead(networks.home, address)) };
};

/** The history that watches stand on is taken away, and the files are written anew. */
const compacted: Begin = async (parted) => {
  const { members, followedTo, cluster } = parted;
  const client = parted.client();
  const files = await Promise.all(members.map(({ databaseFile }) => stat(databaseFile)));
  await client.kv.compact({ revision: String(followedTo), physical: true });
  for (const index of members.keys()) await parted.client(index).member.maintenance.defragment();
  const isForgotten: Proof = async () => {
    await assert.rejects(readPrefix(client, cluster.keys.slots, followedTo - 1n), /compacted/);
    return `revision ${followedTo - 1n} is forgotten`;
  };
  const isNew: Proof[] = members.map(({ databaseFile }, index) => async () => {
    const { ino } = await stat(databaseFile);
    assert.notEqual(ino, files[index]?.ino, `${databaseFile} was not written anew`);
    return `${databaseFile} was written anew`;
  });
  return { end: async () => undefined, proofs: [isForgotten, ...isNew] };
};

const memberFaults: Fault[] = (['leading', 0, 1, 2] as const).flatMap((index) => {
  const who = index === 'leading' ? 'the member of etcd that leads' : `member ${index + 1} of etcd`;
  return (
    [
      ['is killed', killed],
      ['stands still', frozen],
      ['is cut off', parting('unplug')],
      ['hears nobody', parting('deafen')],
      ['is heard by nobody', parting('mute')],
    ] as const
  ).map(([how, hurt]) => ({ name: `${who} ${how}`, lasts: 'ended' as const, begin: member(index, hurt) }));
});
const [leadKilled, leadStill, leadCut, leadDeaf, leadMute, ...otherMembers] = memberFaults;

/** The most different ones first. */
export const faults: readonly Fault[] = [
  { name: 'who leads is cut off from everybody', lasts: 'over', begin: leaderUnplugged },
  ...(leadKilled ? [leadKilled] : []),
  { name: 'nobody is heard by the agents but the other one', lasts: 'sent', begin: agentsUnheard },
  { name: 'who leads is killed', lasts: 'over', begin: leaderEnds('SIGKILL') },
  { name: `all members of etcd stand still for ${stillSeconds} s`, lasts: 'down', begin: frozenFor },
  ...(leadStill ? [leadStill] : []),
  {
    name: 'who leads stands still for longer than its lease, and goes on',
    lasts: 'led',
    begin: leaderFrozen,
  },
  { name: 'etcd forgets its past and is written anew', lasts: 'ended', begin: compacted },
  {
    name: 'who leads is cut off from etcd alone',
    lasts: 'over',
    begin: fromMembers(0, 3),
  },
  ...(leadCut ? [leadCut] : []),
  { name: 'two members of etcd are killed', lasts: 'down', begin: twoKilled },
  {
    name: 'who leads is cut off, and the member of etcd that leads is killed',
    lasts: 'over',
    begin: both(leaderUnplugged, member('leading', killed)),
  },
  { name: 'who leads is told to stop', lasts: 'over', begin: leaderEnds('SIGTERM') },
  ...(leadDeaf ? [leadDeaf] : []),
  {
    name: 'who leads is cut off from two members of three',
    lasts: 'ended',
    begin: fromMembers(0, 2),
  },
  {
    name: 'nobody is heard by the agents',
    lasts: 'sent',
    begin: both(agentsUnheard, agentsUnheardBy('other')),
  },
  {
    name: 'who leads is heard by nobody',
    lasts: 'over',
    begin: seatParting('mute', 'leading'),
  },
  ...(leadMute ? [leadMute] : []),
  {
    name: 'who leads stands still, and the member of etcd that leads does',
    lasts: 'over',
    begin: both(leaderFrozen, member('leading', frozen)),
  },
  {
    name: 'who leads hears nobody',
    lasts: 'over',
    begin: seatParting('deafen', 'leading'),
  },
  {
    name: 'the agents do not hear who leads, and the member of etcd that leads is killed',
    lasts: 'ended',
    begin: async (parted, lead) => {
      const unheard = await agentsUnheard(parted, lead);
      const death = await killed(parted, await parted.etcdLeader());
      // Looked at before it ends, and told with the rest.
      const shown = await Promise.allSettled(unheard.proofs.map((proof) => proof()));
      await unheard.end();
      const told = shown.map(
        (one): Proof =>
          async () => {
            if (one.status === 'rejected') throw one.reason;
            return one.value;
          },
      );
      return { end: death.end, proofs: [...told, ...death.proofs] };
    },
  },
  ...[0, 1, 2].map(
    (index): Fault => ({
      name: `who leads is cut off from member ${index + 1} of etcd`,
      lasts: 'ended',
      begin: fromMembers(index, index + 1),
    }),
  ),
  {
    name: 'who does not lead is cut off from everybody',
    lasts: 'ended',
    begin: seatParting('unplug', 'other'),
  },
  ...otherMembers,
];
