/**
 * What the nodes of a rollout did, against what its course wants: every command once and in its order, and the
 * audit record that tells of each of them and of its outcome once, in one chain.
 */
import { AuditServiceService } from '../../gen/plexi/v1/audit.js';
import type { Calls } from './cluster.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

/** The commands of each node in their order, without the id of the rollout and the node: `upgrade.1`. */
export type Course = ReadonlyMap<string, readonly string[]>;

/** The commands of a node that goes to the next version and stays there. */
export const forward: readonly string[] = ['preflight.1', 'stage.1', 'upgrade.1'];

/** Every command once and in its order, and no other. */
export function wrongCommands(id: string, course: Course, { node, executed }: ScriptedAgent): string[] {
  const wanted = (course.get(node) ?? []).map((step) => `${id}.${node}.${step}`);
  const did = executed.filter((command) => command.startsWith(`${id}.`));
  return did.join() === wanted.join() ? [] : [`${node} executed ${did.join(', ') || 'nothing'}`];
}

/** The chain holds, and has each command and its outcome once. */
export async function wrongAudit(id: string, course: Course, calls: Calls): Promise<string[]> {
  const { records, verification } = await calls.ask(AuditServiceService.list, { limit: 200, verify: true });
  const told = records.map(({ json }) => JSON.parse(json)).filter(({ rollout }) => rollout === id);
  const wanted = [...course].flatMap(([node, steps]) => steps.map((step) => `${id}.${node}.${step}`)).sort();
  const problem = verification?.problem ?? 'it was not verified';
  const wrong = problem === '' ? [] : [`the audit: ${problem}`];
  for (const kind of ['command', 'outcome']) {
    const has = told.filter(({ what }) => what === kind).map(({ commandId }) => commandId);
    if (has.sort().join() !== wanted.join()) wrong.push(`the audit has as ${kind}s ${has.join(', ')}`);
  }
  return wrong;
}
