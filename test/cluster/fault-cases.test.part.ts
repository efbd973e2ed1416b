/**
 * One case: a rollout comes to a moment, a fault happens, and the rollout ends as it should. Then it is looked
 * at what the agents executed, what stands in etcd's history of the slots, and the audit record.
 */
import assert from 'node:assert/strict';
import {
  connectEtcd,
  type EtcdClient,
  type EtcdConnection,
  readKey,
  readPrefix,
} from '../../controller/leadership/etcd.js';
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import type { Tried } from '../crash/system-calls.test.part.js';
import { wrongAudit, wrongCommands } from './commands-told.test.part.js';
import { type Fault, faults } from './faults.test.part.js';
import { bringTo, letGo, type Moment, moments, type Scene } from './moments.test.part.js';
import { type Lead, type PartedCluster, until } from './parted.test.part.js';

export interface Case {
  readonly fault: Fault;
  readonly moment: Moment;
}

/** Every fault at every moment: first each fault once, at moments that take turns; then each at its next. */
export const cases: readonly Case[] = moments.flatMap((_, round) =>
  faults.flatMap((fault, index) => {
    const moment = moments[(index + round) % moments.length];
    return moment === undefined ? [] : [{ fault, moment }];
  }),
);

export function nameOf({ fault, moment }: Case): string {
  return `${fault.name}, while it is ${moment}`;
}

/**
 * Tries one case on a cluster that stands; afterwards it is whole again, or this throws.
 * @param maxConcurrent nodes that the rollout may have out at once, for a test of the looks themselves
 */
export async function tryCase(one: Case, parted: PartedCluster, maxConcurrent?: number): Promise<Tried> {
  const what = nameOf(one);
  letGo(parted.agents);
  const lead = await parted.whole();
  const { keys } = parted.cluster;
  const { revision } = await readKey(parted.client(), keys.leader);
  const slots = new SlotHistory(parted.cluster.etcd.connection(), keys.slots, revision + 1n);
  const scene = await bringTo(one.moment, parted, lead.other, maxConcurrent);
  parted.followedTo = await slots.follow();
  const { rollout, hit, unshown } = await happen(one, scene, parted, lead);
  await parted.whole();
  await slots.follow();
  const { entries } = await readPrefix(parted.client(), keys.slots);
  const wrong = [
    ...unshown,
    ...wrongEnd(scene, rollout),
    ...parted.agents.flatMap((agent) => wrongNode(scene, agent)),
    ...slots.wrong,
    ...entries.map(({ key }) => `${key} was not freed`),
    ...(await wrongAudit(scene.id, scene.commands, lead.other.calls)),
  ];
  return { what, hit, wrong };
}

interface Happened {
  /** How the rollout ended. */
  readonly rollout: Rollout;
  /** What showed that the fault happened; undefined: not all of it did. */
  readonly hit: string | undefined;
  /** Why it is not shown. */
  readonly unshown: readonly string[];
}

/** The fault and its end; it lasts at least until its proofs have looked. */
async function happen(
  { fault, moment }: Case,
  scene: Scene,
  parted: PartedCluster,
  lead: Lead,
): Promise<Happened> {
  const { leading, other } = lead;
  const adoptions = scene.out?.adoptions.length ?? 0;
  const stepsDown = parted.stepsDown(leading);
  scene.atFault();
  const happening = await fault.begin(parted, lead);
  const proofs = Promise.allSettled(happening.proofs.map((proof) => proof()));
  const end = once(async () => {
    await proofs;
    await happening.end();
  });
  // Who can be asked while it lasts.
  const asked = fault.name.startsWith('who does not lead') ? leading : other;
  try {
    switch (fault.lasts) {
      case 'over':
      case 'led':
        await takenOver(parted, lead, scene, adoptions);
        if (fault.lasts === 'led') await end();
        break;
      case 'down':
        await until(
          async () => parted.stepsDown(leading),
          (count) => count > stepsDown,
          'who leads does not step down',
        );
        await end();
        break;
      case 'ended':
      case 'sent':
        break;
    }
    if (moment === 'paused') assertPaused(scene, parted);
    await scene.proceed(asked);
    if (fault.lasts === 'sent') await end();
    return { rollout: await parted.ended(asked, scene.id), ...shownBy(await proofs) };
  } finally {
    await end();
  }
}

/** A fault happened when each of its proofs says so, and there is one. */
export function shownBy(proofs: readonly PromiseSettledResult<string>[]): Pick<Happened, 'hit' | 'unshown'> {
  const unshown = proofs.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
  const shown = proofs.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const isShown = unshown.length === 0 && shown.length > 0;
  return { hit: isShown ? shown.join(', ') : undefined, unshown };
}

async function takenOver(parted: PartedCluster, { other, term }: Lead, { out }: Scene, adoptions: number) {
  const leads = ({ leader }: { leader?: { id: string; term: bigint } | undefined }): boolean =>
    leader?.id === other.id && leader.term > term;
  await parted.seen(other, '', leads, `${other.id} does not lead`);
  if (out === undefined) return;
  await until(
    async () => out.adoptions.length,
    (count) => count > adoptions,
    `${out.node} is not adopted`,
  );
}

/** A pause that was in force before the fault is in force until somebody says otherwise. */
function assertPaused({ id }: Scene, { agents }: PartedCluster): void {
  const begun = agents.flatMap(({ executed }) => executed.filter((command) => command.includes('.upgrade.')));
  assert.deepEqual(begun, [`${id}.node-1.upgrade.1`], 'a node was started under a pause');
}

function wrongEnd({ end }: Scene, rollout: Rollout): string[] {
  const { phase, reason } = rollout;
  return phase === end.phase ? [] : [`it ended ${phase}, and not ${end.phase}: ${reason}`];
}

/** Its commands, and the version that belongs to the end. */
function wrongNode(scene: Scene, agent: PartedCluster['agents'][number]): string[] {
  const { version } = scene.end;
  const runs = agent.release.version;
  return [
    ...wrongCommands(scene.id, scene.commands, agent),
    ...(runs === version ? [] : [`${agent.node} runs ${runs}, and not ${version}`]),
  ];
}

/** Revisions that are asked for at a time. */
const atOnce = 8;

/** The slots at every revision since one, from etcd's own history: there is never more than one. */
class SlotHistory {
  readonly wrong: string[] = [];

  constructor(
    private readonly connection: EtcdConnection,
    private readonly prefix: string,
    private from: bigint,
  ) {}

  /** Follows what happened up to now. @returns the revision up to which nobody needs etcd's history any more */
  async follow(): Promise<bigint> {
    const client = connectEtcd(this.connection);
    try {
      const { revision: last } = await readKey(client, this.prefix);
      while (this.from <= last) {
        const count = Math.min(atOnce, Number(last - this.from) + 1);
        const revisions = Array.from({ length: count }, (_, index) => this.from + BigInt(index));
        await Promise.all(revisions.map((at) => this.look(client, at)));
        this.from += BigInt(count);
      }
      return last;
    } finally {
      client.close();
    }
  }

  private async look(client: EtcdClient, at: bigint): Promise<void> {
    const { entries } = await readPrefix(client, this.prefix, at);
    if (entries.length > 1)
      this.wrong.push(`at revision ${at} there are ${entries.map(({ key }) => key).join(' and ')}`);
  }
}

function once(end: () => Promise<void>): () => Promise<void> {
  let ended: Promise<void> | undefined;
  return () => {
    ended ??= end();
    return ended;
  };
}
