/**
 * The envelope of a message: who sent it and who is to get it, apart from what its header says
 * (RFC 5321 section 2.3.1), with the ESMTP parameters that travel along.
 */

/**
 * One recipient (forward-path) and its DSN parameters (RFC 3461). The address is a mailbox without
 * angle brackets.
 */
export interface Recipient {
  readonly address: string;
  /** NOTIFY as it goes over the wire: `NEVER`, or a comma list of `SUCCESS`, `FAILURE`, `DELAY`. */
  readonly notify?: string;
  /** ORCPT as it goes over the wire: address type, `;`, address in xtext. */
  readonly orcpt?: string;
}

/** At least one recipient: an envelope without any cannot be written. */
export type Recipients = readonly [Recipient, ...Recipient[]];

export interface Envelope {
  /** The reverse-path without angle brackets; the empty string is the null sender `<>`. */
  readonly sender: string;
  readonly recipients: Recipients;
  /** RET (RFC 3461 section 4.3): what a report brings back of the message. */
  readonly ret?: 'FULL' | 'HDRS';
  /** ENVID in xtext, as it goes over the wire (RFC 3461 section 4.4). */
  readonly envid?: string;
  /** The client said SMTPUTF8 (RFC 6531): its header may hold UTF-8, which a relay is to be told. */
  readonly smtpUtf8?: true;
  /** It must not travel without verified TLS on any part of its way (RFC 8689). */
  readonly requireTls?: true;
}

/** Who submitted a message, when and through which program: kept in the entry for the admin. */
export interface Origin {
  /** The submitter's user id. */
  readonly uid: number;
  /** The process that took the message. */
  readonly pid: number;
  /** When it was taken, in microseconds since 1970-01-01 UTC. */
  readonly time: number;
  /** The program that took it: `sendmail`, `qmail-queue`, … */
  readonly program: string;
  /** What was done to the message on its way in, one line each, as `formatNote` writes them. */
  readonly notes?: readonly string[];
}

/**
 * The time of an origin, from a clock that counts milliseconds and one that counts nanoseconds from
 * anywhere: right to the millisecond, and with digits behind it that tell two mails of one millisecond
 * apart. (Node's own clock of that precision costs a start more than a millisecond.)
 */
export function originTime(
  milliseconds: number,
  [, nanoseconds]: readonly [seconds: number, nanoseconds: number],
): number {
  return milliseconds * 1000 + (Math.floor(nanoseconds / 1000) % 1000);
}
