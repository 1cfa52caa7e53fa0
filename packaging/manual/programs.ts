/** The pages of the programs that others call. Tests hold them against what the programs take. */
import { EXIT as INJECT } from '../../src/inject/qmail-inject.ts';
import { EXIT as QUEUE } from '../../src/inject/qmail-queue.ts';
import type { Block, Page, Part } from './roff.ts';

const CONTROL: Part = {
  title: 'ENVIRONMENT',
  blocks: [
    { term: '`PICORELAY_CONTROL`', text: ['The control folder, in the place of /etc/picorelay.'] },
  ],
};

const SETUP = ['picorelay(8)', 'picorelay-control(5)'];

/** The options of sendmail by their letters, as the manual has them. */
const SENDMAIL_OPTIONS: readonly Block[] = [
  {
    term: '`-t`',
    text: ['Takes the recipients from the header, besides those on the command line.'],
  },
  {
    term: '`-f` ADDRESS, `-r` ADDRESS',
    text: ['The envelope sender. An empty one, or <>, is the null sender.'],
  },
  { term: '`-F` NAME', text: ['The name in From, where the message has no From.'] },
  { term: '`-i`, `-oi`', text: ['A line with a dot alone does not end the message.'] },
  {
    term: '`-v`',
    text: ['Offers the message to the relay at once and shows the dialogue; secrets are masked.'],
  },
  {
    term: '`-odb`',
    text: [
      'Offers it to the relay in the background (the default, see `immediate` in picorelay-control(5)).',
    ],
  },
  {
    term: '`-odi`',
    text: ['Waits for the outcome: ends with 69 when the relay refused it for every recipient.'],
  },
  { term: '`-odq`, `-odd`', text: ['Only queues it, for the next run.'] },
  {
    term: '`-N` LIST',
    text: ['When to report to the sender: never, or a list of success, failure and delay.'],
  },
  { term: '`-R` full|hdrs', text: ['What a report holds of the message.'] },
  { term: '`-V` ID', text: ['An envelope id that reports repeat.'] },
  {
    term: '`-O requiretls=yes`',
    text: [
      'Sends it over TLS all the way, or not at all (RFC 8689); other settings behind `-O` are taken without effect.',
    ],
  },
  { term: '`-bs`', text: ['Speaks SMTP on standard input and output.'] },
  { term: '`-bm`', text: ['Takes a message; the default.'] },
  { term: '`-bp`', text: ['Shows the queue, as `mailq` does.'] },
  {
    term: '`-bi`, `-I`',
    text: ['Does nothing, as `newaliases` does: the aliases file is read as it is.'],
  },
  { term: '`-bv`', text: ['Says what would become of these addresses, and sends nothing.'] },
  {
    term: '`-q`[TIME], `-qI`ID, `-qS`SENDER, `-qR`RECIPIENT',
    text: [
      'Offers what waits to the relay now: all, or the entries that have this text in their id, sender or recipient; with an exclamation mark behind the `-q`, those that have it not.',
    ],
  },
];

/** Letters that are taken because callers pass them, and that change nothing. */
export const SENDMAIL_IGNORED = 'ABCDGLMUXcdehmnpsx';

export function programPages(): readonly Page[] {
  return [cron(), send(), sendmail(), qmailQueue(), qmailInject()];
}

function cron(): Page {
  return {
    name: 'picorelay-cron',
    section: 8,
    summary: 'offer what is due to the relay',
    parts: [
      { title: 'SYNOPSIS', blocks: ['`picorelay-cron` [`--help`]'] },
      {
        title: 'DESCRIPTION',
        blocks: [
          'Makes one pass over the queue and ends. Entries that are due are offered to the relay; what it takes is erased, what it puts off waits for its next time, and what it refuses goes to Undelivered. It is made to be run each minute:',
          { example: '* * * * *  root  /usr/bin/picorelay-cron' },
          'It prints nothing while all is well, and one line when a route begins to be paused or the queue cannot be used. Where another runner is at work it ends at once. Run by root, it goes on as the user who owns the queue.',
        ],
      },
      {
        title: 'EXIT STATUS',
        blocks: [
          { term: '`0`', text: ['The pass was made, or another runner is at work.'] },
          { term: '`64`', text: ['The command line is wrong.'] },
          {
            term: '`75`',
            text: ['The queue could not be used; a line on standard error says why.'],
          },
        ],
      },
      CONTROL,
    ],
    seeAlso: ['picorelay-send(8)', ...SETUP],
  };
}

function send(): Page {
  return {
    name: 'picorelay-send',
    section: 8,
    summary: 'make one attempt at queued mails',
    parts: [
      { title: 'SYNOPSIS', blocks: ['`picorelay-send` [`-v`] [`--quiet`] FILE ...'] },
      {
        title: 'DESCRIPTION',
        blocks: [
          'Makes one attempt at each of these entries of the queue, due or not. A FILE is the path or name of an entry, whatever state its name says.',
          {
            term: '`-v`, `--verbose`',
            text: ['Shows the dialogue with the relay; secrets are masked.'],
          },
          {
            term: '`--quiet`',
            text: [
              'Says only what did not go through, on standard error. An entry that is gone counts as sent, and 69 means that all were refused.',
            ],
          },
          { term: '`-h`, `--help`', text: ['Shows a summary.'] },
        ],
      },
      {
        title: 'EXIT STATUS',
        blocks: [
          { term: '`0`', text: ['All were relayed.'] },
          { term: '`64`', text: ['The command line is wrong.'] },
          { term: '`66`', text: ['There is no such entry.'] },
          { term: '`69`', text: ['One was refused, and lies in Undelivered.'] },
          { term: '`75`', text: ['One waits for a later attempt.'] },
        ],
      },
      CONTROL,
    ],
    seeAlso: ['picorelay-cron(8)', ...SETUP, 'picorelay-spool(5)'],
  };
}

function sendmail(): Page {
  return {
    name: 'picorelay-sendmail',
    section: 8,
    summary: 'hand a message to picorelay',
    parts: [
      {
        title: 'SYNOPSIS',
        blocks: ['`sendmail` [OPTION ...] [RECIPIENT ...] < MESSAGE', '`mailq`', '`newaliases`'],
      },
      {
        title: 'DESCRIPTION',
        blocks: [
          'Takes a message on standard input for the recipients that are named on the command line or, with `-t`, in its header. When it ends with 0, the message is on disk for every recipient; otherwise it is for none, and a line on standard error says why.',
          'Date, Message-ID, From and To are added where they are missing; Bcc, Return-Path and Content-Length are taken off. Lines that are too long for SMTP and 8-bit text that is not declared are encoded. Every other octet stays as it is. Local names such as root are rewritten as the control files say.',
          "Options that other makers' sendmail uses to read or write files are taken and never honoured. Each word that begins with a hyphen is an option up to `--`.",
        ],
      },
      {
        title: 'OPTIONS',
        blocks: [
          ...SENDMAIL_OPTIONS,
          {
            term: [...SENDMAIL_IGNORED].map((letter) => `\`-${letter}\``).join(', '),
            text: ['Taken without effect, and so are other `-o` options.'],
          },
        ],
      },
      {
        title: 'EXIT STATUS',
        blocks: [
          { term: '`0`', text: ['Every recipient is on disk.'] },
          { term: '`64`', text: ['The command line is wrong, or there is no recipient.'] },
          { term: '`65`', text: ['The message is not one that can be sent.'] },
          {
            term: '`69`',
            text: [
              'With `-odi`: the relay refused it for every recipient, and it lies in Undelivered.',
            ],
          },
          {
            term: '`70`, `74`, `75`, `77`, `78`',
            text: ['A fault of the program, of the disk, for now, of rights, of a control file.'],
          },
        ],
      },
      CONTROL,
    ],
    seeAlso: SETUP,
  };
}

const QUEUE_MEANINGS: Readonly<Record<keyof typeof QUEUE, string>> = {
  queued: 'Every recipient is on disk.',
  addressTooLong: 'An address is too long.',
  refused: 'The message is refused for good.',
  outOfMemory: 'Out of memory.',
  writeError: 'It cannot be written: the disk may be full.',
  readError: 'The message or the envelope cannot be read.',
  configuration: 'A control file cannot be used.',
  spoolMissing: 'There is no queue.',
  cannotMakeFile: 'No file can be made in the queue.',
  refusedForNow: 'The message is refused for now.',
  bug: 'A fault of the program.',
  badEnvelope: 'The envelope is malformed.',
};

function qmailQueue(): Page {
  return {
    name: 'picorelay-qmail-queue',
    section: 8,
    summary: "hand a message to picorelay by qmail's interface",
    parts: [
      { title: 'SYNOPSIS', blocks: ['`qmail-queue` < MESSAGE 1< ENVELOPE'] },
      {
        title: 'DESCRIPTION',
        blocks: [
          'Reads a message from descriptor 0, then the envelope from descriptor 1: the letter F, the sender and a zero octet, for each recipient the letter T, the address and a zero octet, and one more zero octet. A Received field is added in front; the rest stays as it is, but for what SMTP cannot carry. It prints nothing.',
        ],
      },
      {
        title: 'EXIT STATUS',
        blocks: [
          '11 to 40 are for good; every other value but 0 is for now. Nothing is queued then.',
          ...Object.entries(QUEUE).map(
            ([name, status]): Block => ({
              term: `\`${status}\``,
              text: [QUEUE_MEANINGS[name as keyof typeof QUEUE]],
            }),
          ),
        ],
      },
      CONTROL,
    ],
    seeAlso: ['picorelay-qmail-inject(8)', ...SETUP],
  };
}

const INJECT_MEANINGS: Readonly<Record<keyof typeof INJECT, string>> = {
  done: 'Every recipient is on disk.',
  permanent: 'Refused for good: the command line, an address or the header is at fault.',
  temporary: 'Refused for now.',
};

function qmailInject(): Page {
  return {
    name: 'picorelay-qmail-inject',
    section: 8,
    summary: 'write a mail as qmail does',
    parts: [
      {
        title: 'SYNOPSIS',
        blocks: ['`qmail-inject` [`-aAhHnN`] [`-f` SENDER] [RECIPIENT ...] < MESSAGE'],
      },
      {
        title: 'DESCRIPTION',
        blocks: [
          'Completes the header of the message on standard input and queues it. Addresses get the host names that they lack, Date, Message-ID and From are added, Bcc, Return-Path and Content-Length are taken off.',
          {
            term: '`-A`',
            text: [
              'Recipients are those of the command line or, where it names none, of the header. The default.',
            ],
          },
          { term: '`-a`', text: ['Those of the command line alone.'] },
          { term: '`-h`', text: ['Those of the header alone.'] },
          { term: '`-H`', text: ['Both.'] },
          {
            term: '`-f` SENDER',
            text: ['The envelope sender. Without it Return-Path counts, else the environment.'],
          },
          { term: '`-n`', text: ['Prints the message and queues nothing.'] },
          { term: '`-N`', text: ['Queues it. The default.'] },
        ],
      },
      {
        title: 'ENVIRONMENT',
        blocks: [
          'Of several names the first one counts that is set.',
          { term: '`QMAILUSER`, `MAILUSER`, `USER`, `LOGNAME`', text: ['The user in From.'] },
          {
            term: '`QMAILHOST`, `MAILHOST`',
            text: ['The host in From; else the control file `defaulthost`.'],
          },
          { term: '`QMAILNAME`, `MAILNAME`, `NAME`', text: ['The name in From.'] },
          { term: '`QMAILSUSER`, `QMAILSHOST`', text: ['User and host of the envelope sender.'] },
          {
            term: '`QMAILDEFAULTHOST`, `QMAILDEFAULTDOMAIN`, `QMAILPLUSDOMAIN`, `QMAILIDHOST`',
            text: ['In the place of the control files of these names.'],
          },
          {
            term: '`QMAILMFTFILE`',
            text: ['A file of mailing lists: mail to one of them gets a Mail-Followup-To.'],
          },
          {
            term: '`QMAILINJECT`',
            text: [
              'Letters: c writes the name in From as a comment; f, i and s pass over From, Message-ID and Return-Path of the message; m and r make an envelope sender of its own for each message or recipient (VERP).',
            ],
          },
          {
            term: '`QMAILQUEUE`',
            text: ['A program that is given the message in the place of the queue.'],
          },
          ...CONTROL.blocks,
        ],
      },
      {
        title: 'EXIT STATUS',
        blocks: Object.entries(INJECT).map(
          ([name, status]): Block => ({
            term: `\`${status}\``,
            text: [INJECT_MEANINGS[name as keyof typeof INJECT]],
          }),
        ),
      },
    ],
    seeAlso: ['picorelay-qmail-queue(8)', ...SETUP],
  };
}
