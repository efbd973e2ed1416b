/**
 * What can be known before anything is touched. Every problem is found in one go, and each is a
 * sentence; an empty list lets the rollout go on. One check is one function; a check that cannot be
 * made is a problem, because missing data fails a gate.
 */
import { type ErrorCode, PlexiError } from '../../config/errors.js';
import { CommandResult, type Failure, type PreflightStep } from '../../gen/plexi/v1/node_agent.js';
import { NONE } from '../../release/version.js';
import { type AgentNode, currentRelease } from '../node.js';
import { secretProblems } from '../secrets/read-secrets.js';
import { probeSubject } from '../service/node-facts.js';
import { sampleAll } from '../service/probe.js';
import { backupDirectoryProblem } from './backup.js';
import { diskProblems, mountProblems } from './preflight-disk.js';
import { programProblems } from './preflight-programs.js';

/** A clock further off than this makes records and certificates unreadable together. */
const clockSkewMaxMs = 60_000;
/** Milliseconds for the one sample of the service before the rollout. */
const sampleMs = 5_000;

type Release = { version: string; digest: string };

/**
 * Checks the node; touches nothing.
 * @param needsOperator what the node asks an operator for, when it does
 */
export async function preflight(
  node: AgentNode,
  order: PreflightStep,
  needsOperator: Failure | undefined = undefined,
): Promise<CommandResult> {
  const release = await currentRelease(node.paths);
  const checks = [
    async () => versionProblems(node, order, release),
    async () => operatorProblems(node, needsOperator),
    () => healthProblems(node, order, release),
    async () => platformProblems(node, order),
    async () => clockProblems(node, order),
    () => programProblems(node, order),
    () => unreadableSecrets(node),
    async () => backupProblems(node, order),
    () => diskProblems(node, order),
    () => mountProblems(node, order),
  ];
  const problems = (await Promise.all(checks.map((check) => madeOrTold(node, check)))).flat();
  return CommandResult.fromPartial({
    outcome: problems.length === 0 ? 'done' : 'failed',
    ...(problems.length > 0 && {
      failure: { code: 'PREFLIGHT_FAILED', message: problems.map(({ message }) => message).join('; ') },
      failedStep: 'preflight',
    }),
    problems,
    release,
  });
}

async function madeOrTold(node: AgentNode, check: () => Promise<Failure[]>): Promise<Failure[]> {
  try {
    return await check();
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    const code = thrown instanceof PlexiError ? thrown.code : 'PREFLIGHT_FAILED';
    return [problem(code, `${node.config.node} could not be checked: ${why}`)];
  }
}

function problem(code: ErrorCode, message: string): Failure {
  return { code, message };
}

function versionProblems(node: AgentNode, order: PreflightStep, release: Release): Failure[] {
  if (order.from?.version === release.version && order.from.digest === release.digest) return [];
  return [
    problem(
      'NODE_CHANGED',
      `${node.config.node} runs ${release.version} (${release.digest.slice(0, 12)}), not ${order.from?.version} as planned; plan again`,
    ),
  ];
}

function operatorProblems(node: AgentNode, needsOperator: Failure | undefined): Failure[] {
  const { current } = node.maintenance;
  const found: Failure[] = [];
  const isDamaged = current?.since === '';
  // The damage itself is told below, with what ends it.
  if (needsOperator !== undefined && !(isDamaged && needsOperator.code === 'STORE_INVALID')) {
    found.push({
      code: needsOperator.code,
      message: `${node.config.node} asks for an operator (${needsOperator.message}); put it right, then say so with plexictl node confirm ${node.config.node}`,
    });
  }
  if (isDamaged) {
    const { node: name } = node.config;
    const end = `look at the file, then put the node back with plexictl node maintenance off ${name}`;
    found.push(problem('CONFLICT', `${name}: ${current.reason}; ${end}`));
  }
  return found;
}

/** A service that is ill before the rollout would be called ill because of it. */
async function healthProblems(node: AgentNode, order: PreflightStep, release: Release): Promise<Failure[]> {
  if (order.allowUnhealthy || release.version === NONE) return [];
  const { reason, result } = (await node.service.isRunning())
    ? await sampleAll(node.config.probes, {
        expectedVersion: release.version,
        tryMs: sampleMs,
        subject: probeSubject(node),
      })
    : { result: 'bad', reason: 'the service does not run' };
  if (result === 'good') return [];
  return [
    problem(
      'PREFLIGHT_FAILED',
      `${node.config.node} is not healthy before the rollout: ${reason}; put it right, or go on all the same with --force`,
    ),
  ];
}

/** An artifact for `any` machine, or an order that names none, fits. */
function platformProblems(node: AgentNode, order: PreflightStep): Failure[] {
  const fits = (wanted: string, own: string): boolean => ['', 'any', own].includes(wanted);
  if (fits(order.os, process.platform) && fits(order.arch, process.arch)) return [];
  return [
    problem(
      'PREFLIGHT_FAILED',
      `${node.config.node} is ${process.platform}/${process.arch}, and the artifact is for ${order.os}/${order.arch}; build the release for this platform too`,
    ),
  ];
}

function clockProblems(node: AgentNode, order: PreflightStep): Failure[] {
  if (order.controllerTime === undefined) return [];
  const skewMs = Math.abs(node.clock.wall().getTime() - order.controllerTime.getTime());
  if (skewMs <= clockSkewMaxMs) return [];
  const skew = `${Math.round(skewMs / 1000)} s`;
  return [
    problem('PREFLIGHT_FAILED', `the clock of ${node.config.node} is ${skew} off the controller's; set it`),
  ];
}

async function unreadableSecrets(node: AgentNode): Promise<Failure[]> {
  const unusable = await secretProblems(node.config.secrets);
  return unusable.map(({ code, message }) => problem(code, `${node.config.node}: ${message}`));
}

function backupProblems(node: AgentNode, order: PreflightStep): Failure[] {
  if (!order.backup || order.backupPolicy === undefined) return [];
  const why = backupDirectoryProblem(order.backupPolicy.directory, node.config.backup.paths);
  return why === undefined ? [] : [problem('PREFLIGHT_FAILED', `${node.config.node}: ${why}`)];
}
