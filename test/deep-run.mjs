/**
 * The deep run: `test/deep/` shares so many minutes, and its last line says what was tried. Three lanes beside
 * each other: the harnesses that need the machine, one after the other; the outages of etcd, which mostly wait;
 * and the simulation, which only computes, on what the others leave of the cores. The minutes begin with the
 * program, set-up and build included.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { checkout } from '../deploy/setup/checkout.mjs';

/** Milliseconds that a deep harness may need to end what it has begun. */
const overrunMs = 90_000;

/**
 * The harnesses in their order, and by which part of the time that is left each has its share. The first ones have a
 * certain number of points: in a run of 20 minutes there is time for all of them on a machine that is twice as slow, and
 * they leave what they do not need. The last three go on as long as they may, the errors at system calls most of all.
 */
const weights = {
  'disk-full': 0.5,
  'end-to-end': 5,
  'etcd-writes': 2.5,
  planted: 3,
  'power-cut': 1,
  hostile: 2,
  partitions: 2.5,
  'system-calls': 8,
};
const order = Object.keys(weights);

const nameOf = (file) => basename(file, '.test.ts');

/**
 * Runs the files in their lanes.
 * @param runFiles runs files as `runFiles` of run.mjs does
 * @param changedSource names a source that is no longer what was built; then nothing more is tried
 */
export async function runDeep(files, { minutes, runFiles, changedSource }) {
  const inOrder = files.toSorted((one, other) => order.indexOf(nameOf(one)) - order.indexOf(nameOf(other)));
  const lane = (holds, options = {}) =>
    runInTurn(
      inOrder.filter((file) => holds(nameOf(file))),
      { minutes, runFiles, changedSource, options },
    );
  const own = ['simulation', 'outages'];
  await Promise.all([
    lane((name) => name === 'simulation', { isBackground: true }),
    lane((name) => name === 'outages'),
    lane((name) => !own.includes(name)),
  ]);
}

/** What is left of the minutes is shared among the files that are left: what one does not need goes to the next. */
async function runInTurn(files, { minutes, runFiles, changedSource, options }) {
  for (const [index, file] of files.entries()) {
    if (changedSource() !== undefined) return;
    const leftMs = Math.max(0, minutes * 60_000 - performance.now());
    const all = files.slice(index).reduce((sum, each) => sum + weightOf(each), 0);
    const shareMs = (leftMs * weightOf(file)) / all;
    await runFiles(`deep: ${file}`, [file], {
      ...options,
      timeoutMs: shareMs + overrunMs,
      environment: { PLEXI_DEEP_MINUTES: String(shareMs / 60_000), PLEXI_DEEP_RUN_MINUTES: String(minutes) },
    });
  }
}

function weightOf(file) {
  return weights[nameOf(file)] ?? 1;
}

/** The commit that is tried, and whether the sources differ from it; nothing where there is no git. */
export function triedCommit() {
  if (!existsSync(`${checkout}/.git`)) return '';
  const git = (...words) => spawnSync('git', words, { cwd: checkout, encoding: 'utf8' });
  const { status, stdout } = git('rev-parse', '--short', 'HEAD');
  if (status !== 0) return '';
  const isChanged = git('status', '--porcelain').stdout.trim() !== '';
  return `${stdout.trim()}${isChanged ? '+changes' : ''}`;
}

/** The last line of a deep run: the commit, the time, all points, and those of each harness. */
export function deepSummary(reports, { minutes, commit }) {
  const sum = (key) => reports.reduce((before, report) => before + report[key], 0);
  const each = reports.map(({ harness, tried, passed, left, more }) =>
    [
      `${harness} ${passed}/${tried}`,
      ...(left > 0 ? [`${left} not tried`] : []),
      ...(more ? [more] : []),
    ].join(', '),
  );
  const at = commit === '' ? '' : ` at ${commit}`;
  const took = (performance.now() / 60_000).toFixed(1);
  const all = `deep, ${minutes} minutes (${took} taken)${at}: ${sum('tried')} points tried, ${sum('passed')} points passed`;
  return each.length === 0 ? all : `${all} (${each.join('; ')})`;
}
