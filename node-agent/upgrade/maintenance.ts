/**
 * Out of service, and back in. A node that was in maintenance before the job stays there after it.
 */
import type { UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import type { Job } from '../journal/journal.js';
import { type AgentNode, commandEnvironment, type LocalRelease } from '../node.js';
import { ensureRunning } from './apply.js';
import type { Phase, PhaseContext } from './phase.js';
import { runProgram } from './program.js';

export const enterMaintenanceStep: Phase = {
  step: 'enter_maintenance',
  phase: 'entering_maintenance',
  onRestart: 'redo',
  cancellable: true,
  timeoutMs: (order) => Number(order.timeouts?.maintenanceMs ?? 0n),
  applies: (_order, job) => !job.facts.wasInMaintenance,
  async run(context) {
    await context.node.maintenance.enter({
      ...hookRun(context.node, context.before, boundsOf(context)),
      reason: `${context.order.from?.version ?? ''} to ${context.order.to?.version ?? ''}, ${context.job.commandId}`,
      since: context.node.clock.wall().toISOString(),
      withHooks: context.order.maintenanceHooks,
    });
  },
};

export const leaveMaintenanceStep: Phase = {
  step: 'leave_maintenance',
  phase: 'leaving_maintenance',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.maintenanceMs ?? 0n),
  applies: leaves,
  run: (context) => leave(context, context.after),
};

export const leaveMaintenanceAfterRollbackStep: Phase = {
  ...leaveMaintenanceStep,
  step: 'leave_maintenance_back',
  phase: 'rolling_back',
  run: (context) => leave(context, context.before),
};

/** The node's own fact, recorded before the job set anything: what others believe may be stale. */
function leaves(_order: UpgradeStep, job: Pick<Job, 'facts'>): boolean {
  return !job.facts.wasInMaintenance;
}

/** A node that goes back into service serves: after a power cut in this very step it may not. */
async function leave(context: PhaseContext, release: LocalRelease | undefined): Promise<void> {
  await ensureRunning(context.node, release);
  await context.node.maintenance.leave({
    ...hookRun(context.node, release, boundsOf(context)),
    withHooks: context.order.maintenanceHooks,
  });
}

function boundsOf({ job, timeoutMs, signal }: PhaseContext): HookBounds {
  return { commandId: job.commandId, timeoutMs, signal };
}

interface HookBounds {
  /** The command that it belongs to. */
  readonly commandId: string;
  /** Milliseconds for the hook, the drain included. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** How a maintenance hook is run on this node. */
export function hookRun(node: AgentNode, release: LocalRelease | undefined, bounds: HookBounds) {
  return {
    runHook: (name: 'enter' | 'leave', argv: readonly string[]) =>
      runProgram(node, {
        ...bounds,
        what: `maintenance ${name} hook`,
        name,
        argv,
        cwd: node.paths.root,
        env: commandEnvironment(node, release),
      }),
  };
}
