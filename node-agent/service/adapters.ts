/**
 * The adapters that a node's configuration names, as the one service that the agent looks after.
 * Invariant: each process of the root belongs to exactly one of them, also one of a service that is no
 * longer configured: it is the first process service's, which ends it before it starts.
 */
import { PlexiError } from '../../config/errors.js';
import type { ServiceConfig } from '../../config/schema/service.js';
import { CommandAdapter } from './command.js';
import { ProcessService } from './process.js';
import type { ServiceAdapter, ServiceContext } from './service.js';
import { SeveralServices } from './several.js';
import { SystemdAdapter } from './systemd.js';

/**
 * Opens the adapters; starts nothing.
 * @param root the node's root folder
 * @param context in what an operator's programs run while the agent has started nothing
 * @throws PlexiError CONFIG_INVALID when there is no service
 */
export function openServices(
  services: readonly ServiceConfig[],
  root: string,
  context: () => Promise<ServiceContext>,
): ServiceAdapter {
  const processes = services.filter(({ adapter }) => adapter === 'process').map(({ name }) => name);
  const opened = services.map((config) => ({
    name: config.name,
    adapter: openService(config, root, context, processes),
  }));
  const [first] = opened;
  if (first === undefined) {
    throw new PlexiError('CONFIG_INVALID', 'no service is configured; name one under service');
  }
  return opened.length === 1 ? first.adapter : new SeveralServices(opened);
}

function openService(
  config: ServiceConfig,
  root: string,
  context: () => Promise<ServiceContext>,
  processes: readonly string[],
): ServiceAdapter {
  switch (config.adapter) {
    case 'command':
      return new CommandAdapter(config, root, context);
    case 'systemd':
      return new SystemdAdapter(config, root);
    case 'process': {
      const { name, start, env } = config;
      const allBut = processes[0] === name ? processes.slice(1) : 'unnamed';
      return new ProcessService(root, { name, start, env, allBut });
    }
  }
}
