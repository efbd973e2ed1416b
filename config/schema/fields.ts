/**
 * The kinds of value that the configuration files share: names, addresses, paths, times. Each says
 * in its own words what it wants. Invariant: a value that passed can be used as it is (an address
 * can be dialled, a path is absolute); nobody checks it again.
 */
import { isAbsolute, resolve } from 'node:path';
import * as z from 'zod';
import { defaults } from '../defaults.js';
import { limits } from '../limits.js';

/** The form of a cluster's, a node's and a controller's name. */
export const namePattern = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/** Whether a text may name a cluster, a node, a controller or a person. */
export function isName(text: string): boolean {
  return text.length <= limits.nameChars && namePattern.test(text);
}

/** Text that is taken as it stands. A `${…}` in it is a mistake: nothing would expand it. */
export function text(charsMax = 4_096) {
  return z
    .string()
    .min(1, 'must not be empty')
    .max(charsMax)
    .refine((value) => !value.includes('\0'), 'must not hold a NUL character')
    .refine(
      (value) => !value.includes('${'),
      'holds a placeholder ($ and a brace), which is not expanded; write the value itself',
    );
}

/** The name of a cluster, a node or a controller. */
export function name() {
  return z
    .string()
    .refine(
      isName,
      `must be 1 to ${limits.nameChars} characters of a-z, 0-9 and -, and begin and end with a letter or digit`,
    );
}

const hostPortPattern = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)):([0-9]{1,5})$/;

/** Takes HOST:PORT apart; an IPv6 address stands in brackets. Undefined when it is none. */
export function splitHostPort(value: string): { host: string; port: number } | undefined {
  const match = hostPortPattern.exec(value);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || host.length > 253 || port < 1 || port > 65_535) return undefined;
  return { host, port };
}

/** HOST:PORT with a port of 1 to 65535. */
export function hostPort() {
  return z
    .string()
    .refine(
      (value) => splitHostPort(value) !== undefined,
      'must be HOST:PORT, for example 10.0.0.5:7400 or [::1]:7400',
    );
}

/** Whether an address listens everywhere and so cannot be dialled by others. */
export function isWildcard(address: string): boolean {
  const host = splitHostPort(address)?.host;
  return host === '0.0.0.0' || host === '::' || host === '0';
}

/** A path; a relative one is taken from the folder of the configuration file. */
export function filePath(folder: string) {
  return text().transform((value) => resolve(folder, value));
}

/** A path below the node's root, kept relative. */
export function pathBelowRoot() {
  return text(limits.releasePathChars).refine(
    (value) =>
      !isAbsolute(value) && value.split('/').every((part) => part !== '..' && part !== '.' && part !== ''),
    "must be a plain path below the node's root, without a leading / and without . or ..",
  );
}

/** The release repository: a folder (made absolute), or an http(s) URL, kept as it is. */
export function repository(folder: string) {
  return text()
    .refine(
      (value) => !value.includes('://') || isHttpUrl(value),
      'must be a folder, or a URL that begins with https:// or http://',
    )
    .transform((value) => (value.includes('://') ? value : resolve(folder, value)));
}

/** Whether a text is a whole http or https URL without a password in it. */
export function isHttpUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const url = new URL(value);
  return (
    (url.protocol === 'http:' || url.protocol === 'https:') && url.username === '' && url.password === ''
  );
}

/** Milliseconds, whole, within bounds. */
export function milliseconds(min: number, max: number) {
  return z.int().min(min).max(max);
}

/** The longest time that any setting may name: one week. */
export const longestMs = 7 * 24 * 3_600_000;

/** The three files of a program's TLS identity. The loader does not open them. */
export function tlsFiles(folder: string) {
  return z.strictObject({ ca: filePath(folder), cert: filePath(folder), key: filePath(folder) });
}

/** The controllers that a program may talk to. */
export function controllers() {
  return z
    .array(hostPort())
    .min(1)
    .max(limits.controllers)
    .refine((list) => new Set(list).size === list.length, 'names the same controller twice');
}

/** The version scheme of the cluster. */
export function versionScheme() {
  return z.enum(['plexi', 'semver']).default(defaults.versionScheme);
}

/** What is logged. */
export function log() {
  return z
    .strictObject({
      level: z
        .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
        .default(defaults.logLevel),
    })
    .prefault({});
}

/** The words of one command; never a shell line. Words are taken as they stand, also `${…}`. */
export function argv() {
  return z
    .array(
      z
        .string()
        .max(4_096)
        .refine((word) => !word.includes('\0'), 'must not hold a NUL character'),
    )
    .min(1)
    .max(limits.argvWords)
    .refine((words) => words[0] !== '', 'must begin with the program to run');
}

/** Runs a check across keys only once each of these keys is fine by itself. */
export function whenFine(...keys: readonly string[]) {
  return (payload: z.core.ParsePayload): boolean =>
    typeof payload.value === 'object' &&
    payload.value !== null &&
    !payload.issues.some((issue) => keys.includes(String(issue.path?.[0] ?? '')));
}
