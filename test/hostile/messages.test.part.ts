/**
 * Messages of the protocol, drawn from its own descriptors and written byte by byte: fields in any order
 * and number, values at the ends of their kinds, texts that are none, fields of another kind or of none.
 * The generated code writes nothing of it, because it refuses to write what is wrong.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { oddTexts } from './mutations.test.part.js';

interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly typeName?: string;
  /** Which of its message's unions it belongs to. */
  readonly oneofIndex?: number;
}

interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
}

interface Image {
  readonly file: readonly {
    readonly package: string;
    readonly messageType?: readonly Message[];
    readonly service?: readonly {
      readonly name: string;
      readonly method: readonly { readonly name: string; readonly inputType: string }[];
    }[];
  }[];
}

/** Texts that mean something here, by the name of their field; they lead deeper than others do. */
export type KnownTexts = Readonly<Record<string, readonly string[]>>;

export class Messages {
  private readonly fields = new Map<string, readonly Field[]>();
  private readonly inputs = new Map<string, string>();
  private readonly drawn = new Map<string, fc.Arbitrary<Buffer>>();

  constructor(private readonly known: KnownTexts) {
    const buf = join('node_modules', '@bufbuild', 'buf', 'bin', 'buf');
    const words = [buf, 'build', '--exclude-source-info', '-o', '-#format=json'];
    const image = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' })) as Image;
    for (const file of image.file) {
      for (const message of file.messageType ?? []) this.note(`.${file.package}`, message);
      for (const { name, method } of file.service ?? [])
        for (const one of method) this.inputs.set(`/${file.package}.${name}/${one.name}`, one.inputType);
    }
  }

  /** The bytes of a request of a method, by its path. */
  requestOf(path: string): fc.Arbitrary<Buffer> {
    const type = this.inputs.get(path);
    assert.ok(type, `${path} is in no descriptor`);
    return this.bytesOf(type);
  }

  /** The bytes of a message of a type; the field `without` is left for the caller to add. */
  bytesOf(type: string, without = ''): fc.Arbitrary<Buffer> {
    const known = this.drawn.get(`${type} ${without}`);
    if (known !== undefined) return known;
    const fields = this.fields.get(type)?.filter(({ name }) => name !== without);
    assert.ok(fields, `${type} is in no descriptor`);
    const each = fields.map((field) => this.occurrence(field));
    // Mostly each field once, and one of each union, since that is what gets furthest.
    const whole = fc.tuple(...this.onceEach(fields)).map((parts) => Buffer.concat(parts));
    const part =
      each.length === 0 ? strangeField : fc.oneof({ weight: 6, arbitrary: fc.oneof(...each) }, strangeField);
    const some = fc.array(part, { maxLength: 8 }).map((parts) => Buffer.concat(parts));
    const made = fc.oneof({ weight: 6, arbitrary: whole }, some);
    this.drawn.set(`${type} ${without}`, made);
    return made;
  }

  private onceEach(fields: readonly Field[]): fc.Arbitrary<Buffer>[] {
    const unions = new Set(fields.flatMap(({ oneofIndex }) => oneofIndex ?? []));
    const single = fields.filter(({ oneofIndex }) => oneofIndex === undefined);
    return [
      ...single.map((field) => this.occurrence(field)),
      ...[...unions].map((index) =>
        fc.oneof(
          ...fields.filter((field) => field.oneofIndex === index).map((field) => this.occurrence(field)),
        ),
      ),
    ];
  }

  private note(scope: string, message: Message): void {
    const name = `${scope}.${message.name}`;
    this.fields.set(name, message.field ?? []);
    for (const nested of message.nestedType ?? []) this.note(name, nested);
  }

  private occurrence(field: Field): fc.Arbitrary<Buffer> {
    const right = this.value(field);
    return fc.oneof(
      { weight: 60, arbitrary: right },
      { weight: 5, arbitrary: fc.constant(Buffer.alloc(0)) },
      { weight: 1, arbitrary: fc.constantFrom(0, 1, 2, 5).chain((wire) => anyValue(field.number, wire)) },
    );
  }

  private value({ name, number, type, typeName }: Field): fc.Arbitrary<Buffer> {
    switch (type) {
      case 'TYPE_STRING':
        return texts(this.known[name] ?? []).map((text) => lengthDelimited(number, text));
      case 'TYPE_BYTES':
        return fc.uint8Array({ maxLength: 100 }).map((bytes) => lengthDelimited(number, bytes));
      case 'TYPE_MESSAGE':
        return this.bytesOf(typeName ?? '').map((bytes) => lengthDelimited(number, bytes));
      case 'TYPE_BOOL':
        return fc.constantFrom(0n, 1n, 2n ** 64n - 1n).map((value) => varintField(number, value));
      default:
        assert.ok(/^TYPE_U?INT(32|64)$/.test(type), `${type} of ${name} is not drawn`);
        return wholeNumbers.map((value) => varintField(number, value));
    }
  }
}

/** A field that holds bytes, such as a message within another. */
export function lengthDelimited(number: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((BigInt(number) << 3n) | 2n), varint(BigInt(value.length)), value]);
}

/** A field that holds a number. */
export function varintField(number: number, value: bigint): Buffer {
  return Buffer.concat([varint(BigInt(number) << 3n), varint(value)]);
}

const wholeNumbers = fc.oneof(
  { weight: 3, arbitrary: fc.nat(5_000).map(BigInt) },
  fc.constantFrom(
    0n,
    1n,
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
    2n ** 70n,
  ),
);

/** Made once: the characters of this kind of text take long to count. */
const anyText = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...oddTexts).map((text) => Buffer.from(text)) },
  fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
);

function texts(known: readonly string[]): fc.Arbitrary<Buffer> {
  if (known.length === 0) return anyText;
  const right = fc.constantFrom(...known).map((text) => Buffer.from(text));
  return fc.oneof({ weight: 12, arbitrary: right }, { weight: 1, arbitrary: anyText });
}

/** A value of a wire type, whatever the field is. */
function anyValue(number: number, wire: number): fc.Arbitrary<Buffer> {
  const tag = varint((BigInt(number) << 3n) | BigInt(wire));
  const body =
    wire === 0
      ? wholeNumbers.map(varint)
      : wire === 2
        ? fc
            .uint8Array({ maxLength: 60 })
            .map((bytes) => Buffer.concat([varint(BigInt(bytes.length)), bytes]))
        : fc.uint8Array({ minLength: wire === 1 ? 8 : 4, maxLength: wire === 1 ? 8 : 4 });
  return body.map((bytes) => Buffer.concat([tag, bytes]));
}

/** Fields that no message has, groups that never end or are nested deeply, lengths that lie. */
const strangeField = fc.oneof(
  fc
    .tuple(fc.constantFrom(0, 99, 2 ** 29 - 1), fc.constantFrom(0, 1, 2, 5))
    .chain(([number, wire]) => anyValue(number, wire)),
  fc.constantFrom(
    Buffer.from([0x0b]),
    Buffer.from([0x0b, 0x0c]),
    Buffer.alloc(50_000, 0x0b),
    Buffer.concat([Buffer.alloc(2_000, 0x0b), Buffer.alloc(2_000, 0x0c)]),
    Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    Buffer.alloc(20, 0xff),
    varintField(1, 2n ** 70n),
    Buffer.from([0x0e, 0x0f]),
  ),
);

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Buffer.from(bytes);
}
