import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ControlName, catalogue } from '../../src/control/catalogue.ts';
import { ControlError, openControl } from '../../src/control/control.ts';
import { isDirect, type Relay } from '../../src/control/relay-url.ts';
import { parseRetry } from '../../src/control/retry.ts';
import { fc } from '../support/properties.ts';

const root = mkdtempSync(join(tmpdir(), 'picorelay-control-'));
after(() => rmSync(root, { recursive: true }));

const names = Object.values(catalogue).map((file) => file.name as ControlName);

/** A control folder with these files; a secret is closed as it should be. */
function folderOf(files: Partial<Record<ControlName, string | Uint8Array>>): string {
  const folder = mkdtempSync(join(root, 'c-'));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), content, { mode: 0o600 });
  }
  return folder;
}

function failure(folder: string, name: ControlName): ControlError {
  try {
    openControl(folder).get(name);
  } catch (error) {
    assert.ok(error instanceof ControlError, String(error));
    assert.ok(!/[\n\0\x1b]/.test(error.message), 'one clean line');
    return error;
  }
  return assert.fail(`${name} was taken`);
}

function relaysIn(folder: string): readonly Relay[] {
  const relays = openControl(folder).get('relay');
  assert.ok(!isDirect(relays));
  return relays;
}

test('The catalogue calls each file by its own name.', () => {
  for (const [key, file] of Object.entries(catalogue)) assert.equal(file.name, key);
});

test('A folder with nothing but me has the documented defaults.', () => {
  const control = openControl(folderOf({ me: 'host.example\n' }));
  const values = Object.fromEntries(names.map((name) => [name, control.get(name)]));
  assert.deepEqual(values, {
    me: 'host.example',
    defaulthost: 'host.example',
    defaultdomain: undefined,
    plusdomain: 'host.example',
    idhost: 'host.example',
    helohost: 'host.example',
    relay: [],
    smtproutes: new Map(),
    nameservers: [],
    senderroutes: new Map(),
    relayip: [],
    minivars: [],
    authuser: undefined,
    authpassword: undefined,
    authpasswords: new Map(),
    authpasswordcommand: undefined,
    authmechanisms: undefined,
    oauthtokenurl: undefined,
    oauthclientid: undefined,
    oauthclientsecret: undefined,
    oauthrefreshtoken: undefined,
    oauthexpires: undefined,
    authcleartext: false,
    tls: 'required',
    tlscafile: undefined,
    tlspin: [],
    tlsminimum: '1.2',
    tlscertfile: undefined,
    tlskeyfile: undefined,
    dkim: [],
    sourceaddress: undefined,
    proxy: undefined,
    proxypassword: undefined,
    locals: undefined,
    aliases: undefined,
    adminaddr: undefined,
    masquerade: undefined,
    masqueradefrom: undefined,
    sendermap: { entries: new Map() },
    rewriteto: 'complete',
    spooldir: '/var/spool/picorelay',
    databytes: 0,
    maxrecipients: 0,
    userentries: 0,
    userbytes: 0,
    userrate: 0,
    spoolfree: { octets: 10 * 1024 * 1024 },
    immediate: 'background',
    linger: 2,
    retry: parseRetry([]),
    queuelifetime: 432_000,
    delaywarn: 14_400,
    bounce: 'sender',
    bouncefrom: 'MAILER-DAEMON',
    bouncehost: 'host.example',
    doublebounceto: 'postmaster',
    bounceslimit: 20,
    alert: [],
    alertafter: 900,
    transactionrecipients: 100,
    connections: 10,
    connectionmessages: 500,
    messagesinflight: 8,
    timeoutconnect: 60,
    timeoutgreeting: 300,
    timeouthelo: 300,
    timeoutmail: 300,
    timeoutrcpt: 300,
    timeoutdata: 120,
    timeoutblock: 180,
    timeoutdot: 600,
    timeoutquit: 5,
    timeoutsession: 7200,
    log: 'syslog',
    logformat: 'text',
  });
});

test('Each file is read by its rules.', () => {
  const table: [ControlName, string | Uint8Array, unknown][] = [
    ['me', 'a.example \t\r\nsecond line \xff', 'a.example'],
    ['me', '\ufeffa.example', 'a.example'],
    ['defaultdomain', 'example.com', 'example.com'],
    ['defaultdomain', '\n', undefined],
    ['plusdomain', 'example.com', 'example.com'],
    ['helohost', '[192.0.2.1]', '[192.0.2.1]'],
    ['helohost', '[IPv6:2001:db8::1]', '[IPv6:2001:db8::1]'],
    ['oauthexpires', '2027-03-01\n', Date.UTC(2027, 2, 1)],
    ['relay', 'mx://\n', { scheme: 'mx', port: 25 }],
    ['relay', '# none\nmx://:2525?tls=off\n', { scheme: 'mx', port: 2525, tls: 'off' }],
    ['nameservers', '::1\n[::1]:54\n192.0.2.53:5353\n', ['::1', '[::1]:54', '192.0.2.53:5353']],
    ['relayip', '10.0.0.1:26\n', [{ scheme: 'smtp', host: '10.0.0.1', port: 26, user: undefined }]],
    ['authuser', 'alice@example.com', 'alice@example.com'],
    ['authpassword', '  p#w "x" é \n', '  p#w "x" é'],
    ['authcleartext', 'YES', true],
    ['tls', 'opportunistic', 'opportunistic'],
    ['databytes', '25M', 25 * 1024 * 1024],
    ['maxrecipients', '500', 500],
    ['userentries', '0', 0],
    ['spoolfree', '512k', { octets: 512 * 1024 }],
    ['spoolfree', '2.5%', { percent: 2.5 }],
    ['spoolfree', '0', { octets: 0 }],
    ['locals', '# names\nMail.Example\n', new Set(['mail.example'])],
    ['aliases', '/etc/aliases\n', '/etc/aliases'],
    ['masquerade', 'example.com', 'example.com'],
    ['masqueradefrom', 'host@example.com', 'host@example.com'],
    ['masqueradefrom', '', undefined],
    [
      'sendermap',
      'Root: admin@example.com\n@old.example : @example.com\n*: host@example.com',
      {
        entries: new Map([
          ['root', 'admin@example.com'],
          ['@old.example', '@example.com'],
          ['*', 'host@example.com'],
        ]),
      },
    ],
    ['rewriteto', 'aliases', 'aliases'],
    ['tlscafile', '/etc/ssl/own.pem', '/etc/ssl/own.pem'],
    ['immediate', 'off', 'off'],
    ['linger', '0', 0],
    ['queuelifetime', '604800', 604_800],
    ['delaywarn', '0s', 0],
    ['delaywarn', '1d', 86_400],
    ['bounce', 'Admin', 'admin'],
    ['bounce', 'off', 'off'],
    ['bouncefrom', 'mail.errors', 'mail.errors'],
    ['bouncehost', 'mail.example.com', 'mail.example.com'],
    ['adminaddr', 'jörg@example.com', 'jörg@example.com'],
    ['doublebounceto', 'root', 'root'],
    ['doublebounceto', 'root@example.com', 'root@example.com'],
    ['bounceslimit', '1', 1],
    ['alert', '# none\nrun true\n', [{ kind: 'run', command: 'true', json: false }]],
    ['alertafter', '0s', 0],
    ['transactionrecipients', '10000', 10_000],
    ['connections', '100', 100],
    ['connectionmessages', '1000000', 1_000_000],
    ['messagesinflight', '1', 1],
    ['timeoutdot', '1d', 86_400],
    ['log', 'stderr', 'stderr'],
    ['log', '/dev/console', '/dev/console'],
    ['logformat', 'json', 'json'],
  ];
  for (const [name, content, value] of table) {
    assert.deepEqual(openControl(folderOf({ [name]: content })).get(name), value, name);
  }
});

test('What a file does not take is an error that shows it.', () => {
  const table: [ControlName, string][] = [
    ['me', ''],
    ['me', '# comment'],
    ['me', ' a.example'],
    ['me', 'a b'],
    ['me', '192.0.2.1'],
    ['idhost', '[192.0.2.1]'],
    ['helohost', '[300.0.2.1]'],
    ['helohost', '[]'],
    ['relayip', 'smtp://h'],
    ['relayip', 'mx://'],
    ['relay', 'mx://host'],
    ['nameservers', 'ns.example'],
    ['oauthexpires', '2027-02-30'],
    ['oauthexpires', 'in March'],
    ['dkim', 'x.test s'],
    ['dkim', 'x.test s key.pem'],
    ['dkim', 'x_test/ s /key.pem'],
    ['dkim', 'x.test s; /key.pem'],
    ['dkim', 'x.test s /key.pem From:Received'],
    ['nameservers', '192.0.2.53:0'],
    ['relayip', ''],
    ['authuser', ''],
    ['authuser', 'a\0b'],
    ['authcleartext', 'maybe'],
    ['tls', 'on'],
    ['tlscafile', 'own.pem'],
    ['spooldir', 'spool'],
    ['spooldir', '/a\0b'],
    ['immediate', 'now'],
    ['linger', '2h'],
    ['linger', '-1'],
    ['queuelifetime', '0'],
    ['queuelifetime', '11 years'],
    ['delaywarn', 'never'],
    ['alert', 'root@example.com'],
    ['alertafter', 'soon'],
    ['bounce', 'yes'],
    ['bouncefrom', ''],
    ['bouncefrom', 'a@b.example'],
    ['bouncefrom', 'a b'],
    ['bouncehost', 'a b'],
    ['locals', 'a b'],
    ['aliases', 'aliases'],
    ['masquerade', '@example.com'],
    ['sendermap', 'root'],
    ['sendermap', 'root: admin'],
    ['sendermap', 'a b: c@d.example'],
    ['rewriteto', 'yes'],
    ['adminaddr', 'root'],
    ['adminaddr', ''],
    ['adminaddr', '<root@b.example>'],
    ['doublebounceto', ''],
    ['doublebounceto', 'a b'],
    ['doublebounceto', 'a@'],
    ['bounceslimit', '0'],
    ['transactionrecipients', '0'],
    ['connections', '101'],
    ['messagesinflight', '0'],
    ['transactionrecipients', '10001'],
    ['transactionrecipients', '1e3'],
    ['timeoutconnect', '0s'],
    ['timeoutsession', '30d'],
    ['log', 'file'],
    ['logformat', 'xml'],
  ];
  for (const [name, content] of table) {
    const folder = folderOf({ [name]: content });
    const error = failure(folder, name);
    assert.equal(error.file, join(folder, name));
    assert.equal(error.line, 1);
    assert.equal(error.found, content.replace('\0', '\\u{0}'));
    assert.ok(error.message.includes(content === '' ? 'found nothing' : `found "${error.found}"`));
  }
});

test('A missing me says how to make it.', () => {
  const folder = folderOf({});
  for (const name of ['me', 'helohost', 'idhost', 'defaulthost'] as const) {
    const error = failure(folder, name);
    assert.equal(error.file, join(folder, 'me'));
    assert.match(error.message, /is missing\. Make it: hostname -f > \S+\/me$/);
  }
  assert.match(failure(join(folder, "it's"), 'me').message, /> '\S+\/it'\\''s\/me'$/);
});

test('A relay file is tried in order, with comments between, and wins over PicoQmail’s files.', () => {
  const folder = folderOf({
    relay: '# first\n\n  smtps://me@a.example\r\n\tb.example:26  \n',
    relayip: '10.0.0.1',
    minivars: 'RELAYIP=10.0.0.2',
  });
  assert.deepEqual(openControl(folder).get('relay'), [
    { scheme: 'smtps', host: 'a.example', port: 465, user: 'me' },
    { scheme: 'smtp', host: 'b.example', port: 26, user: undefined },
  ]);
  writeFileSync(join(folder, 'relay'), '# none for now\n');
  assert.deepEqual(openControl(folder).get('relay'), []);
  rmSync(join(folder, 'relay'));
  assert.equal(relaysIn(folder)[0]?.host, '10.0.0.1');
  rmSync(join(folder, 'relayip'));
  assert.equal(relaysIn(folder)[0]?.host, '10.0.0.2');
  rmSync(join(folder, 'minivars'));
  assert.deepEqual(openControl(folder).get('relay'), []);
});

test('A bad relay line is named with its number and its mending.', () => {
  const folder = folderOf({ relay: '# relays\nsmtpx://h\n' });
  const error = failure(folder, 'relay');
  assert.equal(
    error.message,
    `${folder}/relay line 2: found "smtpx://h", expected smtp://, smtps:// or lmtp:// before the host. Mend it, or remove the file to have the value of relayip.`,
  );
  assert.equal(error.line, 2);
});

test('minivars is read without a shell.', () => {
  const table: [string, string | undefined][] = [
    ['', undefined],
    ['RELAYIP=10.0.0.1', '10.0.0.1:25'],
    ["RELAYIP='10.0.0.1'", '10.0.0.1:25'],
    ['relay="mail.example" # ours', 'mail.example:25'],
    ['export SmtpServer=mail.example:26', 'mail.example:26'],
    ['RELAYIP=a; RELAYPORT=26; export RELAYIP', 'a:26'],
    ['SMTPPORT=27\nRELAY=a\nRELAY=b', 'b:27'],
    ['RELAY=b\nRELAYIP=a', 'a:25'],
    ['RELAYIP=\nRELAY=b', 'b:25'],
    ['SPOOL=$(mktemp -d) ; if true; then\nPASS=x y\n: $((1+1))\nfi', undefined],
    ['rm -rf /; RELAYIP=a', undefined],
  ];
  for (const [text, expected] of table) {
    const [relay] = openControl(folderOf({ minivars: text })).get('minivars');
    assert.equal(relay && `${relay.host}:${relay.port}`, expected, text);
  }
});

test('minivars whose relay only a shell could work out is an error that shows no other variable.', () => {
  const table: [string, string][] = [
    ['RELAYIP=$(cat /etc/relay)', 'RELAYIP='],
    ['RELAYIP=$HOST', '$HOST'],
    ['RELAYIP=`cat relay`', 'RELAYIP='],
    ['RELAYIP=a"b"', 'RELAYIP='],
    ['RELAYIP="a', 'RELAYIP='],
    ['RELAYIP=a b', 'RELAYIP='],
    ['PASS=geheim; export relayport=$P x', 'export relayport='],
    ['RELAY="smtp://u:geheim@h"', 'smtp://u:***@h'],
    ['RELAY=a; SMTPPORT=0', '0'],
  ];
  for (const [text, found] of table) {
    const error = failure(folderOf({ minivars: `# x\n${text}` }), 'minivars');
    assert.equal(error.found, found);
    assert.equal(error.line, 2);
    assert.ok(!error.message.includes('geheim'));
  }
});

test('A password in a relay line is refused and not shown.', () => {
  for (const [name, text] of [
    ['relay', 'smtps://u:geheim@h'],
    ['relay', 'u:geheim@h'],
    ['relayip', 'u:geheim@h'],
  ] as const) {
    assert.ok(!failure(folderOf({ [name]: text }), name).message.includes('geheim'));
  }
  assert.match(failure(folderOf({ relay: 'smtps://u:geheim@h' }), 'relay').message, /authpassword/);
});

test('The text that is shown is escaped and cut.', () => {
  const error = failure(folderOf({ tls: `\x1b[2J\u202e\u0085"${'x'.repeat(500)}` }), 'tls');
  assert.ok(error.found?.startsWith('\\u{1b}[2J\\u{202e}\\u{85}"xx'));
  assert.equal(error.found?.length, 80);
  assert.ok(error.found?.endsWith('…'));
});

test('A secret that others can reach is refused with the chmod line, by the mode of the file itself.', () => {
  const folder = folderOf({ authpassword: 'geheim\n' });
  const path = join(folder, 'authpassword');
  for (const mode of [0o644, 0o604, 0o602, 0o660, 0o620, 0o666]) {
    chmodSync(path, mode);
    const error = failure(folder, 'authpassword');
    assert.ok(error.message.endsWith(`Close it: chmod 640 ${path}`), error.message);
    assert.ok(!error.message.includes('geheim'));
  }
  for (const mode of [0o400, 0o600, 0o640, 0o440, 0o750]) {
    chmodSync(path, mode);
    assert.equal(openControl(folder).get('authpassword'), 'geheim');
  }
  const linked = folderOf({});
  symlinkSync(path, join(linked, 'authpassword'));
  assert.equal(openControl(linked).get('authpassword'), 'geheim');
  chmodSync(path, 0o644);
  failure(linked, 'authpassword');
});

test('A malformed secret is never shown.', () => {
  for (const content of ['', 'geheim\x01', Buffer.from('geheim\xff', 'latin1')]) {
    const error = failure(folderOf({ authpassword: content }), 'authpassword');
    assert.equal(error.found, undefined);
    assert.ok(!`${error.message} ${error.cause}`.includes('geheim'));
  }
});

test('Whatever is no regular file is an error, and a pipe without a writer does not block.', () => {
  const folder = folderOf({});
  mkdirSync(join(folder, 'tls'));
  execFileSync('mkfifo', [join(folder, 'relay')]);
  symlinkSync('/dev/zero', join(folder, 'log'));
  symlinkSync('linger', join(folder, 'linger'));
  assert.match(failure(folder, 'tls').message, /regular file/);
  assert.match(failure(folder, 'relay').message, /regular file/);
  assert.match(failure(folder, 'log').message, /regular file/);
  assert.match(failure(folder, 'linger').message, /ELOOP/);
  assert.match(failure(join(folder, 'log'), 'tls').message, /ENOTDIR/);
  assert.match(failure(`${folder}\0\n`, 'tls').message, /ERR_INVALID_ARG_VALUE/);
});

test('A file that may not be read says so.', (t) => {
  const folder = folderOf({ tls: 'off' });
  chmodSync(join(folder, 'tls'), 0);
  chmodSync(folder, 0o755);
  chmodSync(root, 0o755);
  const { geteuid, seteuid } = process;
  if (geteuid === undefined || seteuid === undefined) return t.skip('no user ids here');
  const user = geteuid();
  if (user === 0) seteuid(65_534);
  try {
    const error = failure(folder, 'tls');
    assert.match(error.message, /EACCES\. Let the user that runs this program read the file/);
  } finally {
    if (user === 0) seteuid(user);
  }
});

test('A file over its limit is an error even when its first line is good.', () => {
  const fill = (bytes: number) => `off\n${'#'.repeat(bytes - 4)}`;
  assert.equal(openControl(folderOf({ tls: fill(65_536) })).get('tls'), 'off');
  assert.match(failure(folderOf({ tls: fill(65_537) }), 'tls').message, /at most 65536 bytes/);
  const relays = (bytes: number) => `h\n${'#'.repeat(bytes - 2)}`;
  assert.equal(relaysIn(folderOf({ relay: relays(1_048_576) })).length, 1);
  assert.match(failure(folderOf({ relay: relays(1_048_577) }), 'relay').message, /1048576 bytes/);
});

test('Each file is read once, when it is first asked for.', () => {
  const folder = folderOf({ me: 'a.example', tls: 'nonsense' });
  const control = openControl(folder);
  assert.equal(control.folder, folder);
  assert.equal(control.get('helohost'), 'a.example');
  writeFileSync(join(folder, 'me'), 'b.example');
  writeFileSync(join(folder, 'helohost'), 'c.example');
  assert.equal(control.get('me'), 'a.example');
  assert.equal(control.get('helohost'), 'a.example');
  assert.equal(openControl(folder).get('helohost'), 'c.example');
});

test('No descriptor is left open, whatever a file holds.', () => {
  const folder = folderOf({ me: 'a', tls: 'x', authpassword: '' });
  mkdirSync(join(folder, 'log'));
  const before = readdirSync('/proc/self/fd').length;
  for (const name of names) attempt(folder, name);
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('Random bytes in any file are a value or a ControlError, never anything else.', () => {
  const folder = folderOf({});
  const word = fc.constantFrom(
    'RELAYIP=',
    'relay',
    'smtps://',
    '@',
    ':',
    '%',
    '[',
    '::1',
    '5m ',
    '* ',
    'TZ=',
    '"',
    ';',
    '\n',
    '/',
    '127.',
    '\ufeff',
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.array(word, { maxLength: 12 }).map((words) => Buffer.from(words.join(''))),
    fc.string({ unit: 'binary', maxLength: 100 }).map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(fc.constantFrom(...names), bytes, (name, content) => {
      writeFileSync(join(folder, name), content, { mode: 0o600 });
      attempt(folder, name);
      rmSync(join(folder, name));
    }),
    { numRuns: 2000 },
  );
});

/** Gets a value; any error but a ControlError is thrown on. */
function attempt(folder: string, name: ControlName): void {
  try {
    openControl(folder).get(name);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    assert.ok(!/[\p{Cc}\p{Zl}\p{Zp}]/u.test(error.message), 'one clean line');
  }
}
