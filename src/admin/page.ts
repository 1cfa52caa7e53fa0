/**
 * The overview as one page of HTML that needs nothing else: no script, no font, no file beside it. Hostile
 * input: addresses and replies; each text is escaped, and the page's own policy lets nothing be loaded.
 */
import { formatDuration } from '../control/duration.ts';
import type { Spool } from '../spool/spool.ts';
import { count, showSize, showSpan } from './layout.ts';
import { type Mail, type MailView, queuedMails, undeliveredMails, viewOf } from './mails.ts';
import type { HourView, Overview } from './overview.ts';

/** So many mails are listed of the queue, and of Undelivered. */
const LISTED = 100;

const STYLE = `
:root { color-scheme: light dark; --text: #1c2733; --soft: #5b6b7b; --line: #d5dde5; --card: #fff;
  --back: #f3f6f9; --good: #2e8b57; --wait: #d99a1c; --bad: #c4453c; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e9ef; --soft: #93a3b3; --line: #33404d;
  --card: #1b242d; --back: #11171d; --good: #4db37d; --wait: #e0ad42; --bad: #e2695f; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 70rem; margin: auto; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline;
  gap: .5rem 2rem; margin-bottom: 1rem; }
header p, .soft { color: var(--soft); margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin-bottom: 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; }
.good { color: var(--good); } .wait { color: var(--wait); } .bad { color: var(--bad); }
.legend span { margin-right: 1.2rem; } .legend i { display: inline-block; width: .8em; height: .8em;
  border-radius: 2px; margin-right: .4em; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
svg .axis { stroke: var(--line); } svg .good { fill: var(--good); } svg .wait { fill: var(--wait); }
svg .bad { fill: var(--bad); } i.good { background: var(--good); } i.wait { background: var(--wait); }
i.bad { background: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: .85rem; }
th, td { padding: .35rem .8rem .35rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; } td { overflow-wrap: anywhere; min-width: 8rem; }
td.n { white-space: nowrap; min-width: 0; } td.a { min-width: 11.5rem; }
.wide svg { min-width: 38rem; }
code { font: .85em ui-monospace, monospace; }
`;

/** The page; its lists are read here, all else is the overview's. */
export function pageOf(spool: Spool, overview: Overview): string {
  const { host, time } = overview;
  const now = Date.parse(time);
  const queued = queuedMails(spool);
  const refused = undeliveredMails(spool).toReversed();
  const title = `picorelay on ${host}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${text(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header><h1>${text(title)}</h1><p>as of ${text(time.slice(0, 10))} ${text(time.slice(11, 19))} UTC</p></header>
${tiles(overview, now)}
${pauses(overview, now)}
<section>
<h2>The last 24 hours</h2>
${hoursPlot(overview.hours)}
</section>
${agesPlot(overview)}
${table('The queue', queued, spool, now)}
${table('Undelivered', refused, spool, now)}
</main>
</body>
</html>
`;
}

function tiles(
  { queue, undelivered, hours, runner, total, corrupt }: Overview,
  now: number,
): string {
  const sum = (part: 'relayed' | 'deferred' | 'refused'): number =>
    hours.reduce((all, hour) => all + hour[part], 0);
  const oldest =
    queue.oldest === undefined ? '' : `, oldest ${showSpan(now - Date.parse(queue.oldest))}`;
  const seen = runner === undefined ? 'never' : `${showSpan(now - Date.parse(runner))} ago`;
  const all = [
    tile(
      String(queue.mails),
      `in the queue, ${showSize(queue.octets)}${oldest}`,
      queue.mails > 0 ? 'wait' : '',
    ),
    tile(String(sum('relayed')), `relayed within 24 hours, ${total.relayed} in all`, 'good'),
    tile(String(sum('deferred')), 'tries put off', sum('deferred') > 0 ? 'wait' : ''),
    tile(String(sum('refused')), 'refused or given up', sum('refused') > 0 ? 'bad' : ''),
    tile(String(undelivered.mails), 'in Undelivered', undelivered.mails > 0 ? 'bad' : ''),
    tile(seen, 'a runner was at work', ''),
  ];
  if (corrupt > 0) all.push(tile(String(corrupt), 'files that could not be read', 'bad'));
  return `<section class="tiles">${all.join('')}</section>`;
}

function tile(number: string, words: string, shade: string): string {
  return `<div class="tile"><b class="${shade}">${text(number)}</b><span class="soft">${text(words)}</span></div>`;
}

function pauses({ paused }: Overview, now: number): string {
  if (paused.length === 0) return '';
  const rows = paused.map(
    ({ route, time, stage, relay, lines }) =>
      `<tr><td>${text(route)}</td><td class="n">${showSpan(now - Date.parse(time))}</td><td>${text(stage)}</td><td>${text(relay)}</td><td>${text(lines.join(' '))}</td></tr>`,
  );
  return `<section>
<h2 class="bad">${count(paused.length, 'route')} paused: mail waits, nothing is lost</h2>
<div class="wide"><table><thead><tr><th>route<th>for<th>at<th>relay<th>what was said</thead>
<tbody>${rows.join('\n')}</tbody></table></div>
</section>`;
}

/** Of the plot, in units of its own. */
const PLOT = { width: 900, height: 200, left: 44, right: 8, top: 10, bottom: 24 } as const;

const PARTS = [
  ['relayed', 'good', 'relayed'],
  ['deferred', 'wait', 'put off'],
  ['refused', 'bad', 'refused or given up'],
] as const;

function hoursPlot(hours: readonly HourView[]): string {
  const most = roundUp(
    Math.max(1, ...hours.map(({ relayed, deferred, refused }) => relayed + deferred + refused)),
  );
  const inner = PLOT.height - PLOT.top - PLOT.bottom;
  const step = (PLOT.width - PLOT.left - PLOT.right) / hours.length;
  const y = (value: number): number => PLOT.top + inner - (value / most) * inner;
  const shapes: string[] = [];
  for (const value of [0, most / 2, most]) {
    shapes.push(
      `<line class="axis" x1="${PLOT.left}" x2="${PLOT.width - PLOT.right}" y1="${px(y(value))}" y2="${px(y(value))}"/>`,
      `<text x="${PLOT.left - 8}" y="${px(y(value) + 4)}" text-anchor="end">${value}</text>`,
    );
  }
  for (const [n, hour] of hours.entries()) {
    const x = PLOT.left + n * step;
    const clock = hour.begin.slice(11, 16);
    const words = PARTS.map(([part, , name]) => `${hour[part]} ${name}`).join(', ');
    let below = 0;
    const bars = PARTS.map(([part, shade]) => {
      const value = hour[part];
      const top = y(below + value);
      const height = y(below) - top;
      below += value;
      return value === 0
        ? ''
        : `<rect class="${shade}" x="${px(x + step * 0.12)}" y="${px(top)}" width="${px(step * 0.76)}" height="${px(Math.max(1, height))}"/>`;
    });
    shapes.push(`<g><title>${clock} UTC: ${words}</title>${bars.join('')}</g>`);
    if (Number(clock.slice(0, 2)) % 3 === 0) {
      shapes.push(
        `<text x="${px(x + step / 2)}" y="${PLOT.height - 7}" text-anchor="middle">${clock}</text>`,
      );
    }
  }
  const legend = PARTS.map(([, shade, name]) => `<span><i class="${shade}"></i>${name}</span>`);
  return `<p class="legend soft">${legend.join('')}by the hour, UTC</p>
<div class="wide"><svg viewBox="0 0 ${PLOT.width} ${PLOT.height}" role="img" aria-label="Mail by the hour">
${shapes.join('\n')}
</svg></div>`;
}

function agesPlot({ queue }: Overview): string {
  if (queue.mails === 0) return '';
  const most = Math.max(...queue.ages.map(({ mails }) => mails));
  const row = 26;
  const label = 90;
  const room = PLOT.width - label - 70;
  const bars = queue.ages.map(({ upTo, mails }, n) => {
    const words =
      upTo === undefined
        ? `over ${formatDuration(queue.ages[n - 1]?.upTo ?? 0)}`
        : `up to ${formatDuration(upTo)}`;
    const width = (mails / most) * room;
    const middle = n * row + 17;
    return `<text x="${label - 10}" y="${middle}" text-anchor="end">${words}</text>${
      mails === 0
        ? ''
        : `<rect class="wait" x="${label}" y="${n * row + 4}" width="${px(Math.max(2, width))}" height="18"/>`
    }<text x="${px(label + width + 8)}" y="${middle}">${mails}</text>`;
  });
  return `<section>
<h2>The queue by age</h2>
<div class="wide"><svg viewBox="0 0 ${PLOT.width} ${queue.ages.length * row}" role="img" aria-label="Mails of the queue by their age">
${bars.join('\n')}
</svg></div>
</section>`;
}

function table(title: string, mails: readonly Mail[], spool: Spool, now: number): string {
  if (mails.length === 0) return '';
  const rows = mails.slice(0, LISTED).map((mail) => tableRow(viewOf(spool, mail), now));
  const more = mails.length - rows.length;
  return `<section>
<h2>${title}</h2>
<div class="wide"><table><thead><tr><th>age<th>size<th>from<th>to<th>state<th>what was said last</thead>
<tbody>${rows.join('\n')}</tbody></table></div>
${more > 0 ? `<p class="soft">and ${more} more</p>` : ''}</section>`;
}

function tableRow(view: MailView, now: number): string {
  const { accepted, size, sender, recipient, state, attempts, next, last } = view;
  const tried = attempts > 0 ? `, ${count(attempts, 'try')}` : '';
  const due = next === undefined ? Number.NaN : Date.parse(next) - now;
  const when = Number.isNaN(due) ? '' : due <= 0 ? ', next now' : `, next in ${showSpan(due)}`;
  const said = last === undefined ? '' : last.lines.join(' ');
  return `<tr><td class="n">${showSpan(now - Date.parse(accepted))}</td><td class="n">${showSize(size)}</td><td class="a">${text(
    sender === '' ? '<>' : sender,
  )}</td><td class="a">${text(recipient)}</td><td>${text(`${last?.outcome === 'expired' ? 'expired' : state}${tried}${when}`)}</td><td class="a"><code>${text(said)}</code></td></tr>`;
}

/** A number above, of the kind that an axis ends with. */
function roundUp(number: number): number {
  const power = 10 ** Math.floor(Math.log10(number));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= number) ?? 10;
  return Math.max(2, 2 * Math.ceil((step * power) / 2));
}

function px(number: number): string {
  return String(Math.round(number * 10) / 10);
}

/** A text as HTML; what a log may not show is escaped before it comes here. */
function text(given: string): string {
  return given
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
