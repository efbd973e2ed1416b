/** What no command may hold, because a folder, a timer or a record of this node is made of it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { longestMs } from '../../config/schema/fields.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { checkCommand } from './order-shape.js';

const tooLong = BigInt(longestMs) + 1n;
const release = { version: '0b1', digest: 'd'.repeat(64) };

function upgrade(more: object): Command['step'] {
  return { $case: 'upgrade', value: { from: release, to: release, ...more } as never };
}

function commandWith(step: Command['step']): Command {
  return Command.fromPartial({ commandId: 'c', step: step as never });
}

describe('the reason of a taking back', () => {
  const rollBack = (reason: string): Command['step'] => ({
    $case: 'rollBack',
    value: { upgradeCommandId: 'u', reason },
  });

  test('is as long as a controller makes one at the most', () => {
    checkCommand(commandWith(rollBack('x'.repeat(limits.failureChars))));
    const longer = commandWith(rollBack('x'.repeat(limits.failureChars + 1)));
    assert.throws(() => checkCommand(longer), {
      code: 'LIMIT_EXCEEDED',
      message: /the command's reason is not acceptable/,
    });
  });
});

describe('a time that no timer can keep is refused before anything is begun', () => {
  for (const [field, step] of [
    ['timeoutMs', { $case: 'maintenance', value: { on: true, reason: '', timeoutMs: 2n ** 32n } }],
    ['timeoutMs', { $case: 'stage', value: { release, timeoutMs: tooLong } as never }],
    ['stopMs', upgrade({ timeouts: { stopMs: 2n ** 64n - 1n } })],
    ['rollbackMs', upgrade({ timeouts: { rollbackMs: tooLong } })],
    ['tryMs', upgrade({ probe: { tryMs: 2n ** 31n } })],
  ] as [string, Command['step']][])
    test(`${field} of ${step?.$case}`, () => {
      const expected = {
        code: 'LIMIT_EXCEEDED',
        message: new RegExp(`the command's ${field} is not acceptable`),
      };
      assert.throws(() => checkCommand(commandWith(step)), expected);
    });

  test('the longest that a configuration may have is kept', () => {
    checkCommand(commandWith(upgrade({ timeouts: { stopMs: BigInt(longestMs) } })));
  });
});
