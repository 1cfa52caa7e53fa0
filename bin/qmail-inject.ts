/**
 * qmail-inject: completes the message on standard input and queues it, in the spool or by the program
 * that QMAILQUEUE names. Exit 0: every recipient is on disk. 100: refused for good; 111: try again
 * later; nothing is queued then. One line on standard error says why.
 */
import fs from 'node:fs';
import { openControl } from '../src/control/control.ts';
import { minutesEast } from '../src/control/host.ts';
import { readLimits } from '../src/control/limits.ts';
import { openRewriter } from '../src/control/rewriting.ts';
import { hostName, offerAtOnce } from '../src/inject/place.ts';
import {
  EXIT,
  InjectError,
  makePlan,
  namesOf,
  parseInvocation,
} from '../src/inject/qmail-inject.ts';
import { queueProgram, runQueueProgram } from '../src/inject/queue-program.ts';
import { formatDate, receivedField } from '../src/mail/completion.ts';
import { originTime } from '../src/mail/envelope.ts';
import { assembleMessage, formatField, HeaderTooLong, readHeader } from '../src/mail/header.ts';
import { checkRecipients, OverLimit } from '../src/mail/limits.ts';
import { formatNote, keptNotes, type Note } from '../src/mail/note.ts';
import { mailboxOf } from '../src/mail/raw-address.ts';
import { WireForm } from '../src/mail/wireform.ts';
import { becomeSubmitter } from '../src/spool/become.ts';
import { writeAll } from '../src/spool/disk.ts';
import { readPieces } from '../src/spool/input.ts';
import { Intake } from '../src/spool/intake.ts';

void main()
  .catch(report)
  .then((status) => process.exit(status));

async function main(): Promise<number> {
  const invocation = parseInvocation(process.argv.slice(2));
  const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');
  const program = invocation.print
    ? undefined
    : queueProgram(process.env['QMAILQUEUE'], {
        uid: process.getuid?.() ?? 0,
        euid: process.geteuid?.() ?? 0,
        gid: process.getgid?.() ?? 0,
        egid: process.getegid?.() ?? 0,
      });
  const lists = readLists(process.env['QMAILMFTFILE']);
  const origin = {
    uid: process.getuid?.() ?? 0,
    pid: process.pid,
    time: originTime(Date.now(), process.hrtime()),
    program: 'qmail-inject',
  };
  const toSpool = !invocation.print && program === undefined;
  const folder = toSpool ? control.get('spooldir') : '';
  const straight = toSpool && becomeSubmitter(folder);

  const host = hostName(control);
  const { names, warnings } = namesOf(process.env, control, host);
  const pieces = readPieces(0);
  const header = readHeader(pieces);
  const time = new Date(origin.time / 1000);
  const { pid } = origin;
  const world = { environment: process.env, names, time, pid, lists };
  const plan = makePlan(invocation, header.fields, world);
  const rewriter = openRewriter(control, { me: host, ...names });
  const fields = rewriter.header(plan.fields);
  const message = (all: typeof fields) => assembleMessage(all, header.rest, pieces);
  const text = () => withLineFeeds(message(fields));
  const [first, ...others] = plan.recipients.map((raw) => ({ address: mailboxOf(raw) }));
  let trouble: string | undefined;
  if (invocation.print) {
    writeAll(1, Buffer.from(`Return-Path: <${mailboxOf(plan.sender)}>\n`));
    for (const piece of text()) writeAll(1, piece);
  } else if (first === undefined) {
    const [reason = 'it names none'] = plan.warnings;
    throw new InjectError(EXIT.permanent, `the message has no recipient: ${reason}`);
  } else if (program !== undefined) {
    await runQueueProgram(program, text(), plan.sender, plan.recipients);
  } else {
    const date = formatDate(time, minutesEast(time, process.env['TZ']));
    const received = formatField('Received', receivedField({ ...origin, host }, date));
    const { limits, troubles } = readLimits(control);
    for (const { text, file } of troubles) rewriter.warn(text, file);
    checkRecipients(limits, plan.recipients.length);
    const isLocalName = (address: string) => plan.localNames.has(address);
    const envelope = {
      sender: rewriter.sender(mailboxOf(plan.sender)),
      recipients: rewriter.recipients([first, ...others], isLocalName),
    };
    const repairs = header.repairs.map((text): Note => ({ kind: 'repaired', text }));
    const notes = keptNotes([...repairs, ...rewriter.notes]);
    const bases = new Intake(folder, process.pid, token, straight).submit(
      envelope,
      { ...origin, notes },
      message([received, ...fields]),
      limits,
    );
    trouble = offerAtOnce(control, folder, bases, {
      environment: process.env,
      node: process.execPath,
      bin: import.meta.dirname,
      now: Date.now(),
    });
  }
  // A failure has its one line to itself: what else there is to say waits for the success.
  for (const warning of plan.warnings) say(warning);
  for (const warning of warnings) say(`mend this, mail waits until then: ${warning}`);
  for (const note of rewriter.notes) if (note.kind === 'trouble') say(formatNote(note));
  if (trouble !== undefined) say(trouble);
  return EXIT.done;
}

/** The message in a form that is for programs on this host: each line ends with LF. */
function* withLineFeeds(pieces: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  const form = new WireForm();
  for (const piece of pieces) yield withoutReturns(form.transform(piece));
  yield withoutReturns(form.end());
}

/** A copy without the CRs: in wire form one stands before each LF and nowhere else. */
function withoutReturns(piece: Uint8Array): Uint8Array {
  const CR = 0x0d;
  const copy = Buffer.allocUnsafe(piece.length);
  let length = 0;
  let from = 0;
  while (from < piece.length) {
    const found = piece.indexOf(CR, from);
    const to = found < 0 ? piece.length : found;
    copy.set(piece.subarray(from, to), length);
    length += to - from;
    from = to + 1;
  }
  return copy.subarray(0, length);
}

/** The text of the file that QMAILMFTFILE names; one that is not there is empty. */
function readLists(path: string | undefined): string {
  if (path === undefined || path === '') return '';
  try {
    return fs.readFileSync(path).toString('utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

function report(error: unknown): number {
  say(`fatal: ${error instanceof Error ? error.message : String(error)}; nothing was queued`);
  if (error instanceof InjectError) return error.exit;
  if (error instanceof OverLimit) return error.passes ? EXIT.temporary : EXIT.permanent;
  // Everything else is this host's trouble: a full disk, a control folder that cannot be read.
  return error instanceof HeaderTooLong ? EXIT.permanent : EXIT.temporary;
}

function say(text: string): void {
  fs.writeSync(2, `qmail-inject: ${text}\n`);
}

/** What nobody can guess; node:crypto is loaded only where it is needed. */
function token(): string {
  return process.getBuiltinModule('node:crypto').randomBytes(16).toString('hex');
}
