/**
 * A bar on a terminal while many mails go out: how many are done of how many, and what came of them.
 * Bad news stay above it. Without a terminal, and for few mails, each event is a line instead.
 */
import type { Output } from './command.ts';
import { cut, paint } from './layout.ts';

/** Fewer mails than this need no bar. */
const MANY = 20;

/** Milliseconds between two drawings. */
const PAUSE = 100;

const RELAYED = /^relayed /;
const BAD = /^(?:deferred|refused|expired) /;

export class Progress {
  readonly #bar: Output | undefined;
  readonly #lines: Output;
  readonly #total: number;
  readonly #now: () => number;
  #relayed = 0;
  #bad = 0;
  #drawn = Number.NEGATIVE_INFINITY;
  #visible = false;

  /**
   * @param total how many mails are offered
   * @param lines where events go
   * @param bar where the bar goes
   */
  constructor(total: number, lines: Output, bar: Output, now: () => number) {
    this.#total = total;
    this.#lines = lines;
    this.#bar = bar.columns !== undefined && total >= MANY ? bar : undefined;
    this.#now = now;
  }

  /** Takes an event in the few words that the log has for it. */
  event(brief: string): void {
    if (RELAYED.test(brief)) this.#relayed++;
    if (BAD.test(brief)) this.#bad++;
    if (this.#bar === undefined) {
      this.#lines.write(`${brief}\n`);
      return;
    }
    // What went well is counted; who looks for one mail has the log.
    if (!/^(?:relayed|accepted) /.test(brief)) {
      this.#wipe();
      this.#lines.write(`${cut(brief, this.#bar.columns ?? brief.length)}\n`);
    }
    if (this.#now() - this.#drawn >= PAUSE) this.#draw(this.#bar);
  }

  /** Takes the bar away. */
  end(): void {
    this.#wipe();
  }

  #draw(bar: Output): void {
    this.#drawn = this.#now();
    this.#visible = true;
    bar.write(`\r\x1b[K${progressLine(this.#relayed, this.#bad, this.#total, bar)}`);
  }

  #wipe(): void {
    if (this.#visible) this.#bar?.write('\r\x1b[K');
    this.#visible = false;
  }
}

/** The bar as a line that leaves the terminal's last column free. */
export function progressLine(
  relayed: number,
  bad: number,
  total: number,
  output: Pick<Output, 'columns' | 'colour'>,
): string {
  const done = relayed + bad;
  // New mail may come while it runs.
  const of = Math.max(total, done);
  const words = ` ${done} of ${of}: ${relayed} relayed${bad > 0 ? `, ${bad} not` : ''}`;
  const width = Math.max(0, Math.min(40, (output.columns ?? 80) - 1 - words.length - 2));
  const full = of === 0 ? 0 : Math.floor((width * done) / of);
  const bar = `[${'#'.repeat(full)}${' '.repeat(width - full)}]`;
  return `${paint(output, 'green', bar)}${words}`;
}
