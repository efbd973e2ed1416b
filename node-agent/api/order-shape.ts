/**
 * What a command may hold, before anything of it is used: versions, digests and ids become names of
 * folders on this node, so a controller that was taken over must not be able to name others.
 */
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { longestMs } from '../../config/schema/fields.js';
import type { Command, Release, TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { NONE } from '../../release/version.js';

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._+-]*$/;
const versionPattern = /^[A-Za-z0-9][A-Za-z0-9.+-]*$/;
const digestPattern = /^[0-9a-f]{64}$/;

/** @throws PlexiError LIMIT_EXCEEDED naming the field; nothing was touched then */
export function checkCommand(command: Command): void {
  if (command.commandId.length > limits.commandIdChars || !idPattern.test(command.commandId))
    refuse('commandId', command.commandId);
  const { step } = command;
  switch (step?.$case) {
    case 'preflight':
      checkRelease('from', step.value.from);
      checkRelease('to', step.value.to);
      return;
    case 'upgrade':
      checkRelease('from', step.value.from);
      checkRelease('to', step.value.to);
      checkTimes({ ...step.value.timeouts, ...step.value.probe });
      return;
    case 'stage':
      checkRelease('release', step.value.release);
      checkTimes({ timeoutMs: step.value.timeoutMs });
      // Without both the release must lie on the node already.
      if (step.value.manifestSha256 === '' && step.value.artifactSha256 === '') return;
      if (!digestPattern.test(step.value.manifestSha256)) refuse('manifestSha256', step.value.manifestSha256);
      if (!digestPattern.test(step.value.artifactSha256)) refuse('artifactSha256', step.value.artifactSha256);
      return;
    case 'takeOver':
      checkTakeOver(step.value);
      return;
    case 'maintenance':
      checkTimes({ timeoutMs: step.value.timeoutMs });
      return;
    case 'rollBack':
      // Often the failure of another node, which is told here as it was told there.
      if (step.value.reason.length > limits.failureChars) refuse('reason', step.value.reason);
      return;
    case undefined:
      return;
  }
}

/** A longer time than any configuration has is none that a timer could keep: it ends at once, or not at all. */
function checkTimes(fields: Readonly<Record<string, unknown>>): void {
  for (const [field, value] of Object.entries(fields))
    if (typeof value === 'bigint' && value > longestMs) refuse(field, String(value));
}

function checkTakeOver({ version, directory, reason, timeoutMs }: TakeOverStep): void {
  checkVersion('version', version);
  if (
    directory !== '' &&
    (!isAbsolute(directory) || directory.length > limits.argvChars || /\p{Cc}/u.test(directory))
  )
    refuse('directory', directory);
  if (reason.length > limits.reasonChars) refuse('reason', reason);
  if (timeoutMs < 1n || timeoutMs > limits.takeOverMs) refuse('timeoutMs', String(timeoutMs));
}

function checkRelease(field: string, release: Release | undefined): void {
  const version = release?.version ?? '';
  if (version === NONE || (field === 'from' && version === '')) return;
  checkVersion(field, version);
  if (!digestPattern.test(release?.digest ?? '')) refuse(`${field}.digest`, release?.digest ?? '');
}

function checkVersion(field: string, version: string): void {
  if (version.length > limits.versionChars || version.includes('..') || !versionPattern.test(version))
    refuse(field, version);
}

function refuse(field: string, value: string): never {
  throw new PlexiError(
    'LIMIT_EXCEEDED',
    `the command's ${field} is not acceptable: ${JSON.stringify(value.slice(0, 80))}`,
  );
}

/** The id of a command's backup: the command's own, cut so that it stays a name for a folder. */
export function backupIdOf(commandId: string): string {
  if (commandId.length <= 150) return commandId;
  return `${commandId.slice(0, 120)}-${createHash('sha256').update(commandId).digest('hex').slice(0, 16)}`;
}
