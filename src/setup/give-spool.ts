/**
 * Gives a spool of root's to the user who runs the queue: once no program of root's works in it any more, and
 * after root has taken over what users have put into incoming/, which the new owner could not read.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Lock, takeLock } from '../runner/lock.ts';
import { Handover } from '../spool/handover.ts';
import { pathOwner } from '../spool/path-owner.ts';
import { Spool } from '../spool/spool.ts';
import { type Admission, Takeover } from '../spool/takeover.ts';
import { rootsProcessesIn } from './host.ts';

/** What it takes of the world. */
export interface Giving {
  readonly pid: number;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: () => number;
  /** Called once everything else that the settings say is in place. */
  readonly admission: () => Admission;
}

/** How often, and after how many milliseconds each, it is looked whether a program has ended. */
const LOOKS = 200;
const PAUSE = 50;

/**
 * A second call goes on where one was cut short.
 * @param folder of the spool; of root, or of this user already
 * @returns what stays root's, one line each
 * @throws UnsafePath where something in the spool is not what it should be
 * @throws Error where a program of root's goes on working in it, and the system calls' errors
 */
export async function giveSpool(
  folder: string,
  uid: number,
  gid: number,
  { pid, now, admission }: Giving,
): Promise<readonly string[]> {
  const spool = new Spool(folder, pid);
  let handover = new Handover(folder, uid, gid);
  let lock: Lock | undefined;
  try {
    if (!handover.isBegun) {
      handover.end();
      // What is there was found to be a spool's: what is missing can be made.
      spool.makeLayout();
      handover = new Handover(folder, uid, gid);
      lock = await lockOf(spool);
      handover.close();
      takeOver(spool, now, admission());
      const [left] = handover.clearIncoming();
      if (left !== undefined) {
        throw new Error(
          `${folder}/incoming/${left} could not be queued: remove it, or run picorelay-cron to see why`,
        );
      }
      const linked = handover.linkedMessage();
      if (linked !== undefined) {
        throw new Error(
          `${linked} has a hard link outside the spool: run picorelay verify --repair first`,
        );
      }
      handover.giveFolder();
      spool.leave();
      await lock.release();
      lock = undefined;
    }
    handover.close();
    await untilAlone(folder, pid);
    return handover.giveContents();
  } finally {
    await lock?.release();
    handover.end();
  }
}

/** Keeps runners out. */
async function lockOf(spool: Spool): Promise<Lock> {
  for (let looks = 0; looks < LOOKS; looks++) {
    const lock = await takeLock(spool);
    if (lock !== undefined) return lock;
    await sleep(PAUSE);
  }
  throw new Error('a runner that root started still works on this queue: stop it first');
}

function takeOver(spool: Spool, now: () => number, { received, limits }: Admission): void {
  const takeover = new Takeover(spool);
  // What was accepted is not refused because its reader changes; the room on the disk counts.
  const unlimited = { ...limits, ...WITHOUT_SHARES };
  while (takeover.run(now(), { received, limits: unlimited }).more);
}

const WITHOUT_SHARES = {
  userEntries: Number.POSITIVE_INFINITY,
  userOctets: Number.POSITIVE_INFINITY,
} as const;

/** A program that began as root goes on as root. */
async function untilAlone(folder: string, self: number): Promise<void> {
  const { real } = pathOwner(folder);
  for (let looks = 0; ; looks++) {
    const [pid] = rootsProcessesIn(real).filter((each) => each !== self);
    if (pid === undefined) return;
    if (looks === LOOKS) {
      throw new Error(`process ${pid} still works in ${folder} as root: stop it first`);
    }
    await sleep(PAUSE);
  }
}
