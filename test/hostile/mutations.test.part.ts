/**
 * Damage, drawn: wounds to bytes as disks, networks and attackers make them, and wounds to a JSON
 * document that leave it JSON. The same wounds to the same sample are always the same case.
 */
import fc from 'fast-check';

/** One wound to bytes; places are fractions of 2^16, so that they mean something in any sample. */
export type Wound =
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'zeros' | 'without' | 'twice'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'instead'; readonly bytes: Uint8Array };

const place = fc.nat(0xffff);
const someBytes = fc.oneof(
  { weight: 9, arbitrary: fc.uint8Array({ maxLength: 64 }) },
  // Deeper than a reader that calls itself can go.
  fc.constantFrom('[', '{"a":', '[{"a":').map((piece) => Buffer.from(piece.repeat(20_000))),
);

const wound: fc.Arbitrary<Wound> = fc.oneof(
  fc.record({ kind: fc.constant('cut' as const), at: place }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }) },
  fc.record({ kind: fc.constantFrom('zeros', 'without', 'twice'), at: place, length: fc.nat(700) }),
  fc.record({ kind: fc.constant('insert' as const), at: place, bytes: someBytes }),
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('instead' as const), bytes: someBytes }) },
);

/** One to four wounds. */
export const wounds: fc.Arbitrary<readonly Wound[]> = fc.array(wound, { minLength: 1, maxLength: 4 });

/** The sample with its wounds, in their order. */
export function wounded(sample: Uint8Array, all: readonly Wound[]): Buffer {
  return all.reduce(hurt, Buffer.from(sample));
}

function hurt(bytes: Buffer, one: Wound): Buffer {
  if (one.kind === 'instead') return Buffer.from(one.bytes);
  const at = Math.floor((one.at / 0x10000) * (bytes.length + 1));
  const before = bytes.subarray(0, at);
  switch (one.kind) {
    case 'cut':
      return Buffer.from(before);
    case 'flip': {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy.writeUInt8(copy.readUInt8(at) ^ (1 << one.bit), at);
      return copy;
    }
    case 'zeros':
      return Buffer.from(bytes).fill(0, Math.min(at, bytes.length), Math.min(at + one.length, bytes.length));
    case 'without':
      return Buffer.concat([before, bytes.subarray(at + one.length)]);
    case 'twice':
      return Buffer.concat([before, bytes.subarray(at, at + one.length), bytes.subarray(at)]);
    case 'insert':
      return Buffer.concat([before, one.bytes, bytes.subarray(at)]);
  }
}

/** Texts that have meant harm somewhere: to paths, terminals, numbers, prototypes, JSON. */
export const oddTexts = [
  ...['', ' ', '.', '..', '/', '../..', '../outside', '/etc/passwd', 'a/b', 'a\\b', '\0', 'a\0b', 'a\nb'],
  ...['-', '--help', '*', '$(id)', '%s', '\u001b[2J', '\ud800', '\udfff\ud800', '\u202e', '\ufeff'],
  ...['__proto__', 'constructor', 'toString', 'null', 'NaN', '-1', '1e999', '18446744073709551616'],
  ...['999999999999999999999999', '0x10', '9'.repeat(400), 'x'.repeat(70_000), '\u00e9'.repeat(300)],
] as const;

/** Numbers at the ends of what the usual kinds of number hold. */
export const oddNumbers = [
  ...[0, -0, 1, -1, 0.5, 2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32, 2 ** 53, 2 ** 53 + 2, -(2 ** 53)],
  ...[1e21, 1e308, -1e308, 5e-324],
] as const;

/** A value that may stand anywhere in a JSON document. */
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, [], {}, [[]], [null], { a: null }, ...oddNumbers, ...oddTexts),
  fc.constantFrom(64, 300).map(nested),
  fc.jsonValue({ maxDepth: 3 }),
);

/** One wound to a JSON document. */
export interface JsonWound {
  readonly kind: 'value' | 'without' | 'unknown' | 'copy';
  readonly at: number;
  readonly from: number;
  readonly name: string;
  readonly value: unknown;
}

const jsonWound: fc.Arbitrary<JsonWound> = fc.record({
  kind: fc.oneof(
    { weight: 4, arbitrary: fc.constant('value' as const) },
    fc.constantFrom('without', 'unknown', 'copy'),
  ),
  at: place,
  from: place,
  name: fc.oneof(fc.constantFrom('newer', '__proto__', 'constructor', ''), fc.string({ maxLength: 8 })),
  value: oddValue,
});

/** One to three wounds to a JSON document. */
export const jsonWounds: fc.Arbitrary<readonly JsonWound[]> = fc.array(jsonWound, {
  minLength: 1,
  maxLength: 3,
});

/** The text of the document with its wounds. */
export function woundedJson(sample: unknown, all: readonly JsonWound[]): string {
  let document: unknown = structuredClone(sample);
  for (const one of all) {
    const root: Record<string, unknown> = { document };
    const spots = spotsOf(root);
    const spot = spots[one.at % spots.length];
    const from = spots[one.from % spots.length];
    if (spot !== undefined && from !== undefined) strike(one, spot, from);
    document = root.document;
  }
  return JSON.stringify(document) ?? 'null';
}

/** A place in a document: what holds it, and under which key. */
interface Spot {
  readonly holder: Record<string, unknown>;
  readonly key: string;
}

function strike(one: JsonWound, { holder, key }: Spot, from: Spot): void {
  switch (one.kind) {
    case 'value':
      holder[key] = structuredClone(one.value);
      return;
    case 'without':
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return;
    case 'unknown':
      if (Array.isArray(holder)) holder.push(structuredClone(one.value));
      // Not an assignment, which would set the prototype under one of the names.
      else
        Object.defineProperty(holder, one.name, {
          value: structuredClone(one.value),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      return;
    case 'copy':
      holder[key] = structuredClone(from.holder[from.key]);
  }
}

/** Every place of a document, from the outside to the inside. */
function spotsOf(root: Record<string, unknown>): Spot[] {
  const spots: Spot[] = [];
  const open: Record<string, unknown>[] = [root];
  for (let holder = open.shift(); holder !== undefined && spots.length < 2_000; holder = open.shift()) {
    for (const [key, value] of Object.entries(holder)) {
      spots.push({ holder, key });
      if (typeof value === 'object' && value !== null) open.push(value as Record<string, unknown>);
    }
  }
  return spots;
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}
