/**
 * A message from a sendmail caller, from its first byte to its entries in the spool: read, completed,
 * rewritten, committed. Writes nothing itself and prints nothing; the entry program does.
 */
import { type Control, ControlError } from '../control/control.ts';
import { readLimits } from '../control/limits.ts';
import { openRewriter } from '../control/rewriting.ts';
import { completeHeader, formatDate, receivedField, recipientsOf } from '../mail/completion.ts';
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts';
import { assembleMessage, type HeaderReader, readHeader } from '../mail/header.ts';
import { checkRecipients } from '../mail/limits.ts';
import { keptNotes, type Note } from '../mail/note.ts';
import { stamp } from '../mail/stamp.ts';
import type { Intake } from '../spool/intake.ts';
import type { Delivery } from './arguments.ts';

/** Who calls, and where and when. */
export interface Caller {
  readonly login: string;
  readonly origin: Origin;
  /** Minutes east of UTC. */
  readonly zoneMinutes: number;
  /** The system's host name: where the control folder names none, mail is accepted all the same. */
  readonly hostName: () => string;
}

/** What a submission needs of the spool. */
export type Receiver = Pick<Intake, 'submit'>;

export interface Queued {
  /** Base names of the new entries. */
  readonly bases: readonly string[];
  /** What was done to the message and why. */
  readonly notes: readonly Note[];
}

export interface Submitted extends Queued {
  /** What the caller should know beside the notes although the message was taken, one line each. */
  readonly warnings: readonly string[];
}

/** A submission that cannot be taken: nothing is queued. `status` is of sysexits.h. */
export class Rejected extends Error {
  override name = 'Rejected';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const EX_USAGE = 64;
export const EX_DATAERR = 65;

/**
 * @param input the message as the caller writes it; pieces may be reused by their maker
 * @throws Rejected, OverLimit, HeaderTooLong, ControlError for the spool folder, and the system calls'
 *   errors
 */
export function submit(
  delivery: Delivery,
  input: Iterable<Uint8Array>,
  control: Control,
  openSpool: (folder: string) => Receiver,
  caller: Caller,
): Submitted {
  const warnings: string[] = [];
  const spool = openSpool(control.get('spooldir'));
  const names = hostNames(control, caller.hostName, warnings);
  const pieces = iterate(delivery.dotEnds ? untilLoneDot(input) : input);
  const header = readHeader(pieces);

  const addresses = [...delivery.recipients];
  const problems = [...delivery.problems];
  if (delivery.fromHeader) {
    const found = recipientsOf(header.fields);
    addresses.push(...found.addresses);
    problems.push(...found.problems);
  }
  const recipients = [...new Set(addresses)]
    .filter((address) => address !== '')
    .map(
      (address): Recipient =>
        delivery.notify === undefined ? { address } : { address, notify: delivery.notify },
    );
  const [first, ...others] = recipients;
  if (first === undefined) throw noRecipients(delivery, problems);
  for (const problem of problems) warnings.push(`skipped a recipient: ${problem}`);

  const { bases, notes } = queueCompleted(
    spool,
    control,
    {
      header,
      pieces,
      author: { address: delivery.sender || caller.login, name: delivery.fullName },
      envelope: {
        sender: delivery.sender ?? caller.login,
        recipients: [first, ...others],
        ...(delivery.ret === undefined ? {} : { ret: delivery.ret }),
        ...(delivery.envid === undefined ? {} : { envid: delivery.envid }),
        ...(delivery.requireTls ? { requireTls: true as const } : {}),
      },
    },
    names,
    caller,
  );
  return { bases, notes, warnings };
}

/** What of the notes the caller should hear of. */
export function troublesOf(notes: readonly Note[]): readonly string[] {
  return notes.flatMap(({ kind, text }) => (kind === 'trouble' ? [`queued, but ${text}`] : []));
}

/** A message whose header has been read, on its way to the spool. */
export interface Accepted {
  readonly header: HeaderReader;
  /** What follows the part of the message in which the header ended. */
  readonly pieces: Iterator<Uint8Array>;
  /** Who stands in From where the message names nobody. */
  readonly author: { readonly address: string; readonly name: string | undefined };
  /** As the caller gave it: its addresses may be local names. */
  readonly envelope: Envelope;
}

/**
 * Completes and rewrites header and envelope, and queues the message; all of it, or on an error
 * nothing.
 * @throws OverLimit, the system calls' errors, and those of `pieces`
 */
export function queueCompleted(
  spool: Receiver,
  control: Control,
  { header, pieces, author, envelope }: Accepted,
  names: HostNames,
  { origin, zoneMinutes }: Caller,
): Queued {
  const { limits, troubles } = readLimits(control);
  checkRecipients(limits, envelope.recipients.length);
  const rewriter = openRewriter(control, names);
  const notes: Note[] = header.repairs.map((text) => ({ kind: 'repaired', text }));
  notes.push(...troubles);
  const rewritten: Envelope = {
    ...envelope,
    sender: rewriter.sender(envelope.sender),
    recipients: rewriter.recipients(envelope.recipients),
  };
  const time = new Date(origin.time / 1000);
  const completed = completeHeader(
    header.fields,
    {
      time,
      zoneMinutes,
      messageId: `${stamp(time.getTime())}.${origin.time % 1_000_000}.${origin.pid}.picorelay`,
      idHost: names.idHost,
      from: () => ({ ...author, address: rewriter.author(author.address) }),
      received: receivedField({ ...origin, host: names.me }, formatDate(time, zoneMinutes)),
    },
    (note) => notes.push(note),
  );
  const fields = rewriter.header(completed);
  notes.push(...rewriter.notes);
  const bases = spool.submit(
    rewritten,
    { ...origin, notes: keptNotes(notes) },
    assembleMessage(fields, header.rest, pieces),
    limits,
  );
  return { bases, notes };
}

function noRecipients(delivery: Delivery, problems: readonly string[]): Rejected {
  const [problem] = problems;
  if (problem !== undefined) return new Rejected(EX_DATAERR, `no recipient: ${problem}`);
  return new Rejected(
    EX_USAGE,
    delivery.fromHeader
      ? 'no recipient in To, Cc or Bcc, and none on the command line'
      : 'no recipient: name one on the command line, or use -t to take them from the header',
  );
}

/** What an address, a Received field and a Message-ID are completed with. */
export interface HostNames {
  readonly me: string;
  readonly defaultHost: string;
  readonly defaultDomain: string | undefined;
  readonly idHost: string;
}

/** A control folder that cannot be used must not cost the mail: it waits until somebody mends it. */
export function hostNames(control: Control, fallback: () => string, warnings: string[]): HostNames {
  try {
    return {
      me: control.get('me'),
      defaultHost: control.get('defaulthost'),
      defaultDomain: control.get('defaultdomain'),
      idHost: control.get('idhost'),
    };
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    warnings.push(`queued, but nothing is sent until this is mended: ${error.message}`);
    const me = fallback();
    return { me, defaultHost: me, defaultDomain: undefined, idHost: me };
  }
}

/** The input up to a line that holds a dot and nothing else. */
export function* untilLoneDot(input: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  const DOT = 0x2e;
  const LF = 0x0a;
  const CR = 0x0d;
  /** Octets of a line that may turn out to be the dot: `.`, or `.` CR. They are held back. */
  let held = '';
  let atStart = true;
  for (const piece of input) {
    // Begin of what is passed on of this piece.
    let from = 0;
    let at = 0;
    while (at < piece.length) {
      if (held === '' && !atStart) {
        const end = piece.indexOf(LF, at);
        if (end === -1) break;
        at = end + 1;
        atStart = true;
        continue;
      }
      const byte = piece[at];
      const grows = (held === '' && byte === DOT) || (held === '.' && byte === CR);
      if (grows) {
        if (held === '') {
          if (at > from) yield piece.subarray(from, at);
          held = '.';
        } else {
          held = '.\r';
        }
        at++;
        from = at;
        atStart = false;
        continue;
      }
      if (held !== '') {
        if (byte === LF) return;
        yield Buffer.from(held);
        held = '';
      }
      atStart = byte === LF;
      at++;
    }
    if (piece.length > from) yield piece.subarray(from);
  }
  // The input ended right behind the dot: that is its lone dot, too.
}

function iterate(input: Iterable<Uint8Array>): Iterator<Uint8Array> {
  return input[Symbol.iterator]();
}
