/**
 * Who is told when mail does not go through, and in whose name: the control files about reports, read
 * as a whole. The control folder is the admin's; sender and recipients of a mail are hostile.
 */
import type { Control } from '../control/control.ts';
import { domainOf, isMailbox, qualify } from '../mail/address.ts';

export interface Policy {
  readonly mode: 'sender' | 'admin' | 'off';
  /** The name of this host. */
  readonly me: string;
  /** The address in the From field of a report. */
  readonly from: string;
  /** The right side of a report's Message-ID. */
  readonly idHost: string;
  readonly admin: string | undefined;
  /** Gets the reports that cannot go to a sender. */
  readonly double: string;
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
  const admin = control.get('adminaddr');
  const double = control.get('doublebounceto');
  return {
    mode: control.get('bounce'),
    me: control.get('me'),
    from: qualify(control.get('bouncefrom'), {
      defaultHost: control.get('bouncehost'),
      defaultDomain: undefined,
    }),
    idHost: control.get('idhost'),
    admin,
    // A local postmaster has no mailbox on a host that only sends; who reads for it is the admin.
    double: double.includes('@') ? double : (admin ?? qualify(double, names)),
    delay: control.get('delaywarn') * 1000,
    lifetime: control.get('queuelifetime') * 1000,
    limit: control.get('bounceslimit'),
  };
}

/**
 * Whom a report about mail from this sender to these recipients goes to; undefined when nobody is
 * told. Never the sender of a report: a report that fails is reported once, to `double`, and what
 * fails there is not reported at all (RFC 3464 section 2, RFC 5321 section 6.1).
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
    const ours = policy.double.toLowerCase();
    return recipients.every((each) => each.toLowerCase() === ours) ? undefined : policy.double;
  }
  if (policy.mode === 'admin') return policy.admin ?? policy.double;
  return isLocal(policy, sender) ? (policy.admin ?? sender) : sender;
}

/**
 * Whether a sender is a user of this host, who has no mailbox that a relay could reach. A `defaulthost`
 * of another name is one that was chosen because mail to it arrives.
 */
function isLocal(policy: Policy, sender: string): boolean {
  return [policy.me.toLowerCase(), 'localhost', 'localhost.localdomain'].includes(domainOf(sender));
}
