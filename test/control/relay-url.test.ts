import assert from 'node:assert/strict';
import { isIPv6 as nodeIsIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatRelay,
  isHostName,
  isIPv4,
  isIPv6,
  isLoopback,
  parseRelay,
  type Relay,
  withoutPassword,
} from '../../src/control/relay-url.ts';

function relay(scheme: 'smtp' | 'smtps', host: string, port: number, user?: string): Relay {
  return { scheme, host, port, user };
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
    ['smtps://a%3Ab%25%20c%C3%A9@h', relay('smtps', 'h', 465, 'a:b% cé')],
  ];
  for (const [text, expected] of table) assert.deepEqual(parseRelay(text), expected, text);
});

test('A relay that cannot be is refused with the reason.', () => {
  const table: [string, RegExp][] = [
    ['', /host name/],
    ['smtpx://h', /smtp:\/\/ or smtps:\/\//],
    ['http://h', /smtp:\/\/ or smtps:\/\//],
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
