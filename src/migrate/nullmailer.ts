/** nullmailer's control folder, /etc/nullmailer. Pure, and linear in the texts. */
import { type ControlName, catalogue } from '../control/catalogue.ts';
import type { Relay } from '../control/relay-url.ts';
import {
  type Account,
  type Files,
  isUsualAuthorities,
  plainLines,
  portOf,
  shellWords,
  type Translation,
  Translator,
} from './translation.ts';

export function translateNullmailer(files: Files, folder: string): Translation {
  const translator = new Translator();
  const accounts = plainLines(files.read(`${folder}/remotes`) ?? '').flatMap(({ number, text }) => {
    const found = parseRemote(translator, text, `remotes line ${number}`);
    return found === undefined ? [] : [found];
  });
  translator.accounts(accounts);
  for (const name of files.names(folder)) {
    if (name === 'remotes') continue;
    const [value = ''] = (files.read(`${folder}/${name}`) ?? '').split('\n', 1);
    translateFile(translator, name, value.trim());
  }
  // Debian's nullmailer has its name from here.
  if (!files.names(folder).includes('me')) {
    const [name = ''] = (files.read('/etc/mailname') ?? '').split('\n', 1);
    if (name.trim() !== '') translator.set('/etc/mailname', 'me', name.trim());
  }
  return translator.finish();
}

/** A line of remotes: host, protocol, and options with or without `--`. */
function parseRemote(translator: Translator, text: string, source: string): Account | undefined {
  const [host = '', protocol = 'smtp', ...words] = shellWords(text);
  if (protocol !== 'smtp') {
    translator.drop(`${source}: ${host} ${protocol}`, `${protocol} is not spoken here`);
    return undefined;
  }
  const options = new Map<string, string>();
  for (const word of words) {
    const [, key = '', value = ''] = /^(?:--)?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    options.set(key, value);
  }
  const implicit = options.has('ssl') || options.has('tls');
  const secured = implicit || options.has('starttls');
  const unchecked = options.has('insecure');
  const user = options.get('user');
  const port = portOf(options.get('port') ?? '') ?? (implicit ? 465 : 25);
  const open = unchecked || (!secured && user === undefined);
  const relay: Relay = {
    scheme: implicit ? 'smtps' : 'smtp',
    host: host.replace(/^\[(.*)\]$/, '$1').toLowerCase(),
    port,
    user: undefined,
    ...(open ? { tls: 'opportunistic' } : {}),
  };
  const named = ['port', 'ssl', 'tls', 'starttls', 'insecure'].filter((key) => options.has(key));
  for (const [key, value] of options) translateOption(translator, source, key, value);
  return {
    source: `${source}: ${[host, ...named.map((key) => (key === 'port' ? `port=${port}` : key))].join(' ')}`,
    relay,
    user,
    password: options.get('pass'),
    note: unchecked
      ? 'insecure: no certificate is checked; a pin would be'
      : !secured && user !== undefined
        ? 'the login went in clear text; here TLS is wanted (control/tls)'
        : open
          ? 'TLS is used where the relay offers it'
          : undefined,
  };
}

function translateOption(translator: Translator, line: string, key: string, value: string): void {
  const source = `${line}: ${key}${value === '' ? '' : `=${value}`}`;
  switch (key) {
    case 'x509cafile':
      if (isUsualAuthorities(value)) translator.drop(source, 'not needed: node knows these');
      else translator.set(source, 'tlscafile', value);
      return;
    case 'x509certfile':
      translator.set(source, 'tlscertfile', value);
      translator.set(source, 'tlskeyfile', value);
      return;
    case 'x509keyfile':
      translator.set(source, 'tlskeyfile', value);
      return;
    case 'source':
      translator.set(source, 'sourceaddress', value);
      return;
    case 'auth-login':
      translator.set(source, 'authmechanisms', 'login');
      return;
    case 'port':
    case 'user':
    case 'pass':
    case 'ssl':
    case 'tls':
    case 'starttls':
    case 'insecure':
      return;
    default:
      translator.drop(`${line}: ${key}`, 'no counterpart');
  }
}

/** Files that mean the same here. */
const SAME: readonly string[] = ['me', 'defaulthost', 'defaultdomain', 'helohost', 'idhost'];

function translateFile(translator: Translator, name: string, value: string): void {
  const source = `${name}: ${value}`;
  if (SAME.includes(name) && name in catalogue) {
    if (value !== '') translator.set(source, name as ControlName, value);
    return;
  }
  switch (name) {
    case 'adminaddr': {
      const [first = '', ...others] = value.split(',').map((each) => each.trim());
      if (first === '') return;
      const note = others.length === 0 ? undefined : 'only the first; aliases can name several';
      translator.set(source, 'adminaddr', first, note);
      return;
    }
    case 'allmailfrom':
      if (value !== '') translator.set(source, 'sendermap', `*: ${value}`, 'also in From');
      return;
    case 'doublebounceto':
    case 'bounceto':
      if (value !== '') translator.set(source, 'doublebounceto', value);
      return;
    case 'queuelifetime':
      if (value !== '') translator.set(source, 'queuelifetime', value);
      return;
    case 'pausetime':
    case 'maxpause':
      translator.drop(source, 'control/retry has the times between tries');
      return;
    case 'sendtimeout':
      translator.drop(source, 'each step has its own limit: control/timeout…');
      return;
    default:
      translator.drop(name, 'no counterpart');
  }
}
