/**
 * The closed set of error codes. Every error that an operator, a script or another program can meet
 * is a PlexiError with one of these codes, a sentence (what, where, what to do next) and a cause.
 * Over gRPC the status details read `CODE: sentence`; on a terminal `plexictl: sentence`.
 */
export const errorCodes = {
  // Words, files, configuration.
  USAGE: 2,
  CONFIG_INVALID: 2,
  VERSION_INVALID: 2,
  // Transport and identity.
  NO_CONTROLLER: 6,
  NO_LEADER: 6,
  CERTIFICATE_REFUSED: 2,
  FORBIDDEN: 2,
  // A wish that is refused before any node is touched.
  NOT_FOUND: 3,
  ROLLOUT_ACTIVE: 3,
  NO_ROLLOUT_ACTIVE: 3,
  PLAN_CHANGED: 3,
  PLAN_REFUSED: 3,
  NOT_CONFIRMED: 3,
  BUDGET_SPENT: 3,
  NODE_EXISTS: 3,
  NODE_REMOVED: 3,
  NODE_BUSY: 3,
  CONFLICT: 3,
  // Releases.
  RELEASE_NOT_FOUND: 3,
  RELEASE_INVALID: 3,
  RELEASE_DIGEST_MISMATCH: 3,
  ARCHIVE_REFUSED: 3,
  DOWNLOAD_FAILED: 3,
  GIT_DIRTY: 3,
  // The fence and the journal of a node.
  STALE_TOKEN: 1,
  BUSY: 1,
  COMMAND_CONFLICT: 1,
  FENCE_UNREADABLE: 4,
  JOURNAL_UNREADABLE: 4,
  ETCD_RESTORED: 4,
  // Steps on a node.
  PREFLIGHT_FAILED: 3,
  STAGE_FAILED: 3,
  HOOK_FAILED: 1,
  STOP_FAILED: 1,
  BACKUP_FAILED: 1,
  BACKUP_INVALID: 1,
  MIGRATION_FAILED: 1,
  COMMAND_LEFT_RUNNING: 4,
  APPLY_FAILED: 1,
  PROBE_FAILED: 1,
  TEST_FAILED: 1,
  TAKE_OVER_FAILED: 3,
  SECRET_UNREADABLE: 3,
  RESTORE_FAILED: 4,
  ROLLBACK_FAILED: 4,
  INTERRUPTED: 1,
  CANCELLED: 1,
  TIMED_OUT: 1,
  NODE_UNREACHABLE: 1,
  NODE_LOST: 4,
  NODE_CHANGED: 3,
  SOAK_FAILED: 1,
  // The store.
  NOT_LEADER: 6,
  STORE_UNAVAILABLE: 6,
  STORE_INVALID: 4,
  LIMIT_EXCEEDED: 2,
  INTERNAL: 1,
} as const;

/** One of the closed set of error codes. */
export type ErrorCode = keyof typeof errorCodes;

/** An error with a code from the closed set and a sentence for the operator. */
export class PlexiError extends Error {
  readonly code: ErrorCode;
  /** Facts for scripts; goes into the `details` of the JSON error document. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PlexiError';
    this.code = code;
    this.details = options.details ?? {};
  }

  /** The exit code of plexictl when this error ends a command (contract, section 2). */
  get exitCode(): number {
    return errorCodes[this.code];
  }
}

/** Whether a text is one of the closed set of codes. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorCodes, text);
}

/** Wraps whatever was thrown, so that callers deal with one type; a PlexiError stays itself. */
export function asPlexiError(thrown: unknown, code: ErrorCode, what: string): PlexiError {
  if (thrown instanceof PlexiError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new PlexiError(code, `${what}: ${reason}`, { cause: thrown });
}
