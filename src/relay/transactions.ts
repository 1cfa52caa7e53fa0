/**
 * Mail transactions on one session (RFC 5321 section 3.3), several of them under way at a time.
 *
 * - With CHUNKING and PIPELINING (RFC 3030, RFC 2920) a small message is one write: RSET, MAIL, RCPT,
 *   BDAT LAST and its octets; the next one follows without waiting.
 * - With PIPELINING the envelope and DATA are one write, and the final dot of a message leaves
 *   together with the envelope of the next: one round trip a message.
 * - Without either, step by step.
 *
 * Replies are matched to commands strictly in order. It reports what was heard about each recipient
 * and decides nothing that the table in queue/sorting.ts decides. Hostile input: the relay's replies;
 * an address that could add a command or a parameter never leaves here.
 */
import { domainToASCII } from 'node:url';
import { isMailbox } from '../mail/address.ts';
import type { Recipient } from '../mail/envelope.ts';
import type { Answer, DialogueEvent, Stage } from '../mail/outcome.ts';
import { formatReply, isIntermediate, isPositive, ownReply, type Reply } from '../mail/reply.ts';
import { escapeText } from '../mail/text.ts';
import { DotStuffing } from '../mail/wireform.ts';
import type { Dialogue } from './dialogue.ts';

/** How long each answer may take, in seconds (RFC 5321 section 4.5.3.2). */
export interface Timeouts {
  readonly mail: number;
  readonly rcpt: number;
  readonly data: number;
  readonly block: number;
  readonly dot: number;
}

/** A message for some of its recipients. */
export interface Transaction {
  readonly sender: string;
  readonly recipients: readonly Recipient[];
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  /** The submitting client asked for SMTPUTF8: the header may need it though no address does. */
  readonly smtpUtf8?: true;
  /** It goes over verified TLS to a relay that hands it on so (RFC 8689), or not at all. */
  readonly requireTls?: true;
  /** Octets in wire form, where known. */
  readonly size: number | undefined;
  readonly eightBit: boolean;
  /** The message in wire form; each piece is valid until the next one is asked for. */
  pieces(): Iterable<Uint8Array>;
}

/** A transaction with what has been heard so far. */
interface Job {
  readonly transaction: Transaction;
  readonly answers: (Answer | undefined)[];
  /** Recipients that are named to the relay, as indexes. */
  readonly named: readonly number[];
  /** Those of them that the relay said yes to. */
  readonly accepted: number[];
  /** MAIL and the RCPT of each that is named. */
  commands: readonly string[];
  readonly exchanges: Exchange[];
  readonly resolve: (answers: readonly Answer[]) => void;
  readonly reject: (error: unknown) => void;
}

/** A command and what came of it. */
interface Exchange {
  /** The recipient that it is about; all where there is none. */
  readonly index?: number | undefined;
  readonly command: string;
  readonly event: DialogueEvent;
}

/** Octets up to which a message is sent before its envelope is answered, and gathered in one write. */
const SMALL = 64 * 1024;

/** Octets that may wait in the socket before the next piece is read. */
const HIGH_WATER = 256 * 1024;

/** What is said before the end of a message cannot be the answer to it. */
const EARLY: DialogueEvent = { kind: 'malformed', reason: 'a reply before the end of the message' };

export class Transactions {
  readonly #dialogue: Dialogue;
  readonly #extensions: ReadonlyMap<string, string>;
  readonly #timeouts: Timeouts;
  readonly #lmtp: boolean;
  readonly #verified: boolean;
  readonly #jobs: Job[] = [];
  /** Bytes that leave with the next write: the end of a message waits here for the next envelope. */
  #out: Buffer[] = [];
  /** Replies are read in the order in which their commands were written. */
  #reading: Promise<unknown> = Promise.resolve();
  #pumping = false;
  /** The relay keeps a half-done transaction: RSET comes before the next MAIL. */
  #open = false;

  /**
   * `lmtp`: the end of a message is answered for each recipient (RFC 2033). `verified`: the relay has shown
   * over TLS who it is.
   */
  constructor(
    dialogue: Dialogue,
    extensions: ReadonlyMap<string, string>,
    timeouts: Timeouts,
    { lmtp, verified }: { readonly lmtp: boolean; readonly verified: boolean },
  ) {
    this.#dialogue = dialogue;
    this.#extensions = extensions;
    this.#timeouts = timeouts;
    this.#lmtp = lmtp;
    this.#verified = verified;
  }

  /** Whether messages may follow each other before they are answered. */
  get overlapping(): boolean {
    return this.#extensions.has('PIPELINING');
  }

  /** Whether whole messages may be under way at once. */
  get chunking(): boolean {
    return this.#extensions.has('CHUNKING') && this.overlapping;
  }

  /**
   * Offers a message to its recipients: one answer each, in their order. May be called again before
   * the answers are there; never rejects for anything the relay does.
   * @throws what transaction.pieces() throws; the session is ended then, so that no half message is taken
   */
  send(transaction: Transaction): Promise<readonly Answer[]> {
    const answers = transaction.recipients.map((recipient) =>
      unfit(transaction, recipient, this.#extensions, this.#verified),
    );
    const named = indexesOf(answers);
    if (named.length === 0) return Promise.resolve(complete(answers, []));
    return new Promise((resolve, reject) => {
      const heard = { answers, accepted: [], commands: [], exchanges: [] };
      this.#jobs.push({ ...heard, transaction, named, resolve, reject });
      if (!this.#pumping) void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) {
      try {
        const { size } = job.transaction;
        if (this.chunking && size !== undefined && size <= SMALL) this.#sendWhole(job, size);
        else await this.#sendStaged(job);
      } catch (error) {
        // The message cannot be read: the relay must not take what it has got for the whole of it.
        this.#dialogue.destroy();
        job.reject(error);
      }
      if (this.#jobs.length === 0) this.#flush();
    }
    this.#pumping = false;
  }

  /** RSET, MAIL, RCPT, BDAT LAST and the message in one go; the answers come when they come. */
  #sendWhole(job: Job, size: number): void {
    let pieces: Buffer[];
    try {
      pieces = [...job.transaction.pieces()].map((piece) => Buffer.from(piece));
    } catch (error) {
      // Nothing of it was written: the messages under way are not disturbed.
      job.reject(error);
      return;
    }
    // The answers to the message before are not known yet: if it failed, its transaction is open.
    const commands = ['RSET', ...this.#envelope(job), `BDAT ${size} LAST`];
    this.#command(commands);
    this.#out.push(...pieces);
    // Once it has left, the relay may have the message although nothing is heard of it any more.
    const silence: Stage = this.#dialogue.ended === undefined ? 'dot' : 'mail';
    this.#flush();
    void this.#read(async () => {
      const reset = await this.#readReset(job);
      await this.#readEnvelope(job, reset, silence);
      await this.#readEnd(job, `BDAT ${size} LAST`);
      // The next message begins with RSET all the same.
      this.#open = false;
    });
  }

  /** Envelope first, the message when somebody is to get it. */
  async #sendStaged(job: Job): Promise<void> {
    const chunks = this.chunking && job.transaction.size !== undefined;
    // With messages under way it is not known yet whether they left a transaction open.
    const reset = this.#open || this.chunking;
    const envelope = this.#envelope(job);
    if (!this.overlapping) {
      await this.#sendStepwise(job, reset, envelope);
      return;
    }
    this.#command([...(reset ? ['RSET'] : []), ...envelope, ...(chunks ? [] : ['DATA'])]);
    this.#flush();
    this.#open = true;
    const accepted = await this.#read(async () => {
      const cleared = reset ? await this.#readReset(job) : undefined;
      const count = await this.#readEnvelope(job, cleared);
      if (chunks) return count;
      const event = await this.#dialogue.reply(this.#timeouts.data);
      job.exchanges.push({ command: 'DATA', event });
      if (isReply(event, isIntermediate)) {
        if (count > 0) return count;
        // The relay waits for a message that nobody is to get: an empty one.
        this.#dialogue.write(Buffer.from('.\r\n'));
        await this.#dialogue.reply(this.#timeouts.dot);
      } else {
        settleRest(job, 'data', event);
      }
      return 0;
    });
    if (accepted === 0) this.#finish(job);
    else await this.#sendMessage(job, chunks);
  }

  async #sendStepwise(job: Job, reset: boolean, envelope: readonly string[]): Promise<void> {
    const ask = async (line: string, seconds: number): Promise<DialogueEvent> => {
      this.#command([line]);
      this.#flush();
      return await this.#dialogue.reply(seconds);
    };
    const { mail, rcpt, data } = this.#timeouts;
    const [mailLine = '', ...rcptLines] = envelope;
    const cleared = reset ? await ask('RSET', mail) : undefined;
    if (cleared !== undefined && this.#obeyClosing(cleared)) settleRest(job, 'mail', cleared);
    this.#open = false;
    const mailEvent = await ask(mailLine, mail);
    job.exchanges.push({ command: mailLine, event: mailEvent });
    if (!isReply(mailEvent, isPositive)) {
      const { stage, event } = refusal(mailEvent, cleared);
      this.#settle(job, stage, event);
      return;
    }
    this.#open = true;
    let accepted = 0;
    for (const [n, line] of rcptLines.entries()) {
      if (this.#hearRcpt(job, n, await ask(line, rcpt))) accepted++;
    }
    if (accepted === 0) {
      this.#finish(job);
      return;
    }
    const event = await ask('DATA', data);
    job.exchanges.push({ command: 'DATA', event });
    if (isReply(event, isIntermediate)) await this.#sendMessage(job, false);
    else this.#settle(job, 'data', event);
  }

  /** The message, and whatever ends it; its answer is read in its turn. */
  async #sendMessage(job: Job, chunks: boolean): Promise<void> {
    const end = chunks ? `BDAT ${job.transaction.size} LAST` : '.';
    if (chunks) this.#command([end]);
    const stuffing = chunks ? undefined : new DotStuffing();
    for (const piece of job.transaction.pieces()) {
      this.#out.push(Buffer.from(stuffing === undefined ? piece : stuffing.transform(piece)));
      if (this.#pending() < SMALL) continue;
      if (this.#dialogue.unsolicited) break;
      this.#flush();
      const cutShort = await this.#dialogue.drained(HIGH_WATER, this.#timeouts.block);
      if (cutShort !== undefined) {
        await this.#endEarly(job, cutShort);
        return;
      }
    }
    if (this.#dialogue.unsolicited) {
      await this.#endEarly(job, EARLY);
      return;
    }
    // The dot leaves with the end of the message: alone it would wait for an acknowledgement.
    if (stuffing !== undefined) this.#out.push(Buffer.from(stuffing.end()));
    const answered = this.#read(() => this.#readEnd(job, end));
    this.#open = false;
    if (this.overlapping && this.#jobs.length > 0) return;
    this.#flush();
    // One after the other where the relay wants it so.
    if (!this.overlapping) await answered;
  }

  /** A relay that refuses in the middle of the message says why before it closes. */
  async #endEarly(job: Job, cutShort: DialogueEvent): Promise<void> {
    const said = this.#dialogue.unsolicited
      ? await this.#dialogue.reply(this.#timeouts.block)
      : cutShort;
    job.exchanges.push({ command: 'a part of the message', event: said });
    if (said.kind === 'reply' && said.reply.code >= 400) this.#settle(job, 'dot', said);
    else this.#settle(job, 'data', cutShort);
    this.#dialogue.destroy();
  }

  /** What is said to RSET does not matter, unless it is that nothing more will be. */
  async #readReset(job: Job): Promise<DialogueEvent> {
    const event = await this.#dialogue.reply(this.#timeouts.mail);
    if (this.#obeyClosing(event)) settleRest(job, 'mail', event);
    return event;
  }

  /**
   * The replies to MAIL and RCPT; how many recipients the relay takes.
   * @param cleared the answer to the RSET before, where there was one
   * @param silence the stage at which it counts when nothing is heard; else that of the command
   */
  async #readEnvelope(
    job: Job,
    cleared: DialogueEvent | undefined,
    silence?: Stage,
  ): Promise<number> {
    const mailEvent = await this.#dialogue.reply(this.#timeouts.mail);
    job.exchanges.push({ command: job.commands[0] ?? '', event: mailEvent });
    const mailTaken = isReply(mailEvent, isPositive);
    if (mailEvent.kind !== 'reply') settleRest(job, silence ?? 'mail', mailEvent);
    else if (!mailTaken) {
      const { stage, event } = refusal(mailEvent, cleared);
      settleRest(job, stage, event);
    }
    this.#obeyClosing(mailEvent);
    let accepted = 0;
    for (const n of job.named.keys()) {
      const event = await this.#dialogue.reply(this.#timeouts.rcpt);
      const taken = this.#hearRcpt(job, n, event, silence);
      if (taken && mailTaken) accepted++;
    }
    return accepted;
  }

  /**
   * What the relay says to the end of the message: once, or in LMTP once for each recipient that it took.
   * @param command what ended it
   */
  async #readEnd(job: Job, command: string): Promise<void> {
    const { dot } = this.#timeouts;
    // RFC 2033 sections 4.2 and 4.3: where it took none, a single reply says so.
    for (const index of this.#lmtp ? job.accepted.slice(0, -1) : []) {
      const event = await this.#dialogue.reply(dot);
      job.exchanges.push({ index, command, event });
      this.#obeyClosing(event);
      job.answers[index] ??= { stage: 'dot', event };
    }
    const last = await this.#dialogue.reply(dot);
    job.exchanges.push({ command, event: last });
    this.#settle(job, 'dot', last);
  }

  /** 421: the relay is about to close (RFC 5321 section 3.8), whatever else was asked. */
  #obeyClosing(event: DialogueEvent): boolean {
    const closing = isReply(event, ({ code }) => code === 421);
    if (closing) this.#dialogue.destroy();
    return closing;
  }

  #hearRcpt(job: Job, n: number, event: DialogueEvent, silence?: Stage): boolean {
    const index = job.named[n];
    job.exchanges.push({ index, command: job.commands[n + 1] ?? '', event });
    if (isReply(event, isPositive)) {
      if (index !== undefined) job.accepted.push(index);
      return true;
    }
    // That goes for the recipients accepted before, too.
    if (this.#obeyClosing(event)) settleRest(job, 'rcpt', event);
    // Where nothing is heard any more, that goes for those accepted before, too.
    if (event.kind !== 'reply') settleRest(job, silence ?? 'rcpt', event);
    if (index !== undefined) job.answers[index] ??= { stage: 'rcpt', event };
    return false;
  }

  /** What is open gets this answer, and the job is done. */
  #settle(job: Job, stage: Stage, event: DialogueEvent): void {
    settleRest(job, stage, event);
    this.#finish(job);
  }

  #finish(job: Job): void {
    job.resolve(complete(job.answers, job.exchanges));
  }

  #envelope(job: Job): readonly string[] {
    const { transaction, named } = job;
    job.commands = [
      mailCommand(transaction, this.#extensions, this.#verified),
      ...named.map((index) =>
        rcptCommand(transaction.recipients[index], this.#extensions, needsUtf8(transaction)),
      ),
    ];
    return job.commands;
  }

  #command(lines: readonly string[]): void {
    this.#dialogue.said(lines);
    this.#out.push(Buffer.from(lines.map((line) => `${line}\r\n`).join('')));
  }

  #pending(): number {
    return this.#out.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  #flush(): void {
    const [first, ...others] = this.#out;
    this.#out = [];
    if (first === undefined) return;
    this.#dialogue.write(others.length === 0 ? first : Buffer.concat([first, ...others]));
  }

  /** Reads in the order of the commands. */
  #read<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#reading.then(task);
    this.#reading = result;
    return result;
  }
}

/** What a MAIL that was not taken says about the mail. */
function refusal(event: DialogueEvent, cleared: DialogueEvent | undefined): Answer {
  // A transaction that is still open is the reason, and no fault of this mail.
  const open = cleared?.kind === 'reply' && !isPositive(cleared.reply);
  if (open && isReply(event, ({ code }) => code === 503)) return { stage: 'rset', event: cleared };
  return { stage: 'mail', event };
}

function settleRest(job: Job, stage: Stage, event: DialogueEvent): void {
  for (const index of job.named) job.answers[index] ??= { stage, event };
}

function mailCommand(
  transaction: Transaction,
  extensions: ReadonlyMap<string, string>,
  verified: boolean,
): string {
  const utf8 = extensions.has('SMTPUTF8') && needsUtf8(transaction);
  const sender = utf8 ? transaction.sender : (toAscii(transaction.sender) ?? transaction.sender);
  let command = `MAIL FROM:<${sender}>`;
  const size = transaction.size;
  if (size !== undefined && extensions.has('SIZE')) command += ` SIZE=${size}`;
  if (transaction.eightBit && extensions.has('8BITMIME')) command += ' BODY=8BITMIME';
  if (utf8) command += ' SMTPUTF8';
  const safe = verified && extensions.has('REQUIRETLS');
  if (safe && transaction.requireTls === true) command += ' REQUIRETLS';
  if (extensions.has('DSN')) {
    // RFC 8689 section 5: RET=FULL is to be passed over.
    const ret = transaction.requireTls === true ? 'HDRS' : transaction.ret;
    if (ret !== undefined) command += ` RET=${ret}`;
    if (transaction.envid !== undefined) command += ` ENVID=${transaction.envid}`;
  }
  return command;
}

function rcptCommand(
  recipient: Recipient | undefined,
  extensions: ReadonlyMap<string, string>,
  needsUtf8: boolean,
): string {
  const address = recipient?.address ?? '';
  const utf8 = needsUtf8 && extensions.has('SMTPUTF8');
  const shown = utf8 ? address : (toAscii(address) ?? address);
  let command = `RCPT TO:<${shown}>`;
  if (extensions.has('DSN')) {
    if (recipient?.notify !== undefined) command += ` NOTIFY=${recipient.notify}`;
    const orcpt =
      recipient?.orcpt === undefined || utf8 ? recipient?.orcpt : asciiOrcpt(recipient.orcpt);
    if (orcpt !== undefined) command += ` ORCPT=${orcpt}`;
  }
  return command;
}

/** The address of an ORCPT in its form without SMTPUTF8 (RFC 6533 section 3); only its own type has one. */
function asciiOrcpt(orcpt: string): string | undefined {
  if (isAscii(orcpt)) return orcpt;
  if (!/^utf-8;/i.test(orcpt)) return undefined;
  return orcpt.replace(
    /[^\x00-\x7f]/gu,
    (character) => `\\x{${(character.codePointAt(0) ?? 0).toString(16).toUpperCase()}}`,
  );
}

/** What this program itself has to say against a recipient before anything is sent. */
function unfit(
  transaction: Transaction,
  recipient: Recipient,
  extensions: ReadonlyMap<string, string>,
  verified: boolean,
): Answer | undefined {
  const { sender, size } = transaction;
  if (sender !== '' && !isMailbox(sender)) {
    return own('mail', 553, '5.1.7', 'the sender is no address that can be sent');
  }
  if (!isMailbox(recipient.address)) {
    return own('rcpt', 553, '5.1.3', 'the recipient is no address that can be sent');
  }
  if (!extensions.has('SMTPUTF8')) {
    // RFC 6531 section 3.2: the domain has an ASCII form, a local part has none.
    const stuck = [sender, recipient.address].some((address) => toAscii(address) === undefined);
    if (stuck) {
      return own(
        'rcpt',
        553,
        '5.6.7',
        'the address needs SMTPUTF8, which the relay does not offer',
      );
    }
  }
  // RFC 8689 section 4.2.1; a report that cannot go so goes all the same (section 5).
  if (transaction.requireTls === true && sender !== '') {
    if (!verified) {
      return own('mail', 550, '5.7.30', 'REQUIRETLS needs TLS with a verified certificate');
    }
    if (!extensions.has('REQUIRETLS')) {
      return own('mail', 550, '5.7.30', 'the relay does not offer REQUIRETLS');
    }
  }
  // RFC 1870 section 6.1: 0 or nothing means that the relay names no limit.
  const limit = Number(extensions.get('SIZE') ?? 0);
  if (size !== undefined && limit > 0 && size > limit) {
    return own('mail', 552, '5.3.4', `the message has ${size} octets, the relay takes ${limit}`);
  }
  return undefined;
}

function own(stage: Stage, code: number, enhanced: string, text: string): Answer {
  return { stage, event: { kind: 'reply', reply: ownReply(code, enhanced, text) } };
}

function needsUtf8(envelope: {
  readonly smtpUtf8?: true;
  readonly sender: string;
  readonly recipients: readonly Recipient[];
}): boolean {
  const addresses = [envelope.sender, ...envelope.recipients.map(({ address }) => address)];
  return envelope.smtpUtf8 === true || addresses.some((address) => !isAscii(address));
}

/** The address with its domain in A-labels (RFC 5890); undefined when its local part is not ASCII. */
function toAscii(address: string): string | undefined {
  if (isAscii(address)) return address;
  const at = address.lastIndexOf('@');
  const local = address.slice(0, at);
  const domain = domainToASCII(address.slice(at + 1));
  return isAscii(local) && domain !== '' ? `${local}@${domain}` : undefined;
}

function isAscii(text: string): boolean {
  return !/[^\x00-\x7f]/.test(text);
}

function isReply(event: DialogueEvent, test: (reply: Reply) => boolean): boolean {
  return event.kind === 'reply' && test(event.reply);
}

function indexesOf(answers: readonly (Answer | undefined)[]): number[] {
  return answers.flatMap((answer, index) => (answer === undefined ? [index] : []));
}

function complete(
  answers: readonly (Answer | undefined)[],
  exchanges: readonly Exchange[],
): readonly Answer[] {
  const none: Answer = { stage: 'rset', event: { kind: 'closed', reason: 'no answer' } };
  return answers.map((answer = none, index) => {
    // What went well needs no explanation.
    if (answer.stage === 'dot' && isReply(answer.event, isPositive)) return answer;
    const own = exchanges.filter((each) => (each.index ?? index) === index);
    const last = own.findIndex(({ event }) => event === answer.event);
    return last < 0 ? answer : { ...answer, dialogue: own.slice(0, last + 1).flatMap(linesOf) };
  });
}

function linesOf({ command, event }: Exchange): readonly string[] {
  const heard = event.kind === 'reply' ? formatReply(event.reply) : [];
  return [`C: ${escapeText(command)}`, ...heard.map((line) => `S: ${line}`)];
}
