/**
 * Who may reach a file that holds a secret: root or the user that reads it may own it, the group of that
 * user or of the spool may read it, and nobody else. Pure.
 */

/** What stat(2) says of a file. */
export interface Access {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who reads it. */
export interface Reader {
  readonly uid: number;
  readonly gid: number;
  /** The group of the spool folder: those who run the queue. The reader's where there is no spool. */
  readonly queue: number;
}

/** What is wrong, made to stand after "expected", and the shell line that mends it. */
export interface Exposure {
  readonly expected: string;
  readonly mend: string;
}

/** The group may write, or others do anything. */
const OPEN = 0o027;
const GROUP_READS = 0o040;

/**
 * @param path as a word of the shell
 * @param nameOf gives the name of a group
 */
export function exposureOf(
  path: string,
  { mode, uid, gid }: Access,
  reader: Reader,
  nameOf: (gid: number) => string,
): Exposure | undefined {
  const mend = openLine(path, reader, nameOf);
  if (uid !== 0 && uid !== reader.uid) {
    const expected = `a file that root owns, but it belongs to user id ${uid}, who could change it`;
    return { expected, mend };
  }
  const trusted = [0, reader.gid, reader.queue].includes(gid);
  if ((mode & OPEN) !== 0) {
    const expected = `a file that others cannot read or change, but its mode is ${(mode & 0o777).toString(8)}`;
    // Closing it must not take it from those who need it.
    if (uid === 0 && gid !== reader.queue) return { expected, mend };
    return { expected, mend: `chmod ${trusted ? 640 : 600} ${path}` };
  }
  if ((mode & GROUP_READS) !== 0 && !trusted) {
    const expected = `a file that others cannot read, but its group is ${nameOf(gid)}`;
    return { expected, mend: uid === 0 ? mend : `chmod 600 ${path}` };
  }
  return undefined;
}

/** The line that lets those read a secret who run the queue. */
export function openLine(path: string, reader: Reader, nameOf: (gid: number) => string): string {
  return `chown root:${nameOf(reader.queue)} ${path} && chmod 640 ${path}`;
}
