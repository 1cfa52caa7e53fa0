/**
 * The spool and its verbs: submit (intake.ts), list, claim, defer, finish, refuse, release, hold,
 * remove, sweep. Nothing above these files knows how an entry becomes bytes on disk.
 *
 * What keeps an entry from being sent twice is its claim: one rename, which only one process wins.
 * docs/INTERNALS.md has the table of states and what a crash leaves in each.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { escapeText } from '../mail/text.ts';
import { BadBlock } from './block.ts';
import { splitSubmission } from './commit.ts';
import {
  appendText,
  eraseFile,
  hasCode,
  linkFile,
  moveFile,
  replaceText,
  syncFolder,
  touchFile,
} from './disk.ts';
import { Intake } from './intake.ts';
import { checkLayout, isBare, LayoutError, makeLayout, namesIn } from './layout.ts';
import { StoredMessage } from './message.ts';
import {
  addressOf,
  type EntryState,
  formatName,
  parseBase,
  parseName,
  parseTaking,
  prefixOf,
  reasonName,
  resultName,
} from './name.ts';
import { formatOwner, judgeOwner, type Owner, ownerOf, parseOwner } from './owner.ts';
import { Records } from './records.ts';
import { type Attempt, countedAttempts, formatAttempt, parseAttempts } from './result.ts';

/** One recipient's mail in the spool, as its file name tells it. */
export interface Entry {
  readonly base: string;
  readonly state: EntryState;
}

/** The right to send one entry: no other process has it. */
export interface Claim {
  readonly base: string;
  /** The state the entry had. */
  readonly from: EntryState;
  /** Attempts counted so far. */
  readonly attempts: number;
}

export interface Listing {
  /** Sorted by name, which is by age. */
  readonly entries: readonly Entry[];
  /** Names in spool/ that are no entry's: left alone, shown to the admin. */
  readonly foreign: readonly string[];
}

/** Who submitted the reports of this program. */
export const REPORTS = 'reports';

/** Up to so many entries and results, those that lack the other are looked for. */
const MOST_TIDIED = 100_000;

/** What sweep did, for the log. */
export interface Swept {
  /** Entries whose claim's owner is gone; their last attempt may have reached the relay. */
  readonly takenBack: readonly string[];
  /** Files moved to corrupt/, each with the reason. */
  readonly corrupt: readonly { readonly name: string; readonly reason: string }[];
  /** What this machine could not do just now, one line each; the next sweep tries again. */
  readonly faults: readonly string[];
}

/** A file in tmp/ older than this is nobody's draft any more (milliseconds). */
const DRAFT_LIFETIME = 36 * 3600 * 1000;

/** A result without its entry is left alone for this long: a listing can miss a moving entry. */
const LONE_RESULT_AGE = 3600 * 1000;

/** An owner in another pid name space counts as dead when its record is older than this. */
const FOREIGN_OWNER_AGE = 30 * 60 * 1000;

export class Spool extends Intake {
  /** What runners leave for each other beside the queue. */
  readonly records: Records;
  readonly #pid: number;
  #self: Owner | undefined;
  #entered = false;
  /** What could not be done with claims of this process, by the base name of the entry. */
  readonly #unsettled = new Map<string, () => void>();

  /** Who looks after the queue has the rights on it, and needs no other road into it. */
  constructor(folder: string, pid: number) {
    super(folder, pid);
    this.records = new Records(folder);
    this.#pid = pid;
  }

  /** This process, as claims and locks record it. Looked up late: a submission does not need it. */
  get self(): Owner {
    this.#self ??= ownerOf(this.#pid);
    if (this.#self === undefined)
      throw new LayoutError('this system has no /proc to tell processes');
    return this.#self;
  }

  /** Whether the folder is there and nothing of its layout. */
  isBare(): boolean {
    return isBare(this.folder);
  }

  /** Makes the folders that are missing. */
  makeLayout(): void {
    makeLayout(this.folder, this.#pid);
  }

  /** @throws LayoutError when the folder is of a layout that this program does not know */
  checkLayout(): void {
    checkLayout(this.folder);
  }

  /**
   * The entries whose submission is split completely.
   * @param wanted which of them; the others cost no memory
   */
  list(wanted: (entry: Entry) => boolean = () => true): Listing {
    const found: Entry[] = [];
    const foreign: string[] = [];
    for (const name of namesIn(this.#path('spool'))) {
      const parsed = parseName(name);
      if (parsed.kind === 'foreign') foreign.push(name);
      if (parsed.kind !== 'entry') continue;
      const entry = { base: parsed.base, state: parsed.state };
      if (wanted(entry)) found.push(entry);
    }
    const isWhole = this.#wholeSubmissions();
    const entries = found.filter(({ base }) => isWhole(base));
    return { entries: entries.sort(byBase), foreign: foreign.sort() };
  }

  /** The file names of those entries, oldest first; of a million this is what can be kept. */
  entryNames(): readonly string[] {
    const found: string[] = [];
    for (const name of namesIn(this.#path('spool'))) {
      if (parseName(name).kind === 'entry') found.push(name);
    }
    return found.filter(this.#wholeSubmissions()).sort();
  }

  /**
   * Tells by a name whether its submission is split completely. To be asked for behind the listing of the
   * names: a submission that left unsplit/ since has all its entries, and one that is still there may have
   * some of them, which nobody may send yet.
   */
  #wholeSubmissions(): (name: string) => boolean {
    const unsplit = new Set(
      [...namesIn(this.#path('unsplit'))].map((name) => prefixOf(`${name}:`)),
    );
    return (name) => unsplit.size === 0 || !unsplit.has(prefixOf(name));
  }

  /** The base names in Undelivered, sorted by age. */
  listUndelivered(): readonly string[] {
    const bases: string[] = [];
    for (const name of [...namesIn(this.#path('Undelivered'))].sort()) {
      const parsed = parseName(name);
      if (parsed.kind === 'entry') bases.push(parsed.base);
    }
    return bases;
  }

  /**
   * Takes an entry for sending; undefined when another process was faster.
   * @param now milliseconds since 1970-01-01 UTC
   */
  claim(entry: Entry, now: number): Claim | undefined {
    if (entry.state.kind === 'sending') return undefined;
    this.enter(now);
    if (!this.#rename(entry.base, entry.state, this.#sending())) return undefined;
    return { base: entry.base, from: entry.state, attempts: attemptsOf(entry.state) };
  }

  /** Whether two entries are links to one file, so that one message serves both. */
  shareFile(one: Entry, other: Entry): boolean {
    try {
      const [a, b] = [one, other].map(({ base, state }) =>
        fs.lstatSync(this.#path('spool', formatName(base, state))),
      );
      return a?.ino === b?.ino && a?.dev === b?.dev;
    } catch (error) {
      // One of them has moved on since it was listed.
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /**
   * Opens a claimed entry's message.
   * @throws BadBlock, or the system call's error
   */
  open(claim: Claim): StoredMessage {
    return new StoredMessage(
      this.#path('spool', formatName(claim.base, this.#sending())),
      claim.base,
    );
  }

  /** The octets of a file, its block included; undefined when it has moved on. */
  sizeOf(folder: 'spool' | 'Undelivered', name: string): number | undefined {
    return fs.lstatSync(this.#path(folder, name), { throwIfNoEntry: false })?.size;
  }

  /** Opens the message of an entry that is only looked at, by its whole file name. */
  look(base: string, folder: 'spool' | 'Undelivered', name: string): StoredMessage {
    return new StoredMessage(this.#path(folder, name), base);
  }

  /** The relay has it: the entry goes, then its history. */
  finish(claim: Claim): void {
    eraseFile(this.#path('spool', formatName(claim.base, this.#sending())));
    if (claim.from.kind !== 'new') eraseFile(this.#path('spool', resultName(claim.base)));
  }

  /** Back to waiting, with what was said; `due` in milliseconds since 1970-01-01 UTC. */
  defer(claim: Claim, attempt: Attempt, attempts: number, due: number): void {
    appendText(this.#path('spool', resultName(claim.base)), formatAttempt(attempt));
    this.#rename(claim.base, this.#sending(), { kind: 'waiting', attempts, due });
  }

  /** To Undelivered, with the history beside it; the reason is there before the entry is. */
  refuse(claim: Claim, attempt: Attempt): void {
    const result = this.#path('spool', resultName(claim.base));
    const kept = this.#path('Undelivered', resultName(claim.base));
    appendText(result, formatAttempt(attempt));
    try {
      linkFile(result, kept, this.#path('tmp', `${this.#pid}.result`));
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
      // Left by a refusal that was cut short.
      appendText(kept, formatAttempt(attempt));
    }
    syncFolder(this.#path('Undelivered'));
    const name = formatName(claim.base, this.#sending());
    moveFile(this.#path('spool', name), this.#path('Undelivered', claim.base));
    syncFolder(this.#path('Undelivered'));
    eraseFile(result);
  }

  /**
   * An entry that nobody is sending: from now on it waits until `due`, with no attempt spent. False when
   * somebody else has it.
   */
  postpone({ base, state }: Entry, due: number): boolean {
    if (state.kind === 'sending') return false;
    return this.#rename(base, state, { kind: 'waiting', attempts: attemptsOf(state), due });
  }

  /** On hold by the administrator. False when somebody else has it. */
  withhold({ base, state }: Entry): boolean {
    if (state.kind === 'sending') return false;
    return this.#rename(base, state, { kind: 'held', attempts: attemptsOf(state) });
  }

  /** A refused entry goes, then its history; false when it is gone already. */
  discard(base: string): boolean {
    const there = eraseFile(this.#path('Undelivered', base));
    eraseFile(this.#path('Undelivered', resultName(base)));
    return there;
  }

  /**
   * Gives a claim back: the route or this machine is at fault, no attempt is spent. What was new waits
   * from now on, so that it is met as new only once.
   */
  release(claim: Claim, now: number): void {
    const to: EntryState =
      claim.from.kind === 'new' ? { kind: 'waiting', attempts: 0, due: now } : claim.from;
    this.#rename(claim.base, this.#sending(), to);
  }

  /** What ends a claim of this process could not be done just now: each sweep tries again. */
  later({ base }: Claim, action: () => void): void {
    this.#unsettled.set(base, action);
  }

  /** On hold: nothing is tried until the admin says so. */
  hold(claim: Claim): void {
    this.#rename(claim.base, this.#sending(), { kind: 'held', attempts: claim.attempts });
  }

  /** Adds to an entry's history, whatever its state, what is no attempt. */
  note(base: string, record: Attempt): void {
    appendText(this.#path('spool', resultName(base)), formatAttempt(record));
  }

  /** To corrupt/, beside the reason. */
  condemn(claim: Claim, reason: string): void {
    this.#condemn('spool', formatName(claim.base, this.#sending()), claim.base, reason);
  }

  /** What was claimed of incoming/ and cannot be queued: to corrupt/, beside the reason. */
  condemnTaken(name: string, as: string, reason: string): void {
    this.#condemn('unsplit', name, as, reason);
  }

  /**
   * Moves whatever lies in the spool under a path to corrupt/, beside the reason. Nothing that is there
   * already is replaced.
   * @param as the name that it gets, if that is free
   */
  setAside(path: string, as: string, reason: string): void {
    let name = as;
    // Names are limited by octets, and in unsplit/ any name can lie.
    for (let n = 2; fs.lstatSync(this.#path('corrupt', name), { throwIfNoEntry: false }); n++) {
      name = `${Buffer.from(as).subarray(0, 230).toString('utf8')}:${n}`;
    }
    const note = this.#path('corrupt', reasonName(name));
    appendText(note, `${escapeText(reason)}\n`);
    if (!moveFile(this.#path(path), this.#path('corrupt', name))) eraseFile(note);
    syncFolder(this.#path('corrupt'));
  }

  /** The history of an entry's attempts, oldest first. */
  history(base: string, folder: 'spool' | 'Undelivered' = 'spool'): readonly Attempt[] {
    const path = this.#path(folder, resultName(base));
    // Most entries have none, and an error costs far more than a look.
    if (!fs.existsSync(path)) return [];
    try {
      return parseAttempts(fs.readFileSync(path).toString('utf8'));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /**
   * Puts right what others left: splits submissions, takes back claims of dead owners, erases old
   * drafts and results without an entry. Safe beside other runners.
   * @param now milliseconds since 1970-01-01 UTC
   */
  sweep(now: number): Swept {
    if (this.#entered) this.#affirm();
    const corrupt: { name: string; reason: string }[] = [];
    const faults: string[] = [];
    // One file that cannot be put right now must not stop the others.
    const attempt = (action: () => void): void => {
      try {
        action();
      } catch (error) {
        if (!(error instanceof Error && 'syscall' in error)) throw error;
        faults.push(error.message);
      }
    };
    for (const [base, action] of this.#unsettled) {
      attempt(() => {
        action();
        this.#unsettled.delete(base);
      });
    }
    const unsplit = [...namesIn(this.#path('unsplit'))];
    // What is being taken over is split when that is done: until then it may be found wanting.
    const taking = new Set(
      unsplit.filter((name) => parseTaking(name) !== undefined).map((name) => prefixOf(name)),
    );
    for (const name of unsplit) {
      if (taking.size > 0 && taking.has(prefixOf(`${name}:`))) continue;
      attempt(() => {
        try {
          this.#split(name);
        } catch (error) {
          if (!(error instanceof BadBlock)) throw error;
          this.#condemn('unsplit', name, name, error.message);
          corrupt.push({ name, reason: error.message });
        }
      });
    }
    const takenBack: string[] = [];
    const alive = new Map<number, boolean>();
    const claims: { readonly base: string; readonly state: EntryState; readonly pid: number }[] =
      [];
    const bases = new Set<string>();
    const results: string[] = [];
    for (const name of namesIn(this.#path('spool'))) {
      const parsed = parseName(name);
      if (parsed.kind === 'foreign') continue;
      const { base } = parsed;
      if (bases.size + results.length <= MOST_TIDIED) {
        if (parsed.kind === 'result') results.push(base);
        else bases.add(base);
      }
      if (parsed.kind === 'entry' && parsed.state.kind === 'sending') {
        claims.push({ base, state: parsed.state, pid: parsed.state.pid });
      }
    }
    for (const { base, state, pid } of claims) {
      attempt(() => {
        const lives = alive.get(pid) ?? this.lives(pid, now);
        alive.set(pid, lives);
        if (!lives && this.#takeBack(base, state, now)) takenBack.push(base);
      });
    }
    // A lone result does no harm, so in a very long queue none is looked for.
    for (const base of bases.size + results.length > MOST_TIDIED ? [] : results) {
      if (bases.has(base)) continue;
      const path = this.#path('spool', resultName(base));
      attempt(() => this.#eraseOld(path, now - LONE_RESULT_AGE));
    }
    for (const name of [...namesIn(this.#path('tmp'))]) {
      attempt(() => this.#eraseOld(this.#path('tmp', name), now - DRAFT_LIFETIME));
    }
    return { takenBack, corrupt, faults };
  }

  /**
   * Who submitted an entry: a user id, or REPORTS; of a file that somebody put into the folder, its
   * owner. An entry that has moved on or cannot be read is root's.
   */
  submitterOf({ base, state }: Entry): string {
    try {
      const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
      const path = this.#path('spool', formatName(base, state));
      const fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      try {
        // Behind these lines only begins what a submitter could have written.
        const start = Buffer.allocUnsafe(1024);
        const text = start.toString('latin1', 0, fs.readSync(fd, start, 0, start.length, 0));
        const [, uid, program] =
          /^picorelay: .*?\nuid: (\d{1,10})\nprogram: (\S*)\n/s.exec(text) ?? [];
        if (uid === undefined) return String(fs.fstatSync(fd).uid);
        return program === 'bounce' ? REPORTS : uid;
      } finally {
        fs.closeSync(fd);
      }
    } catch {
      // Whoever claims it says what is wrong.
      return '0';
    }
  }

  /** Sender and recipient of an entry; undefined when it cannot be read, or has moved on. */
  addressesOf({ base, state }: Entry): { sender: string; recipient: string } | undefined {
    const name = parseBase(base);
    const sender = addressOf(name?.sender ?? '');
    const recipient = addressOf(name?.recipient ?? '');
    if (sender !== undefined && recipient !== undefined) return { sender, recipient };
    // The name has a cut address: the block tells the whole.
    try {
      const message = this.look(base, 'spool', formatName(base, state));
      try {
        return { sender: message.sender, recipient: message.recipientOf(base).address };
      } finally {
        message.close();
      }
    } catch (error) {
      if (error instanceof BadBlock || hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** How many submissions of users without rights wait to be taken over; none for who may not list them. */
  countIncoming(): number {
    try {
      return [...namesIn(this.#path('incoming'))].length;
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'EACCES')) return 0;
      throw error;
    }
  }

  /** How many files lie in corrupt/. */
  countCorrupt(): number {
    return [...namesIn(this.#path('corrupt'))].filter((name) => !name.endsWith(':.reason')).length;
  }

  /** Waits until what was settled is on the disk. */
  sync(): void {
    syncFolder(this.#path('spool'));
  }

  /** To be called when this process claims nothing more: its record goes. */
  leave(): void {
    if (this.#entered) eraseFile(this.#path('run', String(this.#pid)));
    this.#entered = false;
  }

  /** Keeps this process's record fresh for runners in other pid name spaces. */
  touch(now: number): void {
    if (!this.#entered) return;
    this.#affirm();
    try {
      touchFile(this.#path('run', String(this.#pid)), now);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  /**
   * Leaves the record again where somebody emptied run/, or put another spool here. Without it whoever comes
   * next takes our claims for those of a dead process, and what is on its way would go twice.
   */
  #affirm(): void {
    const path = this.#path('run', String(this.#pid));
    if (fs.existsSync(path)) return;
    try {
      replaceText(path, formatOwner(this.self));
    } catch (error) {
      // Without the folder nobody can be told anything; who looks after the queue makes it again.
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  /** Leaves the record by which others know that this process lives and that its claims are good. */
  enter(now: number): void {
    if (this.#entered) {
      this.#affirm();
      return;
    }
    const path = this.#path('run', String(this.#pid));
    // A claim under this pid that was not made by this process is a dead one's: take it back before
    // this record makes it look alive.
    const before: Entry[] = [];
    for (const name of namesIn(this.#path('spool'))) {
      const parsed = parseName(name);
      if (parsed.kind !== 'entry' || parsed.state.kind !== 'sending') continue;
      if (parsed.state.pid === this.#pid) before.push(parsed);
    }
    const record = this.#recordOf(this.#pid);
    if (record?.owner.space !== this.self.space && this.lives(this.#pid, now)) {
      // Its claims bear the same pid as ours would: they could not be told apart.
      throw new LayoutError(
        `${path}: a process of another pid name space has this pid and may live`,
      );
    }
    replaceText(path, formatOwner(this.self));
    this.#entered = true;
    for (const { base, state } of before) this.#takeBack(base, state, now);
  }

  /** Whether the process of this pid that claimed something lives. */
  lives(pid: number, now: number): boolean {
    const record = this.#recordOf(pid);
    if (record === undefined) return false;
    const verdict = judgeOwner(record.owner, this.self);
    if (verdict === 'unknown') return now - record.written < FOREIGN_OWNER_AGE;
    return verdict === 'alive';
  }

  #recordOf(pid: number): { readonly owner: Owner; readonly written: number } | undefined {
    const path = this.#path('run', String(pid));
    try {
      const owner = parseOwner(fs.readFileSync(path, 'latin1'));
      return owner && { owner, written: fs.statSync(path).mtimeMs };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #takeBack(base: string, state: EntryState, now: number): boolean {
    const attempts = countedAttempts(this.history(base));
    const due = Math.floor(now / 1000) * 1000;
    // Its owner may have settled it and left since it was listed: then there is nothing in doubt.
    if (!fs.existsSync(this.#path('spool', formatName(base, state)))) return false;
    const lines = [
      'the process that was sending it died; the relay may have it: possible duplicate',
    ];
    const record: Attempt = {
      time: due,
      outcome: 'interrupted',
      stage: 'claim',
      relay: 'none',
      lines,
    };
    // First the record: a crash in between must not leave an entry whose doubt nobody knows of.
    appendText(this.#path('spool', resultName(base)), formatAttempt(record));
    return this.#rename(base, state, { kind: 'waiting', attempts, due });
  }

  #split(name: string): void {
    const path = this.#path('unsplit', name);
    let message: StoredMessage;
    try {
      message = new StoredMessage(path, name);
    } catch (error) {
      // Its owner finished the split meanwhile.
      if (hasCode(error, 'ENOENT')) return;
      throw error;
    }
    try {
      if (parseBase(`${name}:x`) === undefined) {
        throw new BadBlock('its name is none of a submission');
      }
      const [first, ...others] = message.recipients;
      if (first === undefined) throw new BadBlock('a submission without an envelope block');
      const { sender } = message;
      splitSubmission(this.folder, name, { sender, recipients: [first, ...others] });
    } finally {
      message.close();
    }
  }

  #condemn(folder: 'spool' | 'unsplit', name: string, as: string, reason: string): void {
    this.setAside(join(folder, name), as, reason);
  }

  #eraseOld(path: string, before: number): void {
    try {
      if (fs.statSync(path).mtimeMs < before) eraseFile(path);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  #rename(base: string, from: EntryState, to: EntryState): boolean {
    return moveFile(
      this.#path('spool', formatName(base, from)),
      this.#path('spool', formatName(base, to)),
    );
  }

  #sending(): EntryState {
    return { kind: 'sending', pid: this.#pid };
  }

  #path(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }
}

function attemptsOf(state: EntryState): number {
  return state.kind === 'waiting' || state.kind === 'held' ? state.attempts : 0;
}

function byBase(one: Entry, other: Entry): number {
  if (one.base === other.base) return 0;
  return one.base < other.base ? -1 : 1;
}
