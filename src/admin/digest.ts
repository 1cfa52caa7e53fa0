/** The digest for a daily line of cron: what went out, what waits and why, what did not go through. */
import { addCounts, HOUR, NO_COUNTS, parseStats, sumSince } from '../queue/stats.ts';
import { hasCode } from '../spool/disk.ts';
import { parseBase, showPart } from '../spool/name.ts';
import type { Attempt } from '../spool/result.ts';
import { Spool } from '../spool/spool.ts';
import { CommandError, EX_USAGE, type World } from './command.ts';
import { count, cut, showSpan } from './layout.ts';
import { pausedRoutes, pauseLine } from './list.ts';

/** So many lines for each thing that is listed; twenty in all. */
const REASONS = 3;
const REFUSALS = 6;

/** Characters of a line. */
const WIDTH = 78;

export function digest({ hours }: { readonly hours: number }, world: World): number {
  const { control, pid, stdout, now } = world;
  if (!(hours >= 1 && hours <= 168)) {
    throw new CommandError(EX_USAGE, 'digest: --hours takes 1 to 168');
  }
  const spool = new Spool(control.get('spooldir'), pid);
  stdout.write(printDigest(spool, control.get('me'), now(), Math.floor(hours)));
  return 0;
}

/**
 * At most twenty lines about the last hours; empty when nothing happened, nothing waits and nothing is
 * wrong.
 * @param hours how far it looks back
 */
function printDigest(spool: Spool, host: string, now: number, hours: number): string {
  let lines: readonly string[];
  try {
    lines = digestLines(spool, now, hours);
  } catch (error) {
    // No spool yet: nothing was ever queued.
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
  if (lines.length === 0) return '';
  const head = `picorelay on ${host}, the last ${count(hours, 'hour')}:`;
  return [head, ...lines].map((line) => `${cut(line, WIDTH)}\n`).join('');
}

function digestLines(spool: Spool, now: number, hours: number): readonly string[] {
  const since = now - hours * HOUR;
  const { relayed, deferred, refused } = sumSince(
    addCounts(parseStats(spool.records.readStats()), NO_COUNTS, now),
    Math.ceil(since / HOUR) * HOUR,
  );
  const { entries, foreign } = spool.list();
  const gone = refusedSince(spool, since);
  const corrupt = spool.countCorrupt();
  const lines: string[] = [];
  if (relayed + deferred + refused > 0) {
    lines.push(
      `  ${relayed} relayed, ${count(deferred, 'try')} put off, ${refused} refused or given up`,
    );
  }
  const [oldest] = entries;
  if (oldest !== undefined) {
    const held = entries.filter(({ state }) => state.kind === 'held').length;
    const age = showSpan(now - (parseBase(oldest.base)?.time ?? 0) / 1000);
    const onHold = held > 0 ? `, ${held} of them on hold` : '';
    lines.push(`  ${count(entries.length, 'mail')} waiting${onHold}, the oldest for ${age}:`);
    lines.push(`    ${oldest.base}`);
    lines.push(...reasons(entries.map(({ base }) => spool.history(base).at(-1))));
  }
  lines.push(
    ...pausedRoutes(spool)
      .map((pause) => `  ${pauseLine(pause)}`)
      .slice(0, REASONS),
  );
  if (gone.length > 0) {
    lines.push(`  ${count(gone.length, 'mail')} refused or given up, now in Undelivered:`);
    for (const { recipient, attempt } of gone.slice(0, REFUSALS)) {
      lines.push(`    <${recipient}> ${attempt.lines.join(' ')}`);
    }
    if (gone.length > REFUSALS) lines.push(`    and ${gone.length - REFUSALS} more`);
  }
  if (corrupt > 0) lines.push(`  ${count(corrupt, 'file')} in corrupt/ that could not be read`);
  if (foreign.length > 0)
    lines.push(`  ${count(foreign.length, 'file')} in spool/ that is no mail`);
  return lines;
}

/** Why entries wait, the most frequent reason first. */
function reasons(last: readonly (Attempt | undefined)[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const attempt of last) {
    if (attempt === undefined) continue;
    const reason = `${attempt.stage}: ${attempt.lines.join(' ')}`;
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts]
    .sort(([, one], [, other]) => other - one)
    .slice(0, REASONS)
    .map(([reason, number]) => `    ${number} x ${reason}`);
}

/** What went to Undelivered since a time, the newest first. */
function refusedSince(
  spool: Spool,
  since: number,
): readonly { readonly recipient: string; readonly attempt: Attempt }[] {
  return spool
    .listUndelivered()
    .flatMap((base) => {
      const attempt = spool
        .history(base, 'Undelivered')
        .findLast(({ outcome }) => outcome === 'refused' || outcome === 'expired');
      if (attempt === undefined || attempt.time < since) return [];
      return [{ recipient: showPart(parseBase(base)?.recipient ?? ''), attempt }];
    })
    .sort((one, other) => other.attempt.time - one.attempt.time);
}
