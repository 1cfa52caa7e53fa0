// Inputs that the fuzzing starts from, by parser: what each is used to, and what has broken parsers of
// its kind. A case that broke one of ours is kept here.

/** A parser's inputs, and the pieces of which its grammar is made. */
export interface Seeds {
  readonly corpus: readonly string[];
  readonly pieces: readonly string[];
}

const ODD = ['\0', '\r', '\n', '\r\n', '\t', ' ', '\x1b[2J', '\x7f', 'é', '\u202e', '😀', '\ud800'];
const LONG = ['a'.repeat(70), 'a'.repeat(1100), '0'.repeat(400), '9'.repeat(20)];
const STAMP = '20261120T231501.123456Z';
const BASE = `${STAMP}:4242:root@host.example:bob@example.com`;

export const ADDRESSES: Seeds = {
  corpus: [
    'root',
    'a@b.test, "c d" <e@f.test> (comment), group: g@h.test, i@j.test;',
    '<@relay.test,@other.test:user@x.test>',
    '"a\\"b"@x.test',
    'user@[IPv6:2001:db8::1]',
    '<>',
    '""@x.test',
    'a@b@c',
    '|/bin/sh@x.test',
    '-oQ/tmp@x.test',
    '$(id)@x.test',
    'a(((((b)@c',
    '"unclosed',
    '=?utf-8?q?=40?=@x.test',
  ],
  pieces: [
    ...'()<>@,;:\\".[]|;`$-'.split(''),
    'a',
    'b.c',
    '"',
    '\\"',
    '()',
    '@x.test',
    ...ODD,
    ...LONG,
  ],
};

export const HEADERS: Seeds = {
  corpus: [
    'From: a@b.test\nTo: c@d.test\nSubject: s\n\nbody\n',
    'From root Fri Nov 20 23:15:01 2026\nSubject: s\n\nbody\n',
    'Subject: folded\n\tline\n and more\r\n\r\nbody',
    'no header at all\n',
    ': no name\n\n',
    'Subject : blank before the colon\n\n',
    '\n',
    '',
    'Bcc:\n\n',
    'X:\0y\r\r\nZ: 1\r\n\r\n',
  ],
  pieces: [':', 'From', 'To: ', 'Bcc: ', '.', '\n\n', '\r\n\r\n', '\n ', '\r', ...ODD, ...LONG],
};

export const BLOCKS: Seeds = {
  corpus: [
    [
      'picorelay: 1',
      'size: 0000000000000432',
      'body: 8BITMIME',
      'time: 1795216501123456',
      'pid: 4242',
      'uid: 1000',
      'program: sendmail',
      'sender: root@host.example',
      'recipient: bob@example.com NOTIFY=FAILURE ORCPT=rfc822;bob@example.com',
    ].join('\n'),
    'picorelay: 2\nsize: 1',
    'picorelay: 1\n\n',
    'picorelay: 1\nsize: 1\nsize: 2',
  ],
  pieces: [
    ...['picorelay: 1\n', 'size: 1\n', 'body: 7BIT\n', 'time: 1\n', 'pid: 1\n', 'uid: 0\n'],
    ...[
      'program: x\n',
      'sender: \n',
      'recipient: a\n',
      'note: \\x1b\n',
      'smtputf8: yes\n',
      'ret: HDRS\n',
    ],
    ...[
      '__proto__: 1\n',
      'constructor: 1\n',
      '%',
      '%00',
      '%zz',
      '%%',
      ': ',
      '-1',
      '1e9',
      ...ODD,
      ...LONG,
    ],
  ],
};

export const NAMES: Seeds = {
  corpus: [
    BASE,
    `${BASE}:4242.sending`,
    `${BASE}:3@20261120T234500Z.spool`,
    `${BASE}:3.held`,
    `${BASE}:.result`,
    `${STAMP}:4242:root@host.example`,
    `${STAMP}:4242::a%40b@x.test`,
    `${STAMP}:1:a:b%%0123456789abcdef0123456789abcdef`,
    `${STAMP}:4242:17.1.taking`,
    '20269999T999999.999999Z:1:a:b',
    '.hidden',
    '..',
    'a/b',
  ],
  pieces: [
    ...':.@%/-+='.split(''),
    STAMP,
    '00000000T000000.000000Z',
    '.spool',
    '.sending',
    '.held',
  ].concat([
    '.result',
    '.taking',
    '%2F',
    '%0A',
    '%%',
    '..',
    '0',
    '1',
    '4294967296',
    ...ODD,
    ...LONG,
  ]),
};

export const REPLIES: Seeds = {
  corpus: [
    '250 2.1.0 ok\r\n',
    '250-relay.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n',
    '451 4.7.1 try\x1b[31m later\r\n',
    '250\r\n',
    '250-a\r\n251 b\r\n',
    '2500 ok\r\n',
    'HTTP/1.1 400 Bad Request\r\n\r\n',
    '\x15\x03\x01\x00\x02\x02\x50',
    '199 no\r\n',
  ],
  pieces: [
    '250',
    '-',
    ' ',
    '5.7.1 ',
    '\r\n',
    '550 ',
    '421 ',
    '999',
    '000',
    '250-x\r\n',
    ...ODD,
    ...LONG,
  ],
};

export const RETRIES: Seeds = {
  corpus: [
    '1m 5m 15m 1h 4h',
    '30 * * * *',
    '*/5 1-4,22-23 * * mon-fri',
    'example.com: 10m 1h',
    '.example.org: 0 3 * * *',
    'TZ=Europe/Berlin 30 2 * * *',
    '0 0 31 2 *',
    '0 0 29 2 *',
    '60 24 32 13 8',
    '*/0 * * * *',
    '1-0 * * * *',
    '0 0 L * *',
    '0 0 * * 1#5',
    'H * * * *',
  ],
  pieces: [
    ...'*/,-#?L '.split(''),
    '0',
    '59',
    '60',
    '1m',
    '4h',
    'sun',
    'jan',
    ' * * * *',
    'x.test: ',
  ].concat([
    'TZ=',
    'Europe/Berlin ',
    'Mars/Base ',
    '@daily',
    '-1',
    '1e3',
    '2147483648',
    ...ODD,
    ...LONG,
  ]),
};

export const ENVELOPES: Seeds = {
  corpus: [
    'Froot@x.test\0Ta@x.test\0\0',
    'F\0Ta@x.test\0Tb@x.test\0\0',
    'F#@[]\0Ta\0\0',
    'Fa-@x.test-@[]\0Tb@y.test\0\0',
    'Ta\0Fb\0\0',
    'Fa\0\0',
    'Fa\0T\0\0',
    'Fa\0Tb\0',
    `F${'a'.repeat(1002)}\0T${'b'.repeat(1003)}\0\0`,
  ],
  pieces: ['F', 'T', '\0', '\0\0', 'a@x.test', '@', '-@[]', 'Ta@x.test\0', ...ODD, ...LONG],
};

export const RESULTS: Seeds = {
  corpus: [
    '2026-11-20T23:15:01Z deferred at rcpt by smtp://mail.example.com:587\n    450 4.2.1 busy\n',
    '2026-13-99T99:99:99Z refused at dot by none\n',
    '4242 123456 0f0f0f0f-0000 pid:[4026531836]\n',
  ],
  pieces: [
    '\n    ',
    '2026-11-20T23:15:01Z ',
    'refused at rcpt by none\n',
    ' by ',
    '0',
    '1',
    ...ODD,
    ...LONG,
  ],
};

export const ARGUMENTS: Seeds = {
  corpus: [
    '-i\t-f\ta@b.test\t--\tc@d.test',
    '-t\t-oi',
    '-bs',
    '-bp',
    '-X/tmp/x\t-C/etc/shadow\t-be\t$(id)',
    '-qRx.test',
    `-q${'0'.repeat(60)}=`,
    '-N\tsuccess,failure\t-R\thdrs\t-V\tid\ta@x.test',
    '-F\t-f\t-r',
  ],
  pieces: [
    '-',
    '-f',
    '-t',
    '-o',
    '-O',
    '-b',
    '-q',
    '--',
    '\t',
    'i',
    'Q',
    '=',
    '@',
    'a@x.test',
    ...ODD,
    ...LONG,
  ],
};

/** What is put into any control file. */
export const CONTROLS: Seeds = {
  corpus: [
    'smtps://user@mail.example.com:465',
    'mail.example.com:587',
    '[2001:db8::1]:25',
    'example.com mail2026 /etc/picorelay/dkim.pem From:To',
    '1h30m',
    'on',
    '/var/spool/picorelay',
    'root: admin@example.com, "|/bin/sh"',
    '# comment\n\n  spaced  ',
    'sha256:AAAA',
    '10MB',
  ],
  pieces: [
    ...':/@[]#=*%\\ '.split(''),
    '//',
    'smtp://',
    'a.b',
    '0',
    '65536',
    '-1',
    '1e9',
    '\n',
  ].concat([...['::1', '127.0.0.1', 'mx:', 'host', 'yes', '../..', ...ODD, ...LONG]]),
};
