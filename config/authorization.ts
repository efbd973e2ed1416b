/**
 * Who may call what (security.md: per-method authorization, default deny). One table holds every
 * method of every gRPC server of ours. Invariant: a method that is not in the table is refused to
 * everybody, and no handler runs before this was asked.
 */
import { ServerInterceptingCall, type ServerInterceptor, status } from '@grpc/grpc-js';
import { PlexiError } from './errors.js';
import { type Identity, identityOfPeer, type Role, roles } from './identity.js';

const controllers: readonly Role[] = ['controller'];
const agents: readonly Role[] = ['agent'];
const operators: readonly Role[] = ['operator'];
/** Whoever may look; an operator may do so too. */
const viewers: readonly Role[] = ['viewer', 'operator'];

/** The roles that may call a method, by its path. Proto comments say the same in words. */
export const allowedRoles: Readonly<Record<string, readonly Role[]>> = {
  '/plexi.v1.NodeAgentService/Describe': controllers,
  '/plexi.v1.NodeAgentService/Adopt': controllers,
  '/plexi.v1.NodeAgentService/Execute': controllers,
  '/plexi.v1.NodeAgentService/WatchStatus': controllers,
  '/plexi.v1.NodeAgentService/ReadLog': controllers,

  '/plexi.v1.RolloutsService/Plan': viewers,
  '/plexi.v1.RolloutsService/Start': operators,
  '/plexi.v1.RolloutsService/Get': viewers,
  '/plexi.v1.RolloutsService/List': viewers,
  '/plexi.v1.RolloutsService/Watch': viewers,
  '/plexi.v1.RolloutsService/Pause': operators,
  '/plexi.v1.RolloutsService/Resume': operators,
  '/plexi.v1.RolloutsService/Abort': operators,
  '/plexi.v1.RolloutsService/Retry': operators,
  '/plexi.v1.RolloutsService/Skip': operators,
  '/plexi.v1.RolloutsService/Rollback': operators,

  '/plexi.v1.NodesService/List': viewers,
  // That an agent registers only its own node is for the handler, which knows the request.
  '/plexi.v1.NodesService/Register': agents,
  '/plexi.v1.NodesService/Add': operators,
  '/plexi.v1.NodesService/Remove': operators,
  '/plexi.v1.NodesService/SetMaintenance': operators,
  '/plexi.v1.NodesService/SetHold': operators,
  '/plexi.v1.NodesService/TakeOver': operators,
  // What a service prints is not for everybody who may look.
  '/plexi.v1.NodesService/Logs': operators,

  '/plexi.v1.ClusterService/Get': viewers,
  '/plexi.v1.ClusterService/SetFreeze': operators,
  '/plexi.v1.ClusterService/ReEpoch': operators,

  '/plexi.v1.AuditService/List': viewers,

  '/grpc.health.v1.Health/Check': roles,
  '/grpc.health.v1.Health/Watch': roles,
  '/grpc.health.v1.Health/List': roles,
};

/**
 * Lets the call pass, or throws FORBIDDEN with who and what. `method` is the gRPC path, `cluster` the
 * one that the server belongs to; `identity` is undefined when the certificate names none.
 */
export function authorize(method: string, identity: Identity | undefined, cluster: string): void {
  if (identity === undefined) {
    throw new PlexiError(
      'FORBIDDEN',
      `the certificate of the caller names no plexi identity, which ${method} needs; use one made by 'plexictl certs issue'`,
    );
  }
  const who = `${identity.role} ${identity.name} of cluster ${identity.cluster}`;
  if (identity.cluster !== cluster) {
    throw new PlexiError(
      'FORBIDDEN',
      `${who} may not call ${method} here, since this is cluster ${cluster}; use the client file of this cluster`,
    );
  }
  const allowed = Object.hasOwn(allowedRoles, method) ? (allowedRoles[method] ?? []) : [];
  if (allowed.includes(identity.role)) return;
  const remedy = allowed.length === 0 ? 'nobody may' : `it needs the role ${allowed.join(' or ')}`;
  throw new PlexiError('FORBIDDEN', `${who} may not call ${method}; ${remedy}`, {
    details: { method, role: identity.role },
  });
}

/**
 * The interceptor for a gRPC server of the cluster. A refused call ends with PERMISSION_DENIED (with
 * UNAUTHENTICATED when the certificate names nobody) before its handler sees anything of it.
 */
export function grpcAuthorization(cluster: string): ServerInterceptor {
  return (method, call) => {
    const identity = identityOfPeer(call.getAuthContext());
    const refusal = refusalOf(method.path, identity, cluster);
    if (refusal === undefined) return new ServerInterceptingCall(call);
    const code = identity === undefined ? status.UNAUTHENTICATED : status.PERMISSION_DENIED;
    const details = `${refusal.code}: ${refusal.message}`;
    return new ServerInterceptingCall(call, {
      // The listener passes nothing on, so the handler never learns of the call.
      start: (next) =>
        next({
          onReceiveMetadata: () => call.sendStatus({ code, details }),
          onReceiveMessage: () => {},
          onReceiveHalfClose: () => {},
          onCancel: () => {},
        }),
    });
  };
}

function refusalOf(method: string, identity: Identity | undefined, cluster: string): PlexiError | undefined {
  try {
    authorize(method, identity, cluster);
    return undefined;
  } catch (error) {
    if (error instanceof PlexiError) return error;
    throw error;
  }
}
