/**
 * What of a node's units would break the rule that only the agent starts the service (protocol.md,
 * rule 10). Preflight tells it before anything is touched.
 */
import { asPlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { askUnit, type UnitState, whyNotLoaded } from './systemctl.js';

/** How a unit must be ended, so that nothing of it stays behind. */
const goodKillModes = ['control-group', 'mixed', ''];

/** One sentence for each problem; empty when there is none, or no service of the adapter `systemd`. */
export async function systemdProblems(config: Pick<NodeAgentConfig, 'services'>): Promise<string[]> {
  const found: string[] = [];
  for (const service of config.services) {
    if (service.adapter === 'systemd') found.push(...(await unitProblems(service.unit)));
  }
  return found;
}

async function unitProblems(unit: string): Promise<string[]> {
  try {
    const state = await askUnit(unit, 'PREFLIGHT_FAILED');
    const notLoaded = whyNotLoaded(unit, state);
    return notLoaded === undefined ? settingProblems(unit, state) : [notLoaded];
  } catch (thrown) {
    return [asPlexiError(thrown, 'PREFLIGHT_FAILED', `the unit ${unit} could not be looked at`).message];
  }
}

function settingProblems(unit: string, state: UnitState): string[] {
  const problems: string[] = [];
  if (state.UnitFileState.startsWith('enabled')) {
    problems.push(
      `the unit ${unit} is enabled, so it would start by itself after a reboot; run systemctl disable ${unit}: the agent starts it`,
    );
  }
  if (state.Restart !== 'no') {
    problems.push(
      `the unit ${unit} has Restart=${state.Restart}, so it would start by itself during an upgrade; set Restart=no: the agent starts it again`,
    );
  }
  if (!goodKillModes.includes(state.KillMode)) {
    problems.push(
      `the unit ${unit} has KillMode=${state.KillMode}, so a stop leaves processes behind; set KillMode=mixed or control-group`,
    );
  }
  return problems;
}
