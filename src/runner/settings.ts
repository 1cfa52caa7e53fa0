/** What a run takes from the control folder, read as a whole: one bad file defers all mail, visibly. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import fs from 'node:fs';
import { type ControlName, catalogue } from '../control/catalogue.ts';
import {
  type Control,
  ControlError,
  checkSecret,
  controlTimes,
  readerFor,
} from '../control/control.ts';
import { isDirect, type Relay } from '../control/relay-url.ts';
import type { RetryPlan } from '../control/retry.ts';
import type { Route } from '../control/routing.ts';
import type { DkimKey } from '../mail/dkim.ts';
import { checkWindows } from '../queue/schedule.ts';
import type { Login } from '../relay/auth.ts';
import { besidePublicOnes, checkTrust, type Way } from '../relay/connect.ts';
import type { TokenRequest } from '../relay/oauth.ts';
import type { SessionOptions } from '../relay/session.ts';
import { type DirectSettings, directOf, readDirect } from './direct.ts';

export interface Settings {
  /** In the order they are tried; none where `direct` says how to find them. */
  readonly relays: readonly Relay[];
  readonly direct: DirectSettings | undefined;
  readonly retry: RetryPlan;
  /** Milliseconds after which an entry that is not relayed goes to Undelivered. */
  readonly lifetime: number;
  readonly transactionRecipients: number;
  readonly connections: number;
  readonly connectionMessages: number;
  readonly messagesInFlight: number;
  /** What signs our mail. */
  readonly signers: readonly DkimKey[];
  /**
   * The control files that were changed after this time (milliseconds since 1970-01-01 UTC); not one
   * that was removed.
   */
  readonly changedSince: (time: number) => readonly string[];
  /** The options of a session with one of the relays, or with a host that was found on this way. */
  readonly sessionWith: (relay: Relay, way?: Way) => SessionOptions;
}

/** How long the command that prints the password may take, in seconds. */
const COMMAND_DEADLINE = 30;

/**
 * @param now milliseconds since 1970-01-01 UTC
 * @throws ControlError for the first file that is malformed or cannot be read
 */
export function readSettings(control: Control, now: () => number, route: Route): Settings {
  // Also the files that only submissions read: what they made of a mail is not what was meant.
  for (const name of Object.keys(catalogue) as ControlName[]) control.get(name);
  const retry = control.get('retry');
  const badWindow = checkWindows(retry);
  if (badWindow !== undefined) {
    throw new ControlError({
      file: `${control.folder}/retry`,
      found: badWindow,
      expected: 'a cron expression of five fields',
      hint: 'Mend the line or take it out.',
    });
  }
  const destination = 'direct' in route ? route.direct : (route.relays ?? control.get('relay'));
  const relays = isDirect(destination) ? [] : destination;
  const directRoute = directOf(route, destination);
  if (directRoute === undefined && relays.length === 0) {
    throw new ControlError({
      file: `${control.folder}/relay`,
      expected: 'the relay that takes our mail, but no relay is configured',
      hint: `Make it: echo smtp://user@smtp.example.com:587 > ${control.folder}/relay`,
    });
  }
  const way = readWay(control);
  const trust = readTrust(control);
  const direct = directRoute && {
    ...readDirect(control, directRoute, way),
    authorities: besidePublicOnes(trust.authorities),
  };
  const common = {
    helo: control.get('helohost'),
    tls: control.get('tls'),
    ...trust,
    way,
    cleartextLogin: control.get('authcleartext'),
    timeouts: {
      connect: control.get('timeoutconnect'),
      greeting: control.get('timeoutgreeting'),
      helo: control.get('timeouthelo'),
      mail: control.get('timeoutmail'),
      rcpt: control.get('timeoutrcpt'),
      data: control.get('timeoutdata'),
      block: control.get('timeoutblock'),
      dot: control.get('timeoutdot'),
      quit: control.get('timeoutquit'),
      session: control.get('timeoutsession'),
    },
  };
  const login = readLogin(control, way, now);
  for (const relay of relays) {
    const known = login(relay);
    if (known === undefined || 'password' in known || common.certificate !== undefined) continue;
    if ('token' in known) continue;
    throw new ControlError({
      file: `${control.folder}/authpassword`,
      expected: 'the password of the login name, but the file is missing',
      hint: `Make it: install -m 640 /dev/null ${control.folder}/authpassword, then write the password into it.`,
    });
  }
  let times: ReturnType<typeof controlTimes> | undefined;
  return {
    relays,
    direct,
    retry,
    lifetime: control.get('queuelifetime') * 1000,
    transactionRecipients: control.get('transactionrecipients'),
    connections: control.get('connections'),
    connectionMessages: control.get('connectionmessages'),
    messagesInFlight: control.get('messagesinflight'),
    signers: readSigners(control),
    changedSince: (time) => {
      times ??= controlTimes(control.folder);
      // An attempt's time is that of its second.
      return [...times].filter(([, changed]) => changed >= time + 1000).map(([name]) => name);
    },
    sessionWith: (relay, found = way) =>
      direct === undefined
        ? { ...common, relay, login: login(relay) }
        : {
            ...common,
            relay,
            way: found,
            // Nothing of what the relay of this host is to have goes to hosts of other people.
            tls: 'opportunistic',
            authorities: direct.authorities,
            pins: [],
            // An old version is better than none.
            minimum: 'TLSv1.2',
            certificate: undefined,
            login: undefined,
          },
  };
}

/** @throws ControlError for a proxy or source address that is malformed */
export function readWay(control: Control): Way {
  const server = control.get('proxy');
  const proxy = server && { ...server, password: control.get('proxypassword') };
  return { source: control.get('sourceaddress'), proxy };
}

/** How a relay's login is had. */
function readLogin(
  control: Control,
  way: Way,
  now: () => number,
): (relay: Relay) => Login | undefined {
  const mechanisms = control.get('authmechanisms');
  const secret = readSecret(control, way, now);
  const passwords = control.get('authpasswords');
  return (relay) => {
    const user = relay.user ?? control.get('authuser');
    if (user === undefined || relay.path !== undefined) return undefined;
    const password = passwords.get(user);
    return { user, mechanisms, ...(password === undefined ? secret : { password }) };
  };
}

function readSecret(
  control: Control,
  way: Way,
  now: () => number,
): Pick<Login, 'password' | 'token'> {
  const request = readTokenRequest(control);
  if (request !== undefined) {
    const spool = control.get('spooldir');
    return {
      token: shared(async (fresh) => {
        const { accessToken } = await import('./credentials.ts');
        return await accessToken(request, way, spool, now, fresh);
      }),
    };
  }
  const password = control.get('authpassword');
  if (password !== undefined) return { password };
  const command = control.get('authpasswordcommand');
  if (command === undefined) return {};
  return {
    password: shared(async () => {
      const { passwordOf } = await import('./credentials.ts');
      return await passwordOf(command, COMMAND_DEADLINE);
    }),
  };
}

/**
 * What access tokens are asked for with; undefined without OAuth 2.
 * @throws ControlError
 */
export function readTokenRequest(control: Control): TokenRequest | undefined {
  const url = control.get('oauthtokenurl');
  if (url === undefined) return undefined;
  return {
    url,
    clientId: required(control, 'oauthclientid'),
    clientSecret: control.get('oauthclientsecret'),
    refreshToken: required(control, 'oauthrefreshtoken'),
  };
}

/**
 * Our own certificate and those behind it, in PEM.
 * @throws ControlError
 */
export function readCertificate(control: Control): string | undefined {
  return readPem(control, 'tlscertfile');
}

function required(control: Control, name: 'oauthclientid' | 'oauthrefreshtoken'): string {
  const value = control.get(name);
  if (value !== undefined) return value;
  throw new ControlError({
    file: `${control.folder}/${name}`,
    expected: 'what belongs to oauthtokenurl, but the file is missing',
    hint: `Make it, or remove ${control.folder}/oauthtokenurl.`,
  });
}

/** All connections of a delivery share one answer, also one that failed; a fresh one replaces it. */
function shared(get: (fresh: boolean) => Promise<string>): (fresh?: boolean) => Promise<string> {
  let answer: Promise<string> | undefined;
  let renewed = false;
  return (fresh = false) => {
    if (answer === undefined || (fresh && !renewed)) {
      renewed = fresh;
      answer = get(fresh);
    }
    return answer;
  };
}

function readTrust(
  control: Control,
): Required<Pick<SessionOptions, 'authorities' | 'pins' | 'minimum' | 'certificate'>> {
  const authorities = readPem(control, 'tlscafile');
  const chain = readCertificate(control);
  const key = readPem(control, 'tlskeyfile');
  const minimum = control.get('tlsminimum') === '1.3' ? 'TLSv1.3' : 'TLSv1.2';
  if ((chain === undefined) !== (key === undefined)) {
    const [missing, there] =
      key === undefined ? ['tlskeyfile', 'tlscertfile'] : ['tlscertfile', 'tlskeyfile'];
    throw new ControlError({
      file: `${control.folder}/${missing}`,
      expected: `what belongs to ${there}, but the file is missing`,
      hint: `Make it, or remove ${control.folder}/${there}.`,
    });
  }
  const certificate = chain === undefined || key === undefined ? undefined : { chain, key };
  check(control, 'tlscafile', 'a file with certificates', () => checkTrust({ authorities }));
  check(control, 'tlskeyfile', 'the key of the certificate in tlscertfile', () =>
    checkTrust({ authorities: undefined, certificate }),
  );
  return { authorities, pins: control.get('tlspin'), minimum, certificate };
}

function check(
  control: Control,
  name: 'tlscafile' | 'tlskeyfile',
  expected: string,
  test: () => void,
): void {
  try {
    test();
  } catch (error) {
    throw new ControlError({
      file: `${control.folder}/${name}`,
      found: control.get(name),
      expected,
      hint: error instanceof Error ? `${error.message}.` : 'OpenSSL does not take it.',
    });
  }
}

/**
 * The keys of control/dkim.
 * @throws ControlError for the first that cannot be used
 */
export function readSigners(control: Control): readonly DkimKey[] {
  return control.get('dkim').map(({ line, domain, selector, keyFile, fields }) => {
    const place = { name: 'dkim', path: keyFile, secret: true, line } as const;
    const key = readKey(control, place, readNamed(control, place));
    return { domain, selector, key, fields };
  });
}

/** A file that a control file names. */
interface Place {
  readonly name: 'tlscafile' | 'tlscertfile' | 'tlskeyfile' | 'dkim';
  readonly path: string;
  /** Whether others must not read it. */
  readonly secret: boolean;
  readonly line?: number;
}

function readKey(control: Control, { name, path, line }: Place, pem: string): KeyObject {
  const fault = { file: `${control.folder}/${name}`, line, found: path };
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (error) {
    throw new ControlError({
      ...fault,
      expected: 'the path of a private key in PEM form without a passphrase',
      hint: error instanceof Error ? `${error.message}.` : 'OpenSSL does not take it.',
    });
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  // RFC 8301 section 3.2.
  if (type === 'ed25519' || (type === 'rsa' && (details?.modulusLength ?? 0) >= 1024)) return key;
  throw new ControlError({
    ...fault,
    expected: 'an RSA key of 1024 bits or more, or an Ed25519 key',
    hint: `Make one: openssl genrsa -out ${path} 2048`,
  });
}

function readPem(
  control: Control,
  name: 'tlscafile' | 'tlscertfile' | 'tlskeyfile',
): string | undefined {
  const path = control.get(name);
  if (path === undefined) return undefined;
  return readNamed(control, { name, path, secret: name === 'tlskeyfile' });
}

function readNamed(control: Control, { name, path, secret, line }: Place): string {
  const fault = { file: `${control.folder}/${name}`, line, found: path };
  try {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      if (secret) {
        const { mode, uid } = fs.fstatSync(fd);
        const reader = readerFor(control.get('spooldir'));
        // The key may be the host's, and have a group that others share it by.
        checkSecret(path, { mode, uid, gid: reader.queue }, reader, fault);
      }
      return fs.readFileSync(fd, 'latin1');
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    if (error instanceof ControlError) throw error;
    throw new ControlError({
      ...fault,
      expected: 'the path of a PEM file that this user may read',
      hint: error instanceof Error ? `${error.message}.` : 'Reading it failed.',
    });
  }
}
