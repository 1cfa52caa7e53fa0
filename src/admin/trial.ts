/**
 * picorelay test: a mail of our own goes the whole way in the foreground, with the dialogue shown. It is
 * taken as sendmail would take it, rewriting included, and offered at once; what the relay does not take is
 * removed again, and nobody gets a report.
 */
import { hostname } from 'node:os';
import { originTime } from '../mail/envelope.ts';
import { OverLimit } from '../mail/limits.ts';
import { escapeText } from '../mail/text.ts';
import { Dispatcher } from '../runner/dispatch.ts';
import { openRunner, stopOnSignals } from '../runner/open.ts';
import { type Delivery, parseInvocation } from '../sendmail/arguments.ts';
import { Rejected, submit } from '../sendmail/submit.ts';
import type { Spool } from '../spool/spool.ts';
import {
  CommandError,
  EX_DATAERR,
  EX_TEMPFAIL,
  EX_UNAVAILABLE,
  EX_USAGE,
  type World,
} from './command.ts';
import { indent, paint } from './layout.ts';
import { type Mail, queuedMails, undeliveredMails, viewOf } from './mails.ts';
import { meaningOf } from './meaning.ts';

interface Options {
  readonly address: string;
  readonly from: string | undefined;
}

export async function sendTest(options: Options, world: World): Promise<number> {
  const { control, stdout, stderr, now, random, pid } = world;
  const delivery = deliveryOf(options);
  const letter = letterOf(options.address, control.get('me'), now());
  const caller = {
    login: world.login(),
    origin: {
      uid: world.uid,
      pid,
      time: originTime(now(), process.hrtime()),
      program: 'picorelay',
    },
    zoneMinutes: world.zoneMinutes,
    hostName: hostname,
  };
  const stop = stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP');
  const runner = openRunner(control, pid, {
    now,
    random,
    stop,
    stderr: (text) => stderr.write(text),
    // The dialogue tells more.
    onEvent: () => undefined,
    onLine: (side, line) => {
      stdout.write(`${paint(stdout, side === 'C' ? 'bold' : 'dim', `${side}: ${line}`)}\n`);
    },
  });
  const { spool } = runner;
  const dispatcher = new Dispatcher(spool, control, runner.log, runner.world);
  let bases: readonly string[] = [];
  try {
    const queued = submit(delivery, [Buffer.from(letter)], control, () => spool, caller);
    bases = queued.bases;
    for (const line of queued.warnings) stderr.write(`picorelay: ${line}\n`);
    for (const { kind, text } of queued.notes) {
      if (kind === 'rewritten' || kind === 'trouble') stdout.write(`${escapeText(text)}\n`);
    }
    const tally = await dispatcher.deliver(
      spool.list().entries.filter(({ base }) => bases.includes(base)),
      { mayExpire: false, probe: true, guard: false, stop: () => stop.aborted },
    );
    // The farewell comes before our own words.
    await dispatcher.close();
    if (tally.relayed === bases.length) {
      const good = paint(stdout, 'green', 'The relay has taken it.');
      stdout.write(`\n${good} Now look into the mailbox, and into its folder for spam.\n`);
      return 0;
    }
    return tellTrouble(spool, bases, dispatcher.trouble, world);
  } catch (error) {
    if (error instanceof Rejected) throw new CommandError(error.status, error.message);
    if (error instanceof OverLimit) throw new CommandError(EX_TEMPFAIL, error.message);
    throw error;
  } finally {
    await dispatcher.close();
    for (const mail of mailsOf(spool, bases)) erase(spool, mail, now());
    spool.leave();
    await runner.close();
  }
}

function deliveryOf({ address, from }: Options): Delivery {
  const sender = from === undefined ? [] : ['-f', from];
  const invocation = parseInvocation('sendmail', ['-i', '-N', 'never', ...sender, '--', address]);
  if (invocation.mode === 'deliver') {
    const [problem] = invocation.problems;
    if (problem !== undefined) throw new CommandError(EX_DATAERR, escapeText(problem));
    return invocation;
  }
  const problem = 'problem' in invocation ? invocation.problem : 'an address is wanted';
  throw new CommandError(EX_USAGE, escapeText(problem));
}

function letterOf(address: string, host: string, now: number): string {
  return [
    `To: ${address}`,
    `Subject: Test of picorelay on ${host}`,
    'Auto-Submitted: auto-generated',
    '',
    `Somebody typed  picorelay test  on ${host} at ${new Date(now).toISOString()}.`,
    'If you can read this, mail from there arrives.',
    '',
  ].join('\n');
}

/** Says why it did not go; the exit status. */
function tellTrouble(
  spool: Spool,
  bases: readonly string[],
  paused: string | undefined,
  { stdout, control }: World,
): number {
  const lines: string[] = [''];
  let status = EX_TEMPFAIL;
  for (const mail of mailsOf(spool, bases)) {
    const refused = mail.place === 'Undelivered';
    if (refused) status = EX_UNAVAILABLE;
    const { last, recipient } = viewOf(spool, mail);
    const heard = last ?? [...spool.records.pausedRoutes().values()].at(-1);
    const fate = refused ? 'was refused' : 'did not get through';
    lines.push(paint(stdout, 'red', `The mail to <${recipient}> ${fate}.`));
    if (heard === undefined) {
      if (paused !== undefined) lines.push(paused);
      continue;
    }
    const width = stdout.columns ?? Number.POSITIVE_INFINITY;
    lines.push(...heard.lines.flatMap((line) => indent(4, line, width)));
    const { means, mend } = meaningOf(heard, control.folder, 'ID');
    lines.push('', ...indent(0, `That means: ${means}`));
    const usual = mend.filter((line) => !/tried again by itself|another one:|picorelay/.test(line));
    if (usual.length > 0) lines.push('', 'What to do:', ...usual.map((line) => `    ${line}`));
  }
  if (lines.length === 1)
    lines.push('A runner took it at the same moment: picorelay log tells the rest.');
  else lines.push('', 'It was removed again: nothing of the test is left in the queue.');
  stdout.write(`${lines.join('\n')}\n`);
  return status;
}

function mailsOf(spool: Spool, bases: readonly string[]): readonly Mail[] {
  if (bases.length === 0) return [];
  return [...queuedMails(spool), ...undeliveredMails(spool)].filter(({ base }) =>
    bases.includes(base),
  );
}

function erase(spool: Spool, mail: Mail, now: number): void {
  if (mail.place === 'Undelivered') {
    spool.discard(mail.base);
    return;
  }
  const claim = spool.claim(mail, now);
  // A runner that has it takes it further.
  if (claim !== undefined) spool.finish(claim);
}
