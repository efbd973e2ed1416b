/** A cluster without nodes, rollout and slots, for tests that fill in what they need. */
import type { World } from './world.js';

export const emptyWorld: World = {
  rollout: undefined,
  budget: { max: 1, generation: 0 },
  configuredMax: 1,
  slots: new Map(),
  views: new Map(),
  holds: new Map(),
  orders: new Map(),
  spread: { maxPerZone: null, zoneLabel: 'zone', groups: [] },
  labels: new Map(),
  recovery: null,
  term: '7',
  holdStarts: false,
  leadSinceMs: 0,
};
