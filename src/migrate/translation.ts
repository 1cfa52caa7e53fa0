/**
 * What of another program's configuration becomes which control file, and what becomes nothing: collected
 * line by line, so that the admin sees all of it. Pure. Hostile input: none of it is executed, and what is
 * no valid control file in the end is not written.
 */
import { type ControlName, catalogue } from '../control/catalogue.ts';
import { ControlError, openControl } from '../control/control.ts';
import { formatRelay, type Relay } from '../control/relay-url.ts';

/** The files of another program; both answer with nothing for what is not there. */
export interface Files {
  /** At most a megabyte. */
  read(path: string): string | undefined;
  names(folder: string): readonly string[];
}

export interface Translation {
  readonly settings: ReadonlyMap<ControlName, string>;
  readonly lines: readonly Line[];
}

/** One setting of the other program. */
export interface Line {
  /** As it stands there, without its secret. */
  readonly source: string;
  /** The control file that it went into; undefined where it went nowhere. */
  readonly name?: ControlName;
  /** What that holds now; undefined for a secret. */
  readonly text?: string;
  /** Why it went nowhere, or what is different. */
  readonly note?: string;
}

/** A relay and its login. */
export interface Account {
  /** Where it was found. */
  readonly source: string;
  readonly relay: Relay;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly command?: string | undefined;
  readonly note?: string | undefined;
}

export class Translator {
  readonly #settings = new Map<ControlName, string>();
  readonly #lines: Line[] = [];

  /** A value, or the last word on one. */
  set(source: string, name: ControlName, text: string, note?: string): void {
    this.#settings.set(name, text);
    this.#say(source, name, text, note);
  }

  /** A line more of a list. */
  add(source: string, name: ControlName, text: string, note?: string): void {
    const before = this.#settings.get(name);
    this.#settings.set(name, before === undefined ? text : `${before}\n${text}`);
    this.#say(source, name, text, note);
  }

  /** What has no counterpart, or needs none. */
  drop(source: string, note: string): void {
    this.#lines.push({ source, note });
  }

  /**
   * Relays in the order they are tried, and those of some senders, by address or domain. One login goes
   * into authuser and authpassword, several into the relays' lines and authpasswords.
   */
  accounts(
    all: readonly Account[],
    bySender: readonly { readonly sender: string; readonly account: Account }[] = [],
  ): void {
    const everyone = [...all, ...bySender.map(({ account }) => account)];
    const [one, ...others] = everyone;
    const sameLogin = others.every(
      (each) => each.user === one?.user && each.password === one?.password,
    );
    const shared = sameLogin ? one?.user : undefined;
    const lineOf = ({ relay, user }: Account): string =>
      formatRelay({ ...relay, user: sameLogin ? undefined : user });
    for (const account of all) this.add(account.source, 'relay', lineOf(account), account.note);
    for (const { sender, account } of bySender) {
      this.add(account.source, 'senderroutes', `${sender} ${lineOf(account)}`, account.note);
    }
    if (shared !== undefined) this.set(`login name in ${one?.source}`, 'authuser', shared);
    const known = new Set<string>();
    for (const { source, user, password, command } of everyone) {
      if (user === undefined || known.has(user)) continue;
      known.add(user);
      if (password !== undefined) {
        const secret = `password of ${user} in ${source}`;
        if (sameLogin) this.set(secret, 'authpassword', password);
        else this.add(secret, 'authpasswords', `${user} ${password}`);
      } else if (command !== undefined) {
        const before = this.#settings.get('authpasswordcommand');
        const secret = `password command of ${user} in ${source}`;
        if (before === undefined || before === command) {
          this.set(secret, 'authpasswordcommand', command);
        } else this.drop(secret, 'there is one such command: put this password into authpasswords');
      }
    }
  }

  /** What is valid; the rest is told with the reason. */
  finish(): Translation {
    const control = openControl('/nonexistent', this.#settings);
    const settings = new Map(this.#settings);
    for (const name of this.#settings.keys()) {
      try {
        control.get(name);
      } catch (error) {
        if (!(error instanceof ControlError)) throw error;
        settings.delete(name);
        this.#lines.push({
          source: `all for ${name}`,
          note: `not taken: expected ${error.expected}`,
        });
      }
    }
    return { settings, lines: this.#lines };
  }

  #say(source: string, name: ControlName, text: string, note: string | undefined): void {
    const { kind } = catalogue[name];
    const secret = kind === 'secret' || kind === 'secrets';
    this.#lines.push({
      source,
      name,
      ...(secret ? {} : { text }),
      ...(note === undefined ? {} : { note }),
    });
  }
}

/** The lines of a text without comments, empty ones and white space around them, numbered from 1. */
export function plainLines(
  text: string,
): readonly { readonly number: number; readonly text: string }[] {
  return text
    .split('\n')
    .map((line, index) => ({ number: index + 1, text: line.trim() }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
}

/** Words by the quoting rules of a shell, with nothing expanded; an open quote ends with the text. */
export function shellWords(text: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (quote === "'") {
      if (char === quote) quote = '';
      else word += char;
    } else if (char === '\\' && at + 1 < text.length) {
      const next = text[++at] ?? '';
      const plain = quote === '"' && !/["\\$`]/.test(next);
      word = `${word ?? ''}${plain ? char : ''}${next}`;
    } else if (char === quote) {
      quote = '';
    } else if (quote === '' && (char === '"' || char === "'")) {
      quote = char;
      word ??= '';
    } else if (quote === '' && /\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = `${word ?? ''}${char}`;
  }
  return word === undefined ? words : [...words, word];
}

/** The port of a service's name, as /etc/services has it, or of a number. */
export function portOf(text: string): number | undefined {
  const known: Readonly<Record<string, number>> = {
    smtp: 25,
    submission: 587,
    submissions: 465,
    smtps: 465,
    ssmtp: 465,
  };
  if (Object.hasOwn(known, text)) return known[text];
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** The authorities that come with a host; node brings the same. */
export function isUsualAuthorities(path: string): boolean {
  return /^\/etc\/(?:ssl|pki)\/(?:.*\/)?(?:ca-certificates\.crt|certs|ca-bundle\.(?:crt|trust\.crt)|cert\.pem|tls-ca-bundle\.pem)\/?$|^system$/.test(
    path,
  );
}
