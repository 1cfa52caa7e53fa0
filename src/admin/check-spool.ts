/** picorelay check: the spool folder and what lies in it, and the queue as it stands. */
import fs from 'node:fs';
import { join } from 'node:path';
import { type Control, ControlError } from '../control/control.ts';
import { formatSize, shortage } from '../mail/limits.ts';
import { requireSafeSpool } from '../spool/become.ts';
import { BadBlock } from '../spool/block.ts';
import { hasCode } from '../spool/disk.ts';
import { FOLDERS, LayoutError } from '../spool/layout.ts';
import { parseBase } from '../spool/name.ts';
import { UnsafePath } from '../spool/path-owner.ts';
import type { Spool } from '../spool/spool.ts';
import { messageOf } from './check-control.ts';
import { type Finding, failure, ok, warning } from './finding.ts';
import { count, showSpan } from './layout.ts';
import { heldBackUsers, pausedRoutes, pauseLine } from './list.ts';
import { fileOf, queuedMails, undeliveredMails } from './mails.ts';
import { commandsOf, meaningOf } from './meaning.ts';

/** So many of the oldest entries are opened. */
const OPENED = 1000;

const DAY = 86_400_000;

/** So much of the disk free is little (percent). */
const LITTLE = 5;

export function checkSpool(spool: Spool, control: Control): readonly Finding[] {
  const { folder } = spool;
  let owner: fs.Stats;
  try {
    owner = fs.statSync(folder);
    spool.checkLayout();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      return [ok(`${folder} is made when the first mail comes in`)];
    }
    if (error instanceof LayoutError) return [failure(messageOf(error))];
    return [failure(messageOf(error), `ls -ld ${folder}`)];
  }
  try {
    return [...roomFindings(folder, control), ...contentFindings(spool, owner)];
  } catch (error) {
    if (!hasCode(error, 'EACCES')) throw error;
    return [
      failure(`${messageOf(error)}: only root and its owner can look`, 'sudo picorelay check'),
    ];
  }
}

function roomFindings(folder: string, control: Control): readonly Finding[] {
  const room = fs.statfsSync(folder);
  const free = room.bavail * room.bsize;
  const percent = room.blocks === 0 ? 100 : Math.floor((100 * room.bavail) / room.blocks);
  const words = `${formatSize(free)} free on its disk (${percent} %)`;
  const short = shortage(room, floorOf(control));
  if (short !== undefined) {
    return [failure(`new mail is refused: ${short} (control/spoolfree)`, `df -h ${folder}`)];
  }
  if (room.files > 0 && room.ffree < room.files / 100) {
    return [warning(`${count(room.ffree, 'inode')} free on its disk`, `df -i ${folder}`)];
  }
  return [percent < LITTLE ? warning(words, `df -h ${folder}`) : ok(`${folder}: ${words}`)];
}

function floorOf(control: Control): Parameters<typeof shortage>[1] {
  try {
    return control.get('spoolfree');
  } catch (error) {
    // The control folder's own check tells.
    if (error instanceof ControlError) return { octets: 0 };
    throw error;
  }
}

function contentFindings(spool: Spool, owner: fs.Stats): readonly Finding[] {
  const { folder } = spool;
  const findings: Finding[] = [];
  if ((owner.mode & 0o002) !== 0) {
    findings.push(failure(`everybody may change ${folder}`, `chmod o-w ${folder}`));
  }
  for (const [name] of FOLDERS) {
    const path = join(folder, name);
    const status = fs.statSync(path, { throwIfNoEntry: false });
    if (status === undefined) {
      findings.push(failure(`${path} is missing`, `install -d -m 700 -o ${owner.uid} ${path}`));
    } else if (status.uid !== owner.uid) {
      findings.push(failure(`${path} belongs to another user`, `chown ${owner.uid} ${path}`));
    } else if (
      (status.mode & 0o002) !== 0 &&
      !(name === 'incoming' && (status.mode & 0o1000) !== 0)
    ) {
      findings.push(failure(`everybody may change ${path}`, `chmod o-w ${path}`));
    }
  }
  if (findings.length > 0) return findings;
  try {
    requireSafeSpool(folder, owner);
  } catch (error) {
    if (!(error instanceof UnsafePath)) throw error;
    return [failure(`root does not work here: ${error.message}`)];
  }
  const { foreign } = spool.list();
  if (foreign.length > 0) {
    findings.push(
      warning(
        `${count(foreign.length, 'file')} in ${folder}/spool that no runner touches`,
        'picorelay verify',
      ),
    );
  }
  const corrupt = spool.countCorrupt();
  if (corrupt > 0) {
    findings.push(
      warning(
        `${count(corrupt, 'file')} in ${folder}/corrupt that could not be read, reasons beside them`,
        `cat ${folder}/corrupt/*.reason`,
      ),
    );
  }
  return [...findings, ...entryFindings(spool, owner)];
}

/** Opens entries as a runner would. */
function entryFindings(spool: Spool, owner: fs.Stats): readonly Finding[] {
  const mails = queuedMails(spool);
  const strangers: string[] = [];
  const unreadable: string[] = [];
  let opened = 0;
  for (const mail of mails.slice(0, OPENED)) {
    try {
      const name = fileOf(mail);
      const status = fs.statSync(join(spool.folder, 'spool', name));
      if (status.uid !== owner.uid && owner.uid !== 0 && (status.mode & 0o004) === 0) {
        strangers.push(name);
      }
      const message = spool.look(mail.base, 'spool', name);
      try {
        message.recipientOf(mail.base);
        opened++;
      } finally {
        message.close();
      }
    } catch (error) {
      // Moved on since it was listed.
      if (hasCode(error, 'ENOENT')) continue;
      if (!(error instanceof BadBlock) && !hasCode(error, 'EACCES')) throw error;
      unreadable.push(mail.base);
    }
  }
  const findings: Finding[] = [];
  if (strangers.length > 0) {
    findings.push(
      failure(
        `${count(strangers.length, 'entry').replace(/^1 entry/, 'an entry')} of another user, which the runner cannot read`,
        `chown ${owner.uid} ${spool.folder}/spool/*`,
      ),
    );
  }
  const [first] = unreadable;
  if (first !== undefined) {
    findings.push(
      failure(
        `${count(unreadable.length, 'mail')} that cannot be read; the next runner moves such to corrupt`,
        `picorelay show ${first}`,
      ),
    );
  }
  if (opened > 0) findings.push(ok(`${count(opened, 'mail')} opened and found whole`));
  return findings;
}

/** What waits, what is paused, and what was refused of late. */
export function checkQueue(spool: Spool, control: Control, now: number): readonly Finding[] {
  try {
    return [...waitingFindings(spool, control, now), ...refusedFindings(spool, now)];
  } catch (error) {
    if (!hasCode(error, 'EACCES')) throw error;
    return [
      failure(`${messageOf(error)}: only root and its owner can look`, 'sudo picorelay check'),
    ];
  }
}

function waitingFindings(spool: Spool, control: Control, now: number): readonly Finding[] {
  const findings: Finding[] = [];
  const after = secondsOf(control, 'alertafter') * 1000;
  for (const pause of pausedRoutes(spool)) {
    const [, trouble] = pause;
    const { mend } = meaningOf(trouble, control.folder, 'ID');
    const level = now - trouble.time >= after ? failure : warning;
    findings.push(level(pauseLine(pause), ...commandsOf(mend, control.folder)));
  }
  for (const { uid } of heldBackUsers(spool)) {
    findings.push(warning(`mail of user ${uid} is held back: control/userrate`, 'picorelay list'));
  }
  const mails = queuedMails(spool);
  const [oldest] = mails;
  if (oldest === undefined) return [...findings, ok('nothing waits')];
  const age = now - (parseBase(oldest.base)?.time ?? 0) / 1000;
  const held = mails.filter((mail) => mail.place === 'spool' && mail.state.kind === 'held').length;
  const onHold = held > 0 ? `, ${held} on hold` : '';
  const words = `${count(mails.length, 'mail')} in the queue${onHold}, the oldest for ${showSpan(age)}`;
  const delay = secondsOf(control, 'delaywarn') * 1000;
  findings.push(
    delay > 0 && age > delay ? warning(words, `picorelay why ${oldest.base}`) : ok(words),
  );
  return findings;
}

function refusedFindings(spool: Spool, now: number): readonly Finding[] {
  const refused = undeliveredMails(spool);
  const fresh = refused.filter(({ base }) => {
    const last = spool.history(base, 'Undelivered').at(-1);
    return last !== undefined && now - last.time < DAY;
  });
  if (fresh.length > 0) {
    return [
      warning(
        `${count(fresh.length, 'mail')} refused or given up within a day`,
        'picorelay undelivered',
      ),
    ];
  }
  return refused.length > 0
    ? [ok(`${count(refused.length, 'mail')} in Undelivered, none of today`)]
    : [];
}

function secondsOf(control: Control, name: 'alertafter' | 'delaywarn'): number {
  try {
    return control.get(name);
  } catch (error) {
    // The control folder's own check tells.
    if (error instanceof ControlError) return 15 * 60;
    throw error;
  }
}

/** The owner of the spool, who runs the queue; this user where there is no spool yet. */
export function ownerOf(
  folder: string,
  uid: number,
): { readonly uid: number; readonly gid: number } {
  const status = fs.statSync(folder, { throwIfNoEntry: false });
  return status === undefined ? { uid, gid: uid } : { uid: status.uid, gid: status.gid };
}
