/**
 * An operator's word for what a node runs, in the place of the look at a real host: it takes a moment, may fail,
 * and changes nothing but what follows from it. The journal, and what ends maintenance, are the real ones.
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import type { TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import type { Job } from '../../node-agent/journal/journal.js';
import { leftInMaintenanceBy } from '../../node-agent/takeover/left-in-maintenance.js';
import { takeOverStep } from '../../node-agent/takeover/take-over.js';
import { JobRun, type JobRunParts } from '../../node-agent/upgrade/job-run.js';

/** How the model of a host looks at what runs. @throws PlexiError when it is not what the order says */
export type Look = (order: TakeOverStep) => Promise<void>;

/** Lets every agent take over by its model. @param lookOf finds the model of the node whose job it is */
export function withModelTakeOver(lookOf: (node: JobRunParts['node']) => Look): () => void {
  const { takeOver, abandonTakeOver } = JobRun.prototype;
  const before = { takeOver, abandonTakeOver };
  Object.assign(JobRun.prototype, {
    takeOver(this: JobRun, order: TakeOverStep) {
      return playTakeOver(this, order, lookOf);
    },
    abandonTakeOver(this: JobRun) {
      const failure = { code: 'INTERRUPTED', message: 'the agent was restarted in the middle of it' };
      return this.finish({ outcome: 'failed', failure, failedStep: takeOverStep });
    },
  });
  return () => Object.assign(JobRun.prototype, before);
}

async function playTakeOver(run: JobRun, order: TakeOverStep, lookOf: (node: JobRunParts['node']) => Look) {
  const { node, journal }: JobRunParts = Reflect.get(run, 'parts');
  const { commandId }: Job = Reflect.get(run, 'job');
  try {
    await lookOf(node)(order);
    const earlier = journal.list().filter((job) => job.commandId !== commandId);
    const failed = node.maintenance.current === undefined ? undefined : leftInMaintenanceBy(earlier);
    if (failed !== undefined)
      await node.maintenance.leave({} as Parameters<typeof node.maintenance.leave>[0]);
  } catch (thrown) {
    const { code, message } = asPlexiError(thrown, 'TAKE_OVER_FAILED', 'taking over');
    if (!(thrown instanceof PlexiError)) throw thrown;
    return run.finish({ outcome: 'failed', failure: { code, message }, failedStep: takeOverStep });
  }
  return run.finish({ outcome: 'done', failure: null, failedStep: '' });
}
