// What is swept: each way a mail goes into the queue, and each way it leaves it.
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programPath } from './site.ts';
import { DEFERRED } from './spool.ts';
import { queueMail, type Scenario, SENDER, spoolOf, unsplit, untaken } from './sweep.ts';
import { isRoot, NOBODY, programsForAll } from './users.ts';

const ONE = ['a@x.test'];
const THREE = ['a@x.test', 'b@x.test', 'c@x.test'];
const SMALL = `${'0123456789abcde\n'.repeat(64)}`;
const LARGE = `${'all work and no play makes jack a dull boy: not so with picorelay.\n'.repeat(78_000)}`;

const DAY = 24 * 3_600_000;

function sendmail(what: string, to: readonly string[], body: string): Scenario {
  return {
    title: `sendmail, ${what}`,
    prepare: (place) => void spoolOf(place),
    command: () => [programPath('sendmail'), '-i', '-f', SENDER, '--', ...to],
    input: `Subject: swept\n\n${body}`,
    to,
    body,
    fate: 'submitted',
  };
}

function qmailQueue(what: string, to: readonly string[], body: string): Scenario {
  return {
    title: `qmail-queue, ${what}`,
    prepare: (place) => {
      spoolOf(place);
      const recipients = to.map((address) => `T${address}\0`).join('');
      writeFileSync(join(place.site.folder, 'envelope'), `F${SENDER}\0${recipients}\0`);
      writeFileSync(join(place.site.folder, 'message'), `Subject: swept\n\n${body}`);
    },
    command: ({ site }) => [
      'sh',
      '-c',
      'exec "$0" 0<"$1/message" 1<"$1/envelope"',
      programPath('qmail-queue'),
      site.folder,
    ],
    to,
    body,
    fate: 'submitted',
  };
}

let shared: string | undefined;

/** The programs where any user may start them; they go with this process. */
function sharedPrograms(): string {
  shared ??= programsForAll({
    after: (clean: unknown) => process.once('exit', clean as () => void),
  });
  return shared;
}

function sendmailOfNobody(what: string, to: readonly string[], body: string): Scenario {
  return {
    ...sendmail(`of a user without rights on the spool, ${what}`, to, body),
    prepare: (place) => {
      spoolOf(place);
      chmodSync(place.site.folder, 0o755);
    },
    command: () => [
      'setpriv',
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      '--clear-groups',
      join(sharedPrograms(), 'sendmail'),
      ...['-i', '-f', SENDER, '--', ...to],
    ],
  };
}

/** Ways into the queue. */
export const SUBMISSIONS: readonly Scenario[] = [
  sendmail('one recipient, 1 KB', ONE, SMALL),
  {
    ...sendmail('three recipients, 1 KB, and the first mail of a new spool', THREE, SMALL),
    prepare: () => {},
  },
  sendmail('three recipients, 1 KB', THREE, SMALL),
  sendmail('one recipient, 5 MB', ONE, LARGE),
  sendmail('three recipients, 5 MB', THREE, LARGE),
  qmailQueue('three recipients, 1 KB', THREE, SMALL),
  qmailQueue('one recipient, 5 MB', ONE, LARGE),
  ...(isRoot ? [sendmailOfNobody('three recipients, 1 KB', THREE, SMALL)] : []),
];

const run = {
  command: () => [programPath('picorelay-cron')],
  body: SMALL,
};

/** Ways through the queue and out of it. */
export const RUNS: readonly Scenario[] = [
  {
    ...run,
    title: 'a runner that relays to one recipient',
    to: ONE,
    prepare: (place) => void queueMail(place, { to: ONE, body: SMALL }),
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner that splits a submission of three recipients and relays it',
    to: THREE,
    prepare: (place) => {
      queueMail(place, { to: THREE, body: SMALL });
      unsplit(place);
    },
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner that takes over the submission of another user and relays it',
    to: THREE,
    prepare: (place) => {
      queueMail(place, { to: THREE, body: SMALL });
      untaken(place, NOBODY);
    },
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner that tries again after a deferral',
    to: ONE,
    prepare: (place) => {
      const spool = queueMail(place, { to: ONE, body: SMALL });
      const [entry] = spool.list().entries;
      const claim = entry && spool.claim(entry, Date.now());
      if (claim !== undefined) spool.defer(claim, DEFERRED, 1, Date.now() - 2000);
      spool.leave();
    },
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner whose mail is deferred',
    to: ONE,
    prepare: (place) => void queueMail(place, { to: ONE, body: SMALL }),
    script: ({ stage }) => (stage === 'rcpt' ? '450 4.2.1 mailbox busy' : undefined),
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner that meets site trouble',
    to: ONE,
    prepare: (place) => void queueMail(place, { to: ONE, body: SMALL }),
    script: ({ stage }) => (stage === 'greeting' ? '421 4.3.2 not now' : undefined),
    fate: 'relayed',
  },
  {
    ...run,
    title: 'a runner whose mail is refused, and reported',
    control: { bounce: undefined },
    to: ONE,
    prepare: (place) => void queueMail(place, { to: ONE, body: SMALL }),
    script: ({ stage, line }) =>
      stage === 'rcpt' && line.includes('a@x.test') ? '550 5.1.1 no such user' : undefined,
    persists: true,
    fate: 'refused',
  },
  {
    ...run,
    title: 'a runner whose mail expires, and is reported',
    control: { bounce: undefined },
    to: ONE,
    prepare: (place) => void queueMail(place, { to: ONE, body: SMALL }, 30 * DAY),
    script: ({ stage, line }) =>
      stage === 'rcpt' && line.includes('a@x.test') ? '450 4.2.1 mailbox busy' : undefined,
    persists: true,
    fate: 'refused',
  },
];
