/** `plexictl audit`: the records in every form, and a broken chain that nobody can overlook. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AuditServiceListResponse } from '../../gen/plexi/v1/audit.js';
import {
  documentOf,
  errorOf,
  plexictl,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const at = new Date('2024-12-19T12:00:03.500Z');
const record = { sequence: 2, what: 'wish', who: 'ops', wish: 'pause' };
let problem = '';

describe('audit', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    controller = await cluster.controller({
      audit: () =>
        AuditServiceListResponse.fromPartial({
          records: [
            {
              ...{ sequence: 2n, at, what: 'wish', who: 'ops', hash: 'cd'.repeat(32) },
              ...{ text: 'wished pause, because lunch', json: JSON.stringify(record) },
            },
          ],
          verification: { first: 1n, last: 2n, lastHash: 'cd'.repeat(32), problem },
        }),
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());

  test('for people, and with the hashes', async () => {
    const { stdout, exitCode } = await plexictl(['audit', '--limit', '3'], { config });
    assert.match(
      stdout,
      /^NR +AT +WHAT +WHO +TEXT *\n2 +2024-12-19 12:00:03 +wish +ops +wished pause, because lunch\n/,
    );
    assert.match(stdout, /\nRecords 1 to 2 follow on one another; the hash of the last is\n(cd){32}\n$/);
    assert.equal(exitCode, 0);
    assert.deepEqual(controller.asked.at(-1), { word: 'audit', request: { limit: 3, verify: false } });
    assert.match((await plexictl(['audit', '-o', 'wide'], { config })).stdout, /(cd){32}/);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  });

  test('as a document, with the records as they stand in etcd', async () => {
    const ran = await plexictl(['audit', '--verify', '-o', 'json'], { config });
    assert.deepEqual(documentOf(ran), {
      records: [record],
      verification: { first: 1, last: 2, lastHash: 'cd'.repeat(32), problem: null },
    });
  });

  test('a chain that is broken ends with 4, and says where', async () => {
    problem = 'the audit record x cannot be trusted: it was changed after it was written';
    const ran = await plexictl(['audit', '--verify', '-o', 'json'], { config });
    assert.equal(ran.exitCode, 4);
    assert.equal(errorOf(ran).code, 'STORE_INVALID');
    assert.match(errorOf(ran).message, /was changed/);
    problem = '';
  });

  test('more than may be shown is refused before anything is asked', async () => {
    const ran = await plexictl(['audit', '--limit', '1001'], { config });
    assert.equal(ran.exitCode, 2);
  });
});
