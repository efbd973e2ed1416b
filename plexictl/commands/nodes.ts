/**
 * `plexictl nodes` and `plexictl node …`: the list of nodes, and the few things that are done to one
 * outside a rollout. Maintenance goes through the same budget as rollouts, so it may be refused.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { splitHostPort } from '../../config/schema/fields.js';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { nodesDocument } from '../render/documents.js';
import { nodesText } from '../render/nodes.js';
import { type ChangeOptions, changeNode } from './change-node.js';
import { registerHold } from './node-hold.js';
import { checkedReason, labelMap, nodeName, onOrOff } from './option-values.js';
import { registerReinstall } from './reinstall.js';
import { registerTakeOver } from './take-over.js';

interface AddOptions extends ConnectionOptions {
  readonly address?: string;
  readonly label?: string[];
}

/** Adds `nodes` and everything under `node` to the program. */
export function registerNodes(program: Command, context: CliContext): void {
  registerList(program.command('nodes'), context);
  const node = program
    .command('node')
    .summary('work on one node: add, hold, adopt and more')
    .description('Work on one node, or list them all.')
    .addHelpText('after', '\nExample:\n  plexictl node maintenance on node-3');
  registerList(node.command('list'), context);
  registerAdd(node, context);
  registerRemove(node, context);
  registerMaintenance(node, context);
  registerHold(node, context);
  registerTakeOver(node, context);
  registerReinstall(node, context);
}

function registerList(command: Command, context: CliContext): void {
  command.summary('all nodes').description('Show all nodes, what each runs and whether it serves.');
  withConnection(command)
    .addHelpText('after', '\nExamples:\n  plexictl nodes\n  plexictl nodes -o wide')
    .action((options: ConnectionOptions) =>
      withCluster(context, options, async (client) => {
        const nodes = await client.nodes();
        context.show(nodesDocument(nodes), () => nodesText(nodes, context.output() === 'wide'));
      }),
    );
}

function registerAdd(parent: Command, context: CliContext): void {
  const command = parent
    .command('add')
    .summary('name a node')
    .description('Name a node before its agent registers, set its labels, or let a removed node come back.')
    .argument('<node>', "the node's name, as in its certificate")
    .option('--address <host:port>', 'where its agent listens; without it the agent says so itself')
    .option('--label <key=value...>', 'labels, for the order of a rollout and for selections');
  withConnection(command)
    .addHelpText('after', '\nExample:\n  plexictl node add node-4 --address 10.0.0.14:7400 --label zone=b')
    .action((name: string, options: AddOptions) => {
      const nodeId = nodeName('NODE', name);
      const labels = labelMap('--label', options.label ?? []);
      const address = checkedAddress(options.address);
      return changeNode(
        context,
        options,
        nodeId,
        (client) => client.addNode({ nodeId, address, labels }),
        'added',
      );
    });
}

function registerRemove(parent: Command, context: CliContext): void {
  const command = parent
    .command('remove')
    .summary('take a node off the list')
    .description('Take a node off the list; its agent is refused until the node is added again.')
    .argument('<node>', "the node's name")
    .option('--reason <text>', 'why, for the record');
  withConnection(command)
    .addHelpText('after', '\nExample:\n  plexictl node remove node-4 --reason "host is scrapped"')
    .action((name: string, options: ChangeOptions) => {
      const nodeId = nodeName('NODE', name);
      const reason = checkedReason(options.reason);
      return changeNode(context, options, nodeId, (client) => client.removeNode(nodeId, reason), 'removed');
    });
}

function registerMaintenance(parent: Command, context: CliContext): void {
  const command = parent
    .command('maintenance')
    .summary('take a node out of service, or back')
    .description('Take a node out of service inside the budget, or put it back.')
    .argument('<on|off>', 'on: out of service')
    .argument('<node>', "the node's name")
    .option('--reason <text>', 'why, for the record');
  withConnection(command)
    .addHelpText('after', '\nExample:\n  plexictl node maintenance on node-3 --reason "new disk"')
    .action((word: string, name: string, options: ChangeOptions) => {
      const on = onOrOff(word, 'plexictl node maintenance on NODE');
      const nodeId = nodeName('NODE', name);
      const reason = checkedReason(options.reason);
      const done = on ? 'in maintenance' : 'back in service';
      return changeNode(
        context,
        options,
        nodeId,
        (client) => client.setMaintenance(nodeId, on, reason),
        done,
      );
    });
}

function checkedAddress(address: string | undefined): string {
  if (address === undefined) return '';
  if (splitHostPort(address) !== undefined) return address;
  throw new PlexiError('USAGE', `--address: "${address}" is not HOST:PORT; write for example 10.0.0.14:7400`);
}
