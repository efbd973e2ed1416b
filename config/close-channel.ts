/**
 * The end of a channel. @grpc/grpc-js 1.14.7 answers the resolution of an address literal in the next turn of
 * the event loop, also for a channel that was closed before that: the closed channel then connects, and
 * nobody closes it any more. So a channel of ours is closed behind that turn.
 */

/** Closes a client, whose calls the caller has ended. It is closed once the callbacks that wait now have run. */
export function closeChannel(client: { close(): void }): void {
  setImmediate(() => client.close());
}
