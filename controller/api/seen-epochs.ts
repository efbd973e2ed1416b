/** The highest epoch that each agent has seen, from its own fence. It is asked only, and nothing is changed. */
import { Metadata } from '@grpc/grpc-js';
import { closeChannel } from '../../config/close-channel.js';
import { limits } from '../../config/limits.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { grpcChannel } from '../../config/tls.js';
import { NodeAgentServiceClient } from '../../gen/plexi/v1/node_agent.js';

/** Agents that are asked at the same time. */
const atOnce = 500;

/** Asks every node at its address; one that does not answer within the bound is absent from the answer. */
export async function seenEpochs(
  config: Pick<ControllerConfig, 'cluster' | 'tls'>,
  addresses: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, bigint>> {
  const seen = new Map<string, bigint>();
  const waiting = [...addresses].filter(([, address]) => address !== '');
  const ask = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [node, address] = next;
      const epoch = await seenEpoch(config, node, address);
      if (epoch !== undefined) seen.set(node, epoch);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, ask));
  return seen;
}

/** 0 for an agent whose fence cannot be read: it has answered, and it will refuse to be adopted. */
function seenEpoch(
  { cluster, tls }: Pick<ControllerConfig, 'cluster' | 'tls'>,
  node: string,
  address: string,
): Promise<bigint | undefined> {
  const { credentials, options } = grpcChannel(tls, { cluster, role: 'agent', name: node });
  const client = new NodeAgentServiceClient(address, credentials, options);
  return new Promise((resolve) => {
    const deadline = Date.now() + limits.reEpochAskMs;
    client.describe({}, new Metadata(), { deadline }, (error, response) => {
      closeChannel(client);
      resolve(error === null ? (response.fence?.epoch ?? 0n) : undefined);
    });
  });
}
