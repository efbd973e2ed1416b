/** A program that logs, and of which Node.js warns. */
import pino from 'pino';
import { logWarnings } from './log-warnings.js';

logWarnings(pino({ level: 'info' }, pino.destination({ fd: 2, sync: true })));
process.emitWarning('an address in the place of a name', 'DeprecationWarning', 'DEP0123');
process.emitWarning('gone soon', 'DeprecationWarning', 'DEP0001');
process.emitWarning('too many listeners');
