/**
 * SASL mechanisms (RFC 4422) as AUTH speaks them: what the client says first, what it answers to each
 * challenge, and whether the server has proved to know the password too. Opens no connection, reads no
 * clock and no randomness, and decides nothing about which mechanism to use.
 *
 * Hostile input: the challenges. What breaks the rules throws SaslFault, and then nothing more may be said.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** One exchange with one mechanism; used once. */
export interface Exchange {
  /** The initial response (RFC 4954 section 4); undefined where the server speaks first. */
  readonly initial: Buffer | undefined;
  /**
   * The answer to a challenge.
   * @throws SaslFault
   */
  answer(challenge: Buffer): Buffer | Promise<Buffer>;
  /** Whether the server's word that all is well may be believed. */
  readonly believable: boolean;
  /** Whether what has been said so far was made from the secret. */
  readonly secretSaid: boolean;
}

/** A challenge that breaks the mechanism's rules. The message holds no secret. */
export class SaslFault extends Error {
  override readonly name = 'SaslFault';
}

/** A binding of the exchange to the TLS connection around it (RFC 5056). */
export interface ChannelBinding {
  readonly name: 'tls-exporter' | 'tls-server-end-point';
  readonly data: Buffer;
}

/** RFC 7677 section 4 asks for 4096 at least; the most is what half a second of work allows. */
const ITERATIONS = { least: 4096, most: 1_000_000 } as const;

/** RFC 4616, without an authorization identity, which confuses servers. */
export function plain(user: string, password: string): Exchange {
  return atOnce(`\0${user}\0${password}`, '');
}

/** RFC 4422 appendix A: the certificate of the TLS connection speaks for us. */
export function external(user: string): Exchange {
  return { ...atOnce(user, user), secretSaid: false };
}

/** RFC 7628. An error comes as a challenge, which is to be answered by one octet. */
export function oauthBearer(user: string, token: string, host: string, port: number): Exchange {
  const name = escapeName(user);
  return atOnce(
    `n,a=${name},\x01host=${host}\x01port=${port}\x01auth=Bearer ${token}\x01\x01`,
    '\x01',
  );
}

/** Google's and Microsoft's forerunner of OAUTHBEARER. */
export function xoauth2(user: string, token: string): Exchange {
  return atOnce(`user=${user}\x01auth=Bearer ${token}\x01\x01`, '');
}

/** The user name to the first challenge, the password to the second, whatever they ask for. */
export function login(user: string, password: string): Exchange {
  const answers = [user, password];
  return {
    initial: undefined,
    answer: () => Buffer.from(answers.shift() ?? fault('more than two challenges')),
    believable: true,
    get secretSaid() {
      return answers.length === 0;
    },
  };
}

/** RFC 2195. */
export function cramMd5(user: string, password: string): Exchange {
  let answered = false;
  return {
    initial: undefined,
    answer: (challenge) => {
      if (answered) fault('more than one challenge');
      answered = true;
      const digest = createHmac('md5', password).update(challenge).digest('hex');
      return Buffer.from(`${user} ${digest}`);
    },
    believable: true,
    get secretSaid() {
      return answered;
    },
  };
}

/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), and with a binding SCRAM-SHA-256-PLUS.
 * @param nonce printable characters without a comma, never used before
 * @param binding `possible`: we could bind, but the server does not offer it (RFC 5802 section 6)
 */
export function scramSha256(
  user: string,
  password: string,
  nonce: string,
  binding: ChannelBinding | 'possible' | 'impossible',
): Exchange {
  return new Scram(user, password, nonce, binding);
}

class Scram implements Exchange {
  readonly initial: Buffer;
  readonly #password: string;
  readonly #nonce: string;
  readonly #first: string;
  readonly #bound: string;
  #serverSignature: Buffer | undefined;
  #believable = false;

  constructor(
    user: string,
    password: string,
    nonce: string,
    binding: ChannelBinding | 'possible' | 'impossible',
  ) {
    const bound = typeof binding === 'object';
    const flag = bound ? `p=${binding.name}` : binding === 'possible' ? 'y' : 'n';
    const header = Buffer.from(`${flag},,`);
    this.#password = password;
    this.#nonce = nonce;
    this.#first = `n=${escapeName(prepare(user))},r=${nonce}`;
    this.#bound = Buffer.concat(bound ? [header, binding.data] : [header]).toString('base64');
    this.initial = Buffer.concat([header, Buffer.from(this.#first)]);
  }

  get believable(): boolean {
    return this.#believable;
  }

  get secretSaid(): boolean {
    return this.#serverSignature !== undefined;
  }

  async answer(challenge: Buffer): Promise<Buffer> {
    const message = challenge.toString('utf8');
    if (this.#serverSignature === undefined) return await this.#prove(message);
    if (this.#believable) fault('more than two challenges');
    const [, error] = /^e=([^,]{1,100})/.exec(message) ?? [];
    // The server says itself by its reply that it has refused.
    if (error !== undefined) return Buffer.alloc(0);
    const [, text = ''] = /^v=([A-Za-z0-9+/]{43}=)(?:,|$)/.exec(message) ?? [];
    const signature = Buffer.from(text, 'base64');
    if (signature.length !== 32 || !timingSafeEqual(signature, this.#serverSignature)) {
      fault('the relay does not know the password: its signature is wrong');
    }
    this.#believable = true;
    return Buffer.alloc(0);
  }

  /** The client's proof, made from the server-first-message. */
  async #prove(message: string): Promise<Buffer> {
    // An attribute m= before the nonce would be an extension that has to be understood.
    const [, nonce = '', saltText = '', count = ''] =
      /^r=([\x21-\x2b\x2d-\x7e]{1,512}),s=([A-Za-z0-9+/]{1,1024}={0,2}),i=(\d{1,9})(?:,|$)/.exec(
        message,
      ) ?? fault('the challenge is not one of SCRAM');
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce) {
      fault('the challenge does not go on from our nonce');
    }
    const iterations = Number(count);
    if (iterations < ITERATIONS.least || iterations > ITERATIONS.most) {
      fault(`${iterations} iterations are not from ${ITERATIONS.least} to ${ITERATIONS.most}`);
    }
    const salted = await promisify(pbkdf2)(
      prepare(this.#password),
      Buffer.from(saltText, 'base64'),
      iterations,
      32,
      'sha256',
    );
    const final = `c=${this.#bound},r=${nonce}`;
    const signed = `${this.#first},${message},${final}`;
    const clientKey = hmac(salted, 'Client Key');
    const signature = hmac(createHash('sha256').update(clientKey).digest(), signed);
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), signed);
    const proof = Buffer.from(clientKey.map((octet, index) => octet ^ (signature[index] ?? 0)));
    return Buffer.from(`${final},p=${proof.toString('base64')}`);
  }
}

/**
 * The hash that tls-server-end-point takes of a certificate (RFC 5929 section 4.1): the one of its
 * signature, SHA-256 for older ones; undefined where a signature has none of its own or several.
 * @param certificate in DER
 */
export function endPointHash(certificate: Uint8Array): 'sha256' | 'sha384' | 'sha512' | undefined {
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OBJECT IDENTIFIER, … }, … }
  const outer = readValue(certificate, 0);
  const signed = outer && readValue(certificate, outer.start);
  const algorithm = signed && readValue(certificate, signed.end);
  const identifier = algorithm && readValue(certificate, algorithm.start);
  if (identifier === undefined) return undefined;
  const hex = Buffer.from(certificate.subarray(identifier.start, identifier.end)).toString('hex');
  return HASHES.find(([pattern]) => pattern.test(hex))?.[1];
}

/** Object identifiers in DER: RSA with PKCS 1 padding (RFC 4055), ECDSA (RFC 5758). */
const HASHES = [
  // md5WithRSA, sha1WithRSA, sha256WithRSA; ecdsa-with-SHA1, ecdsa-with-SHA256
  [/^(?:2a864886f70d0101(?:04|05|0b)|2a8648ce3d0401|2a8648ce3d040302)$/, 'sha256'],
  [/^(?:2a864886f70d01010c|2a8648ce3d040303)$/, 'sha384'],
  [/^(?:2a864886f70d01010d|2a8648ce3d040304)$/, 'sha512'],
] as const;

/** Where the contents of the DER value at `offset` are. */
function readValue(
  bytes: Uint8Array,
  offset: number,
): { readonly start: number; readonly end: number } | undefined {
  const first = bytes[offset + 1];
  if (first === undefined) return undefined;
  const count = first < 0x80 ? 0 : first & 0x7f;
  if (count > 3) return undefined;
  let length = count === 0 ? first : 0;
  for (let n = 0; n < count; n++) length = length * 256 + (bytes[offset + 2 + n] ?? 0);
  const start = offset + 2 + count;
  return start + length > bytes.length ? undefined : { start, end: start + length };
}

/** All is said at once; what the server asks then is about an error and gets `rest`. */
function atOnce(text: string, rest: string): Exchange {
  let asked = 0;
  return {
    initial: Buffer.from(text),
    answer: () => {
      if (++asked > 1) fault('more than one challenge');
      return Buffer.from(rest);
    },
    believable: true,
    secretSaid: true,
  };
}

/** RFC 5801 section 4. */
function escapeName(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C');
}

/** What of SASLprep (RFC 4013) makes two ways of typing a text the same. */
function prepare(text: string): string {
  return text
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, ' ')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .normalize('NFKC');
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function fault(reason: string): never {
  throw new SaslFault(reason);
}
