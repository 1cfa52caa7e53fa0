/** What `picorelay check` finds: one line a finding, and what mends it. */
import type { Output } from './command.ts';
import { indent, paint, WIDTH } from './layout.ts';

/** What can be looked at, in the order it is shown. */
export const AREAS = ['control', 'host', 'spool', 'queue', 'runner', 'relay'] as const;

export type Area = (typeof AREAS)[number];

export type Level = 'ok' | 'warning' | 'failure';

export interface Finding {
  readonly level: Level;
  /** One sentence or phrase, without control characters. */
  readonly what: string;
  /** Lines that say how to mend it: commands, or words before them. */
  readonly mend: readonly string[];
}

export function ok(what: string): Finding {
  return { level: 'ok', what, mend: [] };
}

export function warning(what: string, ...mend: readonly string[]): Finding {
  return { level: 'warning', what, mend };
}

export function failure(what: string, ...mend: readonly string[]): Finding {
  return { level: 'failure', what, mend };
}

/** The worst of them: monitoring ends with 0, 1 or 2. */
export function worstOf(findings: readonly Finding[]): Level {
  const has = (level: Level): boolean => findings.some((each) => each.level === level);
  return has('failure') ? 'failure' : has('warning') ? 'warning' : 'ok';
}

const COLOURS = { ok: 'green', warning: 'yellow', failure: 'red' } as const;

/** Columns of level and area. */
const LEVEL = 9;
const AREA = 9;

/** One finding for people. */
export function printFinding(area: Area, { level, what, mend }: Finding, output: Output): void {
  const width = Math.max(60, Math.min(output.columns ?? WIDTH, 120));
  const margin = LEVEL + AREA;
  const [first = '', ...more] = indent(margin, what, width);
  const head = `${paint(output, COLOURS[level], level.padEnd(LEVEL))}${area.padEnd(AREA)}`;
  const lines = [head + first.slice(margin), ...more];
  // A command stays on one line, so that it can be copied.
  for (const line of mend) lines.push(`${' '.repeat(margin)}${paint(output, 'bold', `> ${line}`)}`);
  output.write(`${lines.join('\n')}\n`);
}
