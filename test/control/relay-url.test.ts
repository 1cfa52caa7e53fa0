import assert from 'node:assert/strict';
import { isIPv6 as nodeIsIPv6 } from 'node:net';
import { test } from 'node:test';
import {
  formatRelay,
  isHostName,
  isIPv4,
  isIPv6,
  isLoopback,
  parsePin,
  parseProxy,
  parseRelay,
  type Relay,
  withoutPassword,
} from '../../src/control/relay-url.ts';
import { fc } from '../support/properties.ts';

function relay(scheme: 'smtp' | 'smtps', host: string, port: number, user?: string): Relay {
  return { scheme, host, port, user };
}

function socket(scheme: 'smtp' | 'lmtp', path: string): Relay {
  return { scheme, host: 'localhost', port: 0, user: undefined, path };
}

test('Each form of a relay is read, with its default port.', () => {
  const table: [string, Relay][] = [
    ['smtp.example.com', relay('smtp', 'smtp.example.com', 25)],
    ['SMTP.Example.COM:2525', relay('smtp', 'smtp.example.com', 2525)],
    ['smtp.example.com.', relay('smtp', 'smtp.example.com.', 25)],
    ['mail_hub:26', relay('smtp', 'mail_hub', 26)],
    ['192.0.2.1', relay('smtp', '192.0.2.1', 25)],
    ['192.0.2.1:587', relay('smtp', '192.0.2.1', 587)],
    ['::1', relay('smtp', '::1', 25)],
    ['[::1]', relay('smtp', '::1', 25)],
    ['[2001:DB8::1]:26', relay('smtp', '2001:db8::1', 26)],
    ['smtp://h', relay('smtp', 'h', 25)],
    ['smtp://h/', relay('smtp', 'h', 25)],
    ['SMTP://h:587', relay('smtp', 'h', 587)],
    ['smtp://me@h', relay('smtp', 'h', 25, 'me')],
    ['smtps://h', relay('smtps', 'h', 465)],
    ['smtps://h:1', relay('smtps', 'h', 1)],
    ['smtps://[::1]:65535', relay('smtps', '::1', 65_535)],
    ['smtps://alice@h', relay('smtps', 'h', 465, 'alice')],
    ['smtps://alice%40example.com@h', relay('smtps', 'h', 465, 'alice@example.com')],
    ['smtps://alice@example.com@h:99', relay('smtps', 'h', 99, 'alice@example.com')],
    ['lmtp://h', { scheme: 'lmtp', host: 'h', port: 24, user: undefined }],
    ['LMTP://me@[::1]:2424', { scheme: 'lmtp', host: '::1', port: 2424, user: 'me' }],
    ['lmtp+unix:///run/a b:c?d@e', socket('lmtp', '/run/a b:c?d@e')],
    ['smtp+unix:///s', socket('smtp', '/s')],
    ['h?tls=off', { ...relay('smtp', 'h', 25), tls: 'off' }],
    ['smtp://h/?tls=required', { ...relay('smtp', 'h', 25), tls: 'required' }],
    ['smtp://h:587?', relay('smtp', 'h', 587)],
    [
      `smtps://me@h?pin=sha256//${'A'.repeat(43)}=&tls=opportunistic&pin=${'AB'.repeat(32)}`,
      {
        ...relay('smtps', 'h', 465, 'me'),
        tls: 'opportunistic',
        pins: ['00'.repeat(32), 'ab'.repeat(32)],
      },
    ],
    ['smtps://a%3Ab%25%20c%C3%A9@h', relay('smtps', 'h', 465, 'a:b% cé')],
  ];
  for (const [text, expected] of table) assert.deepEqual(parseRelay(text), expected, text);
});

test('A relay that cannot be is refused with the reason.', () => {
  const table: [string, RegExp][] = [
    ['', /host name/],
    ['smtpx://h', /smtp:\/\/, smtps:\/\/ or lmtp/],
    ['http://h', /smtp:\/\/, smtps:\/\/ or lmtp/],
    ['lmtp+unix://run/lmtp', /absolute path/],
    ['lmtp+unix://', /absolute path/],
    [`smtp+unix:///${'a'.repeat(107)}`, /absolute path/],
    ['smtps+unix:///s', /smtps:\/\/ or lmtp/],
    ['h?tls=maybe', /behind the \?/],
    ['h?tls=off&tls=off', /behind the \?/],
    ['h?pin=abc', /behind the \?/],
    ['h?x=y', /behind the \?/],
    ['user@h', /before a login name/],
    ['user:pw@h', /before a login name/],
    ['smtps://user:pw@h', /authpassword/],
    ['smtps://user:@h', /authpassword/],
    ['smtps://@h', /login name without control/],
    ['smtps://a%00b@h', /login name without control/],
    ['smtps://a%0Ab@h', /login name without control/],
    ['smtps://a%zz@h', /%25/],
    ['smtps://a%ff@h', /%25/],
    ['smtp://', /host name/],
    ['smtp://h//', /host name/],
    ['smtp://h/path', /host name/],
    ['h/', /host name/],
    ['h h', /host name/],
    ['-h', /host name/],
    ['a..b', /host name/],
    ['bücher.example', /host name/],
    ['25', /host name/],
    ['256.0.0.1', /host name/],
    ['127.1', /host name/],
    ['0x7f000001', /host name/],
    ['127.0.0.01', /host name/],
    ['[127.0.0.1]', /host name/],
    ['[::1', /host name/],
    ['::1]:25', /host name/],
    ['[fe80::1%eth0]', /host name/],
    [`${'a'.repeat(64)}.example`, /host name/],
    ['h:', /port/],
    ['h:0', /port/],
    ['h:65536', /port/],
    ['h:2a', /port/],
    ['h:000025', /port/],
    ['smtp://h:25:25', /port/],
    ['[::1]:x', /port/],
    [`smtp://${'u'.repeat(2000)}@h`, /1024/],
  ];
  for (const [text, problem] of table) {
    const read = parseRelay(text);
    assert.ok('problem' in read, text);
    assert.match(read.problem, problem, text);
  }
});

const label = fc.stringMatching(/^[a-z](?:[a-z0-9-]{0,10}[a-z0-9])?$/);
const anyRelay: fc.Arbitrary<Relay> = fc.record(
  {
    scheme: fc.constantFrom('smtp', 'smtps'),
    host: fc.oneof(
      fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.')),
      fc.ipV4(),
      fc.ipV6().filter((text) => text === text.toLowerCase()),
    ),
    port: fc.integer({ min: 1, max: 65_535 }),
    user: fc.option(
      fc
        .string({ unit: 'binary', minLength: 1, maxLength: 40 })
        .filter((text) => !/\p{Cc}/u.test(text)),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
);

const pinned = fc.record(
  {
    tls: fc.constantFrom('required' as const, 'opportunistic' as const, 'off' as const),
    pins: fc.array(fc.stringMatching(/^[0-9a-f]{64}$/), { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

test('A written relay with its own policy or socket is read back as the same relay.', () => {
  fc.assert(
    fc.property(anyRelay, pinned, (one, policy) => {
      assert.deepEqual(parseRelay(formatRelay({ ...one, ...policy })), { ...one, ...policy });
    }),
  );
  for (const text of ['lmtp+unix:///a@b?c', 'smtp+unix:///x/é']) {
    const read = parseRelay(text);
    assert.ok(!('problem' in read));
    assert.equal(formatRelay(read), text);
  }
});

test('Each form of a proxy is read, and a password in it is refused.', () => {
  const table: [string, object | RegExp][] = [
    ['socks5://h:1080', { scheme: 'socks5', host: 'h', port: 1080, user: undefined }],
    ['HTTP://[::1]:3128/', { scheme: 'http', host: '::1', port: 3128, user: undefined }],
    ['socks5://a%40b@h:1', { scheme: 'socks5', host: 'h', port: 1, user: 'a@b' }],
    ['socks5://h', /port/],
    ['socks5://u:pw@h:1', /proxypassword/],
    ['socks4://h:1', /socks5:/],
    ['h:1', /socks5:/],
    ['http://h:0', /port/],
    ['http://:1', /host name/],
  ];
  for (const [text, expected] of table) {
    const read = parseProxy(text);
    if (!(expected instanceof RegExp)) assert.deepEqual(read, expected, text);
    else assert.match('problem' in read ? read.problem : 'none', expected, text);
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => void parseProxy(`http://${text}`)),
  );
});

test('A fingerprint is read in each way that tools print it.', () => {
  const hex = '0123456789abcdef'.repeat(4);
  const base64 = Buffer.from(hex, 'hex').toString('base64');
  const colons = hex.toUpperCase().replace(/..(?!$)/g, '$&:');
  for (const text of [
    hex,
    colons,
    base64,
    base64.replace('=', ''),
    `sha256//${base64}`,
    `SHA256:${hex}`,
  ]) {
    assert.equal(parsePin(text), hex, text);
  }
  for (const text of [
    '',
    hex.slice(1),
    `${hex}0`,
    `sha1:${hex}`,
    base64.slice(2),
    `${base64}=`,
    `${hex}:`,
  ]) {
    assert.equal(parsePin(text), undefined, text);
  }
});

test('A written relay is read back as the same relay.', () => {
  assert.equal(formatRelay(relay('smtps', '::1', 465, 'a@b:c')), 'smtps://a%40b%3Ac@[::1]:465');
  fc.assert(
    fc.property(anyRelay, (one) => {
      assert.deepEqual(parseRelay(formatRelay(one)), one);
    }),
  );
});

test('Any text is a relay that can be written again, or a problem.', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 5 }),
    fc.constantFrom(
      'smtp',
      's',
      '://',
      '@',
      ':',
      '[',
      ']',
      '::',
      '1',
      '.',
      'h',
      '%',
      '%40',
      '\ud800',
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
      const read = parseRelay(pieces.join(''));
      if ('problem' in read) return;
      assert.deepEqual(parseRelay(formatRelay(read)), read);
    }),
    { numRuns: 1000 },
  );
});

test('A password does not survive withoutPassword.', () => {
  const table: [string, string][] = [
    ['smtps://user:pw@h', 'smtps://user:***@h'],
    ['smtps://user:p@w:x@h:25', 'smtps://user:***@h:25'],
    ['user:pw@h', 'user:***@h'],
    ['user:p://w@h', 'user:***@h'],
    ['smtp:/user:pw@h', 'smtp:***@h'],
    ['smtps://user@h:25', 'smtps://user@h:25'],
    ['h:25', 'h:25'],
  ];
  for (const [text, shown] of table) assert.equal(withoutPassword(text), shown);
});

test('Loopback is told from every other host.', () => {
  const loopback = [
    'localhost',
    'LOCALHOST',
    'localhost.',
    '127.0.0.1',
    '127.255.255.254',
    '::1',
    '0:0:0:0:0:0:0:1',
    '0000::0001',
    '::0.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:7f12:1',
  ];
  const others = [
    '',
    'localhost.example.com',
    '127.0.0.1.example.com',
    '127.example',
    '127.1',
    '128.0.0.1',
    '0.0.0.0',
    '::',
    '::2',
    '1::1',
    '::1:0:0:1',
    '::ffff:128.0.0.1',
    '::7f00:1',
    '::fffe:127.0.0.1',
    '[::1]',
  ];
  for (const host of loopback) assert.equal(isLoopback(host), true, host);
  for (const host of others) assert.equal(isLoopback(host), false, host);
});

test('IPv6 addresses are told as node tells them.', () => {
  const piece = fc.constantFrom(
    '::',
    ':',
    '1',
    '0',
    'ffff',
    'AbCd',
    '12345',
    '1.2.3.4',
    '.',
    'g',
    '',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV6(),
        fc.array(piece, { maxLength: 17 }).map((pieces) => pieces.join('')),
      ),
      (text) => assert.equal(isIPv6(text), nodeIsIPv6(text), text),
    ),
    { numRuns: 3000 },
  );
});

test('Host names and IPv4 addresses exclude each other.', () => {
  for (const name of ['h', 'a.b', 'a-b.c_d', '1a', `${'a'.repeat(63)}.b`, '1.2.3.4.example']) {
    assert.ok(isHostName(name) && !isIPv4(name), name);
  }
  for (const text of [
    '',
    '.',
    'a.',
    '-a',
    'a-',
    'a b',
    'a\n',
    '1.2.3.4',
    '1',
    'a.0x1',
    `${'a.'.repeat(127)}a`,
  ]) {
    assert.ok(!isHostName(text), text);
  }
  for (const text of ['1.2.3', '1.2.3.4.5', '1.2.3.256', '1.2.3.04', '1.2.3.-4', '1.2.3.']) {
    assert.ok(!isIPv4(text), text);
  }
});
