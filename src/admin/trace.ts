/**
 * picorelay log: what became of one mail, from its acceptance to the relay's answer, as the log tells it.
 * Hostile input: the log; its values are escaped already, and of other programs' lines none is shown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlError } from '../control/control.ts';
import { type LoggedEvent, parseLogLine } from '../log/line.ts';
import { escapeText } from '../mail/text.ts';
import { stopOnSignals } from '../runner/open.ts';
import type { Spool } from '../spool/spool.ts';
import { CommandError, EX_NOINPUT, type Output, printJson, type World } from './command.ts';
import { isGlob, matchesGlob } from './glob.ts';
import { count, cut, indent, paint, showSpan, WIDTH } from './layout.ts';
import { fileSource, type LogSource, logSource } from './log-source.ts';
import { type Mail, queuedMails, spoolOf, undeliveredMails, viewOf } from './mails.ts';

interface Options {
  readonly id: string;
  readonly follow: boolean;
  readonly file: string | undefined;
  readonly json: boolean;
}

/** The events of one mail, the oldest first. */
interface Trace {
  readonly id: string;
  readonly events: readonly LoggedEvent[];
}

/** Of so many mails that a word names the latest are kept. */
const MOST = 1000;

/** So many of them are listed. */
const LISTED = 20;

/** After these a mail's way is at its end. */
const LAST = new Set(['relayed', 'refused', 'expired', 'removed', 'corrupt']);

/** Milliseconds between two looks at a mail that is followed. */
const PAUSE = 500;

export async function log(options: Options, world: World): Promise<number> {
  const { id, follow, json } = options;
  const source = sourceOf(options, world);
  const traces = await tracesOf(source, id, world.now());
  const exact = traces.find((trace) => trace.id === id);
  const chosen = exact ?? (traces.length === 1 ? traces[0] : undefined);
  if (traces.length === 0) return tellNothing(options, source, world);
  if (chosen === undefined) {
    if (json) printJson(world, traces.map(traceView));
    else listTraces(traces, id, world.stdout);
    return 0;
  }
  const whole = await withSuccessors(source, chosen, world.now());
  const spool = spoolOf(world);
  if (json) {
    printJson(world, whole.map(traceView));
    return 0;
  }
  for (const trace of whole) printTrace(trace, world.stdout);
  const last = whole.at(-1) ?? chosen;
  if (follow) await followOn(spool, source, last, world);
  else printWhere(spool, last, world);
  return 0;
}

function sourceOf({ file }: Options, { control }: World): LogSource {
  if (file !== undefined) return fileSource(file);
  let destination: string;
  try {
    destination = control.get('log');
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    destination = 'syslog';
  }
  const source = logSource(destination);
  if (source !== undefined) return source;
  throw new CommandError(
    EX_NOINPUT,
    destination === 'stderr'
      ? 'control/log says stderr: name the file that it became with --file'
      : 'no log of syslog is known here: name it with --file',
  );
}

/** All mails that a word names, with their events. */
async function tracesOf(source: LogSource, word: string, now: number): Promise<readonly Trace[]> {
  const found = new Map<string, LoggedEvent[]>();
  const glob = isGlob(word) ? `*${word}*` : undefined;
  for await (const line of source.lines()) {
    // Most lines are about other mails: they are not even parsed.
    if (glob === undefined && !line.includes(word)) continue;
    const event = parseLogLine(line, now);
    const id = event?.fields['id'];
    if (event === undefined || id === undefined) continue;
    if (!(glob === undefined ? id.includes(word) : matchesGlob(glob, id))) continue;
    const events = found.get(id) ?? [];
    events.push(event);
    // The latest are the last.
    found.delete(id);
    found.set(id, events);
    const [oldest] = found.keys();
    if (found.size > MOST && oldest !== undefined) found.delete(oldest);
  }
  return [...found].map(([id, events]) => ({ id, events }));
}

/** A mail, and those that took its place by `picorelay resend`. */
async function withSuccessors(
  source: LogSource,
  first: Trace,
  now: number,
): Promise<readonly Trace[]> {
  const all = [first];
  for (let trace: Trace | undefined = first; trace !== undefined; ) {
    const as: string | undefined = trace.events.find(({ event }) => event === 'resent')?.fields[
      'as'
    ];
    const known = all.some(({ id }) => id === as);
    trace =
      as === undefined || known
        ? undefined
        : (await tracesOf(source, as, now)).find(({ id }) => id === as);
    if (trace !== undefined) all.push(trace);
  }
  return all;
}

function traceView({ id, events }: Trace) {
  return {
    id,
    events: events.map(({ time, event, fields: { id: _, ...fields } }) => ({
      ...(time === undefined ? {} : { time: new Date(time).toISOString() }),
      event,
      ...fields,
    })),
  };
}

function listTraces(traces: readonly Trace[], word: string, output: Output): void {
  const shown = traces.slice(-LISTED);
  output.write(
    `${count(traces.length, 'mail')} with ${JSON.stringify(word)} in the name, name one:\n`,
  );
  if (traces.length > shown.length)
    output.write(`  … ${traces.length - shown.length} older ones\n`);
  for (const { id, events } of shown) {
    const last = events.at(-1);
    output.write(`${paint(output, 'bold', id)}\n    ${stampOf(last?.time)} ${last?.event ?? ''}\n`);
  }
}

function printTrace({ id, events }: Trace, output: Output): void {
  output.write(`${paint(output, 'bold', id)}\n`);
  for (const event of events) printEvent(event, output);
}

const COLOURS = new Map([
  ['relayed', 'green'],
  ['deferred', 'yellow'],
  ['refused', 'red'],
  ['expired', 'red'],
  ['corrupt', 'red'],
  ['interrupted', 'yellow'],
] as const);

/** Columns of the time and the event. */
const TIME = 22;
const EVENT = 12;

function printEvent(event: LoggedEvent, output: Output): void {
  const width = Math.max(60, Math.min(output.columns ?? WIDTH, 120));
  const [first = '', ...more] = indent(TIME + EVENT, wordsOf(event), width);
  const shade = COLOURS.get(event.event as 'relayed');
  const name = (WORDS.get(event.event) ?? event.event).padEnd(EVENT);
  const head = `  ${stampOf(event.time)}`.padEnd(TIME);
  output.write(`${head}${shade ? paint(output, shade, name) : name}${first.trimStart()}\n`);
  for (const line of more) output.write(`${line}\n`);
}

const WORDS = new Map([
  ['deferred', 'put off'],
  ['held', 'on hold'],
  ['expired', 'given up'],
]);

/** What an event says beside its name and its mail. */
function wordsOf({ event, fields }: LoggedEvent): string {
  const field = (name: string): string => fields[name] ?? '?';
  const answer = `by ${field('relay')} at ${field('stage')}: ${field('said')}`;
  switch (event) {
    case 'accepted': {
      const size = fields['size'] === undefined ? '' : `${fields['size']} octets, `;
      const by =
        fields['uid'] === undefined ? '' : `by uid ${fields['uid']} through ${field('program')}, `;
      return `${size}${by}from <${fields['from'] ?? ''}> to <${field('to')}>`;
    }
    case 'relayed': {
      const after = showSpan(Number(fields['delay'] ?? 0) * 1000);
      const twice = fields['duplicate'] === undefined ? '' : '; it may have got it twice';
      return `${answer}; ${after} after it was accepted${twice}`;
    }
    case 'deferred':
      return `${answer}; ${count(Number(fields['attempts'] ?? 0), 'try')}, next ${stampOf(Date.parse(field('next')))}`;
    case 'refused':
    case 'expired':
      return answer;
    case 'held':
    case 'released':
    case 'removed':
      return `by ${field('by')}`;
    case 'resent':
      return `by ${field('by')}, as the mail below`;
    case 'reported':
      return `to <${field('to')}>, ${field('kind')}`;
    default:
      return fields['said'] ?? '';
  }
}

/** As in `2026-11-21 08:15:02`, of UTC. */
function stampOf(time: number | undefined): string {
  if (time === undefined || Number.isNaN(time)) return '?';
  return new Date(time).toISOString().slice(0, 19).replace('T', ' ');
}

/** Where the mail is now, if its way is not at its end. */
function printWhere(spool: Spool, trace: Trace, world: World): void {
  const mail = mailOf(spool, trace.id);
  if (mail === undefined) {
    if (!trace.events.some(({ event }) => LAST.has(event) || event === 'resent')) {
      world.stdout.write('  It is not in the queue any more, and the log does not tell why.\n');
    }
    return;
  }
  const { state, next } = viewOf(spool, mail);
  if (state === 'undelivered') {
    world.stdout.write('  It lies in Undelivered: picorelay why tells more.\n');
    return;
  }
  const due = next === undefined ? '' : `, next try ${stampOf(Date.parse(next))}`;
  world.stdout.write(`  It is in the queue: ${state}${due}.\n`);
}

/** Prints what comes, until the mail's way is at its end. */
async function followOn(
  spool: Spool,
  source: LogSource,
  first: Trace,
  world: World,
): Promise<void> {
  const stop = stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP');
  let told = first.events.length;
  let before = '';
  let looks = 0;
  for (let ended = isAtEnd(first); !ended && !stop.aborted; ) {
    const mail = mailOf(spool, first.id);
    const now = JSON.stringify(mail);
    // The line in the log follows the change of its name, at once as a rule.
    looks = now !== before ? 3 : looks - 1;
    if (looks > 0) {
      const traces = await tracesOf(source, first.id, world.now());
      const trace = traces.find(({ id }) => id === first.id) ?? first;
      for (const event of trace.events.slice(told)) printEvent(event, world.stdout);
      told = Math.max(told, trace.events.length);
      ended = isAtEnd(trace) || mail === undefined;
      before = now;
    }
    if (!ended) {
      await sleep(PAUSE, undefined, { signal: stop }).catch((error: unknown) => {
        if (!stop.aborted) throw error;
      });
    }
  }
}

function isAtEnd({ events }: Trace): boolean {
  return events.some(({ event }) => LAST.has(event));
}

function mailOf(spool: Spool, id: string): Mail | undefined {
  return [...queuedMails(spool), ...undeliveredMails(spool)].find(({ base }) => base === id);
}

function tellNothing({ id, json }: Options, source: LogSource, world: World): number {
  const spool = spoolOf(world);
  const mails = [...queuedMails(spool), ...undeliveredMails(spool)];
  const there = mails.filter(({ base }) => base.includes(id));
  if (json) printJson(world, []);
  const where = there.length === 1 ? '; it is new: picorelay show has what is known' : '';
  throw new CommandError(
    EX_NOINPUT,
    cut(
      `${escapeText(source.name)} tells of no mail with ${JSON.stringify(id)} in its name${where}`,
      200,
    ),
  );
}
