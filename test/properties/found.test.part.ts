/**
 * Histories in which a guarantee once broke, as small as they could be made. They are played first.
 * What an action's numbers mean stands in history.test.part.ts; a change there may turn an old one into
 * another history, which does no harm.
 */
import type { Drawn } from './history.test.part.js';

const policy = { maxConcurrent: 1, soakMs: 0, failureBudget: 0, rollbackOnFailure: false };
const plain = { nodes: 2, ahead: 0, canary: 0, isRollback: true, isChecked: false, operationsMax: 1, policy };

export const found: Drawn[] = [
  // The upgrade was stored, the phase was not: a failure then ended as if nothing had been touched.
  {
    ...plain,
    policy: { ...policy, maxConcurrent: 2 },
    actions: [
      [58, 0, 0],
      [0, 0, 1],
      [22, 0, 9],
      [0, 0, 9],
      [22, 0, 1],
      [58, 0, 0],
      [0, 0, 0],
      [44, 0, 0],
    ],
  },
  // The phase was stored, the answers were not: a node started before all were staged.
  {
    ...plain,
    actions: [
      [77, 0, 0],
      [98, 91, 0],
      [58, 0, 0],
      [58, 0, 0],
      [0, 0, 41],
      [92, 0, 86],
      [22, 0, 0],
      [58, 0, 0],
      [0, 0, 0],
      [44, 0, 0],
    ],
  },
  // Two nodes changed their slots within one decision: no guard could ever hold.
  {
    ...plain,
    nodes: 5,
    isRollback: false,
    isChecked: true,
    operationsMax: 100,
    policy: { ...policy, maxConcurrent: 2, failureBudget: 1, rollbackOnFailure: true },
    actions: [
      [72, 61, 0],
      [58, 0, 153],
      [0, 0, 42],
      [81, 157, 0],
      [58, 0, 1],
      [0, 0, 2],
      [22, 0, 0],
      [0, 0, 26],
      [44, 108, 0],
    ],
  },
  // A removed node was waited for by a leader who had no line to it.
  {
    ...plain,
    isChecked: true,
    actions: [
      [58, 0, 57],
      [90, 0, 0],
      [95, 0, 4],
      [99, 0, 189],
      [92, 0, 14],
      [90, 0, 0],
    ],
  },
  // A node that was removed before it was checked let the engine decide in a circle.
  { ...plain, nodes: 4, ahead: 232, actions: [[99, 111, 105]] },
  // What a node had said before its commit was taken for what it runs.
  {
    ...plain,
    nodes: 1,
    isRollback: false,
    isChecked: true,
    actions: [
      [58, 0, 98],
      [44, 0, 148],
      [44, 0, 1],
      [44, 0, 0],
      [22, 0, 94],
    ],
  },
  // A journal that broke midway was taken for a refusal before anything was touched.
  {
    ...plain,
    isRollback: false,
    isChecked: true,
    actions: [
      [0, 0, 0],
      [99, 0, 0],
    ],
  },
];
