/**
 * Whether a process runs a program of a folder: an executable that lies there, or a script that an
 * interpreter was told to run. Invariant: a file that is only an argument makes nobody the service, so
 * that who reads its log (`tail -f server.log`) is never taken for it.
 */
import { realpathSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';

/** How an interpreter's words are read until its script. */
interface Interpreter {
  readonly name: RegExp;
  /** Options whose value is the next word. */
  readonly withValue: readonly string[];
  /** Options after which there is no script: code, or the name of a module. */
  readonly withoutScript: RegExp;
  /** The option that the script follows, where it is not simply the first word. */
  readonly scriptOption?: string;
  /** First words that are not yet the script. */
  readonly verbs?: readonly string[];
}

const nodeValues = [
  ...['-r', '--require', '--import', '--loader', '--experimental-loader', '-C', '--conditions'],
  ...['--env-file', '--title', '--input-type', '--preload', '--config', '--watch-path'],
];
const interpreters: readonly Interpreter[] = [
  {
    name: /^(node|nodejs|bun|deno)$/,
    withValue: nodeValues,
    withoutScript: /^(-e|-p|-pe|--eval|--print)$/,
    verbs: ['run'],
  },
  { name: /^(python|pypy)[0-9.]*$/, withValue: ['-W', '-X'], withoutScript: /^-[a-zA-Z]*[cm]$/ },
  { name: /^(ruby|perl)[0-9.]*$/, withValue: ['-I', '-r', '-C'], withoutScript: /^-[a-zA-Z]*[eE]$/ },
  { name: /^php[0-9.]*$/, withValue: ['-c', '-d', '-z', '-f'], withoutScript: /^(-r|-S)$/ },
  { name: /^java$/, withValue: [], withoutScript: /^$/, scriptOption: '-jar' },
  {
    name: /^(sh|bash|dash|ash|zsh|ksh|busybox)$/,
    withValue: ['-o', '-O', '--rcfile', '--init-file'],
    withoutScript: /^-[a-zA-Z]*[cs]$/,
  },
];

/**
 * The file that a process runs, as far as its words say so; undefined when it is no interpreter, or runs
 * no file. The system's errors when the file cannot be looked at.
 * @param executable the real path of its executable
 */
export function scriptOf(
  executable: string,
  { argv, cwd }: { readonly argv: readonly string[]; readonly cwd: string },
): string | undefined {
  // One executable may be many programs, and its first word then says which.
  const own = basename(executable);
  const name = own === 'busybox' ? basename(argv[0] ?? '') : own;
  const interpreter = interpreters.find((candidate) => candidate.name.test(name));
  if (interpreter === undefined) return undefined;
  const word = scriptWord(argv.slice(1), interpreter);
  if (word === undefined) return undefined;
  const file = realpathSync(resolve(cwd, word));
  return statSync(file).isFile() ? file : undefined;
}

function scriptWord(words: readonly string[], interpreter: Interpreter): string | undefined {
  const { withValue, withoutScript, scriptOption, verbs = [] } = interpreter;
  if (scriptOption !== undefined) {
    const at = words.indexOf(scriptOption);
    return at < 0 ? undefined : words[at + 1];
  }
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '--') return words[at + 1];
    if (withoutScript.test(word)) return undefined;
    if (withValue.includes(word)) at += 1;
    else if (!word.startsWith('-') && !(at === 0 && verbs.includes(word))) return word;
  }
  return undefined;
}
