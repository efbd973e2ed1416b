/**
 * The phases of an upgrade with their real names and rules, played on a model of a node: a service,
 * a link, data, a backup, maintenance. A step may fail or be killed before, in the middle of, or after
 * what it does, and what it does twice by mistake (a migration) spoils the model's data.
 */
import { PlexiError } from '../../config/errors.js';
import type { Phase, PhaseContext } from './phase.js';
import { rollBackPhases, upgradePhases } from './phases.js';

export interface ModelState {
  service: 'old' | 'new' | 'down';
  current: 'old' | 'new';
  data: 'old' | 'new' | 'half' | 'spoilt';
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

/** The two halves of what each step does. */
const effects: Record<string, [(state: ModelState) => void, (state: ModelState) => void]> = {
  enter_maintenance: [(state) => set(state, { inMaintenance: true }), nothing],
  stop: [(state) => set(state, { service: 'down' }), nothing],
  backup: [
    (state) => set(state, { backup: 'half' }),
    (state) => {
      if (state.data !== 'old' || state.service !== 'down') throw new Error('a backup of the wrong moment');
      state.backup = 'whole';
    },
  ],
  migrate: [
    (state) => set(state, { data: state.data === 'old' ? 'half' : 'spoilt' }),
    (state) => set(state, { data: state.data === 'half' ? 'new' : 'spoilt' }),
  ],
  apply: [(state) => set(state, { current: 'new' }), (state) => set(state, { service: 'new' })],
  await_start: [nothing, (state) => set(state, { service: 'new' })],
  probe: [nothing, (state) => mustBe(state, { service: 'new', current: 'new', data: 'new' })],
  test: [nothing, (state) => mustBe(state, { service: 'new', current: 'new', data: 'new' })],
  commit: [nothing, nothing],
  leave_maintenance: [nothing, (state) => set(state, { inMaintenance: false })],
  stop_new: [(state) => set(state, { service: 'down' }), nothing],
  restore: [
    (state) => mustBe(state, { backup: 'whole', service: 'down' }),
    (state) => set(state, { data: 'old' }),
  ],
  switch_back: [(state) => set(state, { current: 'old' }), nothing],
  start_old: [nothing, (state) => set(state, { service: 'old' })],
  probe_old: [nothing, (state) => mustBe(state, { service: 'old', current: 'old', data: 'old' })],
  leave_maintenance_back: [nothing, (state) => set(state, { inMaintenance: false })],
};

export class ModelNode {
  readonly state: ModelState = {
    service: 'old',
    current: 'old',
    data: 'old',
    backup: 'none',
    inMaintenance: false,
  };
  /** Steps in the order in which they began, over all lives of the agent. */
  readonly ran: string[] = [];
  disturbances: Disturbance[] = [];

  readonly forwardPhases: readonly Phase[] = upgradePhases.map((phase) => this.played(phase));
  readonly backPhases: readonly Phase[] = rollBackPhases.map((phase) => this.played(phase));

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
        first(this.state);
        await this.disturb(phase.step, 'middle', context);
        second(this.state);
        await this.disturb(phase.step, 'after', context);
      },
    };
  }

  private async disturb(step: string, moment: Disturbance['moment'], context: PhaseContext): Promise<void> {
    for (const disturbance of this.disturbances)
      if (disturbance.step === step && disturbance.moment === moment) await disturbance.act(context);
  }
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
