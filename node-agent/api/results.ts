/** The journal's results in the words of the protocol. */
import { CommandResult } from '../../gen/plexi/v1/node_agent.js';
import type { JobResult } from '../journal/records.js';

export function toCommandResult(result: JobResult): CommandResult {
  return CommandResult.fromPartial({
    outcome: result.outcome,
    ...(result.failure && { failure: result.failure }),
    failedStep: result.failedStep,
    release: result.release,
    timings: result.timings.map(({ step, durationMs }) => ({ step, durationMs: BigInt(durationMs) })),
    backupId: result.backupId,
  });
}
