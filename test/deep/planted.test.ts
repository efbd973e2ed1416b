/** Every planted bug, those included for which no seed is kept yet. */
process.env.PLEXI_DEEP_MINUTES ??= '10';
await import('../simulation/planted.test.js');

export {};
