/**
 * The spool's fsck, the part that mends: takes one step of a finding (verify.ts). Safe beside runners and
 * submissions, because an entry is claimed before it is touched, and what is gone by then has been dealt
 * with by somebody else. Nothing is replaced, and no message's only copy is erased.
 */
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  appendText,
  copyOver,
  eraseFile,
  makeFolder,
  moveFile,
  setHeldMode,
  syncFolder,
} from './disk.ts';
import { Held, HeldFolder } from './held.ts';
import { formatName, reasonName, resultName } from './name.ts';
import { UnsafePath } from './path-owner.ts';
import { formatAttempt } from './result.ts';
import type { Entry, Spool } from './spool.ts';
import { kindOf } from './survey.ts';
import type { Step } from './verify.ts';

/**
 * @param now milliseconds since 1970-01-01 UTC
 * @param sweep what a runner does before each look at the queue
 * @throws the system call's error when the step cannot be taken
 */
export function takeStep(spool: Spool, step: Step, now: number, sweep: () => void): void {
  const at = (...parts: string[]): string => join(spool.folder, ...parts);
  switch (step.do) {
    case 'make folder':
      spool.makeLayout();
      return;
    case 'write version':
      // An empty one is no version; what makes the layout writes a new one.
      eraseFile(at('version'));
      spool.makeLayout();
      return;
    case 'set mode':
      setMode(spool.folder, step);
      return;
    case 'set aside':
      setAside(spool, step.path, step.reason);
      return;
    case 'set entry aside':
      withClaim(spool, step, now, (name) => {
        spool.setAside(join('spool', name), step.base, step.reason);
        return false;
      });
      return;
    case 'copy entry':
      withClaim(spool, step, now, (name) => {
        copyOver(at('spool', name), at('tmp', `${spool.self.pid}.own`));
        return true;
      });
      return;
    case 'copy file':
      copyOver(at(step.path), at('tmp', `${spool.self.pid}.own`));
      return;
    case 'erase':
      erase(spool, step.path, now);
      return;
    case 'write reason':
      writeReason(spool, step, now);
      return;
    case 'sweep':
      sweep();
  }
}

/** @throws UnsafePath where something else has the name by now */
function setMode(spool: string, { path, mode, was }: Step & { do: 'set mode' }): void {
  const folder = HeldFolder.open(join(fs.realpathSync(spool), dirname(path)));
  const held = folder && Held.at(folder.at(basename(path)));
  try {
    if (folder === undefined || held === undefined) return;
    const { status, mount } = held;
    const same =
      `${status.dev}:${status.ino}` === was.file &&
      kindOf(status) === was.kind &&
      status.uid === was.uid;
    if (!same) throw new UnsafePath('it was replaced after it was examined');
    if (mount !== folder.held.mount) throw new UnsafePath('it is a mount point: unmount it');
    setHeldMode(held.fd, mode);
  } finally {
    held?.close();
    folder?.close();
  }
}

function withClaim(
  spool: Spool,
  entry: Entry,
  now: number,
  action: (name: string) => boolean,
): void {
  const claim = spool.claim(entry, now);
  if (claim === undefined) return;
  const name = formatName(claim.base, { kind: 'sending', pid: spool.self.pid });
  if (action(name)) spool.release(claim, now);
}

function setAside(spool: Spool, path: string, reason: string): void {
  if (path.includes('/')) {
    spool.setAside(path, basename(path), reason);
    return;
  }
  // In the place of a folder: corrupt/ itself may be the one, or missing.
  const corrupt = join(spool.folder, 'corrupt');
  const aside = path === 'corrupt' ? `${path}.${spool.self.pid}` : path;
  if (aside !== path && !moveFile(corrupt, join(spool.folder, aside))) return;
  makeFolder(corrupt, 0o700);
  spool.setAside(aside, path, reason);
}

function erase(spool: Spool, path: string, now: number): void {
  const [folder, name] = path.split('/');
  // Its process may have begun just now.
  if (folder === 'run' && spool.lives(Number(name), now)) return;
  eraseFile(join(spool.folder, path));
}

function writeReason(spool: Spool, step: Step & { do: 'write reason' }, now: number): void {
  if (step.base === undefined) {
    const note = reasonName(basename(step.path));
    appendText(join(spool.folder, 'corrupt', note), 'why it is here is not known any more\n');
    return;
  }
  const lines = ['why it was not delivered is not known any more'];
  appendText(
    join(spool.folder, 'Undelivered', resultName(step.base)),
    formatAttempt({ time: now, outcome: 'refused', stage: 'claim', relay: 'none', lines }),
  );
  syncFolder(join(spool.folder, 'Undelivered'));
}
