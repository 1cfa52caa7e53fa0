/** picorelay status: one screen that says how it does, and the same as a page (page.ts). */
import { formatDuration } from '../control/duration.ts';
import { actAsFolderOwner } from '../spool/become.ts';
import { publishFile } from '../spool/disk.ts';
import { columns, line } from './chart.ts';
import { type Output, printJson, type World } from './command.ts';
import { count, cut, paint, showSize, showSpan, WIDTH } from './layout.ts';
import { spoolOf } from './mails.ts';
import { type AgeGroup, type HourView, type Overview, overviewOf } from './overview.ts';

interface Options {
  readonly html: string | undefined;
  readonly json: boolean;
}

export async function status({ html, json }: Options, world: World): Promise<number> {
  const spool = spoolOf(world);
  const overview = overviewOf(spool, hostOf(world), world.now());
  if (html !== undefined) {
    const { pageOf } = await import('./page.ts');
    const page = pageOf(spool, overview);
    if (html === '-') world.stdout.write(page);
    else actAsFolderOwner(html, () => publishFile(html, page, world.pid));
    return 0;
  }
  if (json) printJson(world, overview);
  else
    for (const each of printOverview(overview, world.stdout, glyphsFor(world)))
      world.stdout.write(`${each}\n`);
  return 0;
}

/** The host's name; a control folder that cannot be used must not keep anybody from looking. */
export function hostOf({ control }: World): string {
  try {
    return control.get('me');
  } catch {
    // check says what is wrong with it.
    return 'this host';
  }
}

/** What bars are made of: relayed, put off, refused. */
export type Glyphs = readonly [string, string, string];

/** Blocks where the terminal's character set has them. */
export function glyphsFor({ env }: Pick<World, 'env'>): Glyphs {
  const set = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return /utf-?8/i.test(set) ? ['█', '▒', '×'] : ['#', '-', 'x'];
}

/** Columns of the words at the left. */
const LABEL = 13;

/** Rows of the chart. */
const HEIGHT = 5;

/** The screen, line by line, none longer than the terminal is wide. */
export function printOverview(
  overview: Overview,
  output: Pick<Output, 'colour' | 'columns'>,
  glyphs: Glyphs,
): readonly string[] {
  const { host, time, runner, paused, heldBack, queue, undelivered, corrupt } = overview;
  const now = Date.parse(time);
  const width = Math.max(60, Math.min(output.columns ?? WIDTH, 120));
  const ago = (when: string): string => showSpan(now - Date.parse(when));
  const row = (label: string, words: string, shade?: 'green' | 'yellow' | 'red'): string => {
    const shown = cut(words, width - LABEL);
    return `${paint(output, 'bold', label.padEnd(LABEL))}${shade ? paint(output, shade, shown) : shown}`;
  };
  const stamp = `${time.slice(0, 10)} ${time.slice(11, 19)} UTC`;
  const title = cut(`picorelay on ${host}`, width - stamp.length - 1);
  const lines = [`${paint(output, 'bold', title.padEnd(width - stamp.length))}${stamp}`, ''];

  if (paused.length === 0) lines.push(row('Routes', 'none is paused', 'green'));
  for (const { route, time: since, stage, relay, lines: said } of paused) {
    const which = route === 'default' ? '' : `${route}: `;
    lines.push(row('Routes', `${which}paused for ${ago(since)} at ${stage} by ${relay}`, 'red'));
    lines.push(row('', said.join(' '), 'red'));
  }
  for (const { uid, since } of heldBack) {
    const words = `mail of user ${uid} for ${ago(since)}: more than control/userrate allows`;
    lines.push(row('Held back', words, 'yellow'));
  }
  if (runner === undefined) {
    lines.push(row('Runner', 'none was here yet', queue.mails > 0 ? 'red' : 'yellow'));
  } else {
    const late = now - Date.parse(runner) > LATE;
    lines.push(row('Runner', `at work ${ago(runner)} ago`, late ? 'yellow' : 'green'));
  }
  lines.push(row('Queue', queueWords(overview)));
  if (queue.mails > 0) lines.push(...ageLines(queue.ages, width, glyphs, output));
  lines.push('', ...hourLines(overview.hours, width, glyphs, output), '');
  const newest =
    undelivered.newest === undefined ? '' : `, the newest ${ago(undelivered.newest)} old`;
  lines.push(
    undelivered.mails === 0
      ? row('Undelivered', 'nothing', 'green')
      : row(
          'Undelivered',
          `${count(undelivered.mails, 'mail')}${newest}: picorelay undelivered`,
          'yellow',
        ),
  );
  if (corrupt > 0) lines.push(row('Corrupt', `${count(corrupt, 'file')}: picorelay check`, 'red'));
  return lines;
}

/** Runners come by each minute (milliseconds). */
const LATE = 5 * 60_000;

function queueWords({ queue, time }: Overview): string {
  const { mails, held, sending, octets, oldest, next } = queue;
  if (mails === 0) return 'empty';
  const now = Date.parse(time);
  const due = Date.parse(next ?? time) - now;
  return [
    `${count(mails, 'mail')}, ${showSize(octets)}`,
    ...(sending > 0 ? [`${sending} being sent`] : []),
    ...(held > 0 ? [`${held} on hold`] : []),
    ...(oldest === undefined ? [] : [`oldest ${showSpan(now - Date.parse(oldest))}`]),
    ...(next === undefined ? [] : [`next try ${due <= 0 ? 'now' : `in ${showSpan(due)}`}`]),
  ].join(', ');
}

function ageLines(
  ages: readonly AgeGroup[],
  width: number,
  [glyph]: Glyphs,
  output: Pick<Output, 'colour'>,
): readonly string[] {
  const most = Math.max(...ages.map(({ mails }) => mails));
  const room = width - LABEL - 20;
  return ages
    .map(({ upTo, mails }, n) => ({ words: ageWords(ages, n, upTo), mails }))
    .filter(({ mails }) => mails > 0)
    .map(({ words, mails }) => {
      const bar = paint(output, 'yellow', line(mails, most, room, glyph));
      return `${' '.repeat(LABEL)}${words.padEnd(11)} ${bar} ${mails}`;
    });
}

function ageWords(ages: readonly AgeGroup[], n: number, upTo: number | undefined): string {
  if (upTo !== undefined) return `up to ${formatDuration(upTo)}`;
  return `over ${formatDuration(ages[n - 1]?.upTo ?? 0)}`;
}

function hourLines(
  hours: readonly HourView[],
  width: number,
  glyphs: Glyphs,
  output: Pick<Output, 'colour'>,
): readonly string[] {
  const bars = hours.map(({ relayed, deferred, refused }) => [relayed, deferred, refused]);
  const total = (part: 'relayed' | 'deferred' | 'refused'): number =>
    hours.reduce((sum, hour) => sum + hour[part], 0);
  const [relayed, deferred, refused] = [total('relayed'), total('deferred'), total('refused')];
  const words = [
    `${paint(output, 'green', glyphs[0])} ${relayed} relayed`,
    `${paint(output, 'yellow', glyphs[1])} ${count(deferred, 'try')} put off`,
    `${paint(output, 'red', glyphs[2])} ${refused} refused or given up`,
  ].join('   ');
  const head = `${paint(output, 'bold', 'Last 24 h'.padEnd(LABEL))}${words}`;
  if (relayed + deferred + refused === 0) return [head];
  const most = Math.max(...bars.map((bar) => bar.reduce((sum, part) => sum + part, 0)));
  const each = Math.max(2, Math.floor((width - LABEL) / hours.length));
  const shades = ['green', 'yellow', 'red'] as const;
  const rows = columns(bars, glyphs, HEIGHT, each).map((row, n) => {
    const label = n === 0 ? String(most) : n === HEIGHT - 1 ? '0' : '';
    const cells = row.map((cell) => {
      const part = glyphs.findIndex((glyph) => cell.startsWith(glyph));
      const shade = shades[part];
      return shade === undefined ? cell : paint(output, shade, cell);
    });
    return `${label.padStart(LABEL - 2)} |${cells.join('')}`.trimEnd();
  });
  return [head, ...rows, hourAxis(hours, each)];
}

/** Every sixth hour has its name below its bar. */
function hourAxis(hours: readonly HourView[], each: number): string {
  let axis = ' '.repeat(LABEL);
  for (const [n, { begin }] of hours.entries()) {
    if (Number(begin.slice(11, 13)) % 6 !== 0) continue;
    axis = `${axis.padEnd(LABEL + n * each)}${begin.slice(11, 16)}`;
  }
  return `${axis} UTC`;
}
