/**
 * The result file: the history of an entry's attempts, for a tired operator first.
 *
 *     2026-11-20T23:15:01Z deferred at rcpt by smtp://mail.example.com:587
 *         450 4.2.1 mailbox busy
 *         C: MAIL FROM:<cron@host.example> SIZE=412
 *         S: 250 2.1.0 ok
 *         C: RCPT TO:<ops@example.com>
 *         S: 450 4.2.1 mailbox busy
 *
 * First what the relay or this program had to say, then the dialogue that led to it, as far as it is about
 * this recipient. Lines of a server come here escaped (mail/text.ts), so that no reply can forge a line of its own.
 * Hostile input: a result file that somebody edited. Parsing never throws; odd lines are kept.
 */
import type { Stage } from '../mail/outcome.ts';

export interface Attempt {
  /** Milliseconds since 1970-01-01 UTC, whole seconds. */
  readonly time: number;
  /**
   * Two are no attempts. `warned`: the sender was told that the mail is delayed. `changed`: the next
   * attempt was made with another configuration than the one before.
   */
  readonly outcome:
    | 'deferred'
    | 'refused'
    | 'expired'
    | 'interrupted'
    | 'paused'
    | 'warned'
    | 'changed';
  readonly stage: Stage | 'claim';
  /** The relay's URL, or `none` when none was reached. */
  readonly relay: string;
  /** What the relay or this program said, escaped, without line ends. */
  readonly lines: readonly string[];
  /** The dialogue that led to it, escaped: `C: …` by us, `S: …` by the relay. */
  readonly dialogue?: readonly string[];
}

/** One attempt as text, with its final newline. */
export function formatAttempt(attempt: Attempt): string {
  const time = `${new Date(attempt.time).toISOString().slice(0, 19)}Z`;
  const head = `${time} ${attempt.outcome} at ${attempt.stage} by ${attempt.relay}`;
  const lines = [...attempt.lines, ...(attempt.dialogue ?? [])];
  return `${[head, ...lines.map((line) => `    ${line}`)].join('\n')}\n`;
}

/** All attempts of a result file, oldest first. */
export function parseAttempts(text: string): readonly Attempt[] {
  const attempts: (Attempt & { lines: string[]; dialogue?: string[] })[] = [];
  for (const line of text.split('\n')) {
    const head =
      /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (deferred|refused|expired|interrupted|paused|warned|changed) at ([a-z]+) by (\S+)$/.exec(
        line,
      );
    const time = head === null ? Number.NaN : Date.parse(head[1] ?? '');
    if (head !== null && !Number.isNaN(time)) {
      attempts.push({
        time,
        outcome: head[2] as Attempt['outcome'],
        stage: head[3] as Attempt['stage'],
        relay: head[4] ?? 'none',
        lines: [],
      });
    } else if (line !== '') {
      const last = attempts.at(-1);
      const said = line.replace(/^ {4}/, '');
      if (last === undefined) continue;
      // No reply and no reason begins so.
      if (!/^[CS]: /.test(said)) last.lines.push(said);
      else if (last.dialogue === undefined) last.dialogue = [said];
      else last.dialogue.push(said);
    }
  }
  return attempts;
}

/** How many of these attempts count for the schedule. */
export function countedAttempts(attempts: readonly Attempt[]): number {
  return attempts.filter((attempt) => attempt.outcome === 'deferred').length;
}
