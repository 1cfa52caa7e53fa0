/**
 * What an installation has to know of the host before it changes anything: what lies where and whose it
 * is, users and groups, tools, packages and diversions. Looks only; the answers are not kept, so that a
 * plan made after a change sees it.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { hasCode } from '../spool/disk.ts';
import { pathOwner, UnsafePath } from '../spool/path-owner.ts';

/** What lies at a path, without following a link. */
export type Found =
  | { readonly kind: 'nothing' }
  | ({ readonly kind: 'file'; readonly text: string } & Belongs)
  | { readonly kind: 'link'; readonly target: string; readonly real: string | undefined }
  | ({ readonly kind: 'folder' } & Belongs)
  | { readonly kind: 'other' };

export interface Belongs {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A path that dpkg gives another name, and for whom: a package, or `LOCAL` for the admin. */
export interface Diversion {
  readonly to: string;
  readonly by: string;
}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** A group of programs one of which has a name, as update-alternatives keeps it. */
export interface Alternative {
  readonly group: string;
  /** The program's path that has the name now, and whether the admin chose it. */
  readonly current: string;
  readonly manual: boolean;
  /** Further links that go with it: path by name. */
  readonly slaves: ReadonlyMap<string, string>;
}

/** The host, as a plan asks it. */
export interface Host {
  at(path: string): Found;
  /** Who decides what a path leads to: the user id (0 is root), or why root does not go there. */
  pathOwner(path: string): number | string;
  user(name: string): Account | undefined;
  userName(uid: number): string | undefined;
  /** The id of a group. */
  group(name: string): number | undefined;
  hasTool(name: string): boolean;
  /** The package that a path belongs to. */
  packageOf(path: string): string | undefined;
  diversionOf(path: string): Diversion | undefined;
  alternativeAt(path: string): Alternative | undefined;
  /** Whether systemd runs the host, and a unit is enabled. */
  readonly systemd: boolean;
  unitEnabled(name: string): boolean;
}

const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Where tools are looked for, as in PATH. */
export const TOOLS_PATH = FOLDERS.join(':');

/** Octets of a file that are looked at; what is compared is shorter. */
const LONGEST = 64 * 1024;

export function thisHost(): Host {
  return {
    at: look,
    pathOwner: (path) => {
      try {
        return pathOwner(path).uid;
      } catch (error) {
        if (error instanceof UnsafePath) return error.message;
        throw error;
      }
    },
    user: (name) => {
      const [, , uid, gid] = entryOf('passwd', name);
      return uid === undefined || gid === undefined
        ? undefined
        : { uid: Number(uid), gid: Number(gid) };
    },
    userName: (uid) => linesOf('passwd', String(uid)).find(([, , id]) => id === String(uid))?.[0],
    group: (name) => {
      const [, , gid] = entryOf('group', name);
      return gid === undefined ? undefined : Number(gid);
    },
    hasTool,
    packageOf: (path) => {
      // `coreutils: /bin/ls`, and for several packages of one path `one, other: /path`.
      const [, name] = /^([^:]+?)(?::\w+)?: \//m.exec(output('dpkg-query', '-S', path)) ?? [];
      return name;
    },
    diversionOf: (path) => {
      const by = output('dpkg-divert', '--listpackage', path).trim();
      const to = by === '' ? '' : output('dpkg-divert', '--truename', path).trim();
      return to === '' || to === path ? undefined : { to, by };
    },
    alternativeAt: (path) => {
      const found = look(path);
      const [, group] =
        /^\/etc\/alternatives\/([\w.+-]+)$/.exec(found.kind === 'link' ? found.target : '') ?? [];
      return group === undefined
        ? undefined
        : parseAlternative(group, output('update-alternatives', '--query', group));
    },
    systemd: fs.existsSync('/run/systemd/system'),
    unitEnabled: (name) => output('systemctl', 'is-enabled', name).trim() === 'enabled',
  };
}

/** Reads the answer of `update-alternatives --query`. */
export function parseAlternative(group: string, answer: string): Alternative | undefined {
  const [head = ''] = answer.split('\n\n', 1);
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}: (.*)$`, 'm').exec(head)?.[1];
  const current = field('Value');
  if (current === undefined) return undefined;
  const slaves = new Map(
    [...head.matchAll(/^ ([\w.+-]+) (\/\S+)$/gm)].map(([, name = '', path = '']) => [name, path]),
  );
  return { group, current, manual: field('Status') === 'manual', slaves };
}

/** The processes of a user; those in another root, as a container's, are of another user with this id. */
export function processesOf(uid: number): readonly number[] {
  return processes((folder) => fs.statSync(folder).uid === uid);
}

/** The processes that run one of these programs. */
export function runningFrom(executables: readonly string[]): readonly number[] {
  return processes((folder) => executables.includes(fs.readlinkSync(`${folder}/exe`)));
}

/** The processes of root that have this folder or a file in it open. */
export function rootsProcessesIn(folder: string): readonly number[] {
  return processes((process) => {
    if (fs.statSync(process).uid !== 0) return false;
    const files = fs.readdirSync(`${process}/fd`).map((fd) => targetOf(`${process}/fd/${fd}`));
    return files.some((file) => file === folder || file.startsWith(`${folder}/`));
  });
}

/** What a link leads to; nothing where it is gone by now. */
function targetOf(link: string): string {
  try {
    return fs.readlinkSync(link);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

function processes(fits: (folder: string) => boolean): readonly number[] {
  const here = fs.statSync('/');
  const names = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return names.map(Number).filter((pid) => {
    try {
      const folder = `/proc/${pid}`;
      if (!fits(folder)) return false;
      const root = fs.statSync(`${folder}/root`);
      return root.dev === here.dev && root.ino === here.ino;
    } catch (error) {
      // It has ended, or it is none of ours.
      if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES')) return false;
      throw error;
    }
  });
}

function look(path: string): Found {
  try {
    const stats = fs.lstatSync(path);
    const { uid, gid } = stats;
    const mode = stats.mode & 0o7777;
    if (stats.isDirectory()) return { kind: 'folder', mode, uid, gid };
    if (stats.isFile()) return { kind: 'file', text: beginningOf(path), mode, uid, gid };
    if (!stats.isSymbolicLink()) return { kind: 'other' };
    return { kind: 'link', target: fs.readlinkSync(path), real: realOf(path) };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return { kind: 'nothing' };
    throw error;
  }
}

/** Where a link leads in the end; undefined when it leads nowhere. */
function realOf(path: string): string | undefined {
  try {
    return fs.realpathSync(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}

function beginningOf(path: string): string {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    const bytes = Buffer.allocUnsafe(LONGEST);
    return bytes.toString('utf8', 0, fs.readSync(fd, bytes));
  } finally {
    fs.closeSync(fd);
  }
}

/** The fields of a line of passwd(5) or group(5). */
function entryOf(base: 'passwd' | 'group', name: string): readonly (string | undefined)[] {
  return linesOf(base, name).find(([first]) => first === name) ?? [];
}

/** Lines that may be about a name or id, from the host's own sources of names. */
function linesOf(base: 'passwd' | 'group', key: string): readonly (readonly string[])[] {
  const text = hasTool('getent')
    ? output('getent', base, key)
    : fs.readFileSync(`/etc/${base}`, 'latin1');
  return text.split('\n').map((line) => line.split(':'));
}

function hasTool(name: string): boolean {
  return FOLDERS.some((folder) => fs.existsSync(`${folder}/${name}`));
}

/** What a tool prints; nothing where it is missing or has nothing to say. */
function output(tool: string, ...words: readonly string[]): string {
  if (!hasTool(tool)) return '';
  const { stdout } = spawnSync(tool, words, {
    env: { PATH: TOOLS_PATH, LC_ALL: 'C' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 30_000,
  });
  return stdout ?? '';
}
