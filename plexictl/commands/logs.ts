/**
 * `plexictl logs NODE`: what a node's agent did, what its service prints, or what a hook, a migration
 * or a test printed. People get lines that are safe on a terminal; a pipe gets a service's bytes as
 * they are; `-o jsonl` gets a document a line, and `-o json|yaml` one document at the end.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { LogsRequest } from '../../gen/plexi/v1/nodes.js';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { printableLine } from '../render/cells.js';
import { agentLogText, LineSplitter } from '../render/log-lines.js';
import { Interrupted } from './interrupted.js';
import { nodeName, wholeNumber } from './option-values.js';

interface LogsOptions extends ConnectionOptions {
  readonly agent?: boolean;
  readonly service?: string | true;
  readonly hook?: string;
  readonly follow?: boolean;
  readonly tail?: number;
}

/** Adds `logs` to the program. */
export function registerLogs(program: Command, context: CliContext): void {
  const command = program
    .command('logs')
    .summary("what a node's agent, service or hook wrote")
    .description("Show a node's log: its agent's (what rollouts did there), else its service's or a hook's.")
    .argument('<node>', "the node's name")
    .option('--agent', "the agent's log (this is the default)")
    .option('--service [name]', "the service's log; NAME when the node has several")
    .option('--hook <name>', 'what a hook (enter, leave), a migration or a test printed')
    .option('-f, --follow', 'go on with what is written from now on; Ctrl-C ends it')
    .option('--tail <n>', 'how many of the last lines (default: 100)', tailLines);
  withConnection(command)
    .addHelpText(
      'after',
      '\nExamples:\n  plexictl logs node-2\n  plexictl logs node-2 --service -f --tail 20',
    )
    .action((node: string, options: LogsOptions) => showLogs(context, options, requestOf(node, options)));
}

const tailLines = wholeNumber('--tail', 1, limits.logTailLines);

function requestOf(node: string, options: LogsOptions): LogsRequest {
  const sources = [options.agent, options.service, options.hook].filter((source) => source !== undefined);
  if (sources.length > 1)
    throw new PlexiError('USAGE', 'give only one of --agent, --service and --hook; each is a log of its own');
  const source = options.service !== undefined ? 'service' : options.hook !== undefined ? 'hook' : 'agent';
  const service = typeof options.service === 'string' ? options.service : '';
  return LogsRequest.fromPartial({
    nodeId: nodeName('NODE', node),
    source,
    name: logName(options.hook ?? service),
    tailLines: options.tail ?? 0,
    follow: options.follow === true,
  });
}

function logName(name: string): string {
  if (name.length <= limits.nameChars * 2) return name;
  throw new PlexiError('USAGE', `the name of a log has at most ${limits.nameChars * 2} characters`);
}

function showLogs(context: CliContext, options: ConnectionOptions, request: LogsRequest): Promise<void> {
  return withCluster(context, options, async (client) => {
    const interruptible = context.interruptible();
    const { cluster } = client.identity;
    const writer = logWriter(context, request, cluster);
    try {
      for await (const piece of client.logs(request, interruptible.signal)) writer.take(piece);
    } finally {
      interruptible.release();
    }
    writer.end();
    if (!interruptible.signal.aborted) return;
    const details = { cluster, node: request.nodeId, source: request.source };
    throw new Interrupted(`the log of ${request.nodeId} is no longer followed`, details);
  });
}

/** Where the pieces of a log go, in the form that was asked for. */
interface LogWriter {
  take(piece: Buffer): void;
  end(): void;
}

function logWriter(context: CliContext, request: LogsRequest, cluster: string): LogWriter {
  const isAgent = request.source === 'agent';
  switch (context.output()) {
    case 'jsonl':
      return lineWriter((line) => context.stdout(`${isAgent ? line : JSON.stringify({ line })}\n`));
    case 'json':
    case 'yaml': {
      const lines: string[] = [];
      const { nodeId: node, source, name } = request;
      const shown = () => context.show({ cluster, node, source, name: name || null, lines }, () => '');
      return lineWriter((line) => void lines.push(line), shown);
    }
    case 'text':
    case 'wide':
      if (isAgent) return lineWriter((line) => context.stdout(`${agentLogText(line)}\n`));
      if (context.stdoutIsTerminal) return lineWriter((line) => context.stdout(`${printableLine(line)}\n`));
      return { take: (piece) => context.stdout(piece), end: () => {} };
  }
}

function lineWriter(write: (line: string) => void, atEnd: () => void = () => {}): LogWriter {
  const splitter = new LineSplitter();
  return {
    take: (piece) => splitter.take(piece).forEach(write),
    end: () => {
      splitter.end().forEach(write);
      atEnd();
    },
  };
}
