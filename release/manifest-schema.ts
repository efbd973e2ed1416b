/**
 * The shape and the laws of `manifest.json` as a zod schema. A manifest comes from outside, so every
 * text has a pattern and every list a bound; unknown fields are left out rather than refused, since
 * an older agent must be able to read what a newer build wrote. Invariant: no path, name or number
 * passes here that the rest of the program would have to check again before it trusts it.
 */
import { z } from 'zod';
import { limits } from '../config/limits.js';
import { collisions, whyNotPlain } from './plain-path.js';

/** Problems that one error lists; the rest are counted. */
const problemsShown = 50;

/** Signals that may stop a service. */
export const stopSignals = [
  'SIGTERM',
  'SIGINT',
  'SIGQUIT',
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGKILL',
] as const;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits');
const oneLine = (charsMax: number): z.ZodString =>
  z
    .string()
    .min(1)
    .max(charsMax)
    .regex(/^\P{Cc}*$/u, 'must hold no control character');
const sizeBytes = (bytesMax: number): z.ZodInt => z.int().min(0).max(bytesMax);

/** A name of a release, a migration or a test: letters, digits, `.`, `_` and `-`. */
export const plainName = z
  .string()
  .max(limits.nameChars)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'must be letters, digits, ".", "_" and "-"');

/** A command as argv; it is never given to a shell. */
export const argv = z
  .array(
    z
      .string()
      .max(limits.argvChars)
      .refine((word) => !word.includes('\0'), 'must hold no NUL'),
  )
  .min(1)
  .max(limits.argvWords)
  .refine((words) => words[0] !== '', 'must begin with a program');

/** Variables for a service; the names that begin with PLEXI_ are the agent's own. */
export const environment = z
  .record(
    z
      .string()
      .regex(/^(?!PLEXI_)[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be a variable name, without PLEXI_ in front'),
    z
      .string()
      .max(limits.argvChars)
      .refine((value) => !value.includes('\0'), 'must hold no NUL'),
  )
  .refine(
    (env) => Object.keys(env).length <= limits.argvWords,
    `must have at most ${limits.argvWords} variables`,
  );

const file = z.object({
  path: z.string().superRefine((path, context) => {
    const why = whyNotPlain(path);
    if (why !== undefined) context.addIssue({ code: 'custom', message: `the path ${why}` });
  }),
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'must be three octal digits: no setuid, setgid or sticky bit')
    .transform((digits) => Number.parseInt(digits, 8)),
  sizeBytes: sizeBytes(limits.releaseFileBytes),
  sha256,
});

const artifact = z
  .object({
    os: plainName,
    arch: plainName,
    file: z
      .string()
      .max(255)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/, 'must be a plain file name'),
    sizeBytes: sizeBytes(limits.releaseBytes),
    sha256,
    unpackedBytes: sizeBytes(limits.releaseBytes),
    treeDigest: sha256,
    files: z.array(file).min(1).max(limits.releaseEntries),
  })
  .superRefine((it, context) => {
    const problem = (message: string): void => context.addIssue({ code: 'custom', message });
    const sum = it.files.reduce((bytes, { sizeBytes: size }) => bytes + size, 0);
    if (sum !== it.unpackedBytes)
      problem(`unpackedBytes is ${it.unpackedBytes}, but its files add up to ${sum}`);
    if (it.unpackedBytes > it.sizeBytes * limits.releaseRatio + limits.releaseRatioSlackBytes) {
      problem(`it unpacks to more than ${limits.releaseRatio} times its size`);
    }
    for (const collision of collisions(it.files.map(({ path }) => path)).slice(0, problemsShown))
      problem(collision);
  });

/** One migration without its checksum, as `release.yml` and the manifest have it. */
export const migrationFields = {
  id: plainName,
  scope: z.enum(['node', 'cluster']),
  up: argv,
  down: argv,
  /** Absent in releases that were made before there were checks. */
  check: argv.optional(),
};

/** Absent stays absent: a migration's meaning is compared field by field. */
export function withoutAbsentCheck<T extends { check?: string[] | undefined }>({ check, ...rest }: T) {
  return check === undefined ? rest : { ...rest, check };
}

const timeoutMs = z.int().min(1).max(limits.commandTimeoutMs);
const migration = z.object({ ...migrationFields, checksum: sha256, timeoutMs }).transform(withoutAbsentCheck);

const test = z
  .object({ name: plainName, command: argv, timeoutMs, mustNotLog: oneLine(limits.argvChars).optional() })
  .transform(({ mustNotLog, ...rest }) => (mustNotLog === undefined ? rest : { ...rest, mustNotLog }));

/** The whole manifest. */
export const manifestSchema = z.object({
  schema: z.literal(1, { error: 'must be 1; a newer plexi-node-agent is needed for another schema' }),
  name: plainName,
  version: oneLine(limits.versionChars),
  createdAt: z.iso.datetime({ error: 'must be an RFC 3339 time in UTC' }),
  sourceCommit: z
    .string()
    .regex(/^[0-9a-f]{40,64}(-dirty)?$/, 'must be a commit')
    .nullable(),
  artifacts: z
    .array(artifact)
    .min(1)
    .max(limits.releaseArtifacts)
    .refine(
      (list) => isUnique(list.map(({ os, arch }) => `${os}/${arch}`)),
      'has two artifacts for one platform',
    )
    .refine((list) => isUnique(list.map((it) => it.file)), 'has two artifacts of one name'),
  migrations: z
    .array(migration)
    .max(limits.migrations)
    .refine((list) => isUnique(list.map(({ id }) => id)), 'has two migrations of one id'),
  service: z.object({ start: argv, env: environment, stopSignal: z.enum(stopSignals) }),
  tests: z
    .array(test)
    .max(limits.releaseTests)
    .refine((list) => isUnique(list.map(({ name }) => name)), 'has two tests of one name'),
});

/** Whether no text stands twice in a list. */
export function isUnique(texts: readonly string[]): boolean {
  return new Set(texts).size === texts.length;
}

/** All problems that zod found, each as `place: what`. */
export function problemsOf(error: z.ZodError): string[] {
  const problems = error.issues.slice(0, problemsShown).map((issue) => {
    const place = issue.path.map(String).join('.');
    return place === '' ? issue.message : `${place}: ${issue.message}`;
  });
  const rest = error.issues.length - problems.length;
  return rest > 0 ? [...problems, `and ${rest} more`] : problems;
}
