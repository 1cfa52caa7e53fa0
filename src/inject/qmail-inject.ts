/**
 * qmail-inject's interface (notqmail's qmail-inject(8)): command line, environment and header make a
 * plan of what is sent on behalf of whom. Pure; bin/qmail-inject.ts carries the plan out.
 * Hostile input: the header, and the command line of a program that passes its users' text on.
 */
import { type Control, ControlError } from '../control/control.ts';
import { isMailbox } from '../mail/address.ts';
import type { HeaderField } from '../mail/header.ts';
import { mailboxOf, verpBase } from '../mail/raw-address.ts';
import { type AddressDefaults, completeAddress } from './address-list.ts';
import { completeFields, FieldError, readFields } from './fields.ts';
import type { Environment } from './place.ts';

/** Exit codes: what is permanent and what is worth another try. */
export const EXIT = { done: 0, permanent: 100, temporary: 111 } as const;

/** Nothing was queued; the message is one line for standard error. */
export class InjectError extends Error {
  override name = 'InjectError';
  readonly exit: 100 | 111;

  constructor(exit: 100 | 111, message: string) {
    super(message);
    this.exit = exit;
  }
}

/** The command line. */
export interface Invocation {
  /** Recipients as they are written; none where only the header counts. */
  readonly recipients: readonly string[];
  /** Whether the header's recipients count. */
  readonly fromHeader: boolean;
  /** -f as it is written. */
  readonly sender: string | undefined;
  /** -n: the message is printed and not queued. */
  readonly print: boolean;
}

const LETTERS: Readonly<Record<string, 'arguments' | 'header' | 'both' | 'either'>> = {
  a: 'arguments',
  h: 'header',
  H: 'both',
  A: 'either',
};

/**
 * Reads the command line; options end at the first word that is none, as with getopt.
 * @throws InjectError for an option that is unknown or lacks its value
 */
export function parseInvocation(args: readonly string[]): Invocation {
  let from: 'arguments' | 'header' | 'both' | 'either' = 'either';
  let sender: string | undefined;
  let print = false;
  let at = 0;
  for (; at < args.length; at += 1) {
    const word = args[at] ?? '';
    if (word === '--') {
      at += 1;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    for (let index = 1; index < word.length; index += 1) {
      const letter = word.charAt(index);
      if (letter === 'f') {
        sender = word.slice(index + 1);
        if (sender === '') {
          at += 1;
          sender = args[at];
        }
        if (sender === undefined) throw new InjectError(100, 'option -f lacks the sender');
        break;
      }
      if (letter === 'n' || letter === 'N') print = letter === 'n';
      else from = strategyOf(letter);
    }
  }
  const words = args.slice(at);
  return {
    recipients: from === 'header' ? [] : words,
    fromHeader: from === 'header' || from === 'both' || (from === 'either' && words.length === 0),
    sender,
    print,
  };
}

function strategyOf(letter: string): 'arguments' | 'header' | 'both' | 'either' {
  const strategy = Object.hasOwn(LETTERS, letter) ? LETTERS[letter] : undefined;
  if (strategy === undefined) {
    throw new InjectError(100, `unknown option -${shown(letter)}: known are -aAhHnN and -f sender`);
  }
  return strategy;
}

/** The names of this host that addresses and new fields are made with. */
export interface Names extends AddressDefaults {
  readonly idHost: string;
}

/**
 * The names by the environment, else by the control folder. A control folder that cannot be used must
 * not cost the mail: `fallback` takes the place of a name, and a warning says why.
 */
export function namesOf(
  environment: Environment,
  control: Control,
  fallback: string,
): { readonly names: Names; readonly warnings: readonly string[] } {
  const warnings = new Set<string>();
  const get = <T>(variable: string, read: () => T, otherwise: T): string | T => {
    const named = environment[variable];
    if (named !== undefined) return named;
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      warnings.add(error.message);
      return otherwise;
    }
  };
  const names: Names = {
    defaultHost: get('QMAILDEFAULTHOST', () => control.get('defaulthost'), fallback),
    defaultDomain: get('QMAILDEFAULTDOMAIN', () => control.get('defaultdomain'), undefined),
    plusDomain: get('QMAILPLUSDOMAIN', () => control.get('plusdomain'), fallback),
    idHost: get('QMAILIDHOST', () => control.get('idhost'), fallback),
  };
  return { names, warnings: [...warnings] };
}

/** What the plan takes from the world. */
export interface World {
  readonly environment: Environment;
  readonly names: Names;
  readonly time: Date;
  readonly pid: number;
  /** The text of the file that QMAILMFTFILE names: one mailing list a line, `#` comments. */
  readonly lists: string;
}

/** What is sent. Addresses are in raw form (mail/raw-address.ts). */
export interface Plan {
  readonly sender: string;
  /** Each once; may be empty. */
  readonly recipients: readonly string[];
  /** Addresses that were written without a host, as mailboxes: users of this host. */
  readonly localNames: ReadonlySet<string>;
  readonly fields: readonly HeaderField[];
  /** What the caller should know although the message goes out, one line each. */
  readonly warnings: readonly string[];
}

/**
 * Makes the plan.
 * @throws InjectError for a sender, a recipient on the command line or a sender field that is no
 * address
 */
export function makePlan(
  invocation: Invocation,
  given: readonly HeaderField[],
  world: World,
): Plan {
  const { environment, names } = world;
  const letters = environment['QMAILINJECT'] ?? '';
  const without = new Set<string>();
  if (letters.includes('s')) without.add('return-path');
  if (letters.includes('f')) without.add('from');
  if (letters.includes('i')) without.add('message-id');
  const read = readHeader(given, names, without);

  const localNames = [...read.localNames];
  const recipients = invocation.recipients.map((word) => {
    const address = completeAddress(withoutBrackets(word), names);
    if (!word.includes('@')) localNames.push(address);
    if (!isMailbox(mailboxOf(address))) throw unusable('recipient', word);
    return address;
  });
  const warnings: string[] = [];
  if (invocation.fromHeader) {
    for (const problem of read.unread) warnings.push(`skipped recipients in ${problem}`);
    for (const address of read.recipients) {
      if (isMailbox(mailboxOf(address))) recipients.push(address);
      else if (address !== '') warnings.push(`skipped a recipient: "${shown(address)}"`);
    }
  }

  const user = first(environment, 'QMAILUSER', 'MAILUSER', 'USER', 'LOGNAME') ?? 'anonymous';
  const host = first(environment, 'QMAILHOST', 'MAILHOST');
  const fields = completeFields(read, {
    time: world.time,
    pid: world.pid,
    idHost: names.idHost,
    from: {
      address: own(user, host, names),
      // Set and empty, it keeps the others from being shown.
      name: environment['QMAILNAME'] ?? environment['MAILNAME'] ?? environment['NAME'],
      asComment: letters.includes('c'),
    },
    lists: new Set(listsOf(world.lists)),
  });
  const sender =
    invocation.sender === undefined
      ? senderOf(letters, read.returnPath, user, host, world)
      : completeAddress(withoutBrackets(invocation.sender), names);
  if (sender !== '' && !isMailbox(mailboxOf(verpBase(sender) ?? sender))) {
    throw unusable('sender', sender);
  }
  return {
    sender,
    recipients: [...new Set(recipients)],
    localNames: new Set(localNames.map(mailboxOf)),
    fields,
    warnings,
  };
}

function readHeader(
  given: readonly HeaderField[],
  names: Names,
  without: ReadonlySet<string>,
): ReturnType<typeof readFields> {
  try {
    return readFields(given, names, without);
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    throw new InjectError(100, `cannot read the header field ${error.message}`);
  }
}

/** The sender where -f names none: Return-Path, else the environment. */
function senderOf(
  letters: string,
  returnPath: string | undefined,
  user: string,
  host: string | undefined,
  { environment, names, time, pid }: World,
): string {
  const perRecipient = letters.includes('r');
  if (returnPath !== undefined) {
    return perRecipient && returnPath !== '' ? `${returnPath}-@[]` : returnPath;
  }
  let local = first(environment, 'QMAILSUSER') ?? user;
  if (letters.includes('m')) local += `-${Math.floor(time.getTime() / 1000)}.${pid}`;
  if (perRecipient) local += '-';
  const address = own(local, first(environment, 'QMAILSHOST') ?? host, names);
  return perRecipient ? `${address}-@[]` : address;
}

/** An address of this user; an `@` in the local part is one. */
function own(local: string, host: string | undefined, names: Names): string {
  return completeAddress(`${local}@${host ?? names.defaultHost}`, names);
}

/** The first of these variables that is set to anything. */
function first(environment: Environment, ...variables: readonly string[]): string | undefined {
  return variables
    .map((name) => environment[name])
    .find((value) => value !== undefined && value !== '');
}

/** As callers of other sendmails write it; angle brackets stand in no local part. */
function withoutBrackets(word: string): string {
  return word.startsWith('<') && word.endsWith('>') ? word.slice(1, -1) : word;
}

function listsOf(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trimEnd().toLowerCase())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

function unusable(what: string, address: string): InjectError {
  return new InjectError(100, `the ${what} "${shown(address)}" is no address that can be used`);
}

/** Fit for a terminal and for one line. */
function shown(text: string): string {
  return text.slice(0, 200).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
}
