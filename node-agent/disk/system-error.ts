/** Errors of the system, told apart by their code and never by their sentence. */

/** Whether something thrown is a system error with this code (ENOENT, EEXIST, …). */
export function isSystemError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code;
}
