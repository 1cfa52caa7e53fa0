/**
 * Takes over what users without rights on the spool have put into incoming/. Only whoever runs the queue
 * does this. Each file there belongs to somebody who may still have it open, and may be anything: so it is
 * moved to where its owner cannot reach its name, looked at, and copied; what is queued is the copy, and
 * what is believed of it is what the kernel says (its owner) and what this program has checked.
 *
 *     incoming/NAME                        somebody's file
 *     unsplit/DATE:PID:INODE.OWNER.taking  the same file, claimed by the process OWNER
 *     spool/DATE:PID:FROM:TO               its copy; for several recipients first unsplit/DATE:PID:FROM
 *
 * The claim is one rename, so one process wins it; that of a dead process is resumed under the same
 * DATE:PID, where a copy that was made before is found. No entry may be sent while its DATE:PID has a
 * name in unsplit/ (Spool.list), and the claim is erased last.
 *
 * Hostile input: every name, type, owner, size and byte in incoming/, and that all of it changes at any
 * time. Nothing is opened that is no regular file, no link is followed, no set of files of one user holds
 * up those of another.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { Envelope, Origin } from '../mail/envelope.ts';
import { checkRecipients, type Limits, OverLimit } from '../mail/limits.ts';
import { escapeText } from '../mail/text.ts';
import { BadBlock } from './block.ts';
import { entryNames } from './commit.ts';
import {
  closeFile,
  createFile,
  eraseFile,
  eraseFolder,
  hasCode,
  linkFile,
  moveFile,
  syncFolder,
} from './disk.ts';
import type { Road } from './draft.ts';
import { MOST_OCTETS, MOST_RECIPIENTS } from './incoming.ts';
import { StoredMessage } from './message.ts';
import { formatTaking, parseTaking, senderPart, submissionPrefix } from './name.ts';
import type { Spool } from './spool.ts';

/** What the site has to say of submissions from outside. */
export interface Admission {
  /** The Received field that stands above a message that was taken over, with its line end. */
  readonly received: (origin: Origin) => string;
  readonly limits: Limits;
}

/** What a take-over did, for the log. */
export interface TakenOver {
  /** How many submissions were queued. */
  readonly taken: number;
  /** Files that went to corrupt/, each with the reason. */
  readonly corrupt: readonly { readonly name: string; readonly reason: string }[];
  /** What held no message, by user and reason. */
  readonly discarded: readonly Discarded[];
  /** What this machine could not do just now, one line each. */
  readonly faults: readonly string[];
  /** Whether there is more to take over at once. */
  readonly more: boolean;
}

export interface Discarded {
  readonly uid: number;
  readonly reason: string;
  readonly count: number;
  /** The name of one of them, escaped. */
  readonly name: string;
}

/** The most that one pass looks at, and takes over, so that others' mail goes out in between. */
const MOST_LOOKED_AT = 20_000;
const MOST_TAKEN = 200;
const MOST_COPIED = 64 * 1024 * 1024;

const MOST_FAULTS = 10;

/** A hidden file older than this is nobody's draft any more (milliseconds). */
const HIDDEN_LIFETIME = 36 * 3600 * 1000;

/** The programs through which a user may submit; the block cannot make a caller of it that he is not. */
const PROGRAMS: ReadonlySet<string> = new Set(['sendmail', 'qmail-queue', 'qmail-inject']);

/** What ENVID, ORCPT and the like may hold, which go over the wire as they are. */
const PARAMETER = /^[\x21-\x7e]{1,500}$/;

/** A file in incoming/ that may be a submission. */
interface Candidate {
  readonly name: Buffer;
  readonly inode: number;
  readonly octets: number;
}

/** A claimed file. */
interface Taking {
  readonly time: number;
  readonly pid: number;
  readonly inode: string;
  /** This process claimed it just now: nothing bears its DATE:PID that was made of it. */
  readonly fresh: boolean;
}

type Report = {
  -readonly [K in Exclude<keyof TakenOver, 'discarded'>]: TakenOver[K] extends readonly (infer E)[]
    ? E[]
    : TakenOver[K];
} & { readonly discarded: Map<string, Discarded> };

export class Takeover {
  readonly #spool: Spool;
  readonly #incoming: string;
  readonly #unsplit: string;
  /** How many names of incoming/ were looked at by the passes before; what is beyond is next. */
  #offset = 0;
  /** Something before the offset was not looked at, or not taken. */
  #missed = false;
  #lastTime = 0;
  /** Nothing can be taken over just now: trying at once again would not help. */
  #stuck = false;
  /** Users who have as much in the queue as they may have; what else they submitted waits. */
  readonly #full = new Set<number>();
  /** What of this the log has heard. */
  readonly #told = new Set<string>();

  constructor(spool: Spool) {
    this.#spool = spool;
    this.#incoming = join(spool.folder, 'incoming');
    this.#unsplit = join(spool.folder, 'unsplit');
  }

  /**
   * One pass over incoming/.
   * @param now milliseconds since 1970-01-01 UTC
   * @throws the system call's error where a folder cannot be read
   */
  run(now: number, admission: Admission): TakenOver {
    const report: Report = { taken: 0, corrupt: [], discarded: new Map(), faults: [], more: false };
    this.#full.clear();
    this.#stuck = this.#spool.shortage(admission.limits.floor) !== undefined;
    // First what was begun, which also tells who may have no more.
    this.#settleAll(this.#leftBehind(now), admission, report);
    const candidates = this.#survey(now, report);
    if (!this.#stuck) this.#settleAll(this.#claim(candidates, now, report), admission, report);
    report.more &&= !this.#stuck;
    return { ...report, discarded: [...report.discarded.values()] };
  }

  #settleAll(takings: readonly Taking[], admission: Admission, report: Report): void {
    if (takings.length === 0) return;
    // Otherwise a power cut could bring a file back whose copy is on its way.
    syncFolder(this.#unsplit);
    syncFolder(this.#incoming);
    for (const taking of takings) attempt(report, () => this.#settle(taking, admission, report));
    // Otherwise it could bring a claim back whose entries are relayed and erased.
    syncFolder(this.#unsplit);
  }

  /** Whether a file has come that no pass has seen, for a runner that is about to end. */
  waiting(): boolean {
    if (this.#stuck) return false;
    const folder = openFolder(this.#incoming);
    try {
      for (let looks = 0; looks < MOST_LOOKED_AT; looks++) {
        const entry = folder.readSync();
        if (entry === null) return false;
        if (!entry.isFile() || isHidden(nameOf(entry))) continue;
        const status = fs.lstatSync(this.#foreign(nameOf(entry)), { throwIfNoEntry: false });
        if (status !== undefined && !this.#full.has(status.uid)) return true;
      }
      return false;
    } finally {
      folder.closeSync();
    }
  }

  /** What is to be taken over in this pass: a file of each user in turn. What is none is removed. */
  #survey(now: number, report: Report): readonly Candidate[] {
    const users = new Map<number, Candidate[]>();
    const end = this.#offset + MOST_LOOKED_AT;
    let isAll = false;
    let overflow = false;
    const folder = openFolder(this.#incoming);
    try {
      for (let index = 0; index < end; index++) {
        const entry = folder.readSync();
        isAll = entry === null;
        if (entry === null) break;
        if (index < this.#offset) continue;
        const name = nameOf(entry);
        attempt(report, () => {
          const found = this.#look(name, now, report);
          if (found === undefined) return;
          const files = users.get(found.uid);
          if (files === undefined) users.set(found.uid, [found]);
          else if (files.length < MOST_TAKEN) files.push(found);
          else overflow = true;
        });
      }
    } finally {
      folder.closeSync();
    }
    const { chosen, left } = inTurn([...users.values()]);
    overflow ||= left;
    // Files that go leave their places to others, which a pass that goes on further behind does not see.
    if (isAll) report.more = overflow || this.#missed;
    else report.more = true;
    this.#missed =
      !isAll && (this.#missed || overflow || chosen.length > 0 || report.discarded.size > 0);
    this.#offset = isAll ? 0 : end;
    return chosen;
  }

  #look(name: Buffer, now: number, report: Report): (Candidate & { uid: number }) | undefined {
    const path = this.#foreign(name);
    const status = fs.lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) return undefined;
    const { uid } = status;
    if (isHidden(name) && status.isFile()) {
      // Being written; by a process that was killed, when it is old. Its owner can set mtime, but no ctime.
      if (status.ctimeMs < now - HIDDEN_LIFETIME) eraseFile(path);
      return undefined;
    }
    const flaw = flawOf(status);
    if (flaw === undefined) {
      if (this.#full.has(uid)) return undefined;
      return { name, uid, inode: status.ino, octets: status.size };
    }
    // A folder that is not empty stays where it is: nobody can put anything in its place.
    if (remove(path, status)) note(report, uid, flaw, name);
    return undefined;
  }

  /** Claims of processes that died, or that this process could not bring to their end. */
  #leftBehind(now: number): readonly Taking[] {
    const takings: Taking[] = [];
    for (const name of fs.readdirSync(this.#unsplit).toSorted()) {
      const parsed = parseTaking(name);
      if (parsed === undefined) continue;
      this.#spool.enter(now);
      const { owner, ...taking } = parsed;
      if (owner !== this.#spool.self.pid) {
        if (this.#spool.lives(owner, now)) continue;
        if (!moveFile(join(this.#unsplit, name), this.#path(taking))) continue;
      }
      takings.push({ ...taking, fresh: false });
    }
    return takings;
  }

  #claim(candidates: readonly Candidate[], now: number, report: Report): readonly Taking[] {
    const takings: Taking[] = [];
    for (const { name, inode } of candidates) {
      this.#spool.enter(now);
      const taking: Taking = { ...this.#key(now), inode: String(inode), fresh: true };
      try {
        if (moveFile(this.#foreign(name), this.#path(taking))) takings.push(taking);
      } catch (error) {
        this.#stuck = true;
        report.faults.push(messageOf(error));
        // Whatever keeps one file from being moved keeps all.
        break;
      }
    }
    return takings;
  }

  /** A time and pid that no other submission has. */
  #key(now: number): { time: number; pid: number } {
    this.#lastTime = Math.max(this.#lastTime + 1, Math.floor(now) * 1000);
    return { time: this.#lastTime, pid: this.#spool.self.pid };
  }

  /** Queues a claimed file, or puts it where it belongs. */
  #settle(taking: Taking, admission: Admission, report: Report): void {
    const path = this.#path(taking);
    // By its name nobody but the queue's user can reach it any more: what it is now it stays.
    const status = fs.lstatSync(path);
    const flaw = flawOf(status);
    if (flaw !== undefined) {
      if (remove(path, status)) note(report, status.uid, flaw, Buffer.from(taking.inode));
      else this.#condemn(taking, status.uid, flaw, report);
      return;
    }
    // What is over a limit waits where it is.
    if (this.#full.has(status.uid) || this.#stuck) return;
    try {
      const kept = this.#copy(taking, admission);
      report.taken++;
      eraseFile(this.#path(kept));
    } catch (error) {
      if (error instanceof OverLimit && error.passes) {
        if (error.kind === 'disk') this.#stuck = true;
        else this.#full.add(status.uid);
        const told = error.kind === 'disk' ? 'disk' : `uid ${status.uid}`;
        if (!this.#told.has(told))
          report.faults.push(`incoming/: mail of uid ${status.uid} waits: ${error.message}`);
        this.#told.add(told);
      } else if (error instanceof OverLimit || error instanceof BadBlock) {
        this.#condemn(taking, status.uid, error.message, report);
      } else throw error;
    }
  }

  #condemn(taking: Taking, uid: number, flaw: string, report: Report): void {
    const name = `${submissionPrefix(taking.time, taking.pid)}:uid${uid}`;
    const reason = `${flaw} (of uid ${uid}, by incoming/)`;
    this.#spool.condemnTaken(formatTaking(taking, this.#spool.self.pid), name, reason);
    report.corrupt.push({ name, reason });
  }

  /**
   * Copies a claimed file into the queue.
   * @throws BadBlock when it is none that is taken
   */
  #copy(taking: Taking, admission: Admission): Taking {
    const message = openForeign(this.#path(taking));
    try {
      const { uid } = message.status;
      const { program = '', notes } = message.origin ?? {};
      const envelope = envelopeOf(message);
      const { limits } = admission;
      checkRecipients(limits, envelope.recipients.length);
      this.#checkShare(limits, message.size ?? 0, envelope.recipients.length);
      for (let now = taking; ; now = this.#renew(now)) {
        const { time, pid, fresh } = now;
        const road = new TakenRoad(this.#spool.folder, envelope, { time, pid });
        if (!fresh && road.isDone()) return now;
        const origin: Origin = {
          ...{ uid, pid, time },
          program: PROGRAMS.has(program) ? program : 'incoming',
          ...(notes === undefined ? {} : { notes }),
        };
        const received = admission.received({ ...origin, program: 'incoming' });
        try {
          const pieces = unchangedPieces(message, received);
          this.#spool.submit(envelope, origin, pieces, limits, road);
          return now;
        } catch (error) {
          // Another submission has this microsecond and pid, from another pid name space.
          if (!(error instanceof NameTaken)) throw error;
        }
      }
    } finally {
      message.close();
    }
  }

  /** What would be over a limit also in an empty queue need not wait. */
  #checkShare({ userEntries, userOctets, floor }: Limits, octets: number, entries: number): void {
    if (entries > userEntries || octets > userOctets) {
      throw new BadBlock('it is more than control/userentries or control/userbytes allows');
    }
    // A file with holes says that it is larger than it is: better not begin.
    if ('octets' in floor) this.#spool.checkRoom({ floor: { octets: floor.octets + octets } });
  }

  /** The same claim under another time. */
  #renew(taking: Taking): Taking {
    const { time, pid } = this.#key(taking.time / 1000);
    const renewed = { ...taking, time, pid, fresh: true };
    moveFile(this.#path(taking), this.#path(renewed));
    syncFolder(this.#unsplit);
    return renewed;
  }

  #path(taking: Pick<Taking, 'time' | 'pid' | 'inode'>): string {
    return join(this.#unsplit, formatTaking(taking, this.#spool.self.pid));
  }

  /** Names of users' files are octets and need not be text. */
  #foreign(name: Buffer): Buffer {
    return Buffer.concat([Buffer.from(`${this.#incoming}/`), name]);
  }
}

/** The road of a copy: its name is settled before, so that a second attempt finds it. */
class TakenRoad implements Road {
  readonly #folder: string;
  readonly #prefix: string;
  readonly #target: string;
  readonly #bases: readonly string[];

  constructor(folder: string, envelope: Envelope, { time, pid }: { time: number; pid: number }) {
    this.#folder = folder;
    this.#prefix = submissionPrefix(time, pid);
    const submission = `${this.#prefix}:${senderPart(envelope.sender)}`;
    this.#bases = entryNames(submission, envelope);
    const [base = '', ...others] = this.#bases;
    this.#target = others.length > 0 ? join('unsplit', submission) : join('spool', base);
  }

  /** Whether the copy was queued by an attempt that was cut short after that. */
  isDone(): boolean {
    const target = join(this.#folder, this.#target);
    if (!fs.existsSync(target)) return false;
    syncFolder(join(target, '..'));
    return true;
  }

  open(): { path: string; fd: number } {
    for (let n = 1; ; n++) {
      const path = join(this.#folder, 'tmp', `${this.#prefix}.taken${n}`);
      try {
        return { path, fd: createFile(path) };
      } catch (error) {
        // Left by an attempt that was cut short.
        if (!hasCode(error, 'EEXIST')) throw error;
      }
    }
  }

  commit(path: string, fd: number): readonly string[] {
    const target = join(this.#folder, this.#target);
    try {
      closeFile(fd);
      linkFile(path, target, `${path}.copy`);
    } catch (error) {
      eraseFile(path);
      if (hasCode(error, 'EEXIST')) throw new NameTaken('', { cause: error });
      throw error;
    }
    eraseFile(path);
    // Nothing of it is sent before its claim is erased: where this fails, it is done again.
    syncFolder(join(target, '..'));
    return this.#bases;
  }
}

class NameTaken extends Error {
  override name = 'NameTaken';
}

/** One of each user in turn, oldest names first, within what a pass may take. */
export function inTurn<T extends { readonly name: Buffer; readonly octets: number }>(
  users: readonly T[][],
): { readonly chosen: readonly T[]; readonly left: boolean } {
  const lines = users.map((files) => files.toSorted((a, b) => a.name.compare(b.name)));
  const chosen: T[] = [];
  let octets = 0;
  for (let round = 0; lines.some((files) => files.length > round); round++) {
    for (const files of lines) {
      const file = files[round];
      if (file === undefined) continue;
      // A large file is taken alone rather than never.
      if (chosen.length > 0 && octets + file.octets > MOST_COPIED) return { chosen, left: true };
      if (chosen.length === MOST_TAKEN) return { chosen, left: true };
      chosen.push(file);
      octets += file.octets;
    }
  }
  return { chosen, left: false };
}

/** Why something in incoming/ can hold no submission. */
function flawOf(status: fs.Stats): string | undefined {
  if (!status.isFile()) return 'no regular file';
  if (status.nlink !== 1) return 'a file with more than one name';
  return status.size === 0 ? 'an empty file' : undefined;
}

/** Erases a name, never what a link leads to or a folder holds; false when there is nothing to tell. */
function remove(path: Buffer | string, status: fs.Stats): boolean {
  if (!status.isDirectory()) return eraseFile(path);
  try {
    return eraseFolder(path);
  } catch (error) {
    if (hasCode(error, 'ENOTEMPTY', 'EEXIST', 'EBUSY')) return false;
    throw error;
  }
}

/** @throws BadBlock */
function openForeign(path: string): StoredMessage {
  try {
    // The name tells nothing: without a block it is no submission.
    return new StoredMessage(path, '');
  } catch (error) {
    if (hasCode(error, 'EACCES', 'EPERM')) {
      throw new BadBlock('its mode does not let the user read it who runs the queue');
    }
    throw error;
  }
}

/** @throws BadBlock for what may not go over the wire, or is too much */
function envelopeOf(message: StoredMessage): Envelope {
  const [first, ...others] = message.recipients;
  if (first === undefined) throw new BadBlock('it names no recipient');
  if (others.length >= MOST_RECIPIENTS) throw new BadBlock('it has too many recipients');
  if (message.status.size > MOST_OCTETS) throw new BadBlock('it is too large');
  const { sender, dsn } = message;
  const addresses = [sender, first.address, ...others.map(({ address }) => address)];
  if (addresses.some((address) => /\p{Cc}/u.test(address))) {
    throw new BadBlock('an address in its envelope block has control characters');
  }
  const parameters = [first, ...others].flatMap(({ notify, orcpt }) => [notify, orcpt]);
  for (const parameter of [...parameters, dsn.envid]) {
    if (parameter !== undefined && !PARAMETER.test(parameter)) {
      throw new BadBlock('a parameter in its envelope block is malformed');
    }
  }
  return { ...dsn, sender, recipients: [first, ...others] };
}

/** @throws BadBlock at the end, when the file was changed since it was opened */
function* unchangedPieces(
  message: StoredMessage,
  received: string,
): Generator<Uint8Array, void, undefined> {
  yield Buffer.from(received, 'latin1');
  yield* message.pieces();
  if (message.hasChanged()) throw new BadBlock('it was changed while it was taken over');
}

function attempt(report: Report, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    // One file that cannot be dealt with now must not stop the others, nor fill the log.
    if (report.faults.length < MOST_FAULTS) report.faults.push(error.message);
  }
}

function note(report: Report, uid: number, reason: string, name: Buffer): void {
  const key = `${uid} ${reason}`;
  const before = report.discarded.get(key);
  report.discarded.set(key, {
    ...{ uid, reason },
    count: (before?.count ?? 0) + 1,
    name: before?.name ?? escapeText(name.toString('utf8')),
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function openFolder(path: string): fs.Dir {
  // A character for each octet: as 'buffer', which would say it better, bun forgets the kind of each file.
  return fs.opendirSync(path, { encoding: 'latin1', bufferSize: 512 });
}

function nameOf(entry: fs.Dirent): Buffer {
  return Buffer.from(entry.name, 'latin1');
}

function isHidden(name: Buffer): boolean {
  return name[0] === 0x2e;
}
