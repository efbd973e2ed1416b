/**
 * What can be known before anything is touched. Every problem is found in one go, and each is a
 * sentence; an empty list lets the rollout go on.
 */
import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import type { ErrorCode } from '../../config/errors.js';
import { CommandResult, type Failure, type PreflightStep } from '../../gen/plexi/v1/node_agent.js';
import { treeSizeBytes } from '../backup/create.js';
import { type AgentNode, currentRelease } from '../node.js';

/** At least this much is kept free on every filesystem (design, section 4). */
const freeBytesMin = 500 * 1024 * 1024;
/** A clock further off than this makes records and certificates unreadable together. */
const clockSkewMaxMs = 60_000;

type Problem = Failure;

/** Checks the node; touches nothing. */
export async function preflight(node: AgentNode, order: PreflightStep): Promise<CommandResult> {
  const release = await currentRelease(node.paths);
  const problems = [
    ...versionProblems(node, order, release),
    ...operatorProblems(node),
    ...clockProblems(node, order),
    ...(await hookProblems(node, order)),
    ...(await diskProblems(node, order)),
    ...(await mountProblems(node, order)),
  ];
  return CommandResult.fromPartial({
    outcome: problems.length === 0 ? 'done' : 'failed',
    ...(problems.length > 0 && {
      failure: { code: 'PREFLIGHT_FAILED', message: problems.map((problem) => problem.message).join('; ') },
      failedStep: 'preflight',
    }),
    problems,
    release,
  });
}

function problem(code: ErrorCode, message: string): Problem {
  return { code, message };
}

function versionProblems(
  node: AgentNode,
  order: PreflightStep,
  release: { version: string; digest: string },
): Problem[] {
  if (order.from?.version === release.version && order.from.digest === release.digest) return [];
  return [
    problem(
      'NODE_CHANGED',
      `${node.config.node} runs ${release.version} (${release.digest.slice(0, 12)}), not ${order.from?.version} as planned; plan again`,
    ),
  ];
}

function operatorProblems(node: AgentNode): Problem[] {
  const { current } = node.maintenance;
  return current?.since === ''
    ? [problem('CONFLICT', `${node.config.node}: ${current.reason}; look at the file, then remove it`)]
    : [];
}

function clockProblems(node: AgentNode, order: PreflightStep): Problem[] {
  if (order.controllerTime === undefined) return [];
  const skewMs = Math.abs(node.clock.wall().getTime() - order.controllerTime.getTime());
  return skewMs <= clockSkewMaxMs
    ? []
    : [
        problem(
          'PREFLIGHT_FAILED',
          `the clock of ${node.config.node} is ${Math.round(skewMs / 1000)} s off the controller's; set it`,
        ),
      ];
}

async function hookProblems(node: AgentNode, order: PreflightStep): Promise<Problem[]> {
  if (!order.maintenanceHooks) return [];
  const { enter, leave } = node.config.maintenance;
  const missing: Problem[] = [];
  for (const program of [enter?.[0], leave?.[0]]) {
    if (program !== undefined && !(await isExecutable(program))) {
      missing.push(
        problem(
          'PREFLIGHT_FAILED',
          `the maintenance hook ${program} on ${node.config.node} is missing or not executable`,
        ),
      );
    }
  }
  return missing;
}

/** Whether a program can be started, by its path or through PATH. */
async function isExecutable(program: string): Promise<boolean> {
  const candidates = isAbsolute(program)
    ? [program]
    : (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, program));
  const found = await Promise.allSettled(candidates.map((candidate) => access(candidate, constants.X_OK)));
  return found.some((result) => result.status === 'fulfilled');
}

async function diskProblems(node: AgentNode, order: PreflightStep): Promise<Problem[]> {
  const backupBytes = order.backup ? await treeSizeBytes(node.paths.root, node.config.backup.paths) : 0;
  const neededBytes = Math.max(freeBytesMin, backupBytes + 2 * Number(order.unpackedBytes));
  const { bavail, bsize } = await statfs(node.paths.root);
  const freeBytes = bavail * bsize;
  return freeBytes >= neededBytes
    ? []
    : [
        problem(
          'PREFLIGHT_FAILED',
          `${node.config.node} has ${megabytes(freeBytes)} MB free under ${node.paths.root} and needs ${megabytes(neededBytes)} MB`,
        ),
      ];
}

function megabytes(bytes: number): number {
  return Math.floor(bytes / 1024 / 1024);
}

/** Going back swaps a whole folder by rename, which a mount point does not allow. */
async function mountProblems(node: AgentNode, order: PreflightStep): Promise<Problem[]> {
  if (!order.backup) return [];
  const rootDevice = (await stat(node.paths.root)).dev;
  const found: Problem[] = [];
  for (const path of node.config.backup.paths) {
    const device = await deviceOf(join(node.paths.root, path));
    if (device !== undefined && device !== rootDevice) {
      found.push(
        problem(
          'PREFLIGHT_FAILED',
          `${path} on ${node.config.node} is a filesystem of its own; mount the node's root there instead`,
        ),
      );
    }
  }
  return found;
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
