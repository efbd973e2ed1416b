/** Every door for longer than in `npm test`: its targets share what this harness has. */
import { deepUntilMs, reportTests } from './share.test.part.js';

/** About as many targets as there are; those of one file come one after the other. */
const targets = 40;
/** Milliseconds of tests that wait for a bound of the servers, however long the targets have. */
const waitsMs = 75_000;
process.env.PLEXI_HOSTILE_MS ??= String(Math.max(600, Math.round((deepUntilMs() - waitsMs) / targets)));
reportTests('tests of hostile input', {
  left: 0,
  more: `${process.env.PLEXI_HOSTILE_MS} ms for each target`,
});

for (const name of [
  'agent-door',
  'agent-files',
  'agent-messages',
  'backups',
  'configuration',
  'controller-door',
  'plexictl',
  'releases',
  'stored-values',
])
  await import(`../hostile/${name}.test.js`);
