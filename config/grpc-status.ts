/**
 * PlexiErrors over gRPC: the status details read `CODE: sentence`, which a person can read in any
 * tool, and which the other side turns back into the same error.
 */
import { type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, isErrorCode, PlexiError } from './errors.js';
import { limits } from './limits.js';

/** The gRPC status for each code; what is not listed is FAILED_PRECONDITION. */
const grpcStatus: Partial<Record<ErrorCode, status>> = {
  USAGE: status.INVALID_ARGUMENT,
  VERSION_INVALID: status.INVALID_ARGUMENT,
  LIMIT_EXCEEDED: status.RESOURCE_EXHAUSTED,
  FORBIDDEN: status.PERMISSION_DENIED,
  NOT_FOUND: status.NOT_FOUND,
  ROLLOUT_ACTIVE: status.ALREADY_EXISTS,
  COMMAND_CONFLICT: status.ALREADY_EXISTS,
  BUSY: status.ABORTED,
  TIMED_OUT: status.ABORTED,
  INTERNAL: status.INTERNAL,
};

/** What a handler hands to grpc-js for anything that was thrown. */
export function toServiceError(thrown: unknown): Pick<ServiceError, 'code' | 'details' | 'message' | 'name'> {
  const error =
    thrown instanceof PlexiError
      ? thrown
      : new PlexiError(
          'INTERNAL',
          `something unforeseen: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
        );
  const details = cutToHeader(`${error.code}: ${error.message}`);
  return {
    name: 'ServiceError',
    code: grpcStatus[error.code] ?? status.FAILED_PRECONDITION,
    details,
    message: details,
  };
}

/**
 * A sentence may repeat what was asked, and a status is a header, written as in a URI: what is longer there, and
 * half a character, breaks the call.
 */
function cutToHeader(text: string): string {
  let room: number = limits.statusChars;
  let end = 0;
  const whole = text.slice(0, limits.statusChars).replace(/\p{Surrogate}/gu, '\ufffd');
  for (const character of whole) {
    room -= encodeURI(character).length;
    if (room < 0) break;
    end += character.length;
  }
  return whole.slice(0, end);
}

/** The PlexiError that the other side sent; undefined when the transport failed, or the peer is no program of ours. */
export function fromServiceError(thrown: unknown): PlexiError | undefined {
  if (!isServiceError(thrown)) return undefined;
  const match = /^([A-Z_]+): ([\s\S]+)$/.exec(thrown.details);
  const [, code, message] = match ?? [];
  if (code === undefined || message === undefined || !isErrorCode(code)) return undefined;
  return new PlexiError(code, message, { cause: thrown });
}

/** Whether an error came out of a gRPC call. */
export function isServiceError(thrown: unknown): thrown is ServiceError {
  return (
    thrown instanceof Error && 'code' in thrown && 'details' in thrown && typeof thrown.details === 'string'
  );
}
