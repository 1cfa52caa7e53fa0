/**
 * Takes the steps of a plan, and takes them back. Each step is remembered before it is taken, so that
 * what was begun by a run that was cut short is taken back, too. Changes files by spool/disk.ts and runs
 * the host's own tools by their names in a fixed PATH, never through a shell.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { dirname } from 'node:path';
import { actAs, actAsFolderOwner } from '../spool/become.ts';
import {
  eraseFile,
  hasCode,
  moveFile,
  putFile,
  putFolder,
  putLink,
  removeFolder,
} from '../spool/disk.ts';
import { giveFile } from '../spool/held.ts';
import { makeLayout } from '../spool/layout.ts';
import { pathOwner, requireRootsPath } from '../spool/path-owner.ts';
import { removeSpool } from '../spool/remove.ts';
import { type Giving, giveSpool } from './give-spool.ts';
import { type Host, TOOLS_PATH } from './host.ts';
import { formatRecord, isOfLog, type Made, madeBy, parseRecord, type Step } from './steps.ts';
import type { Undo } from './uninstall.ts';

/** Where is kept what was done. */
export const RECORD = '/var/lib/picorelay/installed';

/** What was done by earlier runs and not taken back. */
export function readRecord(): readonly Made[] {
  let text: string;
  try {
    text = fs.readFileSync(RECORD).toString('utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
  try {
    return parseRecord(text);
  } catch (error) {
    throw new Error(`${RECORD}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Keeps what was done; nothing is kept of nothing. */
export function writeRecord(made: readonly Made[]): void {
  const folder = dirname(RECORD);
  if (made.length === 0) {
    eraseFile(RECORD);
    removeFolder(folder);
    return;
  }
  if (!fs.existsSync(folder)) putFolder(folder, { mode: 0o755, ...ROOT });
  putFile(RECORD, formatRecord(made), { mode: 0o644, ...ROOT });
}

/** What is remembered with a step that is about to be taken; the last word on a path counts. */
export function remember(made: readonly Made[], step: Step): readonly Made[] {
  const now = madeBy(step);
  if (now === undefined) return made;
  const key = keyOf(now);
  // What was there before the first installation is what has to come back.
  return made.some((each) => keyOf(each) === key) && now.kind !== 'link' && now.kind !== 'units'
    ? made
    : [...made.filter((each) => keyOf(each) !== key), now];
}

function keyOf(made: Made): string {
  if ('path' in made) return `${made.kind === 'link' ? 'file' : made.kind} ${made.path}`;
  if ('name' in made) return `${made.kind} ${made.name}`;
  return made.kind === 'units' ? 'units' : `alternative ${made.group}`;
}

const ROOT = { uid: 0, gid: 0 } as const;

/**
 * Takes one step.
 * @returns what the admin should know of it, one line each
 * @throws UnsafePath where another user decides what a path leads to
 * @throws the system call's error, or Error with what a tool said
 */
export async function take(step: Step, host: Host, giving: Giving): Promise<readonly string[]> {
  if ('path' in step && !isOfLog(step)) requireRootsPath(step.path);
  if (step.kind !== 'spool') {
    takePlain(step, host);
    return [];
  }
  const { uid, gid } = account(host, step.user);
  let notes: readonly string[] = [];
  if (host.at(step.path).kind === 'nothing') putFolder(step.path, { mode: 0o711, uid, gid });
  else notes = await giveSpool(step.path, uid, gid, giving);
  actAs(uid, gid, () => makeLayout(step.path, giving.pid));
  return notes;
}

function takePlain(step: Exclude<Step, { readonly kind: 'spool' }>, host: Host): void {
  switch (step.kind) {
    case 'group':
    case 'user':
      tool(step.command);
      return;
    case 'folder':
      putFolder(
        step.path,
        step.group === undefined
          ? { mode: 0o755, ...ROOT }
          : { mode: 0o2755, uid: 0, gid: groupId(host, step.group) },
      );
      return;
    case 'file': {
      const { user, group, mode } = step;
      const uid = user === undefined ? 0 : account(host, user).uid;
      const gid = group === undefined ? 0 : groupId(host, group);
      const put = (): void => putFile(step.path, step.text, { mode, uid, gid });
      // The log may lie in a folder of the user who writes it: then it is made as that user.
      if (isOfLog(step) && pathOwner(step.path).uid === uid) actAs(uid, gid, put);
      else {
        requireRootsPath(step.path);
        put();
      }
      return;
    }
    case 'rights':
      giveFile(step.path, { mode: step.mode, uid: 0, gid: groupId(host, step.group) });
      return;
    case 'erase':
      eraseFile(step.path);
      return;
    case 'link':
      putLink(step.path, step.target);
      return;
    case 'divert': {
      const rename = step.rename ? '--rename' : '--no-rename';
      tool(['dpkg-divert', '--local', rename, '--divert', step.to, '--add', step.path]);
      return;
    }
    case 'aside':
      moveFile(step.path, step.to);
      return;
    case 'alternative': {
      const { path, group, target, slaves } = step;
      const more = slaves.flatMap((slave) => ['--slave', slave.path, slave.name, target]);
      tool(['update-alternatives', '--install', path, group, target, '100', ...more]);
      tool(['update-alternatives', '--set', group, target]);
      return;
    }
    case 'units':
      tool(['systemctl', 'daemon-reload']);
      tool(['systemctl', 'enable', '--now', ...step.names]);
      return;
  }
}

/**
 * Takes one step back.
 * @throws UnsafePath where another user decides what a path leads to
 * @throws the system call's error, or Error with what a tool said
 */
export function takeBack(undo: Undo, host: Host): void {
  if ('path' in undo && undo.kind !== 'erase') requireRootsPath(undo.path);
  switch (undo.kind) {
    case 'erase':
      actAsFolderOwner(undo.path, () => eraseFile(undo.path));
      return;
    case 'folder':
      removeFolder(undo.path);
      return;
    case 'undivert':
      tool(['dpkg-divert', '--local', '--rename', '--remove', undo.path]);
      return;
    case 'rename':
      requireRootsPath(undo.to);
      moveFile(undo.from, undo.to);
      return;
    case 'alternative':
      tool(['update-alternatives', '--remove', undo.group, undo.target]);
      if (undo.chosen !== undefined) {
        tool(['update-alternatives', '--set', undo.group, undo.chosen]);
      }
      return;
    case 'spool':
      removeSpool(undo.path);
      return;
    case 'user':
      tool([host.hasTool('userdel') ? 'userdel' : 'deluser', undo.name]);
      return;
    case 'group':
      // userdel takes the group of the same name along where no other is in it.
      if (host.group(undo.name) !== undefined) {
        tool([host.hasTool('groupdel') ? 'groupdel' : 'delgroup', undo.name]);
      }
      return;
    case 'units':
      tool(['systemctl', 'disable', '--now', ...undo.names]);
      return;
    case 'reload':
      tool(['systemctl', 'daemon-reload']);
      return;
  }
}

function account(host: Host, name: string): { readonly uid: number; readonly gid: number } {
  const found = host.user(name);
  if (found === undefined) throw new Error(`there is no user ${name}`);
  return found;
}

function groupId(host: Host, name: string): number {
  const gid = host.group(name);
  if (gid === undefined) throw new Error(`there is no group ${name}`);
  return gid;
}

/** @throws Error with the tool's last line */
function tool([name = '', ...words]: readonly string[]): void {
  const { status, stdout, stderr, error } = spawnSync(name, words, {
    env: { PATH: TOOLS_PATH, LC_ALL: 'C' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
  });
  if (error !== undefined) throw new Error(`${name}: ${error.message}`);
  if (status === 0) return;
  const said = `${stdout}${stderr}`.trim().split('\n').at(-1) ?? '';
  throw new Error(`${[name, ...words].join(' ')}: ${said === '' ? `exit status ${status}` : said}`);
}
