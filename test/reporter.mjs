/**
 * The reporter for `node --test`: one line for a failing or skipped test at once, and the counts and reasons for
 * run.mjs, which adds up several runs and prints the reasons at the end. It counts what a reader would: the
 * tests themselves, not the suites around them, not the files. Failures outside a test (a hook, a crash of a
 * file, a file without any test) count as failures. A suite that is skipped counts as one skip, for nobody tells
 * of the tests in it.
 *
 * They are written as JSON to the file named by PLEXI_TEST_COUNTS. With PLEXI_NO_SKIP=1, where every tool is
 * there, a skip is a failure, unless its reason begins with `by design: `.
 */
import { writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { cwd, env } from 'node:process';
import { inspect } from 'node:util';

/** Consumes the runner's events, yields text for the terminal. */
export default async function* report(events) {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  const tree = new Tree();
  for await (const { type, data } of events) {
    if (type === 'test:stderr' || type === 'test:stdout') yield data.message;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const outcome = judge(type, data, tree.close(data));
    if (outcome === undefined) continue;
    const isMissed = outcome === 'skipped' && isForbidden(data);
    counts[isMissed ? 'failed' : outcome] += 1;
    if (outcome === 'skipped') yield `${skipLine(data)}\n`;
    if (isMissed) counts.failures.push(`FAILED ${skipLine(data)}; with PLEXI_NO_SKIP=1 it has to run`);
    if (outcome === 'failed') {
      counts.failures.push(`${headline(data)}\n    ${reason(data)}`);
      yield `${headline(data)}\n`;
    }
    yield* slowLine(outcome, data);
  }
  if (env.PLEXI_TEST_COUNTS) writeFileSync(env.PLEXI_TEST_COUNTS, JSON.stringify(counts));
}

/** Knows of each finished test whether tests stood inside it: those finished before it, one level deeper. */
class Tree {
  #open = new Map();

  close({ file, nesting }) {
    const deeper = `${file} ${nesting + 1}`;
    const hasChildren = this.#open.delete(deeper);
    this.#open.set(`${file} ${nesting}`, true);
    return hasChildren;
  }
}

/** `passed`, `failed`, `skipped`, or undefined for what is not a test of its own. */
function judge(type, data, hasChildren) {
  const isFile = data.nesting === 0 && data.file !== undefined && resolve(data.name) === resolve(data.file);
  if (type === 'test:fail') {
    if (data.todo !== undefined) return 'skipped';
    return data.details.error?.failureType === 'subtestsFailed' ? undefined : 'failed';
  }
  if (isFile) return 'failed';
  if (data.skip !== undefined || data.todo !== undefined) return 'skipped';
  return data.details.type === 'suite' || hasChildren ? undefined : 'passed';
}

function skipLine(data) {
  return `skipped: ${data.name}: ${skipReason(data)}`;
}

/** What the test gave as its reason; `skip: true` and `skip()` give none. */
function skipReason({ skip, todo }) {
  const given = [skip, todo].find((reason) => typeof reason === 'string' && reason !== '');
  return given ?? (todo === undefined ? 'no reason is given' : 'it is to be done');
}

/** Where every tool is there, a test that misses one misses something else. */
function isForbidden(data) {
  return env.PLEXI_NO_SKIP === '1' && !skipReason(data).startsWith('by design: ');
}

function headline(data) {
  const where = data.file === undefined ? '' : `${relative(cwd(), resolve(data.file))}: `;
  return `FAILED ${where}${data.name}`;
}

function reason(data) {
  const error = data.details.error;
  if (error === undefined) return 'the file holds no test';
  const cause =
    error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : inspect(error.cause);
  return String(cause).replaceAll('\n', '\n    ');
}

/** Tests that take long are named, so that the time of a whole run can be kept in hand. */
function* slowLine(outcome, data) {
  const seconds = data.details.duration_ms / 1_000;
  if (seconds > 5) yield `slow: ${data.name} (${outcome}) took ${seconds.toFixed(1)} s\n`;
}
