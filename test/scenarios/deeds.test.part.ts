/**
 * Guarantee 9, told from what was really done: the commands as they were sent, and as they ended on the nodes.
 * The audit record must tell each of them, once, and with the end that the node itself has seen. A record that
 * is only in order with itself could be empty.
 */
import assert from 'node:assert/strict';

/** What is read of an audit record here; the other fields depend on what it tells. */
export interface TakenRecord {
  readonly at: string;
  readonly what: string;
  readonly rollout: string;
  readonly [field: string]: unknown;
}

/** Answers after which a leader sends the same command again. */
const passing: readonly string[] = ['BUSY', 'STALE_TOKEN', 'FENCE_UNREADABLE'];
/** Commands that touch nothing: a rollout that ends waits for none of them. */
const checks: readonly string[] = ['preflight', 'stage'];

export class Deeds {
  /** To which node, by the command's id. */
  private readonly sentTo = new Map<string, string>();
  private readonly ends = new Map<string, Set<string>>();
  /** What the node says went wrong. */
  private readonly messages = new Map<string, Set<string>>();
  private readonly refusals = new Set<string>();
  private readonly lostNodes = new Set<string>();

  /** A leader hands a command to the network. */
  sent(node: string, commandId: string): void {
    this.sentTo.set(commandId, node);
  }

  /** It has ended on its node, which may be asked for a check more than once. */
  ended(commandId: string, outcome: string, message = ''): void {
    this.ends.set(commandId, (this.ends.get(commandId) ?? new Set()).add(outcome));
    if (message !== '')
      this.messages.set(commandId, (this.messages.get(commandId) ?? new Set()).add(message));
  }

  refused(commandId: string, code: string, message: string): void {
    if (passing.includes(code)) return;
    this.refusals.add(commandId);
    this.ended(commandId, 'failed', message);
  }

  /** Whether its node has said that it did not work. */
  hasFailed(commandId: string): boolean {
    const ends = this.ends.get(commandId);
    return ends !== undefined && !ends.has('done');
  }

  /** Nobody could reach the node for longer than the policy says. */
  lost(node: string): void {
    this.lostNodes.add(node);
  }

  /** What the audit record says of all of this, once nothing is under way any more. @param records oldest first */
  check(records: readonly TakenRecord[]): void {
    const commands = byCommand(records, 'command');
    const outcomes = byCommand(records, 'outcome');
    for (const [commandId, node] of this.sentTo) {
      const [command, second] = commands.get(commandId) ?? [];
      assert.ok(command, `${commandId} was sent, and no audit record tells of it`);
      assert.equal(second, undefined, `${commandId} is commanded twice in the audit record`);
      assert.equal(command.node, node, `${commandId} was sent to ${node}`);
      const told = outcomes.get(commandId) ?? [];
      assert.equal(told.length, 1, `${commandId} has ${told.length} ends in the audit record`);
    }
    for (const record of records) if (record.what === 'outcome') this.checkOutcome(record, records);
  }

  private checkOutcome(record: TakenRecord, records: readonly TakenRecord[]): void {
    const { commandId, outcome, node } = record;
    const id = String(commandId);
    switch (outcome) {
      case 'superseded':
        assert.ok(
          records.some((other) => takesPlaceOf(record, other)),
          `${id} is told as superseded, and nothing came in its place`,
        );
        return;
      case 'given_up': {
        const step = records.find((other) => other.what === 'command' && other.commandId === commandId)?.step;
        const isCheck = checks.includes(String(step));
        assert.ok(
          isCheck || this.lostNodes.has(String(node)) || this.refusals.has(id),
          `${id} is told as given up, and its node neither refused it nor was lost`,
        );
        return;
      }
      default: {
        const ends = [...(this.ends.get(id) ?? [])];
        assert.ok(
          ends.includes(String(outcome)),
          `${id} is told as ${outcome}, and ended ${ends.join(', ')}`,
        );
        this.checkError(id, record.error as { message: string } | null);
      }
    }
  }

  /** What went wrong is told in the node's own words. */
  private checkError(commandId: string, error: { readonly message: string } | null): void {
    const messages = [...(this.messages.get(commandId) ?? [])];
    if (error === null || messages.length === 0) return;
    assert.ok(
      messages.some((message) => error.message.includes(message)),
      `${commandId} failed with "${error.message}", and its node says "${messages.join('" or "')}"`,
    );
  }
}

function byCommand(records: readonly TakenRecord[], what: string): ReadonlyMap<string, TakenRecord[]> {
  const found = new Map<string, TakenRecord[]>();
  for (const record of records) {
    if (record.what !== what) continue;
    const id = String(record.commandId);
    found.set(id, [...(found.get(id) ?? []), record]);
  }
  return found;
}

/** After these nobody waits for the node any more. */
const partingWishes: readonly string[] = ['remove', 'skip'];

/** Another command for the node in the same transaction, or a word that took it off the list or left it out. */
function takesPlaceOf(superseded: TakenRecord, other: TakenRecord): boolean {
  if (other.at !== superseded.at) return false;
  const { wish, details } = other as { wish?: string; details?: { node?: string } };
  if (other.what === 'wish') return partingWishes.includes(wish ?? '') && details?.node === superseded.node;
  return other.what === 'command' && other.node === superseded.node;
}
