/**
 * Addresses as qmail's envelopes carry them: the local part by its meaning, without quotes, then the
 * last `@` and the host (notqmail's addresses(5)), and the variable reverse-paths (VERP) among them.
 * Pure; any text is taken.
 */
import { formatLocalPart, isMailbox } from './address.ts';

/**
 * The mailbox of RFC 5321 for such an address: its local part quoted where it needs that. What is a
 * mailbox already and a variable reverse-path stay as they are; a local name stays without a host.
 * The result need not be a mailbox: `isMailbox` tells.
 */
export function mailboxOf(raw: string): string {
  if (raw === '' || isMailbox(raw) || verpBase(raw) !== undefined) return raw;
  const at = raw.lastIndexOf('@');
  return at < 0
    ? formatLocalPart(raw)
    : `${formatLocalPart(raw.slice(0, at))}@${raw.slice(at + 1)}`;
}

/**
 * The reverse-path that bounces to the host itself go to, of a sender of the form `prefix@host-@[]`,
 * which stands for one reverse-path per recipient; undefined when the sender has another form.
 */
export function verpBase(sender: string): string | undefined {
  return sender.endsWith(VERP) && sender.lastIndexOf('@', sender.length - VERP.length) >= 0
    ? sender.slice(0, -VERP.length)
    : undefined;
}

const VERP = '-@[]';

/**
 * The reverse-path for one recipient: of `prefix@host-@[]` and `bob@example.com` it makes
 * `prefixbob=example.com@host`. A sender of another form stays as it is.
 * @param recipient a mailbox
 */
export function reversePathFor(sender: string, recipient: string): string {
  const base = verpBase(sender);
  if (base === undefined) return sender;
  const at = base.lastIndexOf('@');
  const end = recipient.lastIndexOf('@');
  const local = recipient.slice(0, end).replace(/^"(.*)"$/s, (_, quoted: string) => {
    return quoted.replace(/\\(.)/gs, '$1');
  });
  return mailboxOf(
    `${base.slice(0, at)}${local}=${recipient.slice(end + 1)}@${base.slice(at + 1)}`,
  );
}
