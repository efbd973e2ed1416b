/**
 * Which processes are one service of a root. Each carries a token in its environment that begins with
 * the root's own text and the service's name, so what an agent started and died before it could record
 * is still found. Invariant: no process belongs to two services of a root, and what bears the token of
 * a service that is no longer configured belongs to the first one, so nothing of a root is forgotten.
 */
import { createHash, randomBytes } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { adoptedFamily } from './adopted-process.js';
import {
  bootId,
  findProcesses,
  groupExists,
  type LiveProcess,
  liveProcess,
  processTree,
} from './process-table.js';
import type { ServiceRecord } from './service-record.js';

/** The variable by which a service of a root is known. */
export const tokenVariable = 'PLEXI_SERVICE_TOKEN';

/** The name of a node's one service; it stands in no token, as in those of before there were several. */
export const onlyServiceName = 'service';

/** Which of a root's services is meant. */
export interface ServicePlace {
  readonly root: string;
  readonly name: string;
  /**
   * The names of the root's other services, when all processes of the root belong to this one that are
   * not theirs; undefined when only those belong to it that bear its name.
   */
  readonly allBut?: readonly string[] | undefined;
}

/** Finds the processes of one service of a root. */
export class ServiceProcesses {
  /** What a search by token has found, so that it is not made again at each look. */
  private found: { token: string; process: LiveProcess } | undefined;

  constructor(private readonly place: ServicePlace) {}

  /** A token for the next start. */
  async newToken(): Promise<string> {
    return `${await this.tokenOf(this.place.name)}${randomBytes(12).toString('hex')}`;
  }

  /** The process of the record; looked for by its token when the agent died before it was known. */
  async main(record: ServiceRecord | undefined): Promise<LiveProcess | undefined> {
    if (record === undefined || record.bootId !== bootId()) return undefined;
    const known = record.process ?? (await this.ofToken(record.token));
    const candidate = known === undefined ? undefined : liveProcess(known.pid);
    return candidate?.startTicks === known?.startTicks ? candidate : undefined;
  }

  /** The main process and what descends from it, without a search of the whole table. */
  async tree(record: ServiceRecord | undefined): Promise<LiveProcess[]> {
    const main = record?.process === undefined ? undefined : await this.main(record);
    return main === undefined ? [] : processTree(main);
  }

  /** Every live process: the recorded one, its group, and whatever carries the token. Searches all. */
  async all(record: ServiceRecord | undefined): Promise<LiveProcess[]> {
    const groups = new Set<number>();
    const group = record?.bootId === bootId() ? record.process?.pid : undefined;
    // The group is searched only when it is still the service's: its leader lives, or is not replaced.
    if (group !== undefined && groupExists(group) && isOurGroup(record)) groups.add(group);
    const { name, allBut } = this.place;
    // What was taken over as it ran carries no token.
    const adopted = record?.adopted === undefined ? [] : await adoptedFamily(record);
    if (allBut === undefined) {
      const environmentText = tokenText(await this.tokenOf(name));
      return [...(await findProcesses({ groups, environmentText })), ...adopted];
    }
    const theirs = await Promise.all(allBut.map((other) => this.tokenOf(other)));
    const environmentText = tokenText(await rootText(this.place.root));
    const ours = await findProcesses({ groups, environmentText, withoutTexts: theirs.map(tokenText) });
    return [...ours, ...adopted];
  }

  /** The process that was started by an agent which died before it could record it. */
  private async ofToken(token: string): Promise<LiveProcess | undefined> {
    if (this.found?.token === token) return this.found.process;
    const marked = await findProcesses({ groups: new Set(), environmentText: tokenText(token) });
    // The oldest is the one that was started; the others are its children.
    const main = marked.sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid)[0];
    if (main !== undefined) this.found = { token, process: main };
    return main;
  }

  /** How the tokens of a service begin: no name is the beginning of another's, because a dot ends it. */
  private async tokenOf(name: string): Promise<string> {
    const text = await rootText(this.place.root);
    return name === onlyServiceName ? `${text}.` : `${text}-${name}.`;
  }
}

/** How every token of a root begins; the same for each way to name the root. */
async function rootText(root: string): Promise<string> {
  return createHash('sha256')
    .update(await realpath(root))
    .digest('hex')
    .slice(0, 24);
}

/** An id stays taken while a group bears it, so only a living leader can be someone else's. */
function isOurGroup(record: ServiceRecord | undefined): boolean {
  if (record?.process === undefined || record.adopted?.leadsGroup === false) return false;
  const leader = liveProcess(record.process.pid);
  return leader === undefined || leader.startTicks === record.process.startTicks;
}

function tokenText(token: string): string {
  return `${tokenVariable}=${token}`;
}
