/**
 * What the commands share that change the queue: the spool with its owner's rights and the log, the
 * question before something goes, and the runner that is told of it. Each mail is changed by one rename
 * or under a claim, so that a runner beside it never meets half of a change.
 */

import { handOff } from '../runner/handoff.ts';
import { type OpenRunner, openRunner } from '../runner/open.ts';
import { parseBase, showPart } from '../spool/name.ts';
import type { Spool } from '../spool/spool.ts';
import { CommandError, EX_USAGE, printJson, type World } from './command.ts';
import { count } from './layout.ts';
import { printViews } from './list.ts';
import { type Mail, queuedMails, shortIds, undeliveredMails, viewOf } from './mails.ts';

/** What --json prints of a command that changes mails. */
export interface Changes {
  /** Ids of those that were changed. */
  readonly done: readonly string[];
  readonly left: readonly { readonly id: string; readonly reason: string }[];
}

/** So many mails are shown before a question. */
const SHOWN = 10;

/** Runs an action on the spool as its owner, with the log open. */
export async function withQueue<T>(
  world: World,
  action: (queue: OpenRunner) => T | Promise<T>,
): Promise<T> {
  const queue = openRunner(world.control, world.pid, {
    now: world.now,
    random: world.random,
    stderr: (text) => world.stderr.write(text),
    stop: new AbortController().signal,
  });
  try {
    return await action(queue);
  } finally {
    queue.spool.leave();
    await queue.close();
  }
}

/** What the log tells of a mail that the administrator changed. */
export function logged(mail: Mail, { uid, env, login }: World) {
  const name = parseBase(mail.base);
  const behind = uid === 0 ? env['SUDO_USER'] : undefined;
  return {
    id: mail.base,
    from: showPart(name?.sender ?? ''),
    to: showPart(name?.recipient ?? ''),
    by: behind ?? login(),
  };
}

/**
 * Shows the mails and asks whether to go on.
 * @param verb as in `Remove`
 * @returns false when the answer is no
 * @throws CommandError where nobody can be asked
 */
export async function agreed(
  verb: string,
  mails: readonly Mail[],
  spool: Spool,
  world: World,
  warning?: string,
): Promise<boolean> {
  const { ask, stderr } = world;
  if (ask === undefined) {
    throw new CommandError(
      EX_USAGE,
      `${count(mails.length, 'mail')} chosen, and nobody here to ask: add --yes`,
    );
  }
  const shown = mails.slice(0, SHOWN).map((mail) => viewOf(spool, mail));
  const bases = [...queuedMails(spool), ...undeliveredMails(spool)].map(({ base }) => base);
  const ids = shortIds(() => bases);
  printViews(shown, ids, world.now(), stderr);
  if (mails.length > SHOWN) stderr.write(`and ${mails.length - SHOWN} more\n`);
  if (warning !== undefined) stderr.write(`${warning}\n`);
  const what = mails.length === 1 ? 'this mail' : `these ${mails.length} mails`;
  const answer = await ask(`${verb} ${what}? [y/N] `);
  return /^y(es)?$/i.test(answer?.trim() ?? '');
}

/**
 * Tells what was done.
 * @param participle as in `removed`
 * @returns the exit status: 75 where a mail was left
 */
export function tellChanges(
  participle: string,
  changes: Changes,
  json: boolean,
  world: World,
): number {
  const { done, left } = changes;
  if (json) {
    printJson(world, changes);
  } else {
    for (const { id, reason } of left) world.stderr.write(`picorelay: ${id}: ${reason}\n`);
    world.stdout.write(`${count(done.length, 'mail')} ${participle}\n`);
  }
  return left.length > 0 ? 75 : 0;
}

/** Has a runner look at the queue now, in the background; where that fails, cron does. */
export function offer(folder: string, bases: readonly string[], world: World): void {
  const { control, env, node, bin, now } = world;
  const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
  for (const name of ['PICORELAY_CONTROL', 'TZ', 'HOME']) {
    const value = env[name];
    if (value !== undefined) environment[name] = value;
  }
  const immediate = control.get('immediate') === 'off' ? 'off' : 'background';
  const handed = handOff({
    immediate,
    verbose: false,
    spoolFolder: folder,
    bases,
    node,
    bin,
    environment,
    now: now(),
  });
  if (handed.kind === 'trouble') world.stderr.write(`picorelay: ${handed.reason}\n`);
}
