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
import { formatName, parseBase, parseName, prefixOf, showPart } from '../spool/name.ts';
import type { Entry, Spool } from '../spool/spool.ts';

const HEAD =
  '-Queue ID-                        --Size-- ---Arrival Time---- -Sender/Recipient------';

/** Characters of a piece. */
const PIECE = 64 * 1024;

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/**
 * In pieces, as a queue may have a million.
 * @param minutesEast of UTC, of the zone that times are shown in
 */
export function* mailq(spool: Spool, minutesEast: number): Generator<string, void, undefined> {
  let requests = 0;
  let total = 0;
  let text = '';
  for (const entries of requestsOf(spool)) {
    const [first] = entries;
    if (first === undefined) continue;
    const lines = requests === 0 ? [HEAD] : [];
    requests++;
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
    text += `${lines.join('\n')}\n\n`;
    if (text.length < PIECE) continue;
    yield text;
    text = '';
  }
  if (requests === 0) {
    yield 'Mail queue is empty\n';
    return;
  }
  const many = requests === 1 ? 'Request' : 'Requests';
  yield `${text}-- ${Math.ceil(total / 1024)} Kbytes in ${requests} ${many}.\n`;
}

/** Entries by submission, oldest first. */
function* requestsOf(spool: Spool): Generator<readonly Entry[], void, undefined> {
  let request: Entry[] = [];
  for (const name of namesIn(spool)) {
    const parsed = parseName(name);
    if (parsed.kind !== 'entry') continue;
    const [first] = request;
    if (first !== undefined && prefixOf(first.base) !== prefixOf(name)) {
      yield request;
      request = [];
    }
    request.push({ base: parsed.base, state: parsed.state });
  }
  yield request;
}

function namesIn(spool: Spool): readonly string[] {
  try {
    return spool.entryNames();
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
