/**
 * How a node's services are started, stopped and found: one entry for each adapter. Invariant: every
 * service has a name of its own, and what starts it is either here, in the release, or the init
 * system's own affair.
 */
import * as z from 'zod';
import { limits } from '../limits.js';
import { argv, filePath, name } from './fields.js';

/** Variables for programs; the names that begin with PLEXI_ are the agent's own. */
export function environment() {
  return z
    .record(
      z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'is no name of an environment variable')
        .refine((key) => !key.startsWith('PLEXI_'), 'begins with PLEXI_, which is kept for the agent'),
      z
        .string()
        .max(32_768)
        .refine((value) => !value.includes('\0'), 'must not hold a NUL character'),
    )
    .refine((record) => Object.keys(record).length <= limits.environmentVariables, 'holds too many variables')
    .default({});
}

/** The agent starts a process of its own and keeps it. */
const processService = {
  adapter: z.literal('process'),
  /** Instead of what the release says; a relative program is taken from the release's folder. */
  start: argv().optional(),
  env: environment(),
};

/** Programs of the operator start and stop it, and tell whether it runs (exit code 0: it does). */
function commandService(folder: string) {
  return {
    adapter: z.literal('command'),
    start: argv(),
    stop: argv(),
    status: argv(),
    env: environment(),
    log_file: filePath(folder).optional(),
  };
}

/** A unit of systemd, which must run the service from `current`. */
const systemdService = {
  adapter: z.literal('systemd'),
  unit: z
    .string()
    .max(255)
    .regex(/^[A-Za-z0-9:_.@\\-]+\.service$/, 'must be the name of a service unit, such as chat.service'),
  env: environment(),
};

/** The one service of a node. */
export function service(folder: string) {
  return z.discriminatedUnion('adapter', [
    z.strictObject(processService),
    z.strictObject(commandService(folder)),
    z.strictObject(systemdService),
  ]);
}

/** Several services of a node, in the order in which they start; they stop in the reverse of it. */
export function services(folder: string) {
  return z
    .array(
      z.discriminatedUnion('adapter', [
        z.strictObject({ name: name(), ...processService }),
        z.strictObject({ name: name(), ...commandService(folder) }),
        z.strictObject({ name: name(), ...systemdService }),
      ]),
    )
    .min(1)
    .max(limits.services)
    .refine(
      (list) => new Set(list.map((entry) => entry.name)).size === list.length,
      'names two services alike',
    );
}

type Written = z.output<ReturnType<typeof service>>;

/** How one service is started and stopped. */
export type ServiceConfig = ReturnType<typeof serviceConfig>;

/** The settings of a service in the words of the code. */
export function serviceConfig(name: string, written: Written) {
  switch (written.adapter) {
    case 'process':
      return { name, adapter: written.adapter, start: written.start, env: written.env } as const;
    case 'command':
      return {
        name,
        adapter: written.adapter,
        start: written.start,
        stop: written.stop,
        status: written.status,
        env: written.env,
        logFile: written.log_file,
      } as const;
    case 'systemd':
      return { name, adapter: written.adapter, unit: written.unit, env: written.env } as const;
  }
}
