/**
 * picorelay resend: mail from Undelivered goes into the queue again, as a new mail, perhaps to another
 * recipient. The new one is on the disk before the old one goes: a crash in between leaves both.
 */
import { domainOf, isMailbox, parsePath } from '../mail/address.ts';
import { originTime } from '../mail/envelope.ts';
import { BadBlock } from '../spool/block.ts';
import { hasCode } from '../spool/disk.ts';
import type { Spool } from '../spool/spool.ts';
import { CommandError, EX_USAGE, type World } from './command.ts';
import { type Choice, chosen, type Mail, queuedMails, undeliveredMails } from './mails.ts';
import { agreed, logged, offer, tellChanges, withQueue } from './queue.ts';

interface Options {
  readonly ids: readonly string[];
  readonly all: boolean;
  /** Another recipient. */
  readonly to: string | undefined;
  readonly yes: boolean;
  readonly json: boolean;
}

export async function resend(options: Options, world: World): Promise<number> {
  const to = options.to === undefined ? undefined : mailbox(options.to);
  return await withQueue(world, async ({ spool, log }) => {
    const mails = choose(spool, options, world.now());
    // One that is named is meant; several go out to people again.
    if (mails.length > 1 && !options.yes && !(await agreed('Resend', mails, spool, world))) {
      world.stderr.write('picorelay: nothing was sent again\n');
      return 1;
    }
    const done: string[] = [];
    const left: { id: string; reason: string }[] = [];
    for (const mail of mails) {
      try {
        const as = resubmit(spool, mail, to, world);
        log.managed('resent', { ...logged(mail, world), as });
        spool.discard(mail.base);
        done.push(as);
      } catch (error) {
        if (!(error instanceof BadBlock || hasCode(error, 'ENOENT'))) throw error;
        const reason = error instanceof BadBlock ? error.message : 'it is gone';
        left.push({ id: mail.base, reason });
      }
    }
    if (done.length > 0) offer(spool.folder, done, world);
    return tellChanges('queued again', { done, left }, options.json, world);
  });
}

function choose(spool: Spool, options: Options, now: number): readonly Mail[] {
  const { ids, all } = options;
  const choice: Choice = {
    ids,
    all,
    from: undefined,
    to: undefined,
    older: undefined,
    state: undefined,
  };
  try {
    return chosen(undeliveredMails(spool), choice, now);
  } catch (error) {
    if (!(error instanceof CommandError) || options.ids.length === 0) throw error;
    // Perhaps it is not refused at all.
    const queued = namedOrNone(queuedMails(spool), choice, now);
    if (queued === undefined) throw error;
    throw new CommandError(
      EX_USAGE,
      `${queued.base} is still in the queue: picorelay retry offers it now`,
    );
  }
}

function namedOrNone(mails: readonly Mail[], choice: Choice, now: number): Mail | undefined {
  try {
    return chosen(mails, choice, now)[0];
  } catch (error) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

/** @returns the base name of the new entry */
function resubmit(spool: Spool, mail: Mail, to: string | undefined, world: World): string {
  const message = spool.look(mail.base, 'Undelivered', mail.base);
  try {
    const recipient = message.recipientOf(mail.base);
    const notify = recipient.notify === undefined ? {} : { notify: recipient.notify };
    const [first] = spool.submit(
      {
        sender: message.sender,
        // Where it was to go once (ORCPT) tells nothing of another recipient.
        recipients: [to === undefined ? recipient : { address: to, ...notify }],
        ...message.dsn,
      },
      {
        uid: message.origin?.uid ?? world.uid,
        pid: world.pid,
        time: originTime(world.now(), process.hrtime()),
        program: 'picorelay',
        notes: [...(message.origin?.notes ?? []), `resent: it was ${mail.base}`],
      },
      message.pieces(),
    );
    if (first === undefined) throw new Error('a submission without an entry');
    return first;
  } finally {
    message.close();
  }
}

function mailbox(text: string): string {
  const address = parsePath(text);
  if (address !== undefined && domainOf(address) !== '' && isMailbox(address)) return address;
  throw new CommandError(
    EX_USAGE,
    `--to takes an address such as bob@example.com, not ${JSON.stringify(text)}`,
  );
}
