/**
 * The queue in the shape that `mailq` has everywhere (Postfix's of it): what scripts and monitoring
 * plugins read. One request is one submission; its recipients stand below it.
 *
 *     -Queue ID-                        --Size-- ---Arrival Time---- -Sender/Recipient------
 *     20261120T231501.123456Z:4242*          432 Fri Nov 20 23:15:01  root@host.example
 *         (450 4.2.1 mailbox busy)
 *                                                                     bob@example.com
 *
 *     -- 1 Kbytes in 1 Request.
 *
 * A star is a request that is being sent, an exclamation mark one on hold. The last line is always
 * `Mail queue is empty` or the sum.
 */
import { hasCode } from '../spool/disk.ts';
import { formatName, parseBase, prefixOf, showPart } from '../spool/name.ts';
import type { Entry, Spool } from '../spool/spool.ts';

const HEAD =
  '-Queue ID-                        --Size-- ---Arrival Time---- -Sender/Recipient------';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** @param minutesEast of UTC, of the zone that times are shown in */
export function printMailq(spool: Spool, minutesEast: number): string {
  const requests = requestsOf(spool);
  if (requests.length === 0) return 'Mail queue is empty\n';
  const lines = [HEAD];
  let total = 0;
  for (const entries of requests) {
    const [first] = entries;
    if (first === undefined) continue;
    const size = spool.sizeOf('spool', formatName(first.base, first.state)) ?? 0;
    total += size;
    const name = parseBase(first.base);
    const id = `${prefixOf(first.base)}${markOf(entries)}`;
    const arrived = showTime((name?.time ?? 0) / 1000 + minutesEast * 60_000);
    const sender = showPart(name?.sender ?? '') || 'MAILER-DAEMON';
    lines.push(`${id.padEnd(34)}${String(size).padStart(8)} ${arrived}  ${sender}`);
    let told = '';
    for (const { base } of entries) {
      const reason = spool.history(base).at(-1)?.lines.join(' ') ?? '';
      // A reason that holds for several recipients stands once, above them.
      if (reason !== '' && reason !== told) lines.push(`    (${reason})`);
      told = reason;
      lines.push(`${' '.repeat(64)}${showPart(parseBase(base)?.recipient ?? '')}`);
    }
    lines.push('');
  }
  const kilobytes = Math.ceil(total / 1024);
  const many = requests.length === 1 ? 'Request' : 'Requests';
  lines.push(`-- ${kilobytes} Kbytes in ${requests.length} ${many}.`);
  return `${lines.join('\n')}\n`;
}

/** Entries by submission, oldest first. */
function requestsOf(spool: Spool): readonly (readonly Entry[])[] {
  try {
    const requests = new Map<string, Entry[]>();
    for (const entry of spool.list().entries) {
      const prefix = prefixOf(entry.base);
      const request = requests.get(prefix) ?? [];
      requests.set(prefix, request);
      request.push(entry);
    }
    return [...requests.values()];
  } catch (error) {
    // No spool yet: nothing was ever queued.
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function markOf(entries: readonly Entry[]): string {
  if (entries.some(({ state }) => state.kind === 'sending')) return '*';
  return entries.every(({ state }) => state.kind === 'held') ? '!' : '';
}

/** As in `Fri Nov 20 23:15:01`, of milliseconds that have the zone added. */
function showTime(time: number): string {
  const date = new Date(time);
  const day = String(date.getUTCDate()).padStart(2);
  const clock = date.toISOString().slice(11, 19);
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${day} ${clock}`;
}
