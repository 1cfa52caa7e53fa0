/**
 * What sendmail would do with a message, and why: `picorelay explain`. The message takes the same way
 * as in a submission, only that it ends in memory instead of the spool: nothing is written, sent or
 * connected to. Hostile input: the message and the arguments; everything is shown escaped.
 */
import type { Control } from '../control/control.ts';
import type { Envelope, Origin } from '../mail/envelope.ts';
import { type Limits, NO_LIMITS, OverLimit, tooBig } from '../mail/limits.ts';
import { formatNote, type Note } from '../mail/note.ts';
import { repairOf } from '../mail/repair.ts';
import { escapeText } from '../mail/text.ts';
import { WireForm } from '../mail/wireform.ts';
import { formatBase } from '../spool/name.ts';
import type { Delivery } from './arguments.ts';
import { type Caller, EX_DATAERR, type Receiver, Rejected, submit } from './submit.ts';
import { type Way, waysOf } from './ways.ts';

/** What `picorelay explain --json` prints. */
export interface Explanation {
  readonly envelope: Envelope;
  /** Base names of the entries, but for the time and the process. */
  readonly entries: readonly string[];
  /** Where it goes, or what keeps it waiting. */
  readonly ways: ReturnType<typeof waysOf>;
  readonly notes: readonly Note[];
  readonly warnings: readonly string[];
  /** The lines of the header as it goes out. */
  readonly header: readonly string[];
  /** Octets of the message as it goes out. */
  readonly size: number;
  readonly body: '7BIT' | '8BITMIME';
}

/**
 * @param input the message as the caller writes it
 * @throws Rejected and HeaderTooLong, as sendmail would refuse the message
 */
export function explain(
  delivery: Delivery,
  input: Iterable<Uint8Array>,
  control: Control,
  caller: Caller,
): Explanation {
  const memory = new Memory();
  const { bases, notes, warnings } = orRejected(() =>
    submit(delivery, input, control, () => memory, caller),
  );
  const taken = memory.taken();
  return {
    envelope: taken.envelope,
    entries: bases,
    ways: waysOf(
      control,
      taken.envelope.sender,
      taken.envelope.recipients.map(({ address }) => address),
    ),
    notes: [...notes, ...taken.repairs.map((text): Note => ({ kind: 'repaired', text }))],
    warnings,
    header: headerOf(taken.pieces),
    size: taken.pieces.reduce((sum, piece) => sum + piece.length, 0),
    body: taken.eightBit ? '8BITMIME' : '7BIT',
  };
}

function orRejected<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof OverLimit) throw new Rejected(EX_DATAERR, error.message);
    throw error;
  }
}

interface Taken {
  readonly envelope: Envelope;
  readonly pieces: readonly Uint8Array[];
  readonly eightBit: boolean;
  readonly repairs: readonly string[];
}

/** Takes one message as the spool does, and keeps it. */
class Memory implements Receiver {
  #taken: Taken | undefined;

  submit(
    envelope: Envelope,
    origin: Origin,
    pieces: Iterable<Uint8Array>,
    limits: Limits = NO_LIMITS,
  ): readonly string[] {
    const first = inWireForm(pieces, limits);
    const repair = repairOf(first.form, () => first.pieces);
    const last = repair === undefined ? first : inWireForm(repair.pieces(), NO_LIMITS);
    this.#taken = {
      envelope,
      pieces: last.pieces,
      eightBit: last.form.eightBit,
      repairs: [...first.form.repairs, ...(repair?.repairs ?? [])],
    };
    const { time, pid } = origin;
    return envelope.recipients.map(({ address }) =>
      formatBase({ time, pid, sender: envelope.sender, recipient: address }),
    );
  }

  taken(): Taken {
    if (this.#taken === undefined) throw new Error('nothing was submitted');
    return this.#taken;
  }
}

function inWireForm(
  input: Iterable<Uint8Array>,
  limits: Limits,
): { form: WireForm; pieces: Buffer[] } {
  const form = new WireForm();
  const pieces: Buffer[] = [];
  let size = 0;
  const keep = (bytes: Uint8Array): void => {
    size += bytes.length;
    if (size > limits.size) throw tooBig(limits);
    pieces.push(Buffer.from(bytes));
  };
  for (const piece of input) keep(form.transform(piece));
  keep(form.end());
  return { form, pieces };
}

/** The header, which ends at the first empty line; completion puts one behind every header. */
function headerOf(pieces: readonly Uint8Array[]): readonly string[] {
  const text = Buffer.concat(pieces);
  const end = text.indexOf('\r\n\r\n');
  return text.toString('utf8', 0, end < 0 ? text.length : end).split('\r\n');
}

/** For people. */
export function printExplanation(explanation: Explanation): string {
  const { envelope, entries, ways, notes, warnings, header, size, body } = explanation;
  const parameters = [
    ...(envelope.ret === undefined ? [] : [`    RET=${envelope.ret}`]),
    ...(envelope.envid === undefined ? [] : [`    ENVID=${envelope.envid}`]),
    ...(envelope.requireTls === true ? ['    REQUIRETLS'] : []),
  ];
  const recipients = envelope.recipients.map(({ address, notify, orcpt }) => {
    const more = [
      ...(notify === undefined ? [] : [` NOTIFY=${notify}`]),
      ...(orcpt === undefined ? [] : [` ORCPT=${orcpt}`]),
    ];
    return `    to: <${address}>${more.join('')}`;
  });
  const lines = [
    'Envelope',
    `    from: <${envelope.sender}>`,
    ...recipients,
    ...parameters,
    '',
    'Entries in the queue',
    ...entries.map((entry) => `    ${entry}`),
    '',
    'Route',
    ...('problem' in ways ? [`    ${ways.problem}`] : ways.flatMap(printWay)),
    '',
    'What is done, and why',
    ...(notes.length === 0 ? ['    nothing'] : notes.map((note) => `    ${formatNote(note)}`)),
    ...warnings.map((warning) => `    warning: ${warning}`),
    '',
    `Header, of ${size} octets in all, ${body}`,
    ...header.map((line) => `    ${line}`),
  ];
  return lines.map((line) => `${escapeText(line)}\n`).join('');
}

function printWay({ route, relays, recipients }: Way, _: number, all: readonly Way[]): string[] {
  const named = all.length === 1 ? [] : recipients.map((each) => `        <${each}>`);
  return [`    ${route}: ${relays.join(', else ')}`, ...named];
}
