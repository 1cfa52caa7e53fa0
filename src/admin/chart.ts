/** Bars of characters for a terminal. Pure. */

/** One bar: what stands on what, from below. */
export type Bar = readonly number[];

/**
 * Upright bars as rows from the top, one text for each bar in each row. The largest bar is as high as the
 * chart; a part that is not nothing has one row at least, for a single refusal beside thousands is what
 * one looks for.
 * @param glyphs a character for each part
 * @param height rows, at least as many as a bar has parts
 * @param width characters of a bar, one of them free
 */
export function columns(
  bars: readonly Bar[],
  glyphs: readonly string[],
  height: number,
  width: number,
): readonly (readonly string[])[] {
  const most = Math.max(1, ...bars.map(sum));
  const stacks = bars.map((bar) =>
    rowsOf(bar, height, most).flatMap((rows, part) => Array<number>(rows).fill(part)),
  );
  return Array.from({ length: height }, (_, row) =>
    stacks.map((stack) => {
      const part = stack[height - 1 - row];
      const glyph = part === undefined ? ' ' : (glyphs[part] ?? '?');
      return glyph.repeat(width - 1).padEnd(width);
    }),
  );
}

/** How many rows each part of a bar has. */
function rowsOf(bar: Bar, height: number, most: number): readonly number[] {
  const rows = bar.map((part) => (part > 0 ? Math.max(1, Math.round((part / most) * height)) : 0));
  const shown = rows.filter((each) => each > 0).length;
  const all = Math.max(shown, Math.round((sum(bar) / most) * height));
  // What rounding gave too much or too little is the largest part's.
  while (sum(rows) !== all) {
    const largest = rows.indexOf(Math.max(...rows));
    rows[largest] = (rows[largest] ?? 0) + Math.sign(all - sum(rows));
  }
  return rows;
}

/** A bar that lies: as long as the number is of the most, at least one character for what is not nothing. */
export function line(number: number, most: number, width: number, glyph: string): string {
  if (number <= 0 || most <= 0) return '';
  return glyph.repeat(Math.max(1, Math.round((number / most) * width)));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
