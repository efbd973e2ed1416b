/**
 * `stub.js PORT`: answers every request with 200. It stands for the service's health where the service
 * itself is `sleep`. A process of its own, so that neither the agents nor the shell wait for the other.
 */
import { createServer } from 'node:http';

createServer((_request, response) => response.end('ok\n')).listen(Number(process.argv[2]), '127.0.0.1');
