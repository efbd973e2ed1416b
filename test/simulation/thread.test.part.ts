/** A thread that plays its share of many histories; many.test.part.ts starts it. */
import { parentPort, workerData } from 'node:worker_threads';
import { playShare } from './many.test.part.js';

parentPort?.postMessage(await playShare(workerData));
