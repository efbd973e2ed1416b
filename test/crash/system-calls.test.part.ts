/**
 * A node with a fault at one system call of its agent: in an upgrade, on the way back, or while a killed
 * job is taken up. After each try an agent starts without faults, and the node must be old or new.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentLife, configOf, type Ended } from './agent-life.test.part.js';
import { CrashBench, type Driver } from './crash-bench.test.part.js';
import type { DriverAnswer, DriverOrder } from './driver.test.part.js';
import { leftBehind, whatIsWrong, wrongWhenAsking } from './old-or-new.test.part.js';
import { type CallPoint, type Fault, nameOf, type TracedCall, Tracer } from './strace.test.part.js';

/** In what the fault happens: an order, or taking up a job that was killed when its n-th record was made. */
export interface Mission {
  readonly name: string;
  readonly to: '0b1' | '0b2';
  readonly recoversFromRecord?: number;
  /** An order whose calls count only from there on. */
  readonly beginsBeforeRecord?: number;
}

/** Runs until the fault has happened at its call. */
const attemptsMax = 30;
/** So many of them for the call that is meant; then another one to the same path counts as well. */
const attemptsExact = 5;
/** Runs without a fault: what is not called in each of them is no point. */
const runsWithout = 3;

/** What one try showed. */
export interface Tried {
  readonly what: string;
  /** The call that was hit; undefined when the run ended before it. */
  readonly hit: string | undefined;
  readonly wrong: readonly string[];
}

export class SystemCallTries {
  private constructor(readonly bench: CrashBench) {}

  static async create(): Promise<SystemCallTries> {
    return new SystemCallTries(await CrashBench.create());
  }

  /**
   * The calls for the root in a mission without faults, in the order of their beginning: those that it makes each
   * time. What depends on how fast something else was (a look at the health more, and its line in a log) is left out.
   */
  async points(mission: Mission): Promise<TracedCall[]> {
    const [first = [], ...others] = await inTurn(runsWithout, () => this.calls(mission));
    return first.filter((call) => others.every((other) => other.some((it) => isSame(it, call))));
  }

  private async calls(mission: Mission): Promise<TracedCall[]> {
    const { root, driver, order } = await this.upToMission(mission);
    const tracers = await Promise.all(
      (['main', 'pool'] as const).map((thread) =>
        Tracer.attach({ thread, tid: driver.threads[thread], log: `${root}.${thread}` }),
      ),
    );
    const answer = await endOf(driver, order);
    const traced = await Promise.all(tracers.map((tracer) => tracer.end(root)));
    await driver.end();
    const ended = answer !== undefined && 'ended' in answer ? answer.ended : undefined;
    const wrong = ended === undefined ? ['it died'] : await whatIsWrong(root, this.bench.releases, ended);
    if (wrong.length > 0) throw new Error(`${mission.name} without a fault: ${wrong.join('; ')}`);
    const own = traced.flat().filter(({ ordinal }) => ordinal > 0);
    await this.bench.discard(root);
    return own.sort((one, other) => one.at - other.at);
  }

  /**
   * One try. How many calls of a kind lie before the one that is meant differs a little from run to run (libuv's
   * own wake-ups are writes as well), so a run that hit another one is done again with the number that it showed.
   * @param spoil breaks the node behind the fault, for a test of the check itself
   */
  async try(
    mission: Mission,
    aim: TracedCall,
    fault: Fault,
    spoil: (root: string) => void = () => undefined,
  ): Promise<Tried> {
    const what = tryName(mission, aim, fault);
    const { thread, call } = aim;
    // What stays so is to meet every path.
    const place = 'from' in fault ? undefined : aim.atPath;
    const first: CallPoint = { thread, call, nth: aim.nth, ...place };
    let point = first;
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const { root, ended, calls } = await this.run(mission, point, fault);
      const hit = calls.find(({ nth }) => nth === point.nth);
      const isHit = hit !== undefined && (isSame(hit, aim) || (attempt > attemptsExact && isAlike(hit, aim)));
      spoil(root);
      const wrong = isHit ? await this.wrongAfter(root, fault, ended) : [];
      await this.bench.discard(root);
      if (isHit) return { what, hit: hit.line, wrong };
      if (calls.length === 0) break;
      point = { ...point, nth: nextNth(calls, aim, point) ?? first.nth };
    }
    return { what, hit: undefined, wrong: [] };
  }

  private async run(mission: Mission, point: CallPoint, fault: Fault) {
    const { root, driver, order } = await this.upToMission(mission);
    const { thread } = point;
    const path = point.path === undefined ? undefined : `${root}${point.path}`;
    const log = `${root}.${thread}`;
    const tracer = await Tracer.attach({
      thread,
      tid: driver.threads[thread],
      log,
      fault: { point: { ...point, path }, fault },
    });
    const answered = await endOf(driver, order).catch((error: Error) => error);
    const calls = await tracer.end(root);
    await driver.end(answered instanceof Error ? 'kill' : 'eof');
    // libuv aborts, or waits for ever, when it cannot wake itself: such a call is not the root's.
    const isHit = calls.some(({ nth, ordinal }) => nth === point.nth && ordinal > 0);
    if (answered instanceof Error && isHit) throw answered;
    const ended = answered !== undefined && 'ended' in answered ? answered.ended : undefined;
    return { root, calls, ended };
  }

  private async wrongAfter(root: string, fault: Fault, ended: Ended | undefined): Promise<string[]> {
    const { releases } = this.bench;
    if (fault.kind === 'kill') {
      if (ended !== undefined) return ['it was to be killed, and ended'];
    } else if (ended === undefined) return ['the agent died of an error'];
    else if (ended.asks !== undefined) {
      const wrong = await wrongWhenAsking(root, ended);
      if (wrong.length > 0) return wrong.map((text) => `before a restart: ${text}`);
    } else if (ended.outcome === 'open') {
      if (ended.refused === undefined) return ['the job is open, nothing works on it, and nobody is asked'];
    } else {
      const wrong = await whatIsWrong(root, releases, ended);
      const lasting = wrong.filter((text) => !text.endsWith(leftBehind));
      if (lasting.length > 0) return lasting.map((text) => `before a restart: ${text}`);
    }
    return this.wrongAfterRestart(root, ended);
  }

  /** The next agent, without faults, in this process. */
  private async wrongAfterRestart(root: string, before: Ended | undefined): Promise<string[]> {
    const life = await AgentLife.begin(configOf(root, this.bench.repository));
    try {
      const ended = await life.recover();
      await life.end();
      if (ended.asks !== undefined && before?.asks === undefined)
        return [`it asks for an operator: ${ended.asks.message}`];
      return await whatIsWrong(root, this.bench.releases, ended);
    } finally {
      await life.end();
    }
  }

  /** A driver that is about to do what the mission is about. */
  private async upToMission(
    mission: Mission,
  ): Promise<{ root: string; driver: Driver; order: DriverOrder | '' }> {
    const { bench } = this;
    const { repository } = bench;
    const root = await bench.newRoot();
    const first = await bench.driver();
    const { recoversFromRecord: killedAt, beginsBeforeRecord: begins } = mission;
    const stops = killedAt !== undefined || begins !== undefined;
    await first.ask({ do: 'prepare', root, repository, command: bench.order(mission.to), stops });
    if (begins !== undefined) {
      await standAt(first, begins, false);
      return { root, driver: first, order: '' };
    }
    if (killedAt === undefined) return { root, driver: first, order: { do: 'obey' } };
    await standAt(first, killedAt, true);
    await first.end('kill');
    return { root, driver: await bench.driver(), order: { do: 'recover', root, repository } };
  }
}

/** What a try is, in words that are the same in each run of the harness. */
export function tryName(mission: Mission, aim: TracedCall, fault: Fault): string {
  return `${mission.name}, ${fault.kind}${'from' in fault ? ' from' : ' at'} ${nameOf(aim)}: ${aim.what}`;
}

function isSame(one: TracedCall, other: TracedCall): boolean {
  return isAlike(one, other) && one.which === other.which;
}

/** Lines of a log are written in one call or in several, as it happens: one of them is as good as the next. */
function isAlike(one: TracedCall, other: TracedCall): boolean {
  return one.thread === other.thread && one.what === other.what;
}

/**
 * Where the call that is meant was in a run that missed it; else as far on as it must be beyond the one that was
 * hit; undefined when the run made fewer calls.
 */
function nextNth(calls: readonly TracedCall[], aim: TracedCall, { nth }: CallPoint): number | undefined {
  const seen = calls.find((call) => isSame(call, aim));
  if (seen !== undefined) return seen.nth;
  if (calls.every((call) => call.nth !== nth)) return undefined;
  const before = calls.filter((call) => call.nth <= nth && call.ordinal > 0).length;
  return nth + Math.max(1, aim.ordinal - before);
}

async function inTurn<T>(times: number, work: () => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  for (let time = 0; time < times; time++) all.push(await work());
  return all;
}

/** The last answer to an order, whichever records the driver stands still at before. */
async function endOf(driver: Driver, order: DriverOrder | ''): Promise<DriverAnswer | undefined> {
  let answer = await driver.ask(order);
  while (answer !== undefined && 'record' in answer) answer = await driver.ask('');
  return answer;
}

/** Lets a driver obey until it stands still before its n-th record, or because that has just become durable. */
async function standAt(driver: Driver, nth: number, isDurable: boolean): Promise<void> {
  let answer = await driver.ask({ do: 'obey' });
  const isEarlier = (): boolean =>
    answer !== undefined && 'record' in answer && !(answer.isDurable === isDurable && answer.record === nth);
  while (isEarlier()) answer = await driver.ask('');
  if (answer === undefined || !('record' in answer)) throw new Error(`the job has no record ${nth}`);
}

/** The kinds of record of a job, in their order: `accepted`, then steps by name. */
export async function recordsOf(tries: SystemCallTries, to: '0b1' | '0b2'): Promise<string[]> {
  const { bench } = tries;
  const root = await bench.newRoot();
  const driver = await bench.driver();
  await driver.ask({ do: 'prepare', root, repository: bench.repository, command: bench.order(to) });
  await driver.ask({ do: 'obey' });
  await driver.end();
  const folder = join(root, 'agent', 'journal');
  const kinds = readdirSync(folder)
    .sort()
    .map((name) => {
      const record: { kind: string; step?: string } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      return record.step ?? record.kind;
    });
  await bench.discard(root);
  return kinds;
}
