/** The adapters that a node's configuration names, as the one service that the agent looks after. */
import { PlexiError } from '../../config/errors.js';
import type { ServiceConfig } from '../../config/schema/service.js';
import { ProcessService } from './process.js';
import type { ServiceAdapter } from './service.js';

/** @param root the node's root folder */
export function openServices(services: readonly ServiceConfig[], root: string): ServiceAdapter {
  const [first] = services;
  if (services.length === 1 && first?.adapter === 'process' && first.start === undefined)
    return new ProcessService(root);
  throw new PlexiError('CONFIG_INVALID', 'this agent knows one service of the adapter process only');
}
