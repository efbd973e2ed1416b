/** The end-to-end tests of which `npm test` runs a part: all of their cases, as far as there is time for them. */
import { test } from 'node:test';
import { reportTests } from './share.test.part.js';

/** Minutes that the share must have for each part, those before it included: documents, steps at which somebody is killed. */
const parts = [
  { name: 'documents-run', minutesNeeded: 1.5 },
  { name: 'agent-killed', minutesNeeded: 2.5 },
  { name: 'leader-killed', minutesNeeded: 3.5 },
];
process.env.PLEXI_DEEP_MINUTES ??= '10';
const minutes = Number(process.env.PLEXI_DEEP_MINUTES);
const without = parts.filter(({ minutesNeeded }) => minutes < minutesNeeded).map(({ name }) => name);
reportTests('end-to-end tests', {
  left: without.length,
  ...(without.length > 0 && { more: `no time for all of ${without.join(', ')}` }),
});

for (const { name, minutesNeeded } of parts) {
  if (minutes >= minutesNeeded) await import(`../e2e/${name}.test.js`);
  else
    test(
      `all cases of ${name}`,
      { skip: `by design: needs a share of ${minutesNeeded} minutes` },
      () => undefined,
    );
}
