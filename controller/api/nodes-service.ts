/**
 * NodesService. Replicas write only `spec`; what a node is like, the leader alone says (protocol,
 * rule 25). Every write compares what it read, so two replicas cannot undo each other.
 */
import { isAbsolute } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { isName, splitHostPort } from '../../config/schema/fields.js';
import {
  AddResponse,
  NodesServiceListResponse,
  type NodesServiceServer,
  type RegisterRequest,
  RegisterResponse,
  RemoveResponse,
  SetHoldResponse,
  SetMaintenanceResponse,
  TakeOverResponse,
} from '../../gen/plexi/v1/nodes.js';
import { type EtcdClient, type EtcdOperation, readKey, transact } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import { decode, encode, type NodeSpec, nodeSpecRecord } from '../state/records.js';
import type { ClusterReader } from './cluster-reader.js';
import { nodeListDocument } from './documents.js';
import { streamNodeLog } from './node-logs.js';
import { caller, unary } from './rollouts-service.js';
import { checkReason, type WishWriter } from './wish-writer.js';

export interface NodesServiceParts {
  readonly config: ControllerConfig;
  readonly client: EtcdClient;
  readonly keys: ClusterKeys;
  readonly reader: ClusterReader;
  readonly wishes: WishWriter;
  readonly wall: () => Date;
}

/** Tries of a compared write, when others write the same key. */
const writesMax = 10;

export function nodesService(parts: NodesServiceParts): NodesServiceServer & UntypedServiceImplementation {
  const { reader, wishes } = parts;
  return {
    list: unary(async () => {
      return NodesServiceListResponse.fromPartial({ nodes: (await reader.nodes()).map(nodeListDocument) });
    }),
    register: unary(async (call) => {
      const { nodeId } = call.request;
      if (caller(call) !== nodeId)
        throw new PlexiError(
          'FORBIDDEN',
          `the certificate names ${caller(call)}, so it cannot register ${nodeId}`,
        );
      checkNode(nodeId, call.request.address);
      return RegisterResponse.fromPartial({
        result: await changeSpec(parts, nodeId, (before) =>
          registered(call.request, fingerprintOf(call), before),
        ),
      });
    }),
    add: unary(async ({ request }) => {
      checkNode(request.nodeId, request.address);
      await changeSpec(parts, request.nodeId, (before) => added(request, before));
      return AddResponse.fromPartial({});
    }),
    remove: unary(async (call) => {
      const { nodeId, reason } = call.request;
      checkReason(reason);
      await wishes.wish(
        { kind: 'remove', by: caller(call), at: parts.wall().toISOString(), node: nodeId, reason },
        undefined,
      );
      return RemoveResponse.fromPartial({});
    }),
    setHold: unary(async (call) => {
      const { nodeId, on, reason } = call.request;
      checkReason(reason);
      await wishes.wish(
        { kind: 'hold', by: caller(call), at: parts.wall().toISOString(), node: nodeId, on, reason },
        undefined,
      );
      return SetHoldResponse.fromPartial({});
    }),
    takeOver: unary(async (call) => {
      const { nodeId, version, directory, confirm, reason } = call.request;
      checkReason(reason);
      if (confirm && reason === '')
        throw new PlexiError('USAGE', 'say with --reason what was done to the node by hand');
      if (directory !== '' && (!isAbsolute(directory) || directory.length > limits.releasePathChars))
        throw new PlexiError('USAGE', `${JSON.stringify(directory)} is no absolute path on the node`);
      const by = caller(call);
      const at = parts.wall().toISOString();
      const order = confirm ? 'confirm' : 'adopt';
      await wishes.wish(
        { kind: 'order', by, at, node: nodeId, order, version, directory, reason },
        undefined,
      );
      return TakeOverResponse.fromPartial({
        digest: await reader.waitForOrder(nodeId, limits.takeOverMs),
      });
    }),
    logs: (call) => streamNodeLog(call, parts),
    setMaintenance: unary(async (call) => {
      const { nodeId, on, reason } = call.request;
      checkReason(reason);
      await wishes.wish(
        { kind: 'maintenance', by: caller(call), at: parts.wall().toISOString(), node: nodeId, on, reason },
        undefined,
      );
      await reader.waitForMaintenance(nodeId, on, limits.intentWaitMs);
      return SetMaintenanceResponse.fromPartial({});
    }),
  };
}

function checkNode(id: string, address: string): void {
  if (!isName(id))
    throw new PlexiError(
      'USAGE',
      `${JSON.stringify(id)} is no name for a node; use small letters, digits and dashes, at most ${limits.nameChars}`,
    );
  if (address !== '' && splitHostPort(address) === undefined)
    throw new PlexiError('USAGE', `${JSON.stringify(address)} is no HOST:PORT`);
}

/** SHA-256 of the caller's certificate, as it is written: pairs of hex digits with colons. */
function fingerprintOf(call: ServerUnaryCall<unknown, unknown>): string {
  return call.getAuthContext().sslPeerCertificate?.fingerprint256 ?? '';
}

/** An agent's word about itself: its address. A second installation under one name is refused. */
function registered(request: RegisterRequest, fingerprint: string, before: NodeSpec | undefined): NodeSpec {
  const { nodeId, address, installId, counter } = request;
  if (before === undefined) {
    return { address, labels: {}, fingerprint, installId, counter: String(counter), removed: false };
  }
  if (before.removed)
    throw new PlexiError(
      'NODE_REMOVED',
      `${nodeId} was removed from the cluster; let it back with plexictl node add ${nodeId}`,
    );
  if (before.installId !== '' && before.installId !== installId) {
    throw new PlexiError(
      'NODE_EXISTS',
      `another installation is registered as ${nodeId}; give this one a name of its own, or run plexictl node remove ${nodeId} and node add ${nodeId}`,
    );
  }
  const isKnown = before.installId === installId && before.fingerprint === fingerprint;
  if (isKnown && before.address === address) return before;
  return BigInt(before.counter) >= counter
    ? before
    : { ...before, address, fingerprint, installId, counter: String(counter) };
}

function added(
  request: { address: string; labels: Record<string, string> },
  before: NodeSpec | undefined,
): NodeSpec {
  const { address, labels } = request;
  if (before === undefined || before.removed) {
    return {
      address: address === '' ? (before?.address ?? '') : address,
      labels,
      fingerprint: '',
      installId: '',
      counter: '0',
      removed: false,
    };
  }
  return { ...before, labels: { ...before.labels, ...labels }, ...(address !== '' && { address }) };
}

/** Whoever takes a slot compares this key: limits by label were counted with the labels of before. */
function labelsChange(
  keys: ClusterKeys,
  node: string,
  before: NodeSpec | undefined,
  after: NodeSpec,
): EtcdOperation[] {
  const isSame = before !== undefined && isDeepStrictEqual(before.labels, after.labels);
  return isSame && before.removed === after.removed
    ? []
    : [{ kind: 'put', key: keys.labels, value: JSON.stringify({ changed: node }) }];
}

/** @throws PlexiError LIMIT_EXCEEDED */
function checkBounds(
  reader: ClusterReader,
  node: string,
  before: NodeSpec | undefined,
  after: NodeSpec,
): void {
  const labels = Object.keys(after.labels).length;
  if (labels > limits.labels)
    throw new PlexiError(
      'LIMIT_EXCEEDED',
      `${node} would have ${labels} labels, and a node has at most ${limits.labels}; remove it and add it again with fewer`,
    );
  const isNew = before === undefined || before.removed;
  if (isNew && reader.nodeCount >= limits.nodes)
    throw new PlexiError(
      'LIMIT_EXCEEDED',
      `the cluster has ${limits.nodes} nodes or more, which is all that it can have; take one off with plexictl node remove before ${node} is added`,
    );
}

async function changeSpec(
  { client, keys, reader }: NodesServiceParts,
  node: string,
  change: (before: NodeSpec | undefined) => NodeSpec,
): Promise<'created' | 'updated' | 'unchanged'> {
  const key = keys.nodeSpec(node);
  for (let tries = 0; tries < writesMax; tries++) {
    const { entry } = await readKey(client, key);
    const before = entry && decode(nodeSpecRecord, key, entry.value);
    const after = change(before);
    if (after === before) return 'unchanged';
    checkBounds(reader, node, before, after);
    const done = await transact(
      client,
      [{ kind: 'modRevision', key, equals: entry?.modRevision ?? 0n }],
      [{ kind: 'put', key, value: encode(after, entry?.value) }, ...labelsChange(keys, node, before, after)],
    );
    if (done !== undefined) return entry === undefined ? 'created' : 'updated';
  }
  throw new PlexiError('CONFLICT', `the record of ${node} changes all the time; try again`);
}
