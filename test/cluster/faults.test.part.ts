/**
 * What can happen to a cluster in pieces: to who leads, to members of etcd, to the lines to the agents, and to
 * two of them at once. Each says how long it lasts by an event, but for the one that is a length of time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lead, PartedCluster } from './parted.test.part.js';

/**
 * Until when it lasts. `over`: the rollout has ended under it, led by the other one. `led`: the other one leads,
 * and the rollout goes on after it. `ended`: the rollout has ended under it, whoever leads. `down`: who led has
 * stepped down. `sent`: what the rollout waited for was let go.
 */
export type Lasting = 'over' | 'led' | 'ended' | 'down' | 'sent';

export interface Fault {
  readonly name: string;
  readonly lasts: Lasting;
  /** Lets it happen; resolves with what ends it. */
  begin(parted: PartedCluster, lead: Lead): Promise<() => Promise<void>>;
}

type Begin = Fault['begin'];

/** A fault of the network, which what is returned puts right. */
const cut =
  (way: (parted: PartedCluster, lead: Lead) => () => void): Begin =>
  async (parted, lead) => {
    const join = way(parted, lead);
    return async () => join();
  };

const member =
  (index: number | 'leading', hurt: (parted: PartedCluster, index: number) => ReturnType<Begin>): Begin =>
  async (parted) =>
    hurt(parted, index === 'leading' ? await parted.etcdLeader() : index);

const killed = async ({ members }: PartedCluster, index: number) => {
  await members[index]?.kill();
  return async () => members[index]?.run();
};

const frozen = async ({ members }: PartedCluster, index: number) => {
  members[index]?.freeze();
  return async () => members[index]?.thaw();
};

const unplugged = async ({ networks }: PartedCluster, index: number) => {
  const join = networks.unplug(`etcd-${index}`);
  return async () => join();
};

const deaf = async ({ networks }: PartedCluster, index: number) => {
  const join = networks.deafen(`etcd-${index}`);
  return async () => join();
};

const mute = async ({ networks }: PartedCluster, index: number) => {
  const join = networks.mute(`etcd-${index}`);
  return async () => join();
};

/** The process of the one that leads ends, and is started again. */
const leaderEnds =
  (signal: NodeJS.Signals): Begin =>
  async (parted, { leading }) => {
    await leading.process.kill(signal);
    return () => parted.revive(leading);
  };

const leaderFrozen: Begin = async (_parted, { leading }) => {
  leading.process.process.kill('SIGSTOP');
  return async () => {
    leading.process.process.kill('SIGCONT');
  };
};

const leaderUnplugged = cut(({ networks }, { leading }) => networks.unplug(leading.network));
const agentsUnheard = cut(({ networks, agentsPlace }, { leading }) =>
  networks.cut(leading.network, [agentsPlace]),
);

/** Two at once, the second one as soon as the first one is there; ended in reverse. */
const both =
  (one: Begin, other: Begin): Begin =>
  async (parted, lead) => {
    const endOne = await one(parted, lead);
    const endOther = await other(parted, lead);
    return async () => {
      await endOther();
      await endOne();
    };
  };

const allFrozen = async (parted: PartedCluster) => {
  for (const each of parted.members) each.freeze();
  return async () => {
    for (const each of parted.members) each.thaw();
  };
};

/** Seconds that all members stand still. */
const stillSeconds = 8;

const frozenFor: Begin = async (parted) => {
  const thaw = await allFrozen(parted);
  const sinceMs = performance.now();
  return async () => {
    await sleep(Math.max(0, stillSeconds * 1_000 - (performance.now() - sinceMs)));
    await thaw();
  };
};

/** Two of three: the one that is left may not answer. They come back together, since one waits for the other. */
const twoKilled: Begin = async (parted) => {
  const [one, other] = parted.members;
  await Promise.all([one?.kill(), other?.kill()]);
  return async () => {
    await Promise.all([one?.run(), other?.run()]);
  };
};

/** The history that watches stand on is taken away, and the files are written anew. */
const compacted: Begin = async (parted) => {
  await parted.client().kv.compact({ revision: String(parted.followedTo), physical: true });
  for (const index of parted.members.keys()) await parted.client(index).member.maintenance.defragment();
  return async () => undefined;
};

const memberFaults: Fault[] = (['leading', 0, 1, 2] as const).flatMap((index) => {
  const who = index === 'leading' ? 'the member of etcd that leads' : `member ${index + 1} of etcd`;
  return (
    [
      ['is killed', killed],
      ['stands still', frozen],
      ['is cut off', unplugged],
      ['hears nobody', deaf],
      ['is heard by nobody', mute],
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
    begin: cut(({ networks, memberPlaces }, { leading }) => networks.cut(leading.network, memberPlaces)),
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
    begin: cut(({ networks, memberPlaces }, { leading }) =>
      networks.cut(leading.network, memberPlaces.slice(0, 2)),
    ),
  },
  {
    name: 'nobody is heard by the agents',
    lasts: 'sent',
    begin: both(
      agentsUnheard,
      cut(({ networks, agentsPlace }, { other }) => networks.cut(other.network, [agentsPlace])),
    ),
  },
  {
    name: 'who leads is heard by nobody',
    lasts: 'over',
    begin: cut(({ networks }, { leading }) => networks.mute(leading.network)),
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
    begin: cut(({ networks }, { leading }) => networks.deafen(leading.network)),
  },
  {
    name: 'the agents do not hear who leads, and the member of etcd that leads is killed',
    lasts: 'ended',
    begin: async (parted, lead) => {
      const join = await agentsUnheard(parted, lead);
      const run = await killed(parted, await parted.etcdLeader());
      await join();
      return run;
    },
  },
  ...[0, 1, 2].map(
    (index): Fault => ({
      name: `who leads is cut off from member ${index + 1} of etcd`,
      lasts: 'ended',
      begin: cut(({ networks, memberPlaces }, { leading }) =>
        networks.cut(leading.network, memberPlaces.slice(index, index + 1)),
      ),
    }),
  ),
  {
    name: 'who does not lead is cut off from everybody',
    lasts: 'ended',
    begin: cut(({ networks }, { other }) => networks.unplug(other.network)),
  },
  ...otherMembers,
];
