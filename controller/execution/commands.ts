/** The engine's commands in the words of the protocol: what stands in the plan, and nothing else. Pure. */
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import type { MigrationRef, OpenCommand, PlanPart, Rollout } from '../rollout/rollout.js';
import type { NodeOrder, Slot } from '../rollout/world.js';

export interface TokenParts {
  readonly epoch: bigint;
  readonly term: bigint;
  readonly seq: bigint;
}

/** Builds the command for a node. The same plan gives the same payload, whoever leads. */
export function buildCommand(
  rollout: Rollout,
  part: PlanPart,
  open: PlannedCommand,
  token: TokenParts,
  now: Date,
): Command {
  return Command.fromPartial({
    commandId: open.id,
    rolloutId: rollout.id,
    planDigest: rollout.plan.digest,
    token,
    attempt: open.attempt,
    step: stepOf(rollout, part, open, now),
  });
}

/** Builds the command for an operator's own maintenance, which belongs to no rollout. */
export function buildMaintenance(
  slot: Slot,
  open: OpenCommand,
  token: TokenParts,
  timeoutMs: number,
): Command {
  const { maintenance } = slot;
  return Command.fromPartial({
    commandId: open.id,
    token,
    attempt: open.attempt,
    step: {
      $case: 'maintenance',
      value: {
        on: maintenance?.wanted === 'in',
        reason: maintenance?.reason ?? '',
        timeoutMs: BigInt(timeoutMs),
      },
    },
  });
}

/** Builds the command for an operator's order to take over what runs on a node. */
export function buildTakeOver(order: NodeOrder, open: OpenCommand, token: TokenParts): Command {
  return Command.fromPartial({
    commandId: open.id,
    token,
    attempt: open.attempt,
    step: {
      $case: 'takeOver',
      value: {
        version: order.version,
        directory: order.directory,
        confirm: order.kind === 'confirm',
        reason: order.reason,
        timeoutMs: BigInt(limits.takeOverMs),
      },
    },
  });
}

/** A command that carries a part of a plan. */
type PlannedCommand = OpenCommand & {
  readonly kind: Exclude<OpenCommand['kind'], 'maintenance' | 'take_over'>;
};

function stepOf(
  rollout: Rollout,
  part: PlanPart,
  open: PlannedCommand,
  now: Date,
): NonNullable<Command['step']> {
  const { policy } = rollout.plan.header;
  switch (open.kind) {
    case 'preflight':
      return {
        $case: 'preflight',
        value: {
          from: part.from,
          to: part.to,
          unpackedBytes: BigInt(part.unpackedBytes),
          controllerTime: now,
          backup: part.backup,
          maintenanceHooks: policy.maintenanceHooks,
          backupPolicy: policy.backupRule,
          os: part.os,
          arch: part.arch,
          allowUnhealthy:
            policy.allowUnhealthy ||
            rollout.plan.header.stageOnly ||
            part.strategy === 'restart' ||
            part.strategy === 'reinstall',
        },
      };
    case 'stage':
      return {
        $case: 'stage',
        value: {
          release: part.to,
          manifestSha256: part.manifestSha256,
          artifactSha256: part.artifactSha256,
          back: part.from,
          timeoutMs: BigInt(policy.timeouts.stageMs),
          reinstall: part.strategy === 'reinstall',
          checkMigrations: policy.checkMigrations ? [...part.migrations] : [],
        },
      };
    case 'upgrade':
      return { $case: 'upgrade', value: upgradeStep(rollout, part, 'forward') };
    case 'revert':
      return { $case: 'upgrade', value: upgradeStep(rollout, part, 'back') };
    case 'roll_back':
      return {
        $case: 'rollBack',
        value: {
          upgradeCommandId: `${rollout.id}.${part.node}.upgrade.${lastUpgrade(rollout, part.node)}`,
          reason: reasonOf(rollout),
        },
      };
  }
}

function lastUpgrade(rollout: Rollout, node: string): number {
  return rollout.nodes.get(node)?.attempts.upgrade ?? 1;
}

function reasonOf(rollout: Rollout): string {
  return 'reason' in rollout.course ? rollout.course.reason : 'the rollout turned back';
}

function upgradeStep(rollout: Rollout, part: PlanPart, way: 'forward' | 'back') {
  const { policy } = rollout.plan.header;
  const forward = way === 'forward';
  const { timeouts, probe } = policy;
  return {
    from: forward ? part.from : part.to,
    to: forward ? part.to : part.from,
    migrations: forward ? [...part.migrations] : inverted(part.migrations),
    backup: part.backup,
    backupPolicy: policy.backupRule,
    maintenanceHooks: policy.maintenanceHooks,
    tests: forward && policy.tests,
    // A way back waits for nobody: the service is down, and what it goes back to has run before.
    restartByHand: forward && policy.restartByHand,
    timeouts: {
      maintenanceMs: BigInt(timeouts.maintenanceMs),
      stopMs: BigInt(timeouts.stopMs),
      backupMs: BigInt(timeouts.backupMs),
      migrateMs: BigInt(timeouts.migrateMs),
      applyMs: BigInt(timeouts.applyMs),
      probeMs: BigInt(timeouts.probeMs),
      testMs: BigInt(timeouts.testMs),
      rollbackMs: BigInt(timeouts.rollbackMs),
    },
    probe: {
      goodInARow: probe.goodInARow,
      spacingMs: BigInt(probe.spacingMs),
      intervalMaxMs: BigInt(probe.intervalMaxMs),
      tryMs: BigInt(probe.tryMs),
    },
  };
}

/** Going back undoes what was done, last first. */
function inverted(migrations: readonly MigrationRef[]): MigrationRef[] {
  return migrations
    .map((step) => ({ ...step, direction: step.direction === 'up' ? ('down' as const) : ('up' as const) }))
    .reverse();
}
