/**
 * Logs in (RFC 4954): which mechanisms may be used, in which order, and when another one is tried after a
 * refusal. A password is never offered a second time after the relay has looked at it, so that no account
 * gets locked; and whatever is made of a secret is hidden from everybody who is shown the dialogue.
 *
 * Hostile input: the relay's replies and challenges.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { MechanismName } from '../control/catalogue.ts';
import type { DialogueEvent } from '../mail/outcome.ts';
import type { Reply } from '../mail/reply.ts';
import { escapeText } from '../mail/text.ts';
import { certificateOf, reasonOf, SessionError } from './connect.ts';
import type { Dialogue } from './dialogue.ts';
import {
  type ChannelBinding,
  cramMd5,
  type Exchange,
  endPointHash,
  external,
  login as loginMechanism,
  oauthBearer,
  plain,
  SaslFault,
  scramSha256,
  xoauth2,
} from './sasl.ts';

/** Who logs in, and by what. With neither password nor token the certificate of the TLS connection counts. */
export interface Login {
  readonly user: string;
  /** A function is asked when the password is needed; it throws Error with one line for people. */
  readonly password?: string | (() => Promise<string>) | undefined;
  /** An OAuth 2 access token. `fresh`: the one before was refused. Throws as above. */
  readonly token?: ((fresh: boolean) => Promise<string>) | undefined;
  /** The mechanisms that may be used, best first; undefined: those that the secret is made for. */
  readonly mechanisms?: readonly MechanismName[] | undefined;
}

/** What is known of the connection. */
export interface Circumstances {
  readonly host: string;
  readonly port: number;
  /** What stands behind AUTH in the answer to EHLO. */
  readonly offered: string;
  /** Undefined without TLS. */
  readonly secured: TLSSocket | undefined;
  /** Whether the password itself may be said. */
  readonly confidential: boolean;
  /** For each answer. */
  readonly seconds: number;
  readonly mask: Mask;
}

/** Challenges that one exchange may have; the longest one has three. */
const CHALLENGES = 4;

/** Octets that a command line may have (RFC 5321 section 4.5.3.1.4); answers to challenges may be longer. */
const LINE_LIMIT = 512;

/** Keeps secrets out of lines. */
export class Mask {
  readonly #secrets = new Set<string>();

  /** From now on neither the text nor its base64 is shown. */
  hide(secret: string | Buffer): void {
    const bytes = Buffer.from(secret);
    const text = bytes.toString();
    for (const form of [text, escapeText(text), bytes.toString('base64')]) {
      // Less than that is found in every other line, and would be given away by its absence.
      if (form.length >= 4) this.#secrets.add(form);
    }
  }

  shown(line: string): string {
    return [...this.#secrets].reduce((text, secret) => text.replaceAll(secret, '***'), line);
  }

  /** The event without what is hidden: relays echo commands. */
  shownEvent(event: DialogueEvent): DialogueEvent {
    if (event.kind !== 'reply') return event;
    const lines = event.reply.lines.map((line) => this.shown(line));
    return { kind: 'reply', reply: { ...event.reply, lines } };
  }
}

/**
 * Logs in on an open dialogue.
 * @throws SessionError at stage auth
 */
export async function authenticate(
  dialogue: Dialogue,
  login: Login,
  circumstances: Circumstances,
): Promise<void> {
  const names = usable(login, circumstances);
  const secret = await secretOf(login, false);
  let refused: DialogueEvent | undefined;
  let doubts = 0;
  for (const name of names) {
    let attempt = await attemptWith(dialogue, name, login, secret, circumstances);
    if (attempt.taken) return;
    if (login.token !== undefined && attempt.reply.code === 535) {
      // It may have been withdrawn, or this clock is wrong. A token locks no account.
      const fresh = await secretOf(login, true);
      attempt = await attemptWith(dialogue, name, login, fresh, circumstances);
      if (attempt.taken) return;
    }
    refused = circumstances.mask.shownEvent({ kind: 'reply', reply: attempt.reply });
    const { code } = attempt.reply;
    const unknown = [500, 501, 502, 504].includes(code) || (code === 534 && !attempt.secretSaid);
    // A relay may find the user unknown or the channel binding wrong before it has seen a proof.
    const doubtful = code >= 500 && !attempt.secretSaid && ++doubts === 1;
    if (!unknown && !doubtful) break;
  }
  throw new SessionError('auth', refused ?? { kind: 'closed', reason: 'no mechanism' });
}

/** The mechanisms to try, in order. */
function usable(login: Login, circumstances: Circumstances): readonly MechanismName[] {
  const { secured, confidential } = circumstances;
  const offered = new Set(circumstances.offered.toUpperCase().split(/[ \t=]+/));
  offered.delete('');
  if (offered.size === 0) {
    throw failure(
      secured === undefined
        ? 'the relay offers no AUTH on a connection without TLS (control file tls)'
        : 'the relay offers no AUTH; without a login remove control/authuser',
    );
  }
  const known = (login.mechanisms ?? mechanismsFor(login)).filter((name) => offered.has(name));
  const fit = known.filter((name) => {
    if (name === 'EXTERNAL') return secured !== undefined;
    if (name === 'SCRAM-SHA-256-PLUS') return bindingOf(secured) !== undefined;
    return confidential || name === 'SCRAM-SHA-256' || name === 'CRAM-MD5';
  });
  if (fit.length > 0) return fit;
  if (known.length > 0 && !confidential) {
    throw failure(
      secured === undefined
        ? 'the password is kept back: the connection has no TLS (control files tls, authcleartext)'
        : 'the password is kept back: the certificate is not verified (control files tls, authcleartext)',
    );
  }
  const list = escapeText([...offered].join(' ').slice(0, 200));
  throw failure(`the relay offers AUTH ${list}, and none of it can be used here`);
}

function mechanismsFor(login: Login): readonly MechanismName[] {
  if (login.token !== undefined) return ['OAUTHBEARER', 'XOAUTH2'];
  if (login.password === undefined) return ['EXTERNAL'];
  return ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256', 'PLAIN', 'LOGIN', 'CRAM-MD5'];
}

async function secretOf({ token, password = '' }: Login, fresh: boolean): Promise<string> {
  try {
    if (token !== undefined) return await token(fresh);
    return typeof password === 'string' ? password : await password();
  } catch (error) {
    throw failure(reasonOf(error));
  }
}

type Attempt =
  | { readonly taken: true }
  | { readonly taken: false; readonly reply: Reply; readonly secretSaid: boolean };

/** @throws SessionError when the session is of no more use */
async function attemptWith(
  dialogue: Dialogue,
  name: MechanismName,
  login: Login,
  secret: string,
  circumstances: Circumstances,
): Promise<Attempt> {
  const { mask } = circumstances;
  mask.hide(secret);
  const exchange = begin(name, login, secret, circumstances);
  let event: DialogueEvent;
  try {
    event = await converse(dialogue, name, exchange, circumstances);
  } catch (error) {
    if (!(error instanceof SaslFault)) throw error;
    dialogue.said(['*']);
    dialogue.write(Buffer.from('*\r\n'));
    await dialogue.reply(circumstances.seconds);
    throw new SessionError('auth', { kind: 'malformed', reason: `${name}: ${error.message}` });
  }
  if (event.kind !== 'reply') throw new SessionError('auth', event);
  const { reply } = event;
  if (reply.code >= 300) return { taken: false, reply, secretSaid: exchange.secretSaid };
  if (exchange.believable) return { taken: true };
  const reason = `${name}: the relay did not show that it knows the password`;
  throw new SessionError('auth', { kind: 'malformed', reason });
}

/** AUTH, and the answers to the challenges; the reply that ends the exchange. */
async function converse(
  dialogue: Dialogue,
  name: MechanismName,
  exchange: Exchange,
  { seconds, mask }: Circumstances,
): Promise<DialogueEvent> {
  const say = (bytes: Buffer, before = ''): void => {
    mask.hide(bytes);
    dialogue.said([`${before}***`]);
    const text = bytes.toString('base64');
    // RFC 4954 section 4: an initial response without octets is written as =.
    dialogue.write(Buffer.from(`${before}${text === '' && before !== '' ? '=' : text}\r\n`));
  };
  const command = `AUTH ${name}`;
  const { initial } = exchange;
  const room = LINE_LIMIT - `${command} \r\n`.length;
  let kept: Buffer | undefined;
  if (initial !== undefined && Math.ceil(initial.length / 3) * 4 <= room) {
    say(initial, `${command} `);
  } else {
    kept = initial;
    dialogue.said([command]);
    dialogue.write(Buffer.from(`${command}\r\n`));
  }
  for (let challenges = 0; ; challenges++) {
    const event = await dialogue.reply(seconds);
    if (event.kind !== 'reply' || event.reply.code !== 334) return event;
    if (challenges === CHALLENGES) throw new SaslFault('too many challenges');
    const challenge = Buffer.from(event.reply.lines.join(''), 'base64');
    say(kept ?? (await exchange.answer(challenge)));
    kept = undefined;
  }
}

function begin(
  name: MechanismName,
  { user, mechanisms }: Login,
  secret: string,
  { host, port, secured }: Circumstances,
): Exchange {
  const nonce = (): string => randomBytes(18).toString('base64');
  const binding = bindingOf(secured);
  // Who was told not to bind must not claim that the relay cannot: it would take that for an attack.
  const willing = mechanisms === undefined || mechanisms.includes('SCRAM-SHA-256-PLUS');
  switch (name) {
    case 'EXTERNAL':
      return external(user);
    case 'SCRAM-SHA-256-PLUS':
      return scramSha256(user, secret, nonce(), binding ?? 'impossible');
    case 'SCRAM-SHA-256':
      return scramSha256(
        user,
        secret,
        nonce(),
        binding !== undefined && willing ? 'possible' : 'impossible',
      );
    case 'OAUTHBEARER':
      return oauthBearer(user, secret, host, port);
    case 'XOAUTH2':
      return xoauth2(user, secret);
    case 'PLAIN':
      return plain(user, secret);
    case 'LOGIN':
      return loginMechanism(user, secret);
    case 'CRAM-MD5':
      return cramMd5(user, secret);
  }
}

/** RFC 9266 for TLS 1.3; before it an exporter is not unique to its connection, so RFC 5929. */
function bindingOf(secured: TLSSocket | undefined): ChannelBinding | undefined {
  if (secured === undefined) return undefined;
  if (secured.getProtocol() === 'TLSv1.3') {
    const data = secured.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
    return { name: 'tls-exporter', data };
  }
  const certificate = certificateOf(secured)?.raw;
  const hash = certificate && endPointHash(certificate);
  if (certificate === undefined || hash === undefined) return undefined;
  return { name: 'tls-server-end-point', data: createHash(hash).update(certificate).digest() };
}

function failure(reason: string): SessionError {
  return new SessionError('auth', { kind: 'closed', reason });
}
