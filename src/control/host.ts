/**
 * What this host says of its users and its clock, read from the files that the C library reads, which
 * takes a tenth of the time that a runtime takes to ask or to load its own knowledge. Where the files
 * say nothing, the runtime is asked. Never throws.
 */
import fs from 'node:fs';
import { zoneMinutes } from '../mail/zone.ts';

/** The name of a user, as in From; `uid1000` for one without a name, as in containers. */
export function loginName(uid: number): string {
  try {
    const name = loginIn(fs.readFileSync('/etc/passwd', 'latin1'), uid);
    if (name !== undefined) return name;
    // A user of a directory service is known to the C library; bun would believe the environment.
    if (process.versions['bun'] === undefined && uid === process.geteuid?.()) {
      return process.getBuiltinModule('node:os').userInfo().username;
    }
  } catch {
    // Nobody knows the name.
  }
  return `uid${uid}`;
}

/** The name of a group; its number where it has none. */
export function groupName(gid: number): string {
  try {
    const found = fs
      .readFileSync('/etc/group', 'latin1')
      .split('\n')
      .map((line) => line.split(':', 3))
      .find(([name = '', , id]) => id === String(gid) && /^\w[\w.-]*\$?$/.test(name));
    if (found?.[0] !== undefined) return found[0];
  } catch {
    // Nobody knows the name.
  }
  return String(gid);
}

/** The first login name of a user id in the text of /etc/passwd (passwd(5)). */
export function loginIn(passwd: string, uid: number): string | undefined {
  for (const line of passwd.split('\n')) {
    const [name = '', , id] = line.split(':', 3);
    if (id === String(uid) && /^\w[\w.-]*\$?$/.test(name)) return name;
  }
  return undefined;
}

/** More than any zone's file has. */
const LONGEST_ZONE = 8192;

/**
 * How far local time is ahead of UTC, in minutes.
 * @param zone the TZ of the environment, which goes before the host's zone
 */
export function minutesEast(time: Date, zone: string | undefined): number {
  const known = zone === undefined ? hostMinutes(time) : undefined;
  return known ?? -time.getTimezoneOffset();
}

function hostMinutes(time: Date): number | undefined {
  try {
    const descriptor = fs.openSync('/etc/localtime', 'r');
    try {
      const file = Buffer.allocUnsafe(LONGEST_ZONE);
      const length = fs.readSync(descriptor, file);
      return zoneMinutes(file.subarray(0, length), Math.floor(time.getTime() / 1000));
    } finally {
      fs.closeSync(descriptor);
    }
  } catch {
    // A host without a zone has UTC, which the runtime says too.
    return undefined;
  }
}
