/**
 * Reads one YAML file and keeps where each key stands, so that a problem can name its line.
 * Invariant: what comes out is plain data that means the same to every reader: YAML 1.2 core only
 * (`0b1` is a text, never the number 1), no anchors, aliases, tags, merge keys or second documents,
 * and nothing is read or parsed beyond a bound of limits.ts. Nesting is counted on the tokens first,
 * because the composer is recursive and dies on a deep one instead of throwing.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import {
  type CST,
  isCollection,
  isMap,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  Parser,
  parseDocument,
  visit,
} from 'yaml';
import { limits } from './limits.js';
import {
  ConfigInvalidError,
  type ConfigProblem,
  configInvalid,
  type PlacedDocument,
  shown,
} from './problems.js';

/**
 * Reads and parses the file.
 * Errors: CONFIG_INVALID when it is missing, empty, unreadable, too big, or no plain YAML.
 */
export function readYamlFile(file: string): PlacedDocument {
  const text = readBounded(file);
  if (text.trim() === '')
    throw fileInvalid(file, 'is empty; the samples in config/samples show what belongs there');
  return parseYaml(file, text);
}

/** Parses YAML text; `file` is only the name that problems carry. Errors: CONFIG_INVALID. */
export function parseYaml(file: string, text: string): PlacedDocument {
  const lines = new LineCounter();
  checkSize(file, new Parser(lines.addNewLine).parse(text));
  const lineAt = (offset: number | undefined): number => lines.linePos(offset ?? 0).line;
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    stringKeys: true,
    prettyErrors: false,
  });
  const problems: ConfigProblem[] = document.errors.map((error) => ({
    file,
    line: lineAt(error.pos[0]),
    key: '',
    message: syntaxSentence(error.code, error.message),
  }));
  if (document.directives.yaml.explicit === true) {
    problems.push({
      file,
      line: 1,
      key: '',
      message: 'has a %YAML directive; take it out, files are YAML 1.2',
    });
  }
  visit(document, (_key, node) => {
    const message = refusedFeature(node);
    if (message === undefined) return undefined;
    const offset = isPair(node) ? startOf(node.key) : startOf(node);
    problems.push({ file, line: lineAt(offset), key: '', message });
    return visit.SKIP;
  });
  if (problems.length > 0) throw configInvalid(problems);
  if (document.contents === null)
    throw fileInvalid(file, 'holds only comments; the samples in config/samples show what belongs there');
  return {
    file,
    value: document.toJS({ maxAliasCount: 0 }),
    lineOf: (path) => lineAt(offsetOf(document.contents, path)),
  };
}

/** Reads at most the allowed bytes, without waiting on a pipe or a device. */
function readBounded(file: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw fileInvalid(file, unreadableSentence(error));
  }
  try {
    if (!fstatSync(descriptor).isFile()) throw fileInvalid(file, 'is not a regular file');
    const buffer = Buffer.alloc(limits.configBytes + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = readSync(descriptor, buffer, length, buffer.length - length, null);
    }
    if (length > limits.configBytes) throw fileInvalid(file, `is bigger than ${limits.configBytes} bytes`);
    return decodeUtf8(file, buffer.subarray(0, length));
  } catch (error) {
    throw error instanceof ConfigInvalidError ? error : fileInvalid(file, unreadableSentence(error));
  } finally {
    closeSync(descriptor);
  }
}

function decodeUtf8(file: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw fileInvalid(file, 'is not UTF-8 text');
  }
}

function unreadableSentence(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'EACCES' || code === 'EPERM') return 'cannot be read: this user has no permission';
  if (code === 'EISDIR') return 'is a folder, not a file';
  return `cannot be read (${code})`;
}

function fileInvalid(file: string, message: string) {
  return configInvalid([{ file, line: 0, key: '', message }]);
}

/** Compares depth and breadth of the token tree with their bounds, without recursion. */
function checkSize(file: string, tokens: Iterable<CST.Token>): void {
  const open: { token: CST.Token; level: number }[] = [];
  for (const token of tokens) open.push({ token, level: 0 });
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { token, level } = next;
    if (level > limits.configDepth)
      throw fileInvalid(file, `is nested deeper than ${limits.configDepth} levels`);
    if (token.type === 'document' && token.value !== undefined) open.push({ token: token.value, level });
    if (!('items' in token)) continue;
    if (token.type !== 'block-seq' && token.items.length > limits.configGroupKeys)
      throw fileInvalid(file, `holds a group with more than ${limits.configGroupKeys} keys or entries`);
    for (const item of token.items) {
      if (item.key) open.push({ token: item.key, level: level + 1 });
      if (item.value) open.push({ token: item.value, level: level + 1 });
    }
  }
}

/** Why a node may not stand in a configuration file, when it may not. */
function refusedFeature(node: unknown): string | undefined {
  if (isPair(node)) {
    return isScalar(node.key) && node.key.value === '<<'
      ? 'merge keys (<<) are not supported; write the keys out'
      : undefined;
  }
  if (typeof node !== 'object' || node === null) return undefined;
  if ('source' in node && !isScalar(node)) return 'aliases (*name) are not supported; write the value out';
  if ('anchor' in node && node.anchor !== undefined)
    return 'anchors (&name) are not supported; write the value out';
  if ('tag' in node && node.tag !== undefined)
    return `tags (${shown(String(node.tag))}) are not supported; write the plain value`;
  return undefined;
}

function syntaxSentence(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'the same key stands here twice; keep one';
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here (---); keep one';
  return `is not valid YAML: ${shown(message)}`;
}

/** Where the key at the path begins, or the nearest thing above it that the file has. */
function offsetOf(root: Node | null, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = root;
  let offset = startOf(root);
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isCollection(node) && typeof part === 'number') {
      node = node.items[part];
      offset = startOf(node) ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined;
  return Array.isArray(node.range) && typeof node.range[0] === 'number' ? node.range[0] : undefined;
}
