// Compares JSON with the examples of docs/json.md: the same keys everywhere, with values of the same kind.
import { readFileSync } from 'node:fs';

/** A value with its data taken away: of an array the union of what is in it. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [value.map(shapeOf).reduce(merged, undefined)];
  if (typeof value !== 'object' || value === null) return typeof value;
  const entries = Object.entries(value).map(([key, each]) => [key, shapeOf(each)] as const);
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** The example in the chapter of docs/json.md whose title names the command. */
export function documentedShape(command: string): unknown {
  const chapters = readFileSync('docs/json.md', 'utf8').split(/^## /m);
  const chapter = chapters.find((each) => each.split('\n', 1)[0]?.split(', ').includes(command));
  const [, example] = /^```json\n(.*?)^```$/ms.exec(chapter ?? '') ?? [];
  if (example === undefined) throw new Error(`docs/json.md has no example for ${command}`);
  return shapeOf(JSON.parse(example));
}

function merged(one: unknown, other: unknown): unknown {
  if (Array.isArray(one) && Array.isArray(other)) return [merged(one[0], other[0])];
  if (typeof one !== 'object' || one === null || Array.isArray(one)) return one ?? other;
  if (typeof other !== 'object' || other === null) return one;
  const both: Record<string, unknown> = { ...one };
  for (const [key, value] of Object.entries(other)) both[key] = merged(both[key], value);
  return Object.fromEntries(Object.entries(both).sort(([a], [b]) => (a < b ? -1 : 1)));
}
