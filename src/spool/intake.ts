/**
 * The way into the spool: a message is taken for all its recipients or for none, within the limits, by
 * the road that its submitter may go. A program that submits needs nothing else of the spool, and each
 * call of sendmail pays for what it loads; spool.ts has the rest.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { Envelope, Origin } from '../mail/envelope.ts';
import {
  type Floor,
  formatSize,
  type Limits,
  NO_LIMITS,
  OverLimit,
  shortage,
  tooBig,
} from '../mail/limits.ts';
import { type Repair, repairOf } from '../mail/repair.ts';
import { WireForm } from '../mail/wireform.ts';
import { DirectRoad } from './commit.ts';
import { appendLine, hasCode, makeFolder, readRecord, replaceDurably } from './disk.ts';
import { Draft, type Road } from './draft.ts';
import { hiddenPath, IncomingRoad } from './incoming.ts';
import { makeLayout, namesIn } from './layout.ts';
import { prefixOf } from './name.ts';
import { Scratch } from './scratch.ts';
import { formatShare, parseShares, stillQueued, sumOf } from './usage.ts';

/** What a submission may still be: the limits, and what is left of them to its user. */
interface Allowance {
  readonly limits: Limits;
  /** Octets that its user may still put into the queue. */
  readonly left: number;
  /** Whether a record is kept of what its user has there. */
  readonly counted: boolean;
}

const NO_ALLOWANCE: Allowance = {
  limits: NO_LIMITS,
  left: Number.POSITIVE_INFINITY,
  counted: false,
};

/** While a message is written, the room on the disk is looked at each time after so many octets. */
const ROOM_STEP = 8 * 1024 * 1024;

/** A draft that holds a whole message, with what is known of that. */
interface Written {
  readonly draft: Draft;
  readonly form: WireForm;
}

export class Intake {
  readonly folder: string;
  readonly #pid: number;
  readonly #token: (() => string) | undefined;
  readonly #straight: boolean;

  /**
   * @param folder the spool folder; made with its layout when missing and somebody submits
   * @param pid this process
   * @param token 128 random bits in letters and digits, for a program that submits: where it has no rights
   *   on the spool, it submits by incoming/
   * @param straight whether it may try without that
   */
  constructor(folder: string, pid: number, token?: () => string, straight = true) {
    this.folder = folder;
    this.#pid = pid;
    this.#token = token;
    this.#straight = straight;
  }

  /**
   * Takes a message for all recipients of its envelope: when this returns, it is on the disk for each
   * of them; when it throws, for none.
   * @param pieces the message in any form of line ends; stored in wire form, repaired where it could
   *   not be relayed otherwise
   * @param limits left out for what the queue itself has to say
   * @param road of its own, where it is not the caller's
   * @returns the new entries' base names, in the recipients' order; none where the caller has no rights
   *   on the spool, as who runs the queue makes the entries then
   * @throws OverLimit, what pieces throws, and the system calls' errors
   */
  submit(
    envelope: Envelope,
    origin: Origin,
    pieces: Iterable<Uint8Array>,
    limits: Limits = NO_LIMITS,
    road?: Road,
  ): readonly string[] {
    const allowance = this.#allow(limits, origin.uid, envelope.recipients.length);
    const open = (repaired: boolean): Draft =>
      road === undefined
        ? this.#openDraft(envelope, origin, repaired)
        : new Draft(road, envelope, origin, repaired);
    const { draft, form } = this.#write(open(false), pieces, allowance);
    let written: Written = { draft, form };
    let repair: Repair | undefined;
    try {
      repair = repairOf(form, () => draft.pieces());
      if (repair !== undefined) {
        written = this.#write(open(true), repair.pieces(), NO_ALLOWANCE);
      }
    } catch (error) {
      draft.abort();
      throw error;
    }
    if (repair !== undefined) draft.abort();
    const bases = written.draft.commit(written.form.eightBit, repair?.repairs);
    if (allowance.counted && bases.length > 0)
      this.#noteShare(origin.uid, bases, written.draft.size);
    return bases;
  }

  #openDraft(envelope: Envelope, origin: Origin, repaired: boolean): Draft {
    try {
      this.#checkStraight();
      const road = () => new DirectRoad(this.folder, envelope, origin);
      return this.#withLayout(() => new Draft(road(), envelope, origin, repaired));
    } catch (error) {
      // Asking for rights first would cost those who have them.
      if (this.#token === undefined || !hasCode(error, 'EACCES')) throw error;
      // Here it could not be made; where only its folders are missing, the next run of the queue makes them.
      if (!fs.existsSync(this.folder)) throw error;
      const road = new IncomingRoad(this.folder, envelope, origin, this.#token());
      return new Draft(road, envelope, origin, repaired);
    }
  }

  #checkStraight(): void {
    if (!this.#straight) throw Object.assign(new Error('EACCES: not this way'), { code: 'EACCES' });
  }

  #write(draft: Draft, pieces: Iterable<Uint8Array>, { limits, left }: Allowance): Written {
    const form = new WireForm();
    let looked = 0;
    const write = (bytes: Uint8Array): void => {
      draft.write(bytes);
      if (draft.size > limits.size) throw tooBig(limits);
      if (draft.size > left) throw overShare(limits);
      if (draft.size - looked < ROOM_STEP) return;
      looked = draft.size;
      this.checkRoom(limits);
    };
    try {
      for (const piece of pieces) write(form.transform(piece));
      write(form.end());
    } catch (error) {
      draft.abort();
      throw error;
    }
    return { draft, form };
  }

  /** @throws OverLimit where nothing more of this user is taken now, or nothing of anybody */
  #allow(limits: Limits, uid: number, recipients: number): Allowance {
    this.checkRoom(limits);
    const { userEntries, userOctets } = limits;
    const limited = Math.min(userEntries, userOctets) !== Number.POSITIVE_INFINITY;
    // Who may change the limit needs none.
    if (!limited || uid === 0) return { ...NO_ALLOWANCE, limits };
    const path = this.#usagePath(uid);
    let shares: ReturnType<typeof parseShares>;
    try {
      shares = parseShares(readRecord(path));
    } catch (error) {
      // What a caller without rights submits is counted when it is taken over.
      if (this.#token === undefined || !hasCode(error, 'EACCES')) throw error;
      return { ...NO_ALLOWANCE, limits };
    }
    let sum = sumOf(shares);
    const over = (): boolean => sum.entries + recipients > userEntries || sum.octets >= userOctets;
    if (over()) {
      const names = (folder: string): string[] => [...namesIn(join(this.folder, folder))];
      shares = stillQueued(shares, names('spool'), names('unsplit'));
      sum = sumOf(shares);
      const scratch = join(this.folder, 'tmp', `${this.#pid}.usage`);
      replaceDurably(path, scratch, shares.map(formatShare).join(''));
    }
    if (over()) throw overShare(limits);
    return { limits, left: userOctets - sum.octets, counted: true };
  }

  #noteShare(uid: number, bases: readonly string[], octets: number): void {
    const prefix = prefixOf(bases[0] ?? '');
    try {
      makeFolder(join(this.folder, 'run', 'users'), 0o700);
      appendLine(this.#usagePath(uid), formatShare({ prefix, entries: bases.length, octets }));
    } catch {
      // The message is queued, and its user may have a little more than the limit.
    }
  }

  #usagePath(uid: number): string {
    return join(this.folder, 'run', 'users', String(uid));
  }

  /**
   * Whether the disk has room for new mail.
   * @throws OverLimit when it has not
   */
  checkRoom({ floor }: Pick<Limits, 'floor'>): void {
    const short = this.shortage(floor);
    if (short === undefined) return;
    throw new OverLimit('disk', `${short}, which control/spoolfree keeps free`);
  }

  /** Why there is too little room on the disk, one phrase; undefined when there is enough. */
  shortage(floor: Floor): string | undefined {
    try {
      return shortage(fs.statfsSync(this.folder), floor);
    } catch (error) {
      // There is no spool yet, or none that can be used: whoever writes into it says so.
      if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return undefined;
      throw error;
    }
  }

  /**
   * A place for bytes whose envelope is not known yet.
   * @throws OverLimit where the disk has no room, and the system calls' errors
   */
  scratch(origin: Origin, limits: Limits = NO_LIMITS): Scratch {
    this.checkRoom(limits);
    const name = `${origin.pid}.${origin.time}.scratch`;
    try {
      this.#checkStraight();
      this.#withLayout(() => fs.accessSync(join(this.folder, 'tmp'), fs.constants.W_OK));
      return new Scratch(join(this.folder, 'tmp', name), limits);
    } catch (error) {
      if (this.#token === undefined || !hasCode(error, 'EACCES')) throw error;
      return new Scratch(hiddenPath(this.folder, `${name}.${this.#token()}`), limits);
    }
  }

  /** The layout is made when it turns out to be missing: asking first would cost each submission. */
  #withLayout<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
      makeLayout(this.folder, this.#pid);
      return action();
    }
  }
}

function overShare({ userEntries, userOctets }: Limits): OverLimit {
  const limits = [
    ...(userEntries === Number.POSITIVE_INFINITY ? [] : [`${userEntries} recipients`]),
    ...(userOctets === Number.POSITIVE_INFINITY ? [] : [formatSize(userOctets)]),
  ];
  return new OverLimit(
    'user',
    `you have as much mail in the queue as you may have (${limits.join(', ')}); try again later`,
  );
}
