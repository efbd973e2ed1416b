/**
 * Guarantees 3 and 4 on one node, after everything has come to rest: its release and its data are both old
 * or both new, it is in service with one process of that release, or it asks for an operator by name. Every
 * deviation is a sentence.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { linkedFolder } from '../../node-agent/node.js';
import type { TinyReleases, TinyVersion } from '../../node-agent/tiny-service.test.part.js';
import { releaseFolderName } from '../../release/repository/installed.js';
import { treeDifferences } from '../../release/tree.js';
import type { Ended } from './agent-life.test.part.js';
import { processesOf } from './crash-bench.test.part.js';
import { dataOf } from './small-releases.test.part.js';

/** Everything that is wrong; empty when nothing is. */
export async function whatIsWrong(root: string, releases: TinyReleases, ended: Ended): Promise<string[]> {
  const folders = await releaseFolders(root, releases);
  const current = await linkedFolder(join(root, 'current'));
  const version = folders.find(({ name }) => name === current)?.version;
  if (version === undefined) return [`current leads to ${current}`];
  return [
    ...folders.flatMap(({ name, differences }) => differences.map((text) => `releases/${name}: ${text}`)),
    ...wrongOutcome(version, ended),
    ...(ended.asks === undefined
      ? await wrongInService(root, version)
      : await wrongOnDiskWhenAsking(root, ended)),
    ...leftOver(root),
  ];
}

async function releaseFolders(root: string, releases: TinyReleases) {
  return Promise.all(
    Object.entries(releases).map(async ([version, { artifact }]) => {
      const name = releaseFolderName(version, artifact.treeDigest);
      const differences = await treeDifferences(join(root, 'releases', name), artifact.files);
      return { version: version as TinyVersion, name, differences };
    }),
  );
}

/** The result tells the truth about what runs. */
function wrongOutcome(version: TinyVersion, { outcome, refused }: Ended): string[] {
  if (refused !== undefined && refused.message === '') return ['a refusal without a reason'];
  const expected: TinyVersion[] =
    {
      done: ['0b1' as const],
      none: ['0a1' as const],
      rolled_back: ['0a1' as const],
      failed: ['0b1' as const],
      rollback_failed: ['0a1' as const, '0b1' as const, '0b2' as const],
    }[outcome as string] ?? [];
  return expected.includes(version) ? [] : [`the job ended ${outcome}, and ${version} is current`];
}

async function wrongInService(root: string, version: TinyVersion): Promise<string[]> {
  const wrong = wrongData(root, version);
  for (const name of ['agent/maintenance.json', 'run/out', 'trial'])
    if (existsSync(join(root, name))) wrong.push(`${name} is still there`);
  const versions = await versionsRunning(root);
  if (!isDeepStrictEqual(versions, [version])) wrong.push(`beside ${version} run [${versions.join(', ')}]`);
  return wrong;
}

/**
 * It is named with its reason, and does not serve: the agent says that it is out, and the hook was told. What runs
 * all the same runs on its own data. What the disk holds is not looked at, since it may refuse everything.
 */
export async function wrongWhenAsking(root: string, { asks, inMaintenance }: Ended): Promise<string[]> {
  const wrong: string[] = [];
  if (asks === undefined || asks.code === '' || asks.message === '')
    wrong.push('the node asks for an operator and does not say why');
  if (inMaintenance !== true)
    wrong.push('it asks for an operator, and does not say that it is out of service');
  if (!existsSync(join(root, 'run/out')))
    wrong.push('it asks for an operator, and no hook took it out of service');
  const versions = await versionsRunning(root);
  if (versions.length > 1) wrong.push(`[${versions.join(', ')}] run beside each other`);
  return [...wrong, ...versions.flatMap((version) => wrongData(root, version as TinyVersion))];
}

/** The same where the disk takes everything again. */
async function wrongOnDiskWhenAsking(root: string, ended: Ended): Promise<string[]> {
  const wrong = await wrongWhenAsking(root, ended);
  if (!existsSync(join(root, 'agent/maintenance.json')))
    wrong.push('it asks for an operator, and a restart would put it into service');
  return wrong;
}

function wrongData(root: string, version: TinyVersion): string[] {
  const data = filesOf(join(root, 'data'));
  const format = version === '0a1' ? 1 : 2;
  return isDeepStrictEqual(data, dataOf(format)) ? [] : [`${version} has ${described(data)}`];
}

/** The versions of what runs, as each process has it in its environment. */
async function versionsRunning(root: string): Promise<string[]> {
  const running = (await processesOf(root)).map(({ pid }) => environmentOf(pid));
  return running.map((text) => /\0PLEXI_VERSION=([^\0]*)/.exec(text)?.[1] ?? 'something else');
}

/** How the sentence about an unfinished name ends: one that the next start of an agent removes. */
export const leftBehind = 'was left behind';

/** Names that only something unfinished has. A backup without its mark is unfinished as a whole. */
function leftOver(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => /(^|\/)\.tmp-|\.part$/.test(path) && !path.startsWith('backups/'))
    .map((path) => `${path} ${leftBehind}`);
}

function filesOf(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  return Object.fromEntries(
    files.map((file) => {
      const path = join(file.parentPath, file.name);
      return [path.slice(folder.length + 1), readFileSync(path, 'utf8')];
    }),
  );
}

function described(data: Record<string, string>): string {
  const files = Object.entries(data).map(([path, text]) => `${path} ${JSON.stringify(text.slice(0, 20))}`);
  return `as data ${files.join(', ')}`;
}

function environmentOf(pid: number): string {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'latin1')}`;
  } catch {
    // It has ended since it was found; then there is one less than there should be.
    return '';
  }
}
