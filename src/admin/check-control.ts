/** picorelay check: the control folder, file by file, and who may read and change it. */
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { type ControlName, catalogue } from '../control/catalogue.ts';
import { type Control, ControlError } from '../control/control.ts';
import { escapeText } from '../mail/text.ts';
import { endingSecrets } from '../runner/secrets.ts';
import { hasCode } from '../spool/disk.ts';
import { type Finding, failure, ok, warning } from './finding.ts';
import { count } from './layout.ts';

/** Who runs the queue: the files have to be readable for them. */
export interface Reader {
  readonly uid: number;
  readonly gid: number;
}

const DAY = 86_400_000;

/** A certificate of ours is to be renewed so many days before its end. */
const RENEW = 14;

/** What editors and packages leave beside a file. */
const LEFTOVER = /^\.|~$|\.(?:bak|orig|save|swp|rej)$|\.(?:dpkg|ucf)-|^#.*#$/;

export function checkControl(control: Control, reader: Reader, now: number): readonly Finding[] {
  const { folder } = control;
  let names: readonly string[];
  try {
    names = fs.readdirSync(folder).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      return [failure(`there is no control folder ${folder}`, 'picorelay init')];
    }
    return [failure(messageOf(error), `ls -ld ${folder}`)];
  }
  const known = names.filter((name) => name in catalogue) as ControlName[];
  const strange = names.filter((name) => !(name in catalogue) && !LEFTOVER.test(name));
  const problems = [
    ...folderFindings(folder, reader),
    ...known.flatMap((name) => fileFindings(control, name, reader)),
    // What has to be there, and what only a whole folder shows to be wrong.
    ...missingFindings(control, known),
    ...strange.map((name) => strangeFinding(folder, name)),
    ...certificateFindings(control, now),
    ...tokenFindings(control, now),
  ];
  const bad = new Set(problems.map(({ what }) => what));
  const sound = known.length === 0 ? 'none is set' : known.join(' ');
  return bad.size === 0
    ? [ok(`${count(known.length, 'file')} in ${folder}, all as they should be: ${sound}`)]
    : [...problems, ok(`${count(known.length, 'file')} in ${folder}: ${sound}`)];
}

function folderFindings(folder: string, reader: Reader): readonly Finding[] {
  const { mode, uid, gid } = fs.statSync(folder);
  if ((mode & 0o002) !== 0) {
    return [failure(`everybody may change ${folder}`, `chmod o-w ${folder}`)];
  }
  if (!may(reader, { mode, uid, gid }, 0o5)) {
    return [
      failure(
        `${folder} is closed to user ${reader.uid}, who runs the queue`,
        `chmod o+rx ${folder}`,
      ),
    ];
  }
  return [];
}

function fileFindings(control: Control, name: ControlName, reader: Reader): readonly Finding[] {
  const path = join(control.folder, name);
  const findings: Finding[] = [];
  try {
    control.get(name);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    findings.push(fromControlError(error));
  }
  const status = fs.statSync(path, { throwIfNoEntry: false });
  if (status === undefined) {
    return [failure(`${path} is a link to nothing`, `ls -l ${path}`)];
  }
  if ((status.mode & 0o002) !== 0) {
    findings.push(failure(`everybody may change ${path}`, `chmod o-w ${path}`));
  }
  if (!may(reader, status, 0o4)) {
    const secret = catalogue[name].kind.startsWith('secret');
    findings.push(
      failure(
        `user ${reader.uid}, who runs the queue, cannot read ${path}`,
        `chgrp ${reader.gid} ${path} && chmod ${secret ? '640' : '644'} ${path}`,
      ),
    );
  }
  return findings;
}

function missingFindings(control: Control, there: readonly ControlName[]): readonly Finding[] {
  const names = Object.keys(catalogue) as ControlName[];
  return names
    .filter((name) => !there.includes(name))
    .flatMap((name) => {
      try {
        control.get(name);
        return [];
      } catch (error) {
        if (error instanceof ControlError) return [fromControlError(error)];
        throw error;
      }
    });
}

/** The hint of a ControlError stands at its end, behind the sentence that says what is wrong. */
export function fromControlError(error: ControlError): Finding {
  const [, what, hint] = /^(.*?\.) ((?:Make|Mend|Close|Let|Remove|Write|Look)\b.*)$/s.exec(
    error.message,
  ) ?? [undefined, error.message, ''];
  return failure(
    what ?? error.message,
    ...(hint ? [hint.replace(/^(?:Make it|Close it): /, '').replace(/, then .*$/, '')] : []),
  );
}

function strangeFinding(folder: string, name: string): Finding {
  const shown = escapeText(name);
  const meant = Object.keys(catalogue).find((each) => isNear(each, name.toLowerCase()));
  return meant === undefined
    ? warning(`${folder}/${shown} is no control file: nothing reads it`)
    : warning(
        `${folder}/${shown} is no control file; ${meant} is one`,
        `mv ${folder}/${shown} ${folder}/${meant}`,
      );
}

function certificateFindings(control: Control, now: number): readonly Finding[] {
  let path: string | undefined;
  try {
    path = control.get('tlscertfile');
    if (path === undefined) return [];
    const end = Date.parse(new X509Certificate(fs.readFileSync(path)).validTo);
    const days = Math.floor((end - now) / DAY);
    if (days < 0) return [failure(`the certificate in ${path} has expired`)];
    if (days < RENEW) {
      return [warning(`the certificate in ${path} ends in ${count(days, 'day')}`)];
    }
    return [];
  } catch (error) {
    if (error instanceof ControlError) return [];
    return [failure(`the certificate in ${path} cannot be read: ${messageOf(error)}`)];
  }
}

/** What access tokens are asked for with; the certificate has been looked at. */
function tokenFindings(control: Control, now: number): readonly Finding[] {
  return endingSecrets(control, now).flatMap(({ key, summary }) =>
    key === 'secret oauthrefreshtoken' ? [warning(summary)] : [],
  );
}

/** Whether somebody who is not root has these rights by the bits of a mode. */
function may(
  { uid, gid }: Reader,
  status: { readonly mode: number; readonly uid: number; readonly gid: number },
  wanted: number,
): boolean {
  if (uid === 0) return true;
  const shift = status.uid === uid ? 6 : status.gid === gid ? 3 : 0;
  return ((status.mode >> shift) & wanted) === wanted;
}

/** Whether a word is a slip of the pen away from another: two letters at most. */
function isNear(one: string, other: string): boolean {
  let row = Array.from({ length: other.length + 1 }, (_, n) => n);
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const same = letter === other[j] ? 0 : 1;
      next.push(Math.min((row[j] ?? 0) + same, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return (row[other.length] ?? 0) <= Math.min(2, one.length - 2);
}

export function messageOf(error: unknown): string {
  return escapeText(error instanceof Error ? error.message : String(error));
}
