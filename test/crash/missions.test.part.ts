/** In what a node is crashed, and by what: first the kills, each of which is a point of its own. */
import type { Fault } from './strace.test.part.js';
import type { Mission } from './system-calls.test.part.js';

export const upgrade: Mission = { name: 'upgrade', to: '0b1' };
/** From the record on with which it turns back: how long it had looked at the health is not counted. */
export const wayBack: Mission = { name: 'way back', to: '0b2', beginsBeforeRecord: 7 };

/** A job that was killed when a record was made, by the step that the record announces. */
function recovery(step: string, to: '0b1' | '0b2', recoversFromRecord: number): Mission {
  return { name: `recovery from ${step}`, to, recoversFromRecord };
}

/** A killed migration goes back, a killed switch is begun again, a commit is finished. */
export const recoveries: readonly Mission[] = [
  recovery('migrate', '0b1', 4),
  recovery('apply', '0b1', 5),
  recovery('commit', '0b1', 7),
  recovery('restore', '0b2', 8),
];

/** The other steps at which a job can be killed. */
export const moreRecoveries: readonly Mission[] = [
  recovery('enter_maintenance', '0b1', 1),
  recovery('stop', '0b1', 2),
  recovery('backup', '0b1', 3),
  recovery('probe', '0b1', 6),
  recovery('leave_maintenance', '0b1', 8),
  recovery('stop_new', '0b2', 7),
  recovery('switch_back', '0b2', 9),
  recovery('start_old', '0b2', 10),
  recovery('probe_old', '0b2', 11),
  recovery('leave_maintenance_back', '0b2', 12),
];

export const kill: Fault = { kind: 'kill' };
export const inputError: Fault = { kind: 'EIO' };
/** The disk is full at one call. */
export const full: Fault = { kind: 'ENOSPC' };
/** The disk stays full. Not for `write`, by which libuv also wakes itself. */
export const staysFull: Fault = { kind: 'ENOSPC', from: true };

/** The kinds of error that a call can fail with. */
export function errorsOf(call: string): Fault[] {
  return call === 'write' ? [inputError, full] : [inputError, full, staysFull];
}
