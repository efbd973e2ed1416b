/** The end-to-end tests of which `npm test` runs a part: all of their cases. */
process.env.PLEXI_DEEP_MINUTES ??= '10';
await import('../e2e/agent-killed.test.js');
await import('../e2e/leader-killed.test.js');
await import('../e2e/documents-run.test.js');

export {};
