/**
 * `release.yml`: what the people who make a release say about it, in the folder it is built from. It
 * goes into the manifest and is not part of the release itself. A typing mistake must not become a
 * release, so unknown keys are refused, and all problems come at once with their lines.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { limits } from '../../config/limits.js';
import { configInvalid, problemsOfIssues } from '../../config/problems.js';
import { readYamlFile } from '../../config/yaml-source.js';
import {
  argv,
  environment,
  isUnique,
  migrationFields,
  plainName,
  stopSignals,
  withoutAbsentCheck,
} from '../manifest-schema.js';
import type { ReleaseMigration, ReleaseService, ReleaseTest } from '../manifest-shape.js';
import { whyNotPlain } from '../plain-path.js';

/** The name of the file. */
export const releaseFileName = 'release.yml';

/** What `release.yml` says. */
export interface ReleaseFileContents {
  name: string;
  service: ReleaseService;
  migrations: Omit<ReleaseMigration, 'checksum'>[];
  tests: ReleaseTest[];
  /** Files, and folders with all they hold, that stay out of the release. */
  exclude: string[];
}

const timeoutSeconds = z
  .int()
  .min(1)
  .max(limits.commandTimeoutMs / 1000);

const migration = z
  .strictObject({ ...migrationFields, timeout_seconds: timeoutSeconds })
  .transform(({ timeout_seconds: seconds, ...rest }) => ({
    ...withoutAbsentCheck(rest),
    timeoutMs: seconds * 1000,
  }));

const releaseTest = z
  .strictObject({
    name: plainName,
    command: argv,
    timeout_seconds: timeoutSeconds,
    must_not_log: z
      .string()
      .min(1)
      .max(limits.argvChars)
      .regex(/^\P{Cc}*$/u, 'must be one line')
      .optional(),
  })
  .transform(({ name, command, timeout_seconds: seconds, must_not_log: mustNotLog }): ReleaseTest => {
    const test = { name, command, timeoutMs: seconds * 1000 };
    return mustNotLog === undefined ? test : { ...test, mustNotLog };
  });

const service = z
  .strictObject({
    start: argv,
    env: environment.default({}),
    stop_signal: z.enum(stopSignals).default('SIGTERM'),
  })
  .transform(({ start, env, stop_signal: stopSignal }) => ({ start, env, stopSignal }));

const excluded = z.string().superRefine((path, context) => {
  const why = whyNotPlain(path);
  if (why !== undefined) context.addIssue({ code: 'custom', message: `is no plain path: it ${why}` });
});

const schema = z.strictObject({
  name: plainName,
  service,
  migrations: z
    .array(migration)
    .max(limits.migrations)
    .refine((list) => isUnique(list.map(({ id }) => id)), 'has two migrations of one id')
    .default([]),
  tests: z
    .array(releaseTest)
    .max(limits.releaseTests)
    .refine((list) => isUnique(list.map(({ name }) => name)), 'has two tests of one name')
    .default([]),
  exclude: z.array(excluded).max(limits.migrations).default([]),
});

/** Reads `release.yml` in a folder. CONFIG_INVALID with every problem, each with file, line and key. */
export function readReleaseFile(folder: string): ReleaseFileContents {
  const document = readYamlFile(join(folder, releaseFileName));
  const result = schema.safeParse(document.value);
  if (result.success) return result.data;
  throw configInvalid(problemsOfIssues(document, result.error.issues));
}
