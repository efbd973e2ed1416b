/**
 * The phases of an upgrade with their real names and rules, played on a model of a node: a service,
 * a link, data, a backup, maintenance. A step may fail or be killed before, in the middle of, or after
 * what it does, and what it does twice by mistake (a migration) spoils the model's data.
 */
import { PlexiError } from '../../config/errors.js';
import type { Phase, PhaseContext } from './phase.js';
import { rollBackPhases, upgradePhases } from './phases.js';

/** One of the two releases between which a model goes; the old one is `0a1`. */
export type Side = 'old' | 'new';

export interface ModelState {
  service: Side | 'down';
  current: Side;
  data: Side | 'half' | 'spoilt';
  backup: 'none' | 'half' | 'whole';
  inMaintenance: boolean;
}

/** What happens in a step besides what it is for. */
export interface Disturbance {
  readonly step: string;
  readonly moment: 'before' | 'middle' | 'after';
  /** Rejects, or returns: then the step goes on. Called once for each run of the step. */
  readonly act: (context: PhaseContext) => Promise<void> | void;
}

/** Where the job goes from, and where to: a job that takes a committed upgrade back goes the other way; a restart nowhere. */
interface Way {
  readonly from: Side;
  readonly to: Side;
  /** What the job's own backup holds. @throws when there is none */
  readonly kept: () => ModelState['data'];
}

type Half = (state: ModelState, way: Way) => void;

/** The two halves of what each step does. */
const effects: Record<string, [Half, Half]> = {
  enter_maintenance: [(state) => set(state, { inMaintenance: true }), nothing],
  stop: [(state) => set(state, { service: 'down' }), nothing],
  backup: [
    (state) => set(state, { backup: 'half' }),
    (state, { from }) => {
      if (state.data !== from || state.service !== 'down') throw new Error('a backup of the wrong moment');
      state.backup = 'whole';
    },
  ],
  migrate: [
    (state, { from }) => set(state, { data: state.data === from ? 'half' : 'spoilt' }),
    (state, { to }) => set(state, { data: state.data === 'half' ? to : 'spoilt' }),
  ],
  apply: [(state, { to }) => set(state, { current: to }), (state, { to }) => set(state, { service: to })],
  await_start: [nothing, (state, { to }) => set(state, { service: to })],
  probe: [
    (state, { to }) => ensureRunning(state, to),
    (state, { to }) => mustBe(state, { service: to, current: to, data: to }),
  ],
  test: [nothing, (state, { to }) => mustBe(state, { service: to, current: to, data: to })],
  commit: [nothing, nothing],
  leave_maintenance: [
    (state, { to }) => ensureRunning(state, to),
    (state) => set(state, { inMaintenance: false }),
  ],
  stop_new: [(state) => set(state, { service: 'down' }), nothing],
  restore: [
    (state) => mustBe(state, { backup: 'whole', service: 'down' }),
    (state, { kept }) => set(state, { data: kept() }),
  ],
  switch_back: [(state, { from }) => set(state, { current: from }), nothing],
  start_old: [nothing, (state, { from }) => set(state, { service: from })],
  probe_old: [
    (state, { from }) => ensureRunning(state, from),
    (state, { from }) => mustBe(state, { service: from, current: from, data: from }),
  ],
  leave_maintenance_back: [
    (state, { from }) => ensureRunning(state, from),
    (state) => set(state, { inMaintenance: false }),
  ],
};

export class ModelNode {
  readonly state: ModelState;
  /** The job that made the backup, and what lies in it. */
  backupOf = '';
  private backedUp: ModelState['data'] | undefined;
  /** Steps in the order in which they began, over all lives of the agent. */
  readonly ran: string[] = [];
  disturbances: Disturbance[] = [];

  readonly forwardPhases: readonly Phase[] = upgradePhases.map((phase) => this.played(phase));
  readonly backPhases: readonly Phase[] = rollBackPhases.map((phase) => this.played(phase));

  constructor(side: Side = 'old') {
    this.state = { service: side, current: side, data: side, backup: 'none', inMaintenance: false };
  }

  /** Lets a step fail in its middle, each time. */
  fail(step: string): this {
    this.disturbances.push({
      step,
      moment: 'middle',
      act: () => {
        throw new PlexiError('PROBE_FAILED', `${step} does not work`);
      },
    });
    return this;
  }

  private played(phase: Phase): Phase {
    return {
      ...phase,
      run: async (context) => {
        this.ran.push(phase.step);
        await this.disturb(phase.step, 'before', context);
        const [first, second] = effects[phase.step] ?? [unknownStep, unknownStep];
        const way = { ...wayOf(context), kept: () => this.keptBy(context.job.commandId) };
        if (phase.step === 'backup') this.beginBackup(context.job.commandId);
        first(this.state, way);
        await this.disturb(phase.step, 'middle', context);
        second(this.state, way);
        if (phase.step === 'backup') this.backedUp = this.state.data;
        await this.disturb(phase.step, 'after', context);
      },
    };
  }

  private beginBackup(job: string): void {
    this.backupOf = job;
    this.backedUp = undefined;
  }

  private keptBy(job: string): ModelState['data'] {
    if (this.backupOf !== job || this.backedUp === undefined)
      throw new Error(`${job} has no backup of its own`);
    return this.backedUp;
  }

  private async disturb(step: string, moment: Disturbance['moment'], context: PhaseContext): Promise<void> {
    for (const disturbance of this.disturbances)
      if (disturbance.step === step && disturbance.moment === moment) await disturbance.act(context);
  }
}

function wayOf({ order }: PhaseContext): Omit<Way, 'kept'> {
  const to = sideOf(order.to?.version);
  if (order.from === undefined) return { from: to === 'old' ? 'new' : 'old', to };
  return { from: sideOf(order.from.version), to };
}

function sideOf(version: string | undefined): Side {
  return version === '0a1' ? 'old' : 'new';
}

/** A step that may be begun again after a power cut starts what does not run. */
function ensureRunning(state: ModelState, side: Side): void {
  if (state.service === 'down') state.service = side;
}

function set(state: ModelState, changes: Partial<ModelState>): void {
  Object.assign(state, changes);
}

function mustBe(state: ModelState, wanted: Partial<ModelState>): void {
  const wrong = Object.entries(wanted).filter(([key, value]) => state[key as keyof ModelState] !== value);
  if (wrong.length > 0)
    throw new PlexiError('PROBE_FAILED', `${JSON.stringify(state)} is not ${JSON.stringify(wanted)}`);
}

function nothing(): void {}

function unknownStep(): never {
  throw new Error('the model knows no such step');
}
