/**
 * The entry of plexictl: it runs when it is imported. The process is left to end by itself, so that
 * whatever was written is flushed; commands close what they open.
 */
import { processContext } from './context.js';
import { runProgram } from './program.js';

process.exitCode = await runProgram(process.argv.slice(2), processContext());
