/** picorelay uninstall: takes back what picorelay init did. Queued mail stays. */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { catalogue } from '../control/catalogue.ts';
import { escapeText } from '../mail/text.ts';
import { processesOf, thisHost } from '../setup/host.ts';
import { RECORD, readRecord, takeBack, writeRecord } from '../setup/perform.ts';
import { planRemoval, type QueueState, sayMade, sayUndo } from '../setup/uninstall.ts';
import { actAsOwner } from '../spool/become.ts';
import { hasCode } from '../spool/disk.ts';
import { Spool } from '../spool/spool.ts';
import { CommandError, EX_TEMPFAIL, EX_USAGE, type World } from './command.ts';
import { agreed, EX_NOPERM } from './install.ts';

/** @returns the exit status */
export async function uninstall(
  options: { readonly purge: boolean; readonly 'dry-run': boolean; readonly yes: boolean },
  world: World,
): Promise<number> {
  const { stdout } = world;
  const dry = options['dry-run'];
  if (process.geteuid?.() !== 0 && !dry) {
    throw new CommandError(EX_NOPERM, 'uninstall has to be run by root');
  }
  const made = readRecord();
  if (made.length === 0) {
    stdout.write(`nothing to take back: there is no ${RECORD}\n`);
    return 0;
  }
  const host = thisHost();
  const spool = made.find(({ kind }) => kind === 'spool');
  const queue = spool !== undefined && 'path' in spool ? queueIn(spool.path, world.pid) : undefined;
  const { undos, stays } = planRemoval(made, host, queue, options.purge, settingsIn);
  const show = (word: string, text: string): void => {
    stdout.write(`${word.padEnd(6)} ${escapeText(text)}\n`);
  };
  if (dry || !options.yes) {
    for (const { undo } of undos) show('to do', sayUndo(undo));
    for (const { made: each, why } of stays) show('stays', `${sayMade(each)}: ${why}`);
    if (dry) return 0;
    if (world.ask === undefined) {
      throw new CommandError(EX_USAGE, 'nobody to ask whether this is right: --yes does it');
    }
    if (undos.length > 0 && !(await agreed(world, 'Do it?'))) {
      stdout.write('nothing was changed\n');
      return 0;
    }
  }
  const gone = new Set<unknown>();
  const kept = new Set<unknown>(stays.flatMap((each) => (each.ours ? [each.made] : [])));
  for (const { undo, of } of undos) {
    if (undo.kind === 'spool') await untilIdle(host.user(undo.user)?.uid ?? 0, undo.user);
    takeBack(undo, host);
    if (of !== undefined) gone.add(of);
    show('done', sayUndo(undo));
    // What is taken back is forgotten at once: a second run goes on where this one was cut short.
    writeRecord(made.filter((each) => !gone.has(each)));
  }
  for (const { made: each, why } of stays) show('stays', `${sayMade(each)}: ${why}`);
  writeRecord(made.filter((each) => kept.has(each)));
  return 0;
}

/** A runner stays for a moment after its last mail. */
async function untilIdle(uid: number, user: string): Promise<void> {
  for (let tries = 0; uid !== 0; tries++) {
    const [first] = processesOf(uid);
    if (first === undefined) return;
    if (tries === RUNNER_TRIES) {
      throw new CommandError(EX_TEMPFAIL, `process ${first} of ${user} still runs: end it first`);
    }
    await sleep(RUNNER_PAUSE);
  }
}

/** How often, and after how many milliseconds each, it is looked whether a runner has ended. */
const RUNNER_TRIES = 100;
const RUNNER_PAUSE = 100;

/** Files of the control folder that are picorelay's. */
function settingsIn(folder: string): readonly string[] {
  try {
    return fs.readdirSync(folder).filter((name) => Object.hasOwn(catalogue, name));
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

function queueIn(folder: string, pid: number): QueueState | undefined {
  if (!fs.existsSync(folder)) return undefined;
  const spool = new Spool(folder, pid);
  try {
    return actAsOwner(folder, () => {
      const { entries, foreign } = spool.list();
      return {
        waiting: entries.length + fs.readdirSync(`${folder}/incoming`).length,
        undelivered: spool.listUndelivered().length,
        odd: foreign.length + spool.countCorrupt(),
      };
    });
  } catch (error) {
    // It was never used.
    if (hasCode(error, 'ENOENT')) return { waiting: 0, undelivered: 0, odd: 0 };
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(EX_TEMPFAIL, `cannot read the queue in ${folder}: ${why}`);
  }
}
