/**
 * Who is told when mail does not go through, and in whose name: the control files about reports, read
 * as a whole. The control folder is the admin's; sender and recipients of a mail are hostile.
 */
import type { Control } from '../control/control.ts';
import { openRewriter } from '../control/rewriting.ts';
import { isMailbox, qualify } from '../mail/address.ts';
import type { Recipients } from '../mail/envelope.ts';

export interface Policy {
  readonly mode: 'sender' | 'admin' | 'off';
  /** The name of this host. */
  readonly me: string;
  /** The address in the From field of a report. */
  readonly from: string;
  /** The right side of a report's Message-ID. */
  readonly idHost: string;
  readonly admin: string | undefined;
  /** Gets the reports that cannot go to a sender: a mailbox or a local name. */
  readonly double: string;
  /** Who gets mail for an address, by aliases and adminaddr. */
  readonly deliver: (address: string) => Recipients;
  /** Milliseconds after which a waiting mail is reported as delayed; 0 never. */
  readonly delay: number;
  /** Milliseconds after which mail is given up. */
  readonly lifetime: number;
  /** Reports an hour to one address. */
  readonly limit: number;
}

/** @throws ControlError for the first file that is malformed or cannot be read */
export function readPolicy(control: Control): Policy {
  const names = {
    defaultHost: control.get('defaulthost'),
    defaultDomain: control.get('defaultdomain'),
  };
  const me = control.get('me');
  const rewriter = openRewriter(control, { me, ...names });
  return {
    mode: control.get('bounce'),
    me,
    from: qualify(control.get('bouncefrom'), {
      defaultHost: control.get('bouncehost'),
      defaultDomain: undefined,
    }),
    idHost: control.get('idhost'),
    admin: control.get('adminaddr'),
    double: control.get('doublebounceto'),
    deliver: (address) => rewriter.recipients([{ address }]),
    delay: control.get('delaywarn') * 1000,
    lifetime: control.get('queuelifetime') * 1000,
    limit: control.get('bounceslimit'),
  };
}

/**
 * Whom a report about mail from this sender to these recipients goes to; undefined when nobody is
 * told. Never the sender of a report: a report that fails is reported once, to `double`, and what
 * fails there is not reported at all (RFC 3464 section 2, RFC 5321 section 6.1).
 * @returns a mailbox; where an alias stands for several, the alias, which `policy.deliver` knows
 */
export function addresseeOf(
  policy: Policy,
  sender: string,
  recipients: readonly string[],
): string | undefined {
  if (policy.mode === 'off') return undefined;
  // qmail's sender of a report about a report.
  if (sender === '#@[]') return undefined;
  if (!isMailbox(sender)) {
    const ours = policy.deliver(policy.double).map(({ address }) => address.toLowerCase());
    return recipients.every((each) => ours.includes(each.toLowerCase()))
      ? undefined
      : readerOf(policy, policy.double);
  }
  if (policy.mode === 'admin') return policy.admin ?? readerOf(policy, policy.double);
  return readerOf(policy, sender);
}

/** A user of this host has no mailbox that a relay could reach: another reads for him. */
function readerOf(policy: Policy, address: string): string {
  const [first, ...others] = policy.deliver(address);
  return others.length === 0 ? first.address : address;
}
