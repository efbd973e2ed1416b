/**
 * A client over all members of etcd. Calls go to one of them, and to the next one once it has failed: etcd3
 * itself picks a member by chance for every call, so that with one of three away every third call failed,
 * and a renewal that waited for it cost the lead.
 */
import { readFileSync } from 'node:fs';
import { InterceptingCall, type InterceptorOptions, type NextCall } from '@grpc/grpc-js';
import { noop } from 'cockatiel';
import { Etcd3 } from 'etcd3';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ControllerConfig } from '../../config/schema/controller.js';

export type EtcdConnection = Pick<ControllerConfig['etcd'], 'endpoints' | 'tls'>;

export class EtcdMembers {
  private readonly members: readonly Etcd3[];
  private current: number;

  /** @param first which of them is asked first, in the order of the configuration and round again */
  constructor({ endpoints, tls }: EtcdConnection, first: number) {
    const callMs = endpoints.length > 1 ? limits.etcdMemberCallMs : limits.etcdCallMs;
    this.members = endpoints.map((endpoint) => connectMember(endpoint, tls, callMs));
    this.current = first % this.members.length;
  }

  /** How many there are. */
  get size(): number {
    return this.members.length;
  }

  /** The member that is asked now. @throws PlexiError CONFIG_INVALID when there is none at all */
  get member(): Etcd3 {
    const member = this.members[this.current];
    if (member === undefined) {
      throw new PlexiError('CONFIG_INVALID', 'etcd.endpoints names no member of etcd; name at least one');
    }
    return member;
  }

  get kv(): Etcd3['kv'] {
    return this.member.kv;
  }

  get leaseClient(): Etcd3['leaseClient'] {
    return this.member.leaseClient;
  }

  get watchClient(): Etcd3['watchClient'] {
    return this.member.watchClient;
  }

  /** A member did not answer. Calls that fail together move on once. */
  moveOn(from: Etcd3): void {
    if (this.member === from) this.current = (this.current + 1) % this.members.length;
  }

  close(): void {
    for (const member of this.members) member.close();
  }
}

function connectMember(endpoint: string, tls: EtcdConnection['tls'], callMs: number): Etcd3 {
  return new Etcd3({
    hosts: endpoint,
    ...(tls && {
      credentials: {
        rootCertificate: readFileSync(tls.ca),
        privateKey: readFileSync(tls.key),
        certChain: readFileSync(tls.cert),
      },
    }),
    faultHandling: { global: noop, host: () => noop },
    defaultCallOptions: (context) =>
      context.isStream ? { interceptors: [withLeaderOnly] } : { deadline: Date.now() + callMs },
    grpcOptions: {
      'grpc.max_receive_message_length': limits.etcdAnswerBytes,
      'grpc.keepalive_time_ms': 5_500,
      'grpc.keepalive_timeout_ms': 1_500,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    },
  });
}

/**
 * A member that is cut off from the others ends the stream, instead of showing a past that it takes for
 * the present.
 */
function withLeaderOnly(options: InterceptorOptions, nextCall: NextCall): InterceptingCall {
  return new InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      metadata.set('hasleader', 'true');
      next(metadata, listener);
    },
  });
}
