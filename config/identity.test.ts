/** Who a certificate stands for: exactly one well-formed name, or nobody. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  identityOfAltNames,
  identityProblem,
  identityUri,
  parseIdentityUri,
  serverName,
} from './identity.js';

const node = { cluster: 'dev', role: 'agent', name: 'node-1' } as const;

describe('the identity in a certificate', () => {
  test('what is written is read again', () => {
    assert.equal(identityUri(node), 'plexi://dev/agent/node-1');
    assert.deepEqual(parseIdentityUri('plexi://dev/agent/node-1'), node);
    assert.equal(serverName(node), 'node-1.agent.dev.plexi');
  });

  for (const uri of [
    '',
    'plexi://dev/agent',
    'plexi://dev/agent/',
    'plexi://dev/root/node-1',
    'plexi://Dev/agent/node-1',
    'plexi://dev/agent/node-1/x',
    'plexi://dev/agent/node-1\n',
    'xplexi://dev/agent/node-1',
    'spiffe://dev/agent/node-1',
    `plexi://dev/agent/${'a'.repeat(64)}`,
  ]) {
    test(`${JSON.stringify(uri)} is nobody`, () => assert.equal(parseIdentityUri(uri), undefined));
  }

  test('among other names, and never two', () => {
    assert.deepEqual(identityOfAltNames('DNS:a.b, URI:plexi://dev/agent/node-1, IP Address:10.0.0.1'), node);
    assert.equal(identityOfAltNames('URI:plexi://dev/agent/node-1, URI:plexi://dev/operator/x'), undefined);
    assert.equal(identityOfAltNames('DNS:"x, URI:plexi://dev/operator/x"'), undefined);
    assert.equal(identityOfAltNames('URI:"plexi://dev/operator/x, DNS:y"'), undefined);
    assert.equal(identityOfAltNames(undefined), undefined);
  });

  test('what is wrong with somebody else is said', () => {
    assert.equal(identityProblem(node, { cluster: 'dev', role: 'agent' }), undefined);
    assert.equal(identityProblem(node, node), undefined);
    assert.match(
      identityProblem(node, { ...node, name: 'node-2' }) ?? '',
      /agent node-1 .*expected the agent node-2/,
    );
    assert.match(
      identityProblem(node, { ...node, cluster: 'prod' }) ?? '',
      /of cluster dev, expected .* cluster prod/,
    );
    assert.match(identityProblem(undefined, node) ?? '', /names no plexi identity/);
  });
});
