/** A disk that is full before each step; a part of them is in `npm test`. */
import { reportTests } from './share.test.part.js';

process.env.PLEXI_DEEP_MINUTES ??= '10';
reportTests('full disks', { left: 0 });
await import('../../node-agent/disk-full.test.js');
