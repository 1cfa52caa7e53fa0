/**
 * Takes entries to the relay: opens sessions, several at a time, groups the recipients of a message into
 * transactions, and settles each entry by the verdict on its answer. Relays are tried in their order; the next one
 * is tried for site trouble only.
 *
 * It never decides what an answer means (queue/sorting.ts) nor when to try again (queue/schedule.ts).
 */
import { Reporter } from '../bounce/reporter.ts';
import type { Fate } from '../bounce/status.ts';
import { type Control, ControlError } from '../control/control.ts';
import { formatRelay, type Relay } from '../control/relay-url.ts';
import type { Route } from '../control/routing.ts';
import type { Log } from '../log/log.ts';
import { domainOf } from '../mail/address.ts';
import type { Answer, DialogueEvent } from '../mail/outcome.ts';
import { reversePathFor, verpBase } from '../mail/raw-address.ts';
import { nextProbe } from '../queue/schedule.ts';
import { sortAnswer } from '../queue/sorting.ts';
import { takeTurns } from '../queue/turns.ts';
import { SessionError, type Way } from '../relay/connect.ts';
import { Session } from '../relay/session.ts';
import { BadBlock } from '../spool/block.ts';
import type { StoredMessage } from '../spool/message.ts';
import { addressOf, parseBase, prefixOf } from '../spool/name.ts';
import type { RelayRest } from '../spool/records.ts';
import type { Claim, Entry, Spool } from '../spool/spool.ts';
import { domainRelay, findRelays } from './direct.ts';
import { type Rendering, render, signed } from './rendering.ts';
import { restsOf } from './rests.ts';
import { readSettings, type Settings } from './settings.ts';
import {
  describe,
  type Parcel,
  Settlement,
  type Tally,
  type Trouble,
  type World,
} from './settlement.ts';

/** So many sessions in a row that end within a transaction are the relay's trouble, not the mails'. */
const DEATHS_LIMIT = 3;

/** A message with the parcels that one transaction takes; it is closed when all are settled. */
interface Shipment {
  readonly message: StoredMessage;
  readonly parcels: readonly Parcel[];
}

/** One delivery: what is to be done, by all connections together. */
interface Delivery {
  readonly settings: Settings;
  /** In the order they are tried. */
  readonly relays: readonly Relay[];
  /** The way to them, where it is not that of the settings. */
  readonly way: Way | undefined;
  entries: readonly Entry[];
  /** Whether the entries are in the order in which they go out. */
  ordered: boolean;
  /** How many of the entries have been taken. */
  taken: number;
  /** Shipments that need another transaction: split, or for the next relay. */
  readonly again: Shipment[];
  readonly stop: () => boolean;
  readonly settlement: Settlement;
  /** Connections that work, and those of them that have a session. */
  workers: number;
  sessions: number;
  /** What this machine failed at: the delivery ends, and it is thrown once all connections are idle. */
  fault: { readonly error: unknown } | undefined;
}

export class Courier {
  readonly #spool: Spool;
  readonly #control: Control;
  readonly #log: Log;
  readonly #world: World;
  readonly #reporter: Reporter;
  readonly #route: Route;
  readonly #userOf: (entry: Entry) => string;
  /** Open sessions that nobody uses. */
  #idle: Session[] = [];
  /** Relays that failed before, and until when they are asked last. */
  #rests = new Map<string, RelayRest>();
  /** Relays that had site trouble in this delivery, and the last of it. */
  readonly #failed = new Map<string, Trouble>();
  /** Sessions that ended within a transaction since the last one that was answered. */
  readonly #dead = new Set<Session>();
  #trouble: Trouble | undefined;

  constructor(
    spool: Spool,
    control: Control,
    log: Log,
    world: World,
    route: Route,
    userOf: (entry: Entry) => string,
  ) {
    this.#spool = spool;
    this.#userOf = userOf;
    this.#route = route;
    this.#control = control;
    this.#log = log;
    this.#world = world;
    this.#reporter = new Reporter(spool, control, log, world.now);
  }

  /** Whether a session is open that another message could use. */
  get connected(): boolean {
    return this.#idle.some((session) => session.usable);
  }

  /** Why the route is paused, one line; undefined when it is not. */
  get trouble(): string | undefined {
    const trouble = this.#trouble;
    return trouble && `${trouble.relay}: ${trouble.stage}: ${describe(trouble.event).join(' ')}`;
  }

  /**
   * One attempt at each of these entries.
   * @param mayExpire whether an entry past its lifetime is given up
   * @param stop asked before each message: true ends the delivery early, nothing is lost
   * @returns what came of them, and those that were not taken
   */
  async deliver(
    entries: readonly Entry[],
    mayExpire: boolean,
    stop: () => boolean,
  ): Promise<{ readonly tally: Tally; readonly untaken: readonly Entry[] }> {
    const settlement = new Settlement(this.#spool, this.#log, this.#world, this.#reporter);
    this.#trouble = undefined;
    this.#failed.clear();
    this.#rests = restsOf(this.#spool, this.#control, this.#route.name, this.#world.now());
    const configured = this.#settings();
    const settings = configured && {
      ...configured,
      lifetime: mayExpire ? configured.lifetime : Number.POSITIVE_INFINITY,
    };
    const found = settings && (await this.#relaysFor(settings));
    let rest = entries;
    if (settings !== undefined && found !== undefined) {
      const delivery: Delivery = {
        settings,
        relays: 'relays' in found ? found.relays : [],
        way: 'relays' in found ? found.way : undefined,
        entries,
        ordered: entries.length < 2,
        taken: 0,
        again: [],
        stop,
        settlement,
        workers: 0,
        sessions: 0,
        fault: undefined,
      };
      if ('relays' in found) await this.#work(delivery);
      else this.#turnAway(delivery, found);
      for (const { message, parcels } of delivery.again) {
        settlement.release(parcels.map(({ claim }) => claim));
        message.close();
      }
      if (delivery.fault !== undefined) throw delivery.fault.error;
      rest = delivery.entries.slice(delivery.taken);
    }
    if (this.#trouble !== undefined) {
      settlement.postpone(rest, this.#trouble, settings?.lifetime);
    }
    return { tally: settlement.tally, untaken: rest };
  }

  /** Ends all sessions. */
  async close(): Promise<void> {
    const sessions = this.#idle;
    this.#idle = [];
    await Promise.all(sessions.map((session) => session.close()));
  }

  #settings(): Settings | undefined {
    try {
      return readSettings(this.#control, this.#world.now, this.#route);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      const event: DialogueEvent = { kind: 'closed', reason: error.message };
      this.#pause({ stage: 'config', event, relay: 'none' });
      return undefined;
    }
  }

  /**
   * The relays of the route, or what the DNS says instead: an answer to all mail of the route. Undefined
   * when that is not known for now.
   */
  async #relaysFor(
    settings: Settings,
  ): Promise<{ relays: readonly Relay[]; way?: Way | undefined } | Answer | undefined> {
    if (settings.direct === undefined) return { relays: settings.relays };
    const relay = domainRelay(settings.direct.route);
    const found = await findRelays(settings.direct, this.#spool, this.#world);
    switch (found.kind) {
      case 'relays': {
        // Hosts come and go: the rest of one that is gone must not count.
        const names = new Set(found.relays.map(formatRelay));
        for (const name of this.#rests.keys()) if (!names.has(name)) this.#rests.delete(name);
        return found;
      }
      case 'refused':
        this.#recover(relay);
        // What no host would say otherwise to RCPT.
        return { stage: 'rcpt', event: { kind: 'reply', reply: found.reply } };
      case 'trouble': {
        const event: DialogueEvent = { kind: 'closed', reason: found.reason };
        const trouble: Trouble = { stage: 'resolve', event, relay };
        this.#fail(trouble);
        this.#pause(trouble);
        return undefined;
      }
    }
  }

  /** No host can be asked: the same answer for all. */
  #turnAway(delivery: Delivery, answer: Answer): void {
    const { settings, settlement, entries } = delivery;
    const verdict = sortAnswer(answer, { othersAccepted: false });
    if (verdict.action === 'again') throw new Error('nobody was asked');
    while (this.#goesOn(delivery) && delivery.taken < entries.length) {
      const group = this.#nextGroup(delivery, settings.transactionRecipients);
      const shipment = this.#load(group, settlement);
      if (shipment === undefined) continue;
      const { message, parcels } = shipment;
      for (const parcel of parcels) {
        try {
          settlement.settle(settings, 'none', message, parcel, answer, verdict);
        } catch (error) {
          settlement.notSettled(parcel.claim, verdict, error);
        }
      }
      message.close();
    }
  }

  /**
   * One connection's share of the delivery. The first one opens the others, each of them two more,
   * while there is enough to do: a relay that is back after an outage is not overrun.
   */
  async #work(delivery: Delivery): Promise<void> {
    const { settings } = delivery;
    const helpers: Promise<void>[] = [];
    const inFlight = new Set<Promise<void>>();
    let session: Session | undefined;
    let sent = 0;
    delivery.workers++;
    try {
      while (this.#goesOn(delivery) && hasWork(delivery, inFlight)) {
        if (session === undefined || !this.#fit(session, sent, settings)) {
          if (inFlight.size > 0) {
            // Their answers may leave nothing to open a connection for.
            await Promise.all(inFlight);
            continue;
          }
          if (session !== undefined) delivery.sessions--;
          await session?.close();
          session = undefined;
          session = await this.#open(delivery);
          if (session === undefined) break;
          delivery.sessions++;
          sent = 0;
          for (let more = this.#helpersFor(delivery, session); more > 0; more--) {
            helpers.push(noteFault(delivery, this.#work(delivery)));
          }
        }
        const shipment = this.#nextShipment(delivery, session);
        if (shipment === undefined) {
          // Somebody's answer may still bring another transaction.
          if (inFlight.size > 0) await Promise.race(inFlight);
          continue;
        }
        sent++;
        const offer = this.#offer(delivery, session, shipment);
        const offered = noteFault(delivery, offer).finally(() => {
          inFlight.delete(offered);
        });
        inFlight.add(offered);
        if (inFlight.size >= session.depth(settings.messagesInFlight)) await Promise.race(inFlight);
      }
    } finally {
      await Promise.all(inFlight);
      delivery.workers--;
      if (session !== undefined) {
        delivery.sessions--;
        this.#idle.push(session);
      }
      await Promise.all(helpers);
    }
  }

  #goesOn(delivery: Delivery): boolean {
    return !delivery.stop() && this.#trouble === undefined && delivery.fault === undefined;
  }

  #fit(session: Session, sent: number, settings: Settings): boolean {
    const failed = this.#failed.has(formatRelay(session.relay));
    const most = Math.min(settings.connectionMessages, session.limits.messages);
    return session.usable && !failed && sent < most;
  }

  /** How many more connections are worth their while. */
  #helpersFor(delivery: Delivery, session: Session): number {
    const { settings, workers } = delivery;
    const most = Math.min(2, settings.connections - workers);
    if (most <= 0) return 0;
    const each = 2 * session.depth(settings.messagesInFlight);
    const left = this.#transactionsLeft(delivery, session, each * (workers + most));
    return Math.max(0, Math.min(most, Math.floor(left / each) - workers));
  }

  /** How many transactions are to come, as far as so many; a guess, for names prove nothing. */
  #transactionsLeft(
    { settings, entries, taken }: Delivery,
    session: Session,
    most: number,
  ): number {
    const limit = Math.min(settings.transactionRecipients, session.limits.recipients);
    let count = 0;
    let named = 0;
    let before: string | undefined;
    for (let at = taken; at < entries.length && count < most; at++, named++) {
      const prefix = prefixOf(entries[at]?.base ?? '');
      if (prefix === before && named < limit) continue;
      before = prefix;
      count++;
      named = 0;
    }
    return count;
  }

  /** A session for the next transactions, or undefined when none is to be had now. */
  async #open(delivery: Delivery): Promise<Session | undefined> {
    for (let idle = this.#idle.shift(); idle !== undefined; idle = this.#idle.shift()) {
      if (this.#fit(idle, 0, delivery.settings) && serves(idle.relay, delivery)) return idle;
      await idle.close();
    }
    for (const relay of this.#inOrder(delivery.relays)) {
      const name = formatRelay(relay);
      if (this.#failed.has(name)) continue;
      try {
        const session = await this.#connect(delivery, relay);
        try {
          this.#recover(name);
        } catch (error) {
          // close() ends it with the others: an open connection keeps the process alive.
          this.#idle.push(session);
          throw error;
        }
        return session;
      } catch (error) {
        if (!(error instanceof SessionError)) throw error;
        // A relay that serves others of our connections has enough of them.
        if (delivery.sessions > 0) return undefined;
        this.#fail({ stage: error.stage, event: error.event, relay: name });
      }
    }
    const last = [...this.#failed.values()].at(-1);
    if (last === undefined) throw new Error('no relay was tried');
    this.#pause(last);
    return undefined;
  }

  /** Opens a session; without TLS where that was optional and failed. */
  async #connect({ settings, way }: Delivery, relay: Relay): Promise<Session> {
    const { transcript } = this.#world;
    try {
      return await Session.open({ ...settings.sessionWith(relay, way), onLine: transcript?.() });
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      const secured = error.stage === 'tls' || error.stage === 'starttls';
      const bare = withoutTls(relay);
      if (!secured || !isOptional(relay, settings)) throw error;
      if (this.#failed.has(formatRelay(bare))) throw error;
      return await Session.open({ ...settings.sessionWith(bare, way), onLine: transcript?.() });
    }
  }

  /** The next message with those of its recipients that one transaction takes, claimed. */
  #nextShipment(delivery: Delivery, session: Session): Shipment | undefined {
    const waiting = delivery.again.shift();
    if (waiting !== undefined) return waiting;
    if (!delivery.ordered) this.#order(delivery);
    while (delivery.taken < delivery.entries.length) {
      const { recipients, domains } = session.limits;
      const most = Math.min(delivery.settings.transactionRecipients, recipients);
      const shipment = this.#load(this.#nextGroup(delivery, most, domains), delivery.settlement);
      if (shipment !== undefined) return shipment;
    }
    return undefined;
  }

  /** Users take turns. Only now, with a session open, it is worth the while to ask whose mail it is. */
  #order(delivery: Delivery): void {
    const parcels: { user: string; items: Entry[] }[] = [];
    const most = delivery.settings.transactionRecipients;
    let last = '';
    for (const entry of delivery.entries) {
      const prefix = prefixOf(entry.base);
      const parcel = parcels.at(-1);
      if (parcel !== undefined && prefix === last && parcel.items.length < most) {
        parcel.items.push(entry);
      } else {
        parcels.push({ user: this.#userOf(entry), items: [entry] });
      }
      last = prefix;
    }
    delivery.entries = takeTurns(parcels);
    delivery.ordered = true;
  }

  /** Entries of one submission, which stand beside each other in the listing. */
  #nextGroup(
    delivery: Delivery,
    limit: number,
    domainLimit = Number.POSITIVE_INFINITY,
  ): readonly Entry[] {
    const { entries } = delivery;
    const from = delivery.taken;
    const first = entries[from];
    const prefix = prefixOf(first?.base ?? '');
    // A variable reverse-path is another one for each recipient; one that was cut may be such.
    const sender = addressOf(parseBase(entries[from]?.base ?? '')?.sender ?? '');
    const most = sender === undefined || verpBase(sender) !== undefined ? 1 : limit;
    const domains = new Set([recipientDomain(first)]);
    let to = from + 1;
    while (to - from < most) {
      const entry = entries[to];
      if (first === undefined || entry === undefined || prefixOf(entry.base) !== prefix) break;
      if (domains.add(recipientDomain(entry)).size > domainLimit) break;
      // A name proves nothing: files that somebody dropped in may share a date and a pid.
      if (!this.#spool.shareFile(first, entry)) break;
      to++;
    }
    delivery.taken = to;
    return entries.slice(from, to);
  }

  /** Claims the entries and opens their message; undefined when nothing of it can be sent. */
  #load(group: readonly Entry[], settlement: Settlement): Shipment | undefined {
    const claims: Claim[] = [];
    for (const entry of group) {
      const claim = this.#spool.claim(entry, this.#world.now());
      if (claim === undefined) settlement.tally.left++;
      else claims.push(claim);
    }
    const [first] = claims;
    if (first === undefined) return undefined;
    let message: StoredMessage;
    try {
      message = this.#spool.open(first);
    } catch (error) {
      if (error instanceof BadBlock) settlement.condemn(claims, error.message);
      else settlement.giveBack(claims, error);
      return undefined;
    }
    const parcels: Parcel[] = [];
    for (const claim of claims) {
      try {
        const recipient = message.recipientOf(claim.base);
        parcels.push({ claim, recipient });
        if (claim.from.kind === 'new') settlement.accepted(claim, message, recipient);
      } catch (error) {
        if (!(error instanceof BadBlock)) throw error;
        settlement.condemn([claim], error.message);
      }
    }
    if (parcels.length > 0) return { message, parcels };
    message.close();
    return undefined;
  }

  /** One transaction, and what its answers mean for each recipient. */
  async #offer(delivery: Delivery, session: Session, shipment: Shipment): Promise<void> {
    const { message, parcels } = shipment;
    const { settlement } = delivery;
    const relay = formatRelay(session.relay);
    let answers: readonly Answer[];
    try {
      const rendering = await this.#render(delivery, session, message);
      answers =
        'stage' in rendering
          ? parcels.map(() => rendering)
          : await session.send({
              sender: reversePathFor(message.sender, parcels[0]?.recipient.address ?? ''),
              recipients: parcels.map(({ recipient }) => recipient),
              ...message.dsn,
              ...rendering,
            });
    } catch (error) {
      const claims = parcels.map(({ claim }) => claim);
      settlement.giveBack(claims, error);
      message.close();
      return;
    }
    const othersAccepted = answers.some(({ stage }) => stage === 'dot');
    const next: Parcel[] = [];
    const relayed: Fate[] = [];
    for (const [index, parcel] of parcels.entries()) {
      const answer = answers[index];
      if (answer === undefined) throw new Error('a transaction left a recipient without an answer');
      const verdict = sortAnswer(answer, { othersAccepted });
      if (verdict.action === 'again') {
        next.push(parcel);
      } else if (verdict.action === 'defer' && verdict.scope === 'site') {
        // Nothing is wrong with the mail: the next relay gets it, or it is released.
        this.#fail({ ...answer, relay });
        next.push(parcel);
      } else {
        try {
          settlement.settle(delivery.settings, relay, message, parcel, answer, verdict);
          if (verdict.action === 'relayed') relayed.push(this.#fateOf(parcel, relay, answer));
        } catch (error) {
          settlement.notSettled(parcel.claim, verdict, error);
        }
      }
    }
    if (!session.extensions.has('DSN')) this.#reporter.relayed(message, relayed);
    this.#countDeaths(session, answers);
    if (next.length > 0) delivery.again.push({ message, parcels: next });
    else message.close();
  }

  async #render(
    { settings }: Delivery,
    session: Session,
    message: StoredMessage,
  ): Promise<Rendering | Answer> {
    const rendering = render(message, session.extensions);
    if ('stage' in rendering || settings.signers.length === 0) return rendering;
    return await signed(rendering, message.sender, settings.signers, this.#world.now());
  }

  #fateOf({ claim, recipient }: Parcel, relay: string, { stage, event }: Answer): Fate {
    const lines = describe(event);
    const last = { time: this.#world.now(), outcome: 'relayed', stage, relay, lines } as const;
    return { id: claim.base, recipient, history: [], last };
  }

  #countDeaths(session: Session, answers: readonly Answer[]): void {
    const died = answers.find(({ event }) => event.kind !== 'reply');
    if (died === undefined) {
      this.#dead.clear();
      return;
    }
    this.#dead.add(session);
    if (this.#dead.size < DEATHS_LIMIT) return;
    this.#dead.clear();
    const trouble = { ...died, relay: formatRelay(session.relay) };
    this.#fail(trouble);
    this.#pause(trouble);
  }

  /** A relay that failed not long ago comes last, until its rest is over. */
  #inOrder(relays: readonly Relay[]): readonly Relay[] {
    const now = this.#world.now();
    const rests = (relay: Relay): boolean =>
      (this.#rests.get(formatRelay(relay))?.until ?? 0) > now;
    return [...relays.filter((relay) => !rests(relay)), ...relays.filter(rests)];
  }

  #fail(trouble: Trouble): void {
    // Several connections to one relay fail together.
    if (this.#failed.has(trouble.relay)) return;
    this.#failed.set(trouble.relay, trouble);
    const now = this.#world.now();
    const failures = (this.#rests.get(trouble.relay)?.failures ?? 0) + 1;
    const until = nextProbe({ failures, login: trouble.stage === 'auth', now });
    this.#rests.set(trouble.relay, { failures, failed: now, until });
    this.#spool.records.noteRelayRests(this.#route.name, this.#rests);
  }

  #pause(trouble: Trouble): void {
    this.#trouble = trouble;
    const { stage, relay } = trouble;
    const lines = describe(trouble.event);
    const { name } = this.#route;
    const before = this.#spool.records.routeTrouble(name);
    if (before === undefined) this.#log.paused(name, relay, stage, lines.join(' '));
    const time = before?.time ?? this.#world.now();
    this.#spool.records.pauseRoute(name, { time, outcome: 'paused', stage, relay, lines });
  }

  #recover(relay: string): void {
    const { name } = this.#route;
    if (this.#rests.delete(relay)) this.#spool.records.noteRelayRests(name, this.#rests);
    const before = this.#spool.records.routeTrouble(name);
    if (before === undefined) return;
    this.#spool.records.resumeRoute(name);
    this.#log.resumed(
      name,
      relay,
      Math.max(0, Math.round((this.#world.now() - before.time) / 1000)),
    );
  }
}

/**
 * Whether a session that was opened for an earlier delivery serves this one: hosts of a domain and what it
 * demands of TLS may have changed since.
 */
function serves(relay: Relay, { relays, settings }: Delivery): boolean {
  const name = formatRelay(relay);
  return relays.some(
    (each) =>
      formatRelay(each) === name ||
      (isOptional(each, settings) && formatRelay(withoutTls(each)) === name),
  );
}

/** Whether mail goes to a host of a domain also where TLS fails (RFC 7435 section 3). */
function isOptional({ tls = 'opportunistic' }: Relay, { direct }: Settings): boolean {
  return direct !== undefined && tls === 'opportunistic';
}

function withoutTls(relay: Relay): Relay {
  return { ...relay, tls: 'off' };
}

/** As its name tells it; an address that was cut is a domain of its own. */
function recipientDomain(entry: Entry | undefined): string {
  const part = parseBase(entry?.base ?? '')?.recipient ?? '';
  const address = addressOf(part);
  return address === undefined ? part : domainOf(address);
}

/** A promise that nobody may be waiting for when it fails: the delivery knows of it all the same. */
async function noteFault(delivery: Delivery, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    delivery.fault ??= { error };
  }
}

/** Whether there is something to send, or an answer under way that may bring it. */
function hasWork(delivery: Delivery, inFlight: ReadonlySet<unknown>): boolean {
  return delivery.again.length > 0 || delivery.taken < delivery.entries.length || inFlight.size > 0;
}
