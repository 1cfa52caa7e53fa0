/**
 * What can happen in a conversation with a relay, and what it means for one recipient. The dialogue
 * reports answers; the table in queue/sorting.ts turns them into verdicts.
 */
import type { Reply } from './reply.ts';

/** The step of a session or transaction that an answer belongs to. */
export type Stage =
  | 'config'
  | 'resolve'
  | 'connect'
  | 'tls'
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'dot'
  | 'rset'
  | 'quit';

/** What was heard, or why nothing was: one event of the dialogue. */
export type DialogueEvent =
  | { readonly kind: 'reply'; readonly reply: Reply }
  /** The connection was closed or reset, could not be made, or a local step failed. */
  | { readonly kind: 'closed'; readonly reason: string }
  | { readonly kind: 'timeout'; readonly seconds: number }
  /** Bytes that are no SMTP reply; `reason` names the rule that was broken, escaped. */
  | { readonly kind: 'malformed'; readonly reason: string };

/** What was heard about one recipient, and at which stage. */
export interface Answer {
  readonly stage: Stage;
  readonly event: DialogueEvent;
  /** What was said about this recipient up to then, escaped: `C: …` by us, `S: …` by the relay. */
  readonly dialogue?: readonly string[];
}

/**
 * How far a failure reaches. `site`: nothing is wrong with the mail, the route is. `message`: all
 * recipients of the message. `recipient`: that one alone.
 */
export type Scope = 'site' | 'message' | 'recipient';

/** What becomes of one recipient's entry after an answer. */
export type Verdict =
  | { readonly action: 'relayed' }
  | {
      readonly action: 'defer';
      readonly scope: Scope;
      /** Whether the attempt counts for the schedule. */
      readonly counted: boolean;
      /** The relay may have taken the message although it did not say so. */
      readonly possibleDuplicate: boolean;
    }
  /** Too many recipients for one transaction: goes into the next one at once. */
  | { readonly action: 'again' }
  | { readonly action: 'refuse'; readonly scope: 'message' | 'recipient' };
