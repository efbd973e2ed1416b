/**
 * `plexictl version`: of this program, and with `--detailed` of what the cluster runs; and `version
 * compare`, which tells which of two versions is newer by the same code that the controllers use.
 */
import { type Command, Option } from 'commander';
import { ownVersion } from '../../config/own-version.js';
import { type VersionSchemeName, versionScheme } from '../../release/version.js';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection, withOutput } from '../context.js';
import { leaderDocument } from '../render/documents.js';
import { table } from '../render/table.js';

/** Adds `version` and `version compare` to the program. */
export function registerVersion(program: Command, context: CliContext): void {
  const version = program
    .command('version')
    .summary('of this program and of the cluster, or compare two')
    .description('Show the version of plexictl; --detailed asks the cluster too.')
    .option('--detailed', 'also the controllers, the leader and each node');
  withConnection(version)
    .addHelpText('after', '\nExamples:\n  plexictl version --detailed\n  plexictl version compare 0a1 0b1')
    .action((options: ConnectionOptions & { readonly detailed?: boolean }) => {
      const own = ownVersion;
      if (options.detailed !== true) return context.show({ version: own }, () => `plexictl ${own}`);
      return withCluster(context, options, (client) => showDetailed(context, client, own));
    });
  registerCompare(version, context);
}

function registerCompare(version: Command, context: CliContext): void {
  const compare = version
    .command('compare')
    .summary('which of two versions is newer')
    .description('Print <, = or >: how the first version stands to the second.')
    .argument('<a>', 'a version')
    .argument('<b>', 'another version')
    .addOption(
      new Option('--scheme <name>', 'how versions are written').choices(['plexi', 'semver']).default('plexi'),
    );
  withOutput(compare)
    .addHelpText('after', '\nExample:\n  plexictl version compare 0b1 0r1')
    .action((a: string, b: string, options: { readonly scheme: VersionSchemeName }) => {
      const scheme = versionScheme(options.scheme);
      const order = Math.sign(scheme.compare(scheme.parse(a), scheme.parse(b)));
      const result = order < 0 ? '<' : order > 0 ? '>' : '=';
      context.show({ a, b, result }, () => result);
    });
}

async function showDetailed(context: CliContext, client: ClusterClient, own: string): Promise<void> {
  const [controllers, status, nodes] = await Promise.all([
    client.reachability(),
    client.status(''),
    client.nodes(),
  ]);
  const document = {
    version: own,
    cluster: client.identity.cluster,
    leader: status.leader === undefined ? null : leaderDocument(status.leader),
    controllers,
    nodes: nodes.map((node) => ({
      id: node.id,
      version: node.version || null,
      agentVersion: node.agentVersion || null,
    })),
  };
  context.show(document, () => {
    const leader = status.leader === undefined ? 'none now' : status.leader.id;
    const reach = controllers.map(
      ({ address, reachable }) => `${address} (${reachable ? 'reachable' : 'down'})`,
    );
    const facts = `plexictl ${own}\ncluster ${document.cluster}, leader ${leader}\ncontrollers ${reach.join(', ')}\n`;
    const rows = nodes.map((node) => [node.id, node.version, node.agentVersion]);
    const headings = ['NODE', 'VERSION', 'AGENT'].map((heading) => ({ heading }));
    return nodes.length === 0 ? facts : `${facts}\n${table(headings, rows)}`;
  });
}
