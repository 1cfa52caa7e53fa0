/** esmtp's configuration, /etc/esmtprc. Pure, and linear in the text. */
import type { Relay } from '../control/relay-url.ts';
import { type Account, type Files, portOf, type Translation, Translator } from './translation.ts';

interface Identity {
  /** Undefined for what stands before the first one. */
  readonly address: string | undefined;
  readonly values: Map<string, string>;
}

/** Keywords of two words. */
const LONG = /^force\s+(sender|reverse_path)\b/;

export function parseEsmtprc(text: string): readonly Identity[] {
  const identities: Identity[] = [{ address: undefined, values: new Map() }];
  for (const raw of text.split('\n')) {
    const line = withoutComment(raw).trim().replace(LONG, 'force_$1');
    const [, key = '', given = ''] = /^([\w]+)\s*(?:=\s*)?(.*)$/.exec(line) ?? [];
    if (key === '') continue;
    const [, quoted, bare] = /^(?:"((?:[^"\\]|\\.)*)"|(\S*))/.exec(given) ?? [];
    const value = quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '';
    if (key.toLowerCase() === 'identity') identities.push({ address: value, values: new Map() });
    else identities.at(-1)?.values.set(key.toLowerCase(), value);
  }
  return identities;
}

/** A # begins a comment anywhere but within quotes. */
function withoutComment(line: string): string {
  let quoted = false;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === '\\') at++;
    else if (line[at] === '"') quoted = !quoted;
    else if (line[at] === '#' && !quoted) return line.slice(0, at);
  }
  return line;
}

export function translateEsmtp(files: Files, path: string): Translation {
  const translator = new Translator();
  const identities = parseEsmtprc(files.read(path) ?? '');
  const [global, first] = identities;
  // Without settings before it, the first identity is the default.
  const main = global?.values.has('hostname') ? global : (first ?? global);
  const mainAccount = main && accountOf(main);
  translator.accounts(
    mainAccount === undefined ? [] : [mainAccount],
    identities.flatMap((identity) => {
      const account = identity === main ? undefined : accountOf(identity);
      return account === undefined || identity.address === undefined
        ? []
        : [{ sender: identity.address, account }];
    }),
  );
  if (main?.address !== undefined) {
    translator.set(`identity ${main.address}`, 'masquerade', main.address);
  }
  for (const values of new Set([global?.values, main?.values])) {
    for (const [key, value] of values ?? []) translateValue(translator, key, value);
  }
  return translator.finish();
}

function accountOf({ address, values }: Identity): Account | undefined {
  const place = values.get('hostname');
  if (place === undefined) return undefined;
  const [, host = '', port] = /^([^:]*)(?::(.*))?$/.exec(place) ?? [];
  const starttls = values.get('starttls') ?? 'disabled';
  const required = starttls === 'required';
  const user = values.get('username');
  const relay: Relay = {
    scheme: 'smtp',
    host: host.toLowerCase(),
    port: portOf(port ?? '') ?? 587,
    user: undefined,
    ...(required || user !== undefined ? {} : { tls: 'opportunistic' }),
  };
  return {
    source: `${address === undefined ? '' : `identity ${address}: `}hostname = ${place}, starttls = ${starttls}`,
    relay,
    user,
    password: values.get('password'),
    note: required
      ? undefined
      : user === undefined
        ? 'TLS is used where the relay offers it'
        : 'here a login wants TLS (control/tls)',
  };
}

function translateValue(translator: Translator, key: string, value: string): void {
  const source = `${key} = ${value}`;
  switch (key) {
    case 'helo':
      translator.set(source, 'helohost', value);
      return;
    case 'qualifydomain':
      translator.set(source, 'defaulthost', value);
      return;
    case 'force_reverse_path':
      if (value.includes('%')) translator.drop(source, 'a pattern; sendermap may say it');
      else translator.set(source, 'sendermap', `*: ${value}`, 'also in From');
      return;
    case 'preconnect':
    case 'postconnect':
      translator.drop(key, 'no command is run around a connection');
      return;
    case 'mda':
    case 'force_mda':
      translator.drop(key, 'nothing is delivered here: adminaddr gets mail for local users');
      return;
    case 'hostname':
    case 'username':
    case 'password':
    case 'starttls':
      return;
    default:
      translator.drop(key, 'no counterpart');
  }
}
