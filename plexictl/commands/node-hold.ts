/**
 * `plexictl node hold|release`, and the words of kubectl for a node: `cordon`, `drain` and `uncordon`,
 * under `node` and at the top. A held node serves on and rollouts leave it alone; a drained one is in
 * maintenance, inside the budget.
 */
import type { Command } from 'commander';
import type { ClusterClient } from '../client.js';
import { type CliContext, withConnection } from '../context.js';
import { type ChangeOptions, changeNode } from './change-node.js';
import { checkedReason, nodeName } from './option-values.js';

interface NodeWord {
  readonly word: string;
  readonly summary: string;
  readonly description: string;
  readonly done: string;
  readonly act: (client: ClusterClient, node: string, reason: string) => Promise<void>;
}

const hold: NodeWord = {
  word: 'hold',
  summary: 'keep rollouts away from a node',
  description: 'Keep rollouts away from a node. It serves on with what it runs.',
  done: 'held',
  act: (client, node, reason) => client.setHold(node, true, reason),
};
const release: NodeWord = {
  word: 'release',
  summary: 'let rollouts come to a held node again',
  description: 'Let rollouts come to a held node again.',
  done: 'released',
  act: (client, node, reason) => client.setHold(node, false, reason),
};
const kubectlWords: readonly NodeWord[] = [
  {
    ...hold,
    word: 'cordon',
    summary: 'the same as node hold',
    description: 'Keep rollouts away from a node, as `plexictl node hold` does.',
  },
  {
    word: 'drain',
    summary: 'the same as node maintenance on',
    description: 'Take a node out of service inside the budget, as `plexictl node maintenance on` does.',
    done: 'in maintenance',
    act: (client, node, reason) => client.setMaintenance(node, true, reason),
  },
  {
    word: 'uncordon',
    summary: 'release a node, end its maintenance',
    description: 'Let rollouts come to a node again, and end its maintenance when it is in one.',
    done: 'released and in service',
    act: uncordon,
  },
];

/** Adds `hold`, `release`, `cordon`, `drain` and `uncordon` under `node`. */
export function registerHold(node: Command, context: CliContext): void {
  for (const word of [hold, release, ...kubectlWords]) register(node, context, word, 'plexictl node');
}

/** Adds `cordon`, `drain` and `uncordon` to the program itself. */
export function registerKubectlNodeWords(program: Command, context: CliContext): void {
  for (const word of kubectlWords) register(program, context, word, 'plexictl');
}

function register(parent: Command, context: CliContext, word: NodeWord, prefix: string): void {
  const command = parent
    .command(word.word)
    .summary(word.summary)
    .description(word.description)
    .argument('<node>', "the node's name")
    .option('--reason <text>', 'why, for the record');
  withConnection(command)
    .addHelpText('after', `\nExample:\n  ${prefix} ${word.word} node-3 --reason "disk is looked at"`)
    .action((name: string, options: ChangeOptions) => {
      const node = nodeName('NODE', name);
      const reason = checkedReason(options.reason);
      return changeNode(context, options, node, (client) => word.act(client, node, reason), word.done);
    });
}

/** Maintenance ends only where there is one: ending none would be refused. */
async function uncordon(client: ClusterClient, node: string, reason: string): Promise<void> {
  await client.setHold(node, false, reason);
  const known = (await client.nodes()).find(({ id }) => id === node);
  if (known?.inMaintenance === true) await client.setMaintenance(node, false, reason);
}
