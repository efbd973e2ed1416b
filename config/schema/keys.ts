/**
 * Which keys a schema knows, with what each may hold and what holds without it. So that a spelling
 * mistake can be answered with the right key, and a document compared with the program. Invariant:
 * the list is read from the schema itself; nothing is entered here by hand.
 */
import * as z from 'zod';

/** Stands in a path for each entry of a list. */
export const anyEntry = '[]';
/** Stands in a path for a key that the operator names. */
export const anyName = 'NAME';

/** One key of a file. */
export interface SchemaKey {
  /** Its path; `[]` for an entry of a list, `NAME` for a key that the operator names. */
  readonly path: readonly string[];
  /** The path as documents write it: `etcd.endpoints`, `probes[].kind`, `secrets.NAME.file`. */
  readonly text: string;
  /** Whether other keys stand below it. */
  readonly isGroup: boolean;
  /** Whether the file must have it. */
  readonly isRequired: boolean;
  /** What holds without it; undefined when there is no such value. */
  readonly byDefault: unknown;
  /** The bounds of a whole number. */
  readonly range: { readonly min: number; readonly max: number } | undefined;
}

/** All keys of a schema, in its order; a key that several variants have comes once. */
export function schemaKeys(schema: unknown): SchemaKey[] {
  const keys = new Map<string, SchemaKey>();
  for (const key of keysBelow(schema, [])) {
    const known = keys.get(key.text);
    keys.set(
      key.text,
      known === undefined ? key : { ...known, isRequired: known.isRequired || key.isRequired },
    );
  }
  return [...keys.values()];
}

/** A path with dots, and entries of lists in brackets. */
export function keyText(path: readonly string[]): string {
  return path.reduce((text, part) => text + (text === '' || part === anyEntry ? part : `.${part}`), '');
}

function keysBelow(schema: unknown, path: readonly string[]): SchemaKey[] {
  const { inner } = unwrapped(schema);
  if (inner instanceof z.ZodArray) return keysBelow(inner.element, [...path, anyEntry]);
  if (inner instanceof z.ZodUnion) return inner.options.flatMap((option) => keysBelow(option, path));
  if (inner instanceof z.ZodRecord) return keyAt(inner.valueType, [...path, anyName], false);
  if (!(inner instanceof z.ZodObject)) return [];
  const entries: [string, unknown][] = Object.entries(inner.shape);
  return entries.flatMap(([name, value]) => keyAt(value, [...path, name], true));
}

function keyAt(schema: unknown, path: readonly string[], isFixed: boolean): SchemaKey[] {
  const { inner, isOptional, byDefault } = unwrapped(schema);
  const below = keysBelow(inner, path);
  const key: SchemaKey = {
    path,
    text: keyText(path),
    isGroup: below.length > 0,
    isRequired: isFixed && !isOptional,
    byDefault,
    range: rangeOf(inner),
  };
  return [key, ...below];
}

/** The schema without what only says "may be left out" or changes the value afterwards. */
function unwrapped(schema: unknown): { inner: unknown; isOptional: boolean; byDefault: unknown } {
  let inner = schema;
  let isOptional = false;
  let byDefault: unknown;
  for (;;) {
    if (inner instanceof z.ZodPipe) inner = inner.in;
    else if (inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault) {
      isOptional = true;
      inner = inner.unwrap();
    } else if (inner instanceof z.ZodDefault) {
      isOptional = true;
      byDefault = inner.def.defaultValue;
      inner = inner.unwrap();
    } else return { inner, isOptional, byDefault };
  }
}

function rangeOf(schema: unknown): { min: number; max: number } | undefined {
  if (!(schema instanceof z.ZodNumber)) return undefined;
  const { minValue, maxValue } = schema;
  return minValue === null || maxValue === null ? undefined : { min: minValue, max: maxValue };
}
