/**
 * The log: one line per event, one function per event. The entry's base name is the id that follows a
 * mail from acceptance to the relay's answer.
 *
 * Hostile input: addresses, replies and reasons. Each value is escaped here and nowhere else, so that
 * no reply can forge a line. No function takes a password.
 */
import type { Stage } from '../mail/outcome.ts';
import { escapeText } from '../mail/text.ts';

export type LogFormat = 'text' | 'json';

/** Values of an event; undefined ones are left out. */
type Fields = Readonly<Record<string, string | number | undefined>>;

/** What an attempt at one entry came to. */
export interface Attempted {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly relay: string;
  readonly stage: Stage;
  /** The relay's reply or the reason, on one line. */
  readonly said: string;
}

export class Log {
  readonly #write: (line: string, brief: string) => void;
  readonly #format: LogFormat;

  /** @param write gets each line without its line end, and the event in a few words */
  constructor(format: LogFormat, write: (line: string, brief: string) => void) {
    this.#format = format;
    this.#write = write;
  }

  /** The first time that a runner meets the entry. */
  accepted(fields: {
    readonly id: string;
    readonly from: string;
    readonly to: string;
    readonly size: number | undefined;
    readonly uid: number | undefined;
    readonly program: string | undefined;
  }): void {
    this.#event('accepted', fields);
  }

  /** @param second an earlier attempt may have reached the relay too */
  relayed(attempted: Attempted, seconds: number, second: boolean): void {
    const duplicate = second ? 'possible' : undefined;
    this.#event('relayed', { ...attempted, delay: seconds, duplicate });
  }

  /** @param next when it is tried again, ISO 8601 */
  deferred(attempted: Attempted, attempts: number, next: string): void {
    this.#event('deferred', { ...attempted, attempts, next });
  }

  refused(attempted: Attempted): void {
    this.#event('refused', { ...attempted });
  }

  expired(attempted: Attempted): void {
    this.#event('expired', { ...attempted });
  }

  /** A claim of a dead process was taken back: the relay may have the mail. */
  interrupted(id: string): void {
    this.#event('interrupted', { id, said: 'the process that was sending it died' });
  }

  /** The route is at fault: mail waits, once per outage. */
  paused(route: string, relay: string, stage: Stage, said: string): void {
    this.#event('paused', { route, relay, stage, said });
  }

  resumed(route: string, relay: string, seconds: number): void {
    this.#event('resumed', { route, relay, after: seconds });
  }

  /** A secret that will end soon, by its control file. */
  expiring(secret: string, said: string): void {
    this.#event('expiring', { secret, said });
  }

  /** Somebody is told what became of an entry; `report` is the base name of the mail that says it. */
  reported(fields: {
    readonly id: string;
    readonly to: string;
    readonly kind: string;
    readonly report: string;
  }): void {
    this.#event('reported', fields);
  }

  /**
   * The administrator did something with an entry.
   * @param by the login name
   * @param as the base name of the mail that stands in its place
   */
  managed(
    event: 'held' | 'released' | 'removed' | 'resent',
    fields: {
      readonly id: string;
      readonly from: string;
      readonly to: string;
      readonly by: string;
      readonly as?: string;
    },
  ): void {
    this.#event(event, fields);
  }

  /** A user sends more than control/userrate allows: told once, when it begins. */
  heldBack(uid: number, held: number, limit: number): void {
    this.#event('storm', { uid, held, limit });
  }

  corrupt(id: string, reason: string): void {
    this.#event('corrupt', { id, said: reason });
  }

  /** What lay in incoming/ and held no message. */
  discarded(fields: {
    readonly uid: number;
    readonly count: number;
    readonly name: string;
    readonly said: string;
  }): void {
    this.#event('discarded', fields);
  }

  /** Trouble of this program or machine; nothing is lost. */
  fault(said: string): void {
    this.#event('fault', { said });
  }

  #event(event: string, fields: Fields): void {
    const brief = briefly(event, fields);
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    if (this.#format === 'json') {
      const shown = given.map(([key, value]) => [
        key,
        typeof value === 'string' ? escapeText(value) : value,
      ]);
      this.#write(JSON.stringify({ event, ...Object.fromEntries(shown) }), brief);
    } else {
      const shown = given.map(([key, value]) => `${key}=${quote(String(value))}`);
      this.#write([event, ...shown].join(' '), brief);
    }
  }
}

/** The event for somebody at a terminal, who sees which entry is meant. */
function briefly(event: string, fields: Fields): string {
  const what = fields['to'] ?? fields['route'] ?? fields['id'];
  const by = fields['relay'] === undefined ? [] : ['by', fields['relay']];
  const said = fields['said'] === undefined ? [] : [`- ${fields['said']}`];
  const words = [event, ...(what === undefined ? [] : [what]), ...by, ...said];
  return words.map((word) => escapeText(String(word))).join(' ');
}

function quote(value: string): string {
  const escaped = escapeText(value);
  return /^[^\s"=]+$/.test(escaped) ? escaped : `"${escaped.replaceAll('"', "'")}"`;
}
