/** picorelay-spool(5): what lies in the spool. docs/INTERNALS.md has the same for who changes it. */
import { formatBlock } from '../../src/spool/block.ts';
import { formatBase, formatName } from '../../src/spool/name.ts';
import { formatAttempt } from '../../src/spool/result.ts';
import type { Page } from './roff.ts';

const TIME = Date.UTC(2026, 10, 20, 23, 15, 1) * 1000 + 123_456;
const ORIGIN = { time: TIME, pid: 4242, uid: 0, program: 'sendmail' } as const;
const BASE = formatBase({ ...ORIGIN, sender: 'root@host.example', recipient: 'bob@example.com' });
const DUE = Date.UTC(2026, 10, 20, 23, 45);

export function spoolPage(): Page {
  const waiting = formatName(BASE, { kind: 'waiting', attempts: 3, due: DUE });
  return {
    name: 'picorelay-spool',
    section: 5,
    summary: "format of picorelay's queue",
    parts: [
      {
        title: 'DESCRIPTION',
        blocks: [
          'The queue is a folder, /var/spool/picorelay unless the control file `spooldir` names another. One recipient of one message is one file, whose name says when it was accepted, by which process, from whom and to whom, and in which state it is. Every change of state is one rename.',
          { term: '`spool/`', text: ['One entry for each recipient that waits.'] },
          {
            term: '`incoming/`',
            text: [
              'What users without rights on the spool have submitted. Everybody may make files here, nobody may list them.',
            ],
          },
          {
            term: '`unsplit/`',
            text: ['Messages that were accepted and not yet split into entries.'],
          },
          {
            term: '`Undelivered/`',
            text: ['Entries that were refused or became too old, each with its result.'],
          },
          { term: '`corrupt/`', text: ['What could not be read, each with a file NAME:.reason.'] },
          { term: '`tmp/`', text: ['What is being written; swept when it is old.'] },
          { term: '`routes/`', text: ['Why a route is paused, and which relays rest.'] },
          {
            term: '`run/`',
            text: ['What runners know of each other, statistics, and what is still to be told.'],
          },
          { term: '`wake`', text: ['The FIFO that a living runner reads.'] },
          { term: '`version`', text: ['The version of this layout.'] },
        ],
      },
      {
        title: 'NAMES',
        blocks: [
          'The base name has four fields between colons: the time in UTC with microseconds, the process, the envelope sender and the recipient. Letters, digits and @ . _ + = - stand for themselves, everything else is %XX. A name that would be too long ends in %% and a digest; the file then has the whole addresses.',
          { example: BASE },
          'What stands behind it is the state:',
          { term: 'BASE', text: ['New: nobody has tried it.'] },
          {
            term: 'BASE:PID.sending',
            text: ['A process is at it. When that process is gone, the entry goes back.'],
          },
          {
            term: 'BASE:N@TIME.spool',
            text: ['It waits: attempts so far, and when the next is due.'],
          },
          { term: 'BASE:N.held', text: ['On hold, until picorelay release.'] },
          { term: 'BASE:.result', text: ['The history of its attempts; no entry.'] },
          'An entry with three attempts, due at 23:45:',
          { example: waiting },
          'To send what lies in Undelivered again, use picorelay resend, or move the file back to spool/.',
        ],
      },
      {
        title: 'ENTRIES',
        blocks: [
          'A file begins with a block of key and value lines and an empty line. Then comes the message as it goes over the wire, with CRLF line ends and without doubled dots. All recipients of a message are links to one file.',
          {
            example: formatBlock(
              {
                sender: 'root@host.example',
                recipients: [
                  { address: 'bob@example.com' },
                  { address: 'ann@example.com', notify: 'FAILURE' },
                ],
              },
              ORIGIN,
            )
              .replace(/^size: \d+/m, (size) => size.replace(/000$/, '432'))
              .trimEnd(),
          },
          'Times are microseconds since 1970. A file without a block is a bare message whose sender and recipient are in its name.',
        ],
      },
      {
        title: 'RESULTS',
        blocks: [
          'A result has a line for each attempt, and below it what the relay said, escaped so that no reply can forge a line.',
          {
            example: formatAttempt({
              time: DUE,
              outcome: 'deferred',
              stage: 'rcpt',
              relay: 'smtp://mail.example.com:587',
              lines: ['450 4.2.1 mailbox busy'],
            }).trimEnd(),
          },
          'The outcomes are deferred, refused, expired, interrupted (a process went in the middle: it may have been sent), paused, warned (the sender was told of the delay) and changed (the control files were).',
        ],
      },
    ],
    seeAlso: ['picorelay(8)', 'picorelay-control(5)'],
  };
}
