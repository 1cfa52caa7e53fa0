/**
 * One runner per spool: proper-lockfile's lock in run/, and beside it a record of who holds it. The
 * lock keeps runners from crowding. It does not keep an entry from being sent twice: taking over a
 * stale lock can let two in, so that only the claim of an entry gives the right to send it.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';
import { hasCode, replaceText } from '../spool/disk.ts';
import { formatOwner, judgeOwner, parseOwner } from '../spool/owner.ts';
import type { Spool } from '../spool/spool.ts';

export interface Lock {
  /** True once somebody else has taken the lock over: claim nothing more. */
  readonly lost: boolean;
  release(): Promise<void>;
}

/** A lock that was not refreshed for this long is taken over, whoever holds it (milliseconds). */
const STALE = 30 * 60 * 1000;

/** The holder refreshes its lock this often (milliseconds). */
const REFRESH = 60 * 1000;

/** The least age that proper-lockfile takes a lock over at, for a holder that is gone. */
const STALE_WHEN_DEAD = 2000;

/** Takes the lock, or undefined when a living runner has it. */
export async function takeLock(spool: Spool): Promise<Lock | undefined> {
  return (
    (await tryLock(spool, STALE)) ??
    (holderIsDead(spool) ? await tryLock(spool, STALE_WHEN_DEAD) : undefined)
  );
}

async function tryLock(spool: Spool, stale: number): Promise<Lock | undefined> {
  let lost = false;
  let release: () => Promise<void>;
  try {
    release = await lockfile.lock(spool.folder, {
      lockfilePath: join(spool.folder, 'run', 'runner.lock'),
      realpath: false,
      fs,
      stale,
      update: REFRESH,
      onCompromised: () => {
        lost = true;
      },
    });
  } catch (error) {
    if (hasCode(error, 'ELOCKED')) return undefined;
    throw error;
  }
  replaceText(join(spool.folder, 'run', 'runner'), formatOwner(spool.self));
  return {
    get lost() {
      return lost;
    },
    release: async () => {
      try {
        await release();
      } catch (error) {
        // Lost to another runner: there is nothing of ours to release.
        if (!hasCode(error, 'ERELEASED', 'ENOTACQUIRED')) throw error;
      }
    },
  };
}

/**
 * A lock without a record that can be read is one of a process that died between making the two: whoever
 * lives writes the record at once.
 */
function holderIsDead(spool: Spool): boolean {
  let text: string;
  try {
    text = fs.readFileSync(join(spool.folder, 'run', 'runner'), 'latin1');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return true;
    throw error;
  }
  const owner = parseOwner(text);
  return owner === undefined || judgeOwner(owner, spool.self) === 'dead';
}
