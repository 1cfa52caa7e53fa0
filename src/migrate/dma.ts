/** dma's two files, /etc/dma/dma.conf and auth.conf. Pure, and linear in the texts. */
import { parsePin, type Relay } from '../control/relay-url.ts';
import { type Files, plainLines, portOf, type Translation, Translator } from './translation.ts';

export function parseDmaConf(text: string): ReadonlyMap<string, string> {
  return new Map(
    plainLines(text).map(({ text: line }) => {
      const [, name = '', value = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
      return [name, value.trim()];
    }),
  );
}

/** The login of a smarthost: `user|host:password`. */
export function parseAuthConf(
  text: string,
  host: string,
): { readonly user: string; readonly password: string } | undefined {
  for (const { text: line } of plainLines(text)) {
    const [, user, named, password] = /^([^|]+)\|([^:]+):(.*)$/.exec(line) ?? [];
    if (
      user !== undefined &&
      password !== undefined &&
      named?.toLowerCase() === host.toLowerCase()
    ) {
      return { user, password };
    }
  }
  return undefined;
}

export function translateDma(files: Files, folder: string): Translation {
  const translator = new Translator();
  const values = parseDmaConf(files.read(`${folder}/dma.conf`) ?? '');
  const host = values.get('SMARTHOST') ?? '';
  const on = (name: string): boolean => values.has(name);
  if (host === '') {
    translator.set('no SMARTHOST', 'relay', 'mx://', 'mail goes to the domains themselves');
  } else {
    const secured = on('SECURETRANSFER') || on('SECURETRANS');
    const implicit = secured && !on('STARTTLS');
    const port = portOf(values.get('PORT') ?? '') ?? 25;
    const pin = parsePin(values.get('FINGERPRINT') ?? '');
    const login = parseAuthConf(
      files.read(values.get('AUTHPATH') ?? `${folder}/auth.conf`) ?? '',
      host,
    );
    const open = !secured || on('OPPORTUNISTIC_TLS');
    const relay: Relay = {
      scheme: implicit ? 'smtps' : 'smtp',
      host: host.toLowerCase(),
      port,
      user: undefined,
      ...(open ? { tls: 'opportunistic' } : {}),
      ...(pin === undefined ? {} : { pins: [pin] }),
    };
    translator.accounts([
      {
        source: `SMARTHOST ${host}, PORT ${port}${secured ? `, ${implicit ? 'SECURETRANSFER' : 'STARTTLS'}` : ''}`,
        relay,
        ...login,
        // dma looks at no certificate but a pinned one.
        note: open
          ? 'TLS is used where the relay offers it'
          : pin === undefined
            ? 'from now on its certificate is checked'
            : undefined,
      },
    ]);
    if (on('INSECURE') && login !== undefined) {
      translator.set('INSECURE', 'authcleartext', 'yes');
    }
  }
  for (const [name, value] of values) translateValue(translator, files, name, value, values);
  if (!values.has('ALIASES') && !on('NULLCLIENT') && files.read('/etc/aliases') !== undefined) {
    translator.set('ALIASES, by default', 'aliases', '/etc/aliases');
  }
  return translator.finish();
}

function translateValue(
  translator: Translator,
  files: Files,
  name: string,
  value: string,
  values: ReadonlyMap<string, string>,
): void {
  const source = value === '' ? name : `${name} ${value}`;
  switch (name) {
    case 'MAILNAME': {
      const [line = ''] = value.startsWith('/')
        ? (files.read(value) ?? '').split('\n', 1)
        : [value];
      if (line.trim() !== '') translator.set(source, 'me', line.trim());
      return;
    }
    case 'MASQUERADE':
      if (value.endsWith('@')) {
        translator.drop(source, 'write the whole address into masquerade');
      } else if (value !== '') translator.set(source, 'masquerade', value.replace(/^@/, ''));
      return;
    case 'ALIASES':
      if (!values.has('NULLCLIENT')) translator.set(source, 'aliases', value);
      return;
    case 'CERTFILE':
      translator.set(source, 'tlscertfile', value);
      translator.set(source, 'tlskeyfile', value);
      return;
    case 'NULLCLIENT':
      translator.drop(source, 'that is what picorelay is');
      return;
    case 'DEFER':
      translator.set(source, 'immediate', 'off', 'each minute’s run sends it');
      return;
    case 'FULLBOUNCE':
      translator.drop(source, 'a report has the whole message where it is small');
      return;
    case 'SMARTHOST':
    case 'PORT':
    case 'AUTHPATH':
    case 'SECURETRANSFER':
    case 'SECURETRANS':
    case 'STARTTLS':
    case 'OPPORTUNISTIC_TLS':
    case 'FINGERPRINT':
    case 'INSECURE':
    case 'SECURE':
    case 'SPOOLDIR':
      return;
    default:
      translator.drop(name, 'no counterpart');
  }
}
