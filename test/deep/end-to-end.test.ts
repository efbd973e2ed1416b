/** The end-to-end tests of which `npm test` runs a part: all of their cases, when there is time for them. */
import { test } from 'node:test';

/** Minutes of its own that this harness needs. */
const minutesNeeded = 6;
process.env.PLEXI_DEEP_MINUTES ??= '10';

if (Number(process.env.PLEXI_DEEP_MINUTES) < minutesNeeded) {
  test(
    'all cases of the end-to-end tests',
    { skip: `needs a share of ${minutesNeeded} minutes` },
    () => undefined,
  );
} else {
  await import('../e2e/agent-killed.test.js');
  await import('../e2e/leader-killed.test.js');
  await import('../e2e/documents-run.test.js');
}
