/**
 * msmtp's configuration (msmtprc): accounts with what they take from each other, the default account as
 * the relay, the others by their sender. Pure, and linear in the text.
 */
import { parsePin, type Relay, type TlsPolicy } from '../control/relay-url.ts';
import {
  type Account,
  type Files,
  isUsualAuthorities,
  plainLines,
  portOf,
  type Translation,
  Translator,
} from './translation.ts';

type Settings = ReadonlyMap<string, string>;

export interface MsmtpAccount {
  readonly name: string;
  readonly settings: Settings;
}

/** @param path the file, /etc/msmtprc unless somebody names another */
export function translateMsmtp(files: Files, path: string): Translation {
  const translator = new Translator();
  const accounts = parseMsmtprc(files.read(path) ?? '', (source, why) => {
    translator.drop(`${path}: ${source}`, why);
  });
  const main = accounts.find(({ name }) => name === 'default') ?? accounts[0];
  if (main === undefined) return translator.finish();
  const described = accounts.map((account) => ({ account, found: describe(translator, account) }));
  const all = described.flatMap(({ account, found }) =>
    account === main && found !== undefined ? [found] : [],
  );
  const seen = new Set<string>();
  const bySender = described.flatMap(({ account, found }) => {
    const sender = senderOf(account.settings.get('from'));
    if (found === undefined || account === main || sender === undefined) return [];
    if (same(account.settings, main.settings) || seen.has(sender)) return [];
    seen.add(sender);
    return [{ sender, account: found }];
  });
  translator.accounts(all, bySender);
  translateRest(translator, main);
  return translator.finish();
}

/** The accounts with all that holds for them. */
export function parseMsmtprc(
  text: string,
  drop: (source: string, why: string) => void = () => undefined,
): readonly MsmtpAccount[] {
  const accounts: { name: string; settings: Map<string, string> }[] = [];
  let defaults = new Map<string, string>();
  // What stands before the first account belongs to one without a name, which is the default.
  let current: Map<string, string> | undefined;
  for (const { number, text: line } of plainLines(text)) {
    const [, key = '', given = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
    const word = key.toLowerCase();
    const value = /^".*"$/.test(given) ? given.slice(1, -1) : given;
    if (word === 'defaults') {
      defaults = new Map();
      current = defaults;
    } else if (word === 'account') {
      const [, name = '', bases] = /^([^\s:]+)\s*(?::\s*(.*))?$/.exec(value) ?? [];
      current = new Map(defaults);
      for (const base of bases?.split(',') ?? []) {
        const found = accounts.find((each) => each.name === base.trim());
        for (const [each, text] of found?.settings ?? []) current.set(each, text);
      }
      accounts.push({ name, settings: current });
    } else if (word === 'eval') {
      drop(`line ${number}: eval`, 'a command that makes configuration is not run');
    } else {
      if (current === undefined) {
        current = new Map();
        accounts.push({ name: 'default', settings: current });
      }
      current.set(word, value);
    }
  }
  return accounts;
}

function describe(translator: Translator, { name, settings }: MsmtpAccount): Account | undefined {
  const get = (key: string): string | undefined => settings.get(key);
  const host = get('host');
  if (host === undefined) {
    translator.drop(`account ${name}`, 'it names no host');
    return undefined;
  }
  const tls = isOn(get('tls'));
  const implicit = tls && isOff(get('tls_starttls'));
  const lmtp = get('protocol') === 'lmtp';
  const port = portOf(get('port') ?? '') ?? (lmtp ? 24 : implicit ? 465 : 25);
  const pin = parsePin(get('tls_fingerprint') ?? '');
  const unchecked = tls && isOff(get('tls_certcheck'));
  const policy: TlsPolicy | undefined = !tls || unchecked ? 'opportunistic' : undefined;
  const socket = get('socket');
  const relay: Relay =
    socket !== undefined
      ? {
          scheme: lmtp ? 'lmtp' : 'smtp',
          host: 'localhost',
          port: 0,
          user: undefined,
          path: socket,
        }
      : {
          scheme: lmtp ? 'lmtp' : implicit ? 'smtps' : 'smtp',
          host: host.toLowerCase(),
          port,
          user: undefined,
          ...(policy === undefined ? {} : { tls: policy }),
          ...(pin === undefined ? {} : { pins: [pin] }),
        };
  if (get('tls_fingerprint') !== undefined && pin === undefined) {
    translator.drop(`account ${name}: tls_fingerprint`, 'only SHA-256 counts here');
  }
  const login = get('auth') !== undefined && !isOff(get('auth'));
  return {
    source: `account ${name}: host ${host}, port ${port}, tls ${tls ? (implicit ? 'at once' : 'on') : 'off'}`,
    relay,
    user: login ? get('user') : undefined,
    password: get('password'),
    command: get('passwordeval'),
    note: unchecked
      ? 'tls_certcheck off: no certificate is checked; a pin would be'
      : tls
        ? undefined
        : 'tls off: TLS is used where the relay offers it',
  };
}

const MECHANISMS: Readonly<Record<string, string>> = {
  plain: 'plain',
  login: 'login',
  'cram-md5': 'cram-md5',
  'scram-sha-256': 'scram-sha-256',
  'scram-sha-256-plus': 'scram-sha-256-plus',
  oauthbearer: 'oauthbearer',
  xoauth2: 'xoauth2',
  external: 'external',
};

/** What is not a matter of relay and login, of the default account. */
function translateRest(translator: Translator, { settings }: MsmtpAccount): void {
  for (const [key, value] of settings) {
    const source = `${key} ${value}`;
    switch (key) {
      case 'from':
        translateFrom(translator, source, value, settings);
        break;
      case 'maildomain':
        translator.set(source, 'defaulthost', value);
        break;
      case 'domain':
        translator.set(source, 'helohost', value);
        break;
      case 'aliases':
        translator.set(source, 'aliases', value);
        break;
      case 'timeout':
        if (!isOff(value)) translator.set(source, 'timeoutconnect', value);
        break;
      case 'source_ip':
        if (value !== '') translator.set(source, 'sourceaddress', value);
        break;
      case 'proxy_host':
        translator.set(
          source,
          'proxy',
          `socks5://${value}:${settings.get('proxy_port') ?? '1080'}`,
        );
        break;
      case 'tls_trust_file':
        if (isUsualAuthorities(value)) translator.drop(source, 'not needed: node knows these');
        else translator.set(source, 'tlscafile', value);
        break;
      case 'tls_cert_file':
        translator.set(source, 'tlscertfile', value);
        break;
      case 'tls_key_file':
        translator.set(source, 'tlskeyfile', value);
        break;
      case 'auth': {
        const known = MECHANISMS[value.toLowerCase()];
        if (known !== undefined) translator.set(source, 'authmechanisms', known);
        else if (!isOn(value) && !isOff(value)) translator.drop(source, 'no such mechanism here');
        break;
      }
      case 'logfile':
        translator.drop(source, 'the log goes to syslog; control/log may name a file of its own');
        break;
      case 'set_from_header':
      case 'auto_from':
      case 'add_missing_from_header':
      case 'add_missing_date_header':
      case 'set_date_header':
      case 'set_msgid_header':
      case 'remove_bcc_headers':
      case 'undisclosed_recipients':
      case 'syslog':
      case 'proxy_port':
      case 'logfile_time_format':
        translator.drop(source, 'not needed');
        break;
      case 'host':
      case 'port':
      case 'tls':
      case 'tls_starttls':
      case 'tls_certcheck':
      case 'tls_fingerprint':
      case 'protocol':
      case 'socket':
      case 'user':
      case 'password':
      case 'passwordeval':
      case 'allow_from_override':
        break;
      default:
        translator.drop(key, 'no counterpart');
    }
  }
}

/** `from` counts where the caller names nobody, or with allow_from_override off in any case. */
function translateFrom(
  translator: Translator,
  source: string,
  from: string,
  settings: Settings,
): void {
  const [, domain] = /^%U@([^%]+)$/.exec(from) ?? [];
  if (domain !== undefined) translator.set(source, 'masquerade', domain);
  else if (from.includes('%') || from.includes('*')) {
    translator.drop(source, 'a pattern; sendermap may say it');
  } else if (isOff(settings.get('allow_from_override'))) {
    translator.set(`${source}, allow_from_override off`, 'sendermap', `*: ${from}`);
  } else translator.set(source, 'masquerade', from);
}

/** The key of a route: an address, or a domain for `*@domain`. */
function senderOf(from: string | undefined): string | undefined {
  if (from === undefined || from.includes('%')) return undefined;
  const bare = from.replace(/^\*@/, '');
  return bare.includes('*') ? undefined : bare;
}

function same(one: Settings, other: Settings): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && (value === '' || value.toLowerCase() === 'on');
}

function isOff(value: string | undefined): boolean {
  return value?.toLowerCase() === 'off';
}
