/**
 * docs/configuration.md against the schemas: every key of the four files stands there once, with the
 * default and the bounds that hold, and no key that there is not. An operator who looks a key up must
 * not be told what no longer is.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { clientSchema } from '../config/schema/client.js';
import { controllerSchema } from '../config/schema/controller.js';
import { type SchemaKey, schemaKeys } from '../config/schema/keys.js';
import { nodeAgentSchema } from '../config/schema/node-agent.js';
import { updateSchema } from '../config/schema/update.js';

const document = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8');

const files = [
  { name: 'controller.yml', schema: controllerSchema('/'), above: '' },
  { name: 'update.yml', schema: updateSchema, above: 'update_system.' },
  { name: 'node-agent.yml', schema: nodeAgentSchema('/'), above: '' },
  { name: 'client.yml', schema: clientSchema('/'), above: '' },
];

interface Row {
  readonly key: string;
  readonly type: string;
  readonly byDefault: string;
}

/** The rows of a part's tables that have a key, a type, a default and a text. */
function rowsOf(name: string): Row[] {
  const [, part = ''] = document.split(`\n## ${name}\n`);
  const [text = ''] = part.split('\n## ');
  const rows = [...text.matchAll(/^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$/gm)];
  return rows.map(([, key = '', type = '', byDefault = '']) => ({ key, type, byDefault }));
}

/** How the document writes what holds without the key. */
function defaultText({ byDefault, isRequired, path }: SchemaKey): string {
  if (isRequired) return 'must be given';
  if (byDefault === undefined) return 'none';
  if (byDefault === '') return '`""`';
  const values: readonly unknown[] = Array.isArray(byDefault) ? byDefault : [byDefault];
  assert.ok(values.length > 0, path.join('.'));
  return values.map((value) => `\`${String(value)}\``).join(', ');
}

describe('docs/configuration.md', () => {
  for (const { name, schema, above } of files) {
    const keys = schemaKeys(schema).filter((key) => !key.isGroup);
    const rows = rowsOf(name);

    test(`${name}: every key is there once, and no other`, () => {
      assert.deepEqual(rows.map((row) => above + row.key).sort(), keys.map((key) => key.text).sort());
    });

    test(`${name}: the defaults and the bounds are those that hold`, () => {
      for (const key of keys) {
        const row = rows.find((candidate) => above + candidate.key === key.text);
        assert.equal(row?.byDefault, defaultText(key), key.text);
        if (key.range === undefined) continue;
        const { min, max } = key.range;
        assert.ok(row?.type.endsWith(` ${min} to ${max}`), `${key.text}: ${min} to ${max}, not ${row?.type}`);
      }
    });
  }
});
