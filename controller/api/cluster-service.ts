/** ClusterService: the cluster as a whole, for everybody who may look; freeze and epoch, for operators. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { PlexiError } from '../../config/errors.js';
import {
  ClusterServiceGetResponse,
  type ClusterServiceServer,
  SetFreezeResponse,
} from '../../gen/plexi/v1/cluster.js';
import type { ClusterReader } from './cluster-reader.js';
import { type ReEpochParts, reEpoch } from './re-epoch.js';
import { caller, unary } from './rollouts-service.js';
import { checkReason, type WishWriter } from './wish-writer.js';

export interface ClusterServiceParts extends ReEpochParts {
  readonly reader: ClusterReader;
  readonly wishes: WishWriter;
}

export function clusterService(
  parts: ClusterServiceParts,
): ClusterServiceServer & UntypedServiceImplementation {
  const { reader, wishes, wall } = parts;
  const { cluster } = parts.config;
  return {
    get: unary(async () => ClusterServiceGetResponse.fromPartial({ cluster, ...(await reader.cluster()) })),
    setFreeze: unary(async (call) => {
      const { on, reason } = call.request;
      if (on && reason === '') throw new PlexiError('USAGE', 'say with --reason why nothing may start');
      checkReason(reason);
      const by = caller(call);
      await wishes.wish({ kind: 'freeze', by, at: wall().toISOString(), on, reason }, undefined);
      return SetFreezeResponse.fromPartial({});
    }),
    reEpoch: unary(async (call) => {
      const { reason } = call.request;
      checkReason(reason);
      return reEpoch(parts, caller(call), reason);
    }),
  };
}
