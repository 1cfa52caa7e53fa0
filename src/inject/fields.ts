/**
 * The header as qmail-inject completes it (notqmail's qmail-header(5)): addresses completed, secret
 * and stale fields taken out, Date, Message-ID, From and a recipient field added. Never looks at the
 * body. Hostile input: the fields.
 */
import { encodedWords, formatDate, formatMailbox } from '../mail/completion.ts';
import { fieldBody, formatField, type HeaderField } from '../mail/header.ts';
import { mailboxOf } from '../mail/raw-address.ts';
import { stamp } from '../mail/stamp.ts';
import { type AddressDefaults, rewriteAddressList } from './address-list.ts';

/** What the header says once its addresses are completed. Addresses are in raw form. */
export interface ReadFields {
  /** What is kept, in order. */
  readonly fields: readonly HeaderField[];
  /** Whether the message is sent on: a Resent- field is there, and the Resent- set counts. */
  readonly resent: boolean;
  /** Names in lower case of all fields that were there and not left out on request. */
  readonly seen: ReadonlySet<string>;
  /** Of the first Return-Path that names one; `''` for `<>`. */
  readonly returnPath: string | undefined;
  /** Of To, Cc, Bcc and Apparently-To, or of Resent-To, Resent-Cc and Resent-Bcc. */
  readonly recipients: readonly string[];
  /** Addresses that were written without a host. */
  readonly localNames: readonly string[];
  /** Of To and Cc. */
  readonly followers: readonly string[];
  /** Recipient fields with an element that could not be read, one phrase each. */
  readonly unread: readonly string[];
}

/** A sender field that cannot be read. */
export class FieldError extends Error {
  override name = 'FieldError';
}

const RECIPIENTS: ReadonlySet<string> = new Set(['to', 'cc', 'bcc', 'apparently-to']);
const RESENT_RECIPIENTS: ReadonlySet<string> = new Set(['resent-to', 'resent-cc', 'resent-bcc']);
const SENDERS: ReadonlySet<string> = new Set([
  'sender',
  'from',
  'reply-to',
  'return-path',
  'return-receipt-to',
  'errors-to',
  'resent-sender',
  'resent-from',
  'resent-reply-to',
]);
const RESENT: ReadonlySet<string> = new Set([
  ...RESENT_RECIPIENTS,
  'resent-sender',
  'resent-from',
  'resent-reply-to',
  'resent-date',
  'resent-message-id',
]);
/** Never sent on: the first two tell secrets, the others tell what is not so any more. */
const REMOVED: ReadonlySet<string> = new Set([
  'bcc',
  'resent-bcc',
  'return-path',
  'content-length',
]);
/** An empty one is as good as none. */
const MADE = /^(?:resent-)?(?:date|message-id|from)$/;

/**
 * Completes the addresses of a header and collects them.
 * @param without lower-case names of fields that are taken as not there
 * @throws FieldError for a sender field that cannot be read
 */
export function readFields(
  given: readonly HeaderField[],
  defaults: AddressDefaults,
  without: ReadonlySet<string>,
): ReadFields {
  const fields: HeaderField[] = [];
  const seen = new Set<string>();
  const recipients: string[] = [];
  const resentRecipients: string[] = [];
  const localNames: string[] = [];
  const followers: string[] = [];
  const unread: string[] = [];
  let returnPath: string | undefined;
  for (const field of given) {
    const name = field.name.toLowerCase();
    if (without.has(name)) continue;
    let kept = field;
    const isSender = SENDERS.has(name);
    const isResent = RESENT_RECIPIENTS.has(name);
    const isAddressed = isSender || isResent || RECIPIENTS.has(name);
    const body = isAddressed || MADE.test(name) ? fieldBody(field) : undefined;
    if (body === '' && MADE.test(name)) continue;
    seen.add(name);
    if (body !== undefined && isAddressed) {
      const { text, addresses, localNames: bare, problem } = rewriteAddressList(body, defaults);
      for (const each of bare) localNames.push(each);
      if (problem !== undefined && isSender) throw new FieldError(`${field.name}: ${problem}`);
      if (problem !== undefined) unread.push(`${field.name}: ${problem}`);
      if (text !== body) kept = formatField(field.name, text);
      if (name === 'return-path') returnPath ??= addresses.at(-1);
      for (const address of addresses) {
        if (isResent) resentRecipients.push(address);
        else if (!isSender) recipients.push(address);
        if (name === 'to' || name === 'cc') followers.push(address);
      }
    }
    if (!REMOVED.has(name)) fields.push(kept);
  }
  const resent = [...seen].some((name) => RESENT.has(name));
  return {
    fields,
    resent,
    seen,
    returnPath,
    recipients: resent ? resentRecipients : recipients,
    localNames,
    followers,
    unread,
  };
}

/** What the new fields say. */
export interface NewFields {
  readonly time: Date;
  readonly pid: number;
  readonly idHost: string;
  /** The author when the header names none. */
  readonly from: {
    /** In raw form. */
    readonly address: string;
    readonly name: string | undefined;
    /** `address (name)` in the place of `name <address>`. */
    readonly asComment: boolean;
  };
  /** Mailing lists in raw form and lower case: mail to one of them gets Mail-Followup-To. */
  readonly lists: ReadonlySet<string>;
}

/** The header as it goes out: what was missing, then what was there. */
export function completeFields(read: ReadFields, made: NewFields): readonly HeaderField[] {
  const { seen, resent, followers } = read;
  const prefix = resent ? 'Resent-' : '';
  const added: HeaderField[] = [];
  const add = (name: string, body: () => string): void => {
    if (!seen.has(`${prefix}${name}`.toLowerCase())) added.push(formatField(prefix + name, body()));
  };
  const digits = stamp(made.time.getTime()).replace('T', '');
  add('Date', () => formatDate(made.time, 0));
  add('Message-ID', () => `<${digits}.${made.pid}.qmail@${made.idHost}>`);
  add('From', () => formatAuthor(made.from));
  const to = `${prefix}to`.toLowerCase();
  if (!seen.has(to)) add('Cc', () => 'recipient list not shown: ;');
  if (!resent && followers.some((address) => made.lists.has(address.toLowerCase()))) {
    const mailboxes = followers.filter((address) => address !== '').map(mailboxOf);
    add('Mail-Followup-To', () => mailboxes.join(', '));
  }
  return [...added, ...read.fields];
}

function formatAuthor({ address, name, asComment }: NewFields['from']): string {
  const mailbox = mailboxOf(address);
  if (!asComment) return formatMailbox(name, mailbox);
  const shown = (name ?? '').replace(/\p{Cc}/gu, ' ').trim();
  if (shown === '') return mailbox;
  const comment = /^[ -~]*$/.test(shown) ? shown.replace(/[()\\]/g, '\\$&') : encodedWords(shown);
  return `${mailbox} (${comment})`;
}
