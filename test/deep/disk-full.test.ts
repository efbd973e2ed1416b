/** A disk that is full before each step; a part of them is in `npm test`. */
process.env.PLEXI_DEEP_MINUTES ??= '10';
await import('../../node-agent/disk-full.test.js');

export {};
