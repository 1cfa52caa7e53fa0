/** picorelay hold, release and remove. */
import type { EntryState } from '../spool/name.ts';
import type { Spool } from '../spool/spool.ts';
import { CommandError, EX_NOINPUT, type World } from './command.ts';
import { type Choice, chosen, type Mail, queuedMails, undeliveredMails } from './mails.ts';
import { agreed, logged, offer, tellChanges, withQueue } from './queue.ts';

type Queued = Extract<Mail, { place: 'spool' }>;

interface Options extends Choice {
  readonly json: boolean;
}

const BUSY = 'it is being sent just now';

export async function hold(options: Options, world: World): Promise<number> {
  return await withQueue(world, ({ spool, log }) => {
    const mails = chosen(queuedMails(spool), options, world.now());
    const changes = change(mails, (mail) => {
      if (mail.state.kind === 'held') return 'it is on hold already';
      if (!spool.withhold(mail)) return moved(spool, mail);
      log.managed('held', logged(mail, world));
      return undefined;
    });
    return tellChanges('on hold', changes, options.json, world);
  });
}

export async function release(options: Options, world: World): Promise<number> {
  return await withQueue(world, ({ spool, log }) => {
    const queued = queuedMails(spool);
    // Without an id it is those on hold that are meant.
    const wanted = options.ids.length > 0 ? queued : queued.filter(isHeld);
    if (wanted.length === 0) throw new CommandError(EX_NOINPUT, 'no mail is on hold');
    const mails = chosen(wanted, options, world.now());
    const due = Math.floor(world.now() / 1000) * 1000;
    const changes = change(mails, (mail) => {
      if (mail.state.kind !== 'held') return 'it is not on hold';
      if (!spool.postpone(mail, due)) return moved(spool, mail);
      log.managed('released', logged(mail, world));
      return undefined;
    });
    if (changes.done.length > 0) offer(spool.folder, changes.done, world);
    return tellChanges('released', changes, options.json, world);
  });
}

export async function remove(
  options: Options & { readonly yes: boolean },
  world: World,
): Promise<number> {
  return await withQueue(world, async ({ spool, log }) => {
    const mails = chosen(removable(spool, options), options, world.now());
    if (!options.yes) {
      const warning = 'Nothing of what is removed is kept, and no sender is told.';
      if (!(await agreed('Remove', mails, spool, world, warning))) {
        world.stderr.write('picorelay: nothing was removed\n');
        return 1;
      }
    }
    const done: string[] = [];
    const left: { id: string; reason: string }[] = [];
    for (const mail of mails) {
      const reason = removeOne(spool, mail, world.now());
      if (reason === undefined) {
        log.managed('removed', logged(mail, world));
        done.push(mail.base);
      } else {
        left.push({ id: mail.base, reason });
      }
    }
    spool.sync();
    return tellChanges('removed', { done, left }, options.json, world);
  });
}

/** With an id, of the queue or of Undelivered; by options, of the queue unless they say otherwise. */
function removable(spool: Spool, { ids, state }: Choice): readonly Mail[] {
  if (ids.length > 0) return [...queuedMails(spool), ...undeliveredMails(spool)];
  return state === 'undelivered' ? undeliveredMails(spool) : queuedMails(spool);
}

function removeOne(spool: Spool, mail: Mail, now: number): string | undefined {
  if (mail.place === 'Undelivered') return spool.discard(mail.base) ? undefined : 'it is gone';
  const claim = spool.claim(mail, now);
  if (claim === undefined) return moved(spool, mail);
  spool.finish(claim);
  return undefined;
}

/** Does something with each mail; a reason is why it could not be done. */
function change(
  mails: readonly Mail[],
  action: (mail: Queued) => string | undefined,
): { readonly done: readonly string[]; readonly left: { id: string; reason: string }[] } {
  const done: string[] = [];
  const left: { id: string; reason: string }[] = [];
  for (const mail of mails) {
    if (mail.place !== 'spool') continue;
    const reason = action(mail);
    if (reason === undefined) done.push(mail.base);
    else left.push({ id: mail.base, reason });
  }
  return { done, left };
}

/** Why an entry could not be taken: somebody has it, or it is done with. */
function moved(spool: Spool, { base }: Queued): string {
  const now = spool.list().entries.find((entry) => entry.base === base);
  if (now === undefined) return 'it has just left the queue';
  return now.state.kind === 'sending' ? BUSY : 'it has just changed; try again';
}

function isHeld(mail: Mail): mail is Queued & { readonly state: EntryState & { kind: 'held' } } {
  return mail.place === 'spool' && mail.state.kind === 'held';
}
