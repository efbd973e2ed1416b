/** The end-to-end tests of which `npm test` runs a part: all of their cases, as far as there is time for them. */
import { test } from 'node:test';

/** Minutes of its own that each part needs: the documents, and each step at which somebody is killed. */
const parts = [
  { name: 'documents-run', minutesNeeded: 3 },
  { name: 'agent-killed', minutesNeeded: 5 },
  { name: 'leader-killed', minutesNeeded: 6 },
];
process.env.PLEXI_DEEP_MINUTES ??= '10';

for (const { name, minutesNeeded } of parts) {
  if (Number(process.env.PLEXI_DEEP_MINUTES) >= minutesNeeded) await import(`../e2e/${name}.test.js`);
  else test(`all cases of ${name}`, { skip: `needs a share of ${minutesNeeded} minutes` }, () => undefined);
}
