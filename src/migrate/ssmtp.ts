/** ssmtp's files, /etc/ssmtp/ssmtp.conf and revaliases. Pure, and linear in the texts. */
import type { Relay } from '../control/relay-url.ts';
import { isMailbox } from '../mail/address.ts';
import {
  type Files,
  isUsualAuthorities,
  plainLines,
  portOf,
  type Translation,
  Translator,
} from './translation.ts';

export function translateSsmtp(files: Files, folder: string): Translation {
  const translator = new Translator();
  const values = new Map<string, string>();
  for (const { text } of plainLines(files.read(`${folder}/ssmtp.conf`) ?? '')) {
    // The first word behind the name counts; a # ends a line.
    const [, name, value] = /^([^=\s]+)\s*=\s*([^\s#]*)/.exec(text) ?? [];
    if (name !== undefined && value !== undefined) values.set(name.toLowerCase(), value);
  }
  const yes = (name: string): boolean => values.get(name)?.toLowerCase() === 'yes';
  const relayOf = (place: string): Relay => {
    const [, host = '', port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(place) ?? [];
    const secured = yes('usetls') || yes('usestarttls');
    const implicit = yes('usetls') && !yes('usestarttls');
    return {
      scheme: implicit ? 'smtps' : 'smtp',
      host: host.replace(/^\[(.*)\]$/, '$1').toLowerCase(),
      port: portOf(port ?? '') ?? 25,
      user: undefined,
      ...(secured || values.has('authuser') ? {} : { tls: 'opportunistic' }),
    };
  };
  const hub = values.get('mailhub') ?? 'mail';
  const login = { user: values.get('authuser'), password: values.get('authpass') };
  const secured = yes('usetls') || yes('usestarttls');
  const note = secured
    ? 'from now on its certificate is checked'
    : login.user === undefined
      ? 'TLS is used where the relay offers it'
      : 'the login went in clear text; here TLS is wanted (control/tls)';
  const aliases = parseRevaliases(files.read(`${folder}/revaliases`) ?? '');
  translator.accounts(
    [{ source: `mailhub=${hub}`, relay: relayOf(hub), ...login, note }],
    aliases.flatMap(({ address, hub: other, line }) =>
      other === undefined || other === hub
        ? []
        : [{ sender: address, account: { source: line, relay: relayOf(other), ...login } }],
    ),
  );
  for (const { user, address, line } of aliases) {
    translator.add(line, 'sendermap', `${user}: ${address}`);
  }
  for (const [name, value] of values) translateValue(translator, name, value);
  if (!yes('fromlineoverride')) {
    translator.drop('FromLineOverride=NO', 'From stays as programs write it; sendermap changes it');
  }
  return translator.finish();
}

interface RevAlias {
  readonly user: string;
  readonly address: string;
  readonly hub: string | undefined;
  readonly line: string;
}

function parseRevaliases(text: string): readonly RevAlias[] {
  return plainLines(text).flatMap(({ number, text: line }) => {
    const [, user, address, hub] = /^([^:]+):([^:]+)(?::(.+))?$/.exec(line) ?? [];
    return user === undefined || address === undefined
      ? []
      : [{ user: user.trim(), address: address.trim(), hub, line: `revaliases line ${number}` }];
  });
}

function translateValue(translator: Translator, name: string, value: string): void {
  const source = `${name}=${value}`;
  switch (name) {
    case 'root':
      if (isMailbox(value)) translator.set(source, 'adminaddr', value);
      else if (value !== '') {
        translator.drop(source, 'write a whole address into adminaddr: this name has no host');
      }
      return;
    case 'rewritedomain':
      if (value !== '') translator.set(source, 'masquerade', value);
      return;
    case 'hostname':
      // Debian writes the user's name into it where it should not.
      if (value !== '') translator.set(source, 'me', value.replace(/^.*@/, ''));
      return;
    case 'authmethod':
      if (/^(?:cram-md5|login|plain)$/i.test(value)) {
        translator.set(source, 'authmechanisms', value.toLowerCase());
      }
      return;
    case 'tls_ca_file':
      if (isUsualAuthorities(value)) translator.drop(source, 'not needed: node knows these');
      else translator.set(source, 'tlscafile', value);
      return;
    case 'tls_ca_dir':
      translator.drop(source, 'tlscafile names one file');
      return;
    case 'tlscert':
      translator.set(source, 'tlscertfile', value);
      return;
    case 'tlskey':
      translator.set(source, 'tlskeyfile', value);
      return;
    case 'mailhub':
    case 'authuser':
    case 'authpass':
    case 'usetls':
    case 'usestarttls':
    case 'usetlscert':
    case 'fromlineoverride':
      return;
    default:
      translator.drop(name, 'no counterpart');
  }
}
