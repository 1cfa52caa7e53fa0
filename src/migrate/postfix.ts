/**
 * Postfix as a null client: main.cf and the tables that it names, as far as they are text. Pure; nothing is
 * expanded deeper than a few steps, and no table is larger than what a file may be.
 */
import type { ControlName } from '../control/catalogue.ts';
import { parsePin, type Relay, type TlsPolicy } from '../control/relay-url.ts';
import {
  type Account,
  type Files,
  isUsualAuthorities,
  portOf,
  type Translation,
  Translator,
} from './translation.ts';

/** How deep one parameter may name another. */
const DEPTH = 20;
/** Characters that a value may grow to. */
const LONGEST = 65_536;

/** The parameters of main.cf: continued lines joined, the last one of a name counts. */
export function parseMainCf(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  let name: string | undefined;
  for (const line of text.split('\n')) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    if (/^\s/.test(line)) {
      if (name !== undefined) values.set(name, `${values.get(name)} ${line.trim()}`.trim());
      continue;
    }
    const [, key, value = ''] = /^([\w.-]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    name = key;
    if (key !== undefined) values.set(key, value);
  }
  return values;
}

/** A value with $name, ${name} and $(name) in their places. */
export function expand(values: ReadonlyMap<string, string>, text: string, depth = 0): string {
  if (depth > DEPTH) return '';
  return text
    .replace(/\$(?:(\w+)|\{(\w+)\}|\((\w+)\))/g, (_, a?: string, b?: string, c?: string) =>
      expand(values, values.get(a ?? b ?? c ?? '') ?? '', depth + 1).slice(0, LONGEST),
    )
    .slice(0, LONGEST);
}

/** A table of lines with a key, white space and a value; continued lines are joined. */
export function parseTable(text: string): readonly (readonly [string, string])[] {
  const joined = text.replace(/\n[ \t]+(?=[^\s#])/g, ' ');
  return joined.split('\n').flatMap((line) => {
    const [, key, value] = /^([^\s#]\S*)\s+(.*?)\s*$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [[key, value] as const];
  });
}

export function translatePostfix(files: Files, path: string): Translation {
  const raw = parseMainCf(files.read(path) ?? '');
  const own = new Map([
    ['config_directory', '/etc/postfix'],
    ['mydomain', domainOf(raw.get('myhostname') ?? '')],
    ...raw,
  ]);
  const get = (name: string): string | undefined => {
    const value = raw.get(name);
    return value === undefined ? undefined : expand(own, value);
  };
  const translator = new Translator();
  const table = (name: string): readonly (readonly [string, string])[] =>
    tableOf(translator, files, name, get(name));

  translateRelays(translator, get, table);
  for (const name of ['smtp_generic_maps', 'sender_canonical_maps', 'canonical_maps']) {
    for (const [key, value] of table(name)) {
      translator.add(`${name}: ${key}`, 'sendermap', `${key}: ${value}`);
    }
  }
  for (const name of raw.keys()) translateParameter(translator, files, name, get(name) ?? '');
  return translator.finish();
}

/** The rows of all tables that a parameter names and that are text. */
function tableOf(
  translator: Translator,
  files: Files,
  name: string,
  value = '',
): readonly (readonly [string, string])[] {
  const [, user, password] = /^static:([^:]+):(.+)$/.exec(value) ?? [];
  if (user !== undefined && password !== undefined) return [['*', `${user}:${password}`]];
  return value.split(/[\s,]+/).flatMap((map) => {
    if (map === '') return [];
    const [, type = 'hash', path = map] = /^(?:proxy:)?(\w+):(.*)$/.exec(map) ?? [];
    if (['hash', 'texthash', 'lmdb', 'btree', 'cdb', 'dbm', 'sdbm'].includes(type)) {
      const text = files.read(path);
      if (text === undefined) translator.drop(`${name} = ${map}`, `there is no ${path}`);
      return parseTable(text ?? '');
    }
    translator.drop(`${name} = ${map}`, `${type} tables are not read`);
    return [];
  });
}

function translateRelays(
  translator: Translator,
  get: (name: string) => string | undefined,
  table: (name: string) => readonly (readonly [string, string])[],
): void {
  const auth = isYes(get('smtp_sasl_auth_enable'));
  const secrets = auth ? table('smtp_sasl_password_maps') : [];
  const { policy, note } = tlsOf(get);
  const pins = (get('smtp_tls_fingerprint_cert_match') ?? '')
    .split(/[\s,|]+/)
    .flatMap((each) => parsePin(each) ?? []);
  const implicit = isYes(get('smtp_tls_wrappermode'));
  const accountOf = (hop: string, source: string, key = hop): Account | undefined => {
    const [, bracketed, bare = '', service] =
      /^(?:\[([^\]]*)\]|([^:]*))(?::(\S+))?$/.exec(hop.trim()) ?? [];
    const host = bracketed ?? bare;
    if (host === '') return undefined;
    const port = portOf(service ?? 'smtp') ?? 25;
    const [, login] =
      secrets.find(([each]) => each === key) ??
      secrets.find(([each]) => each === hop || each === host || each === '*') ??
      [];
    const [, user, password] = /^([^:]*):(.*)$/s.exec(login ?? '') ?? [];
    const relay: Relay = {
      scheme: implicit ? 'smtps' : 'smtp',
      host: host.replace(/^ipv6:/i, '').toLowerCase(),
      port,
      user: undefined,
      ...(policy === undefined ? {} : { tls: policy }),
      ...(pins.length === 0 ? {} : { pins }),
    };
    const mx = bracketed === undefined && /[a-z]/i.test(host);
    return {
      source,
      relay,
      user,
      password,
      note: mx ? 'its name was looked up as a mail domain (MX); here it is the host itself' : note,
    };
  };
  const relayhost = get('relayhost') ?? '';
  const main = accountOf(relayhost, `relayhost = ${relayhost}`);
  const fallback = (get('smtp_fallback_relay') ?? '')
    .split(/[\s,]+/)
    .flatMap((hop) => accountOf(hop, `smtp_fallback_relay = ${hop}`) ?? []);
  const bySender = table('sender_dependent_relayhost_maps').flatMap(([key, hop]) => {
    const account = accountOf(hop, `sender_dependent_relayhost_maps: ${key}`, key);
    return account === undefined ? [] : [{ sender: key.replace(/^@/, ''), account }];
  });
  if (main === undefined) {
    translator.set('no relayhost', 'relay', 'mx://', 'mail goes to the domains themselves');
    if (bySender.length > 0) translator.accounts([], bySender);
  } else translator.accounts([main, ...fallback], bySender);
  for (const [key, value] of table('transport_maps')) {
    const [, hop] = /^(?:smtp|relay):(.*)$/.exec(value) ?? [];
    const source = `transport_maps: ${key}`;
    const account = hop === undefined || hop === '' ? undefined : accountOf(hop, source);
    if (account === undefined || key.includes('@') || key === '*') {
      translator.drop(`${source} ${value}`, 'smtproutes has domains and relays only');
      continue;
    }
    const { scheme, host, port } = account.relay;
    translator.add(source, 'smtproutes', `${key}:${scheme}://${host}:${port}`);
  }
}

function tlsOf(get: (name: string) => string | undefined): {
  readonly policy: TlsPolicy | undefined;
  readonly note: string | undefined;
} {
  const level =
    get('smtp_tls_security_level') ??
    (isYes(get('smtp_enforce_tls')) ? 'encrypt' : isYes(get('smtp_use_tls')) ? 'may' : 'none');
  switch (level) {
    case 'verify':
    case 'secure':
    case 'fingerprint':
      return { policy: undefined, note: undefined };
    case 'encrypt':
    case 'dane-only':
      return { policy: undefined, note: 'from now on its certificate is checked' };
    default:
      return { policy: 'opportunistic', note: 'TLS is used where the relay offers it' };
  }
}

/** Parameters whose value is that of a control file. */
const SAME: Readonly<Record<string, ControlName>> = {
  myhostname: 'me',
  smtp_helo_name: 'helohost',
  smtp_bind_address: 'sourceaddress',
  smtp_bind_address6: 'sourceaddress',
  smtp_tls_cert_file: 'tlscertfile',
  smtp_tls_key_file: 'tlskeyfile',
  message_size_limit: 'databytes',
  '2bounce_notice_recipient': 'doublebounceto',
  smtp_destination_concurrency_limit: 'connections',
  default_destination_concurrency_limit: 'connections',
};

/** Parameters that do something that is not done here; of the hundreds of others nobody misses any. */
const MISSED: ReadonlySet<string> = new Set([
  ...['content_filter', 'header_checks', 'smtp_header_checks', 'body_checks', 'smtpd_milters'],
  ...['non_smtpd_milters', 'virtual_alias_maps', 'recipient_canonical_maps', 'always_bcc'],
  ...['recipient_bcc_maps', 'sender_bcc_maps', 'mailbox_command', 'home_mailbox'],
  ...['smtp_tls_policy_maps', 'soft_bounce', 'masquerade_exceptions'],
]);

function translateParameter(
  translator: Translator,
  files: Files,
  name: string,
  value: string,
): void {
  const source = `${name} = ${value}`;
  if (value === '') return;
  const same = SAME[name];
  if (same !== undefined) translator.set(source, same, value);
  else if (MISSED.has(name)) translator.drop(source, 'no counterpart');
  switch (name) {
    case 'myorigin': {
      const text = value.startsWith('/') ? (files.read(value) ?? '') : value;
      const [line = ''] = text.split('\n', 1);
      if (line.trim() !== '') translator.set(source, 'defaulthost', line.trim());
      return;
    }
    case 'mydestination': {
      const names = value.split(/[\s,]+/).filter((each) => /^[\w.-]+$/.test(each));
      const others = names.filter((each) => !/^localhost(?:\.localdomain)?$/i.test(each));
      const note = 'mail for their users goes to aliases and adminaddr';
      if (others.length > 0) translator.set(source, 'locals', others.join('\n'), note);
      return;
    }
    case 'alias_maps': {
      const [, path = ''] = /^(?:\w+:)?(\/[^\s,]+)/.exec(value) ?? [];
      if (files.read(path) === undefined) translator.drop(source, 'there is no such file');
      else translator.set(source, 'aliases', path);
      return;
    }
    case 'masquerade_domains': {
      const [first = ''] = value.split(/[\s,]+/);
      translator.set(source, 'masquerade', first.replace(/^!/, ''), 'for users of this host only');
      return;
    }
    case 'smtp_tls_CAfile':
      if (isUsualAuthorities(value)) translator.drop(source, 'not needed: node knows these');
      else translator.set(source, 'tlscafile', value);
      return;
    case 'maximal_queue_lifetime':
      translator.set(source, 'queuelifetime', withUnit(value, 'd'));
      return;
    case 'delay_warning_time':
      translator.set(source, 'delaywarn', withUnit(value, 'h'));
      return;
    case 'inet_interfaces':
      if (!/^(?:loopback-only|localhost|127\.0\.0\.1)$/.test(value)) {
        translator.drop(source, 'no mail is taken from other hosts');
      }
      return;
  }
}

/** Postfix's units are the same letters; a bare number is in the unit of the parameter. */
function withUnit(value: string, unit: string): string {
  return /^\d+$/.test(value) ? `${value}${unit}` : value;
}

function isYes(value: string | undefined): boolean {
  return value?.toLowerCase() === 'yes';
}

function domainOf(host: string): string {
  const dot = host.indexOf('.');
  return dot < 0 ? 'localdomain' : host.slice(dot + 1);
}
