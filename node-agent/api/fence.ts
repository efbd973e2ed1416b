/**
 * The fence of a node: the highest token it has seen. A command with a lower token is refused, so a
 * leader that lost its lead without knowing can do no harm here (guarantee 2; protocol, rules 1, 2 and 6).
 * Invariant: after a restart it refuses all that is lower than any adoption, any `roll_back`, any
 * journaled command and any first token of a term. The file holds what no journal record holds; the
 * others are recalled from the journal (decision 9).
 */
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { digits } from '../journal/records.js';

/** Orders commands: epoch first, then term, then seq. */
export interface FenceToken {
  readonly epoch: bigint;
  readonly term: bigint;
  readonly seq: bigint;
}

/** One term beyond doubt (protocol, rule 21). */
export interface FenceLineage {
  readonly term: bigint;
  readonly nonce: string;
}

export interface FenceState {
  readonly token: FenceToken;
  /** The command or adoption that raised the fence to this token. */
  readonly holder: string;
  readonly lineage: FenceLineage | undefined;
  /**
   * Set when an operator on the node has made the fence anew: what was seen before is not wholly known, so
   * no command is obeyed before a leader has adopted the node with a token of now.
   */
  readonly adoptFirst?: true;
}

/** Where the fence is kept; `write` is durable when it resolves. */
export interface FenceDisk {
  read(): Promise<Uint8Array | undefined>;
  write(bytes: Uint8Array): Promise<void>;
}

const fenceFile = z.object({
  schema: z.literal(1),
  token: z.object({ epoch: digits, term: digits, seq: digits }),
  holder: z.string(),
  lineage: z.object({ term: digits, nonce: z.string() }).nullable(),
  adoptFirst: z.literal(true).optional(),
});

/** The lowest fence: every leader's first token is above it. */
export const openFence: FenceState = {
  token: { epoch: 0n, term: 0n, seq: 0n },
  holder: '',
  lineage: undefined,
};

/** Negative: a is lower than b. */
export function compareTokens(a: FenceToken, b: FenceToken): number {
  for (const part of ['epoch', 'term', 'seq'] as const) {
    if (a[part] !== b[part]) return a[part] < b[part] ? -1 : 1;
  }
  return 0;
}

const isMissing = 'agent/fence.json is missing';

export class Fence {
  private constructor(
    private readonly disk: FenceDisk,
    private state: FenceState | undefined,
    /** What the file holds: the state, or less. */
    private stored: FenceState | undefined,
    /** Why the fence cannot be used; undefined when it can. */
    readonly broken: string | undefined,
  ) {}

  /**
   * Reads the fence. A missing or unreadable one is not an error here, but lets nobody through; nor is one
   * that the system does not let us read, because the agent has to run to say so (protocol, rule 6).
   */
  static async open(disk: FenceDisk): Promise<Fence> {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await disk.read();
    } catch (thrown) {
      return new Fence(disk, undefined, undefined, `agent/fence.json cannot be read (${String(thrown)})`);
    }
    if (bytes === undefined) return new Fence(disk, undefined, undefined, isMissing);
    const state = decodeFence(bytes);
    const broken = state === undefined ? 'agent/fence.json cannot be read' : undefined;
    return new Fence(disk, state, state, broken);
  }

  /**
   * Writes a fence anew by an operator's word; no command passes before the next adoption.
   * @param known what is still known of the fence before it
   */
  static async renew(disk: FenceDisk, known: Pick<FenceState, 'token' | 'lineage'>): Promise<void> {
    await disk.write(encodeFence({ ...known, holder: 'restore', adoptFirst: true }));
  }

  /** Writes the first fence of a new node. */
  static async create(disk: FenceDisk): Promise<Fence> {
    await disk.write(encodeFence(openFence));
    return new Fence(disk, openFence, openFence, undefined);
  }

  /** Whether it is a new node's: there is none, or one that was never raised, so nothing can get lost with it. */
  get isNew(): boolean {
    const { stored, broken } = this;
    if (stored === undefined) return broken === isMissing;
    return stored.adoptFirst !== true && compareTokens(stored.token, openFence.token) === 0;
  }

  /** The highest token seen; undefined when the fence is broken. */
  get current(): FenceState | undefined {
    return this.state;
  }

  /**
   * Refuses a token below the fence, and one that equals it but comes with another command.
   * @throws PlexiError STALE_TOKEN, FENCE_UNREADABLE
   */
  check(token: FenceToken, holder: string): void {
    if (this.state === undefined) throw this.unreadable();
    const order = compareTokens(token, this.state.token);
    if (order < 0 || (order === 0 && holder !== this.state.holder)) {
      throw new PlexiError(
        'STALE_TOKEN',
        `the token ${printToken(token)} is below the highest this node has seen, ${printToken(this.state.token)}`,
      );
    }
  }

  /** Refuses a command as long as nobody has adopted the node. @throws PlexiError FENCE_UNREADABLE */
  checkAdopted(): void {
    if (this.state === undefined) throw this.unreadable();
    if (this.state.adoptFirst !== true) return;
    const why = 'the fence was made anew by an operator; the node obeys no command until it is adopted';
    throw new PlexiError('FENCE_UNREADABLE', why);
  }

  /** Commands and adoptions are refused alike: only an operator on the node goes on from here. */
  private unreadable(): PlexiError {
    return new PlexiError(
      'FENCE_UNREADABLE',
      `${this.broken}; the node obeys no command until an operator says plexi-node-agent restore --as-it-is on it`,
    );
  }

  /** Checks, then stores the token durably. Nothing may act on the token before this resolves. */
  async raise(token: FenceToken, holder: string, lineage?: FenceLineage): Promise<void> {
    this.check(token, holder);
    const { stored } = this;
    const next: FenceState = { token, holder, lineage: lineage ?? this.state?.lineage };
    const isStored = stored !== undefined && compareTokens(token, stored.token) === 0;
    if (isStored && lineage === undefined && stored.adoptFirst !== true) return;
    await this.disk.write(encodeFence(next));
    this.state = next;
    this.stored = next;
  }

  /**
   * Checks, then raises the fence for as long as this agent lives; for a command that touches nothing, or
   * whose token the journal stores before it begins. The first token of a term is stored all the same:
   * what an older leader still sends is refused whatever happens to this agent.
   */
  async raiseUntilRestart(token: FenceToken, holder: string): Promise<void> {
    this.check(token, holder);
    if (this.stored === undefined || !isSameTerm(token, this.stored.token)) return this.raise(token, holder);
    this.state = { token, holder, lineage: this.state?.lineage };
  }

  /** Takes up, at the agent's start, the token of a command that the journal holds. */
  recall(token: Readonly<Record<keyof FenceToken, string>>, holder: string): void {
    const known = decodeToken(token);
    if (this.state === undefined || compareTokens(known, this.state.token) <= 0) return;
    this.state = { ...this.state, token: known, holder };
  }

  /** Whether a token speaks for the leader that this node obeys now. Changes nothing. */
  isOfCurrentTerm(token: FenceToken): boolean {
    return this.state !== undefined && isSameTerm(token, this.state.token);
  }
}

function isSameTerm(a: FenceToken, b: FenceToken): boolean {
  return a.epoch === b.epoch && a.term === b.term;
}

function decodeToken({ epoch, term, seq }: Readonly<Record<keyof FenceToken, string>>): FenceToken {
  return { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) };
}

/** A token in the form (epoch, term, seq). */
export function printToken(token: FenceToken): string {
  return `(${token.epoch}, ${token.term}, ${token.seq})`;
}

function encodeFence(state: FenceState): Uint8Array {
  const { token, holder, lineage, adoptFirst } = state;
  const file: z.infer<typeof fenceFile> = {
    schema: 1,
    token: { epoch: String(token.epoch), term: String(token.term), seq: String(token.seq) },
    holder,
    lineage: lineage === undefined ? null : { term: String(lineage.term), nonce: lineage.nonce },
    ...(adoptFirst && { adoptFirst }),
  };
  return Buffer.from(`${JSON.stringify(file)}\n`);
}

function decodeFence(bytes: Uint8Array): FenceState | undefined {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  const parsed = fenceFile.safeParse(json);
  if (!parsed.success) return undefined;
  const { token, holder, lineage, adoptFirst } = parsed.data;
  return {
    token: decodeToken(token),
    holder,
    lineage: lineage === null ? undefined : { term: BigInt(lineage.term), nonce: lineage.nonce },
    ...(adoptFirst && { adoptFirst }),
  };
}
