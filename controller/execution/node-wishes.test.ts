/** What is said to an operator whose wish about a node cannot be taken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unseenNode } from '../rollout/change.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import type { Slot, World } from '../rollout/world.js';
import { clusterKeys } from '../state/keys.js';
import { fulfilNodeWish } from './node-wishes.js';

const keys = clusterKeys('c');

function slotOf(node: string): Slot {
  return { node, reason: '', rollout: 'r', term: '1', sinceMs: 1, maintenance: null };
}

/** Takes node-9 out of service, in a world with a budget of one. */
async function takeOut(change: Partial<World>): Promise<unknown> {
  const world = { ...emptyWorld, budget: { max: 1, generation: 1 }, ...change };
  const value = JSON.stringify({ address: '10.0.0.9:7400' });
  const lookup = (key: string) => ({ key, value, createRevision: 1n, modRevision: 1n, lease: '0' });
  const parts = {
    keys,
    config: { versionScheme: 'plexi' },
    world: () => world,
    lookup,
    mirror: { under: () => [] },
    nowMs: () => 1,
  } as const;
  return fulfilNodeWish(parts, {
    kind: 'maintenance',
    node: 'node-9',
    on: true,
    reason: '',
    by: 'op',
    at: '',
  });
}

test('a budget that is spent names the nodes that count, and no other', async () => {
  const slots = new Map([
    ['0', slotOf('node-1')],
    ['stuck-node-2', slotOf('node-2')],
  ]);
  const sentence = 'node-1 is out of service, and no more than 1 node may be; put it back first';
  await assert.rejects(takeOut({ slots }), { code: 'BUDGET_SPENT', message: sentence });
});

test('a node that joined out of service counts without a slot, and is named', async () => {
  const joiner = { ...unseenNode, joined: true, inMaintenance: true };
  const views = new Map([
    ['node-3', joiner],
    ['node-4', joiner],
  ]);
  const sentence = 'node-3, node-4 are out of service, and no more than 1 node may be; put one back first';
  await assert.rejects(takeOut({ views }), { code: 'BUDGET_SPENT', message: sentence });
});
