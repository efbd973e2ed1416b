/**
 * What Node.js warns of, as lines of the log: printed as text they would stand between lines of JSON, which
 * whoever reads the log by program cannot read.
 */
import type { Logger } from 'pino';

/** An etcd that is reached over TLS by its address; the certificate is compared with that address all the same. */
const knownHarmless = ['DEP0123'];

/** Takes the place of the printing, for the life of the process. */
export function logWarnings(log: Pick<Logger, 'debug' | 'warn'>): void {
  process.removeAllListeners('warning');
  process.on('warning', (warning: Error & { code?: string }) => {
    const { name, code, message } = warning;
    const level = code !== undefined && knownHarmless.includes(code) ? 'debug' : 'warn';
    log[level]({ name, code }, message);
  });
}
