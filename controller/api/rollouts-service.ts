/** RolloutsService: plans and states for everybody who may look, wishes for operators. */
import type { handleUnaryCall, ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import { PlexiError } from '../../config/errors.js';
import { toServiceError } from '../../config/grpc-status.js';
import { limits } from '../../config/limits.js';
import { identityOfPeer } from '../../config/tls.js';
import {
  AbortResponse,
  GetResponse,
  ListResponse,
  PauseResponse,
  PlanResponse,
  ResumeResponse,
  RetryResponse,
  RollbackResponse,
  RolloutRequest,
  type RolloutsServiceServer,
  SkipResponse,
  StartResponse,
} from '../../gen/plexi/v1/rollouts.js';
import { type PlanSources, planRollout } from '../execution/prepare.js';
import type { Mirror } from '../state/mirror.js';
import type { Intent, RolloutWish } from '../state/wish-records.js';
import type { ClusterReader } from './cluster-reader.js';
import { planDocument, rolloutDocument } from './documents.js';
import { watchRollout } from './watch-rollout.js';
import { checkReason, type WishWriter } from './wish-writer.js';

export interface RolloutsServiceParts extends PlanSources {
  readonly reader: ClusterReader;
  readonly wishes: WishWriter;
  readonly mirror: Mirror;
  readonly wall: () => Date;
}

export function rolloutsService(
  parts: RolloutsServiceParts,
): RolloutsServiceServer & UntypedServiceImplementation {
  const { reader, wishes, config } = parts;
  const forRollout = async (
    id: string,
    intent: DistributiveOmit<Intent, 'by' | 'at'>,
    by: string,
  ): Promise<string> => {
    const rollout = id === '' ? await reader.activeId() : id;
    await wishes.wish({ ...intent, by, at: parts.wall().toISOString() } as Intent, rollout);
    return rollout;
  };
  return {
    plan: unary(async ({ request }) => {
      const planned = await planRollout(parts, await reader.planEntries(), wishOf(request.request));
      return PlanResponse.fromPartial({
        plan: planDocument(planned, config.cluster, config.update.safety.requireConfirmation),
      });
    }),
    start: unary(async (call) => {
      const { request, planDigest, requestId } = call.request;
      const at = parts.wall().toISOString();
      const outcome = await wishes.wish(
        { kind: 'start', by: caller(call), at, requestId, planDigest, request: wishOf(request) },
        undefined,
      );
      return StartResponse.fromPartial({ id: outcome.rollout ?? '', nothingToDo: outcome.nothingToDo });
    }),
    get: unary(async ({ request }) => GetResponse.fromPartial({ status: await reader.status(request.id) })),
    list: unary(async ({ request }) => {
      const limit = request.limit === 0 ? 20 : Math.min(request.limit, 1_000);
      const rollouts = (await reader.history()).slice(0, limit);
      return ListResponse.fromPartial({
        rollouts: rollouts.map((rollout) => rolloutDocument(rollout, false)),
      });
    }),
    watch: (call) => watchRollout(call, reader, parts.mirror),
    pause: unary(async (call) => {
      const reason = reasonOf(call.request.reason, 'paused by', caller(call));
      return PauseResponse.fromPartial({
        id: await forRollout(call.request.id, { kind: 'pause', reason }, caller(call)),
      });
    }),
    resume: unary(async (call) => {
      const reason = reasonOf(call.request.reason, 'resumed by', caller(call));
      const id = call.request.id === '' ? await reader.activeId() : call.request.id;
      // More than may be put aside are refused whatever their names are.
      const seen = (await reader.failedNodes(id)).slice(0, limits.forgivenNodes + 1);
      return ResumeResponse.fromPartial({
        id: await forRollout(id, { kind: 'resume', reason, seen }, caller(call)),
      });
    }),
    abort: unary(async (call) => {
      const { id, rollback } = call.request;
      const reason = reasonOf(call.request.reason, 'aborted by', caller(call));
      return AbortResponse.fromPartial({
        id: await forRollout(id, { kind: 'abort', rollback, reason }, caller(call)),
      });
    }),
    retry: unary(async (call) => {
      const { id, nodeId } = call.request;
      const reason = reasonOf(call.request.reason, 'retried by', caller(call));
      return RetryResponse.fromPartial({
        id: await forRollout(id, { kind: 'retry', node: nodeId, reason }, caller(call)),
      });
    }),
    skip: unary(async (call) => {
      const { id, nodeId } = call.request;
      const reason = reasonOf(call.request.reason, 'skipped by', caller(call));
      return SkipResponse.fromPartial({
        id: await forRollout(id, { kind: 'skip', node: nodeId, reason }, caller(call)),
      });
    }),
    rollback: unary(async (call) => {
      const rollout = call.request.id === '' ? await reader.activeOrLast() : call.request.id;
      if (rollout === undefined) throw new PlexiError('NOT_FOUND', 'there is no rollout to take back');
      const reason = reasonOf(call.request.reason, 'taken back by', caller(call));
      const at = parts.wall().toISOString();
      const outcome = await wishes.wish(
        { kind: 'rollback', by: caller(call), at, requestId: call.request.requestId, rollout, reason },
        undefined,
      );
      return RollbackResponse.fromPartial({ id: outcome.rollout ?? '' });
    }),
  };
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** A handler that answers with what a promise comes to, and errors as the contract has them. */
export function unary<Request, Response>(
  handle: (call: ServerUnaryCall<Request, Response>) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    handle(call).then(
      (response) => callback(null, response),
      (thrown) => callback(toServiceError(thrown)),
    );
  };
}

/** The name in the caller's certificate. */
export function caller(call: { getAuthContext(): Parameters<typeof identityOfPeer>[0] }): string {
  return identityOfPeer(call.getAuthContext())?.name ?? 'unknown';
}

/** An operator's reason with who gave it. @throws PlexiError LIMIT_EXCEEDED */
export function reasonOf(given: string, what: string, by: string): string {
  checkReason(given);
  return given === '' ? `${what} ${by}` : `${what} ${by}: ${given}`;
}

function wishOf(request: RolloutRequest | undefined): RolloutWish {
  const wish = request ?? RolloutRequest.fromPartial({});
  if (wish.to === '') throw new PlexiError('USAGE', 'say which version: --to VERSION, --latest or --stable');
  if (wish.nodes.length + wish.selectors.length + wish.exclude.length > limits.nodes)
    throw new PlexiError('LIMIT_EXCEEDED', 'too many nodes are named');
  checkReason(wish.reason);
  return wish;
}
