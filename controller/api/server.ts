/** A replica's doors: gRPC behind mutual TLS for everything, and HTTPS for whoever asks whether it lives. */
import { createServer, type Server as HttpsServer } from 'node:https';
import { Server } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { grpcAuthorization } from '../../config/authorization.js';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { splitHostPort } from '../../config/schema/fields.js';
import { grpcServerCredentials, grpcServerOptions } from '../../config/tls.js';
import { readTlsFiles, type TlsFiles } from '../../config/tls-files.js';
import { AuditServiceService } from '../../gen/plexi/v1/audit.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { auditService } from './audit-service.js';
import { clusterService } from './cluster-service.js';
import { type NodesServiceParts, nodesService } from './nodes-service.js';
import { type RolloutsServiceParts, rolloutsService } from './rollouts-service.js';

/** Starts the gRPC server. @throws PlexiError CONFIG_INVALID when the address cannot be had */
export async function serveGrpc(parts: RolloutsServiceParts & NodesServiceParts): Promise<Server> {
  const { config } = parts;
  const server = new Server({
    interceptors: [grpcAuthorization(config.cluster)],
    ...grpcServerOptions({ streamsMax: limits.watchers }),
  });
  server.addService(RolloutsServiceService, rolloutsService(parts));
  server.addService(NodesServiceService, nodesService(parts));
  server.addService(ClusterServiceService, clusterService(parts));
  server.addService(AuditServiceService, auditService(parts));
  new HealthImplementation({
    '': 'SERVING',
    'plexi.v1.RolloutsService': 'SERVING',
    'plexi.v1.NodesService': 'SERVING',
    'plexi.v1.ClusterService': 'SERVING',
    'plexi.v1.AuditService': 'SERVING',
  }).addToServer(server);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(config.listen, grpcServerCredentials(config.tls), (error) =>
      error === null ? resolve() : reject(cannotListen(config.listen, error)),
    );
  });
  return server;
}

/** `/livez`: the process lives. `/readyz`: it can answer from etcd. No client certificate is asked for, and nothing else is told. */
export async function serveHttp(listen: string, tls: TlsFiles, isReady: () => boolean): Promise<HttpsServer> {
  const { ca, cert, key } = readTlsFiles(tls).material;
  const server = createServer({ ca, cert, key, minVersion: 'TLSv1.2' }, (request, response) => {
    const ok = request.url === '/livez' || (request.url === '/readyz' && isReady());
    const known = request.url === '/livez' || request.url === '/readyz';
    response.writeHead(ok ? 200 : known ? 503 : 404, { 'content-type': 'text/plain' });
    response.end(ok ? 'ok\n' : known ? 'not ready\n' : 'not found\n');
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 5_000;
  const address = splitHostPort(listen);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(listen, error)));
    server.listen(address?.port, address?.host, resolve);
  });
  return server;
}

function cannotListen(address: string, error: Error): PlexiError {
  return new PlexiError(
    'CONFIG_INVALID',
    `cannot listen on ${address}: ${error.message}; choose another address`,
    { cause: error },
  );
}
