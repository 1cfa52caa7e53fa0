import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDirect, formatRelay } from '../../src/control/relay-url.ts';
import { parseSenderRoutes, parseSmtpRoutes, type RouteTable } from '../../src/control/routes.ts';
import { type RouteTables, routeOf } from '../../src/control/routing.ts';
import { fc } from '../support/properties.ts';

const lines = (...texts: string[]) => texts.map((text, index) => ({ number: index + 1, text }));

function tableOf(read: ReturnType<typeof parseSmtpRoutes>): RouteTable {
  assert.ok(!('expected' in read), JSON.stringify(read));
  return read;
}

const TABLES: RouteTables = {
  byDomain: tableOf(
    parseSmtpRoutes(
      lines(
        'example.com:one.test',
        'Example.ORG:[192.0.2.1]:2525',
        '.example.com:smtps://me@two.test',
        '.b.example.com:three.test:26 four.test',
        'example.com:backup.test',
        '.lan:smtp://[2001:db8::1]:27',
        'direct.test:',
        '.direct.test::2525',
        'verified.test: mx://?tls=required',
      ),
    ),
  ),
  bySender: tableOf(
    parseSenderRoutes(
      lines('jo@y.test  smtps://jo@s.test', 'y.test smtp://y.s.test:587', 'mx@y.test mx://'),
    ),
  ),
};

test('A sender, a domain, the domains below it, and the rest have their relays.', () => {
  const table: [string, string, string, string[]][] = [
    ['', 'a@example.com', 'to example.com', ['smtp://one.test:25', 'smtp://backup.test:25']],
    ['', 'a@EXAMPLE.com', 'to example.com', ['smtp://one.test:25', 'smtp://backup.test:25']],
    ['', 'a@example.org', 'to example.org', ['smtp://192.0.2.1:2525']],
    ['', 'a@x.example.com', 'to .example.com', ['smtps://me@two.test:465']],
    ['', 'a@b.example.com', 'to .example.com', ['smtps://me@two.test:465']],
    ['', 'a@x.b.example.com', 'to .b.example.com', ['smtp://three.test:26', 'smtp://four.test:25']],
    ['', 'a@Direct.test', 'mx direct.test', ['mx://']],
    ['', 'a@x.direct.test', 'mx x.direct.test:2525', ['mx://:2525']],
    ['', 'a@y.direct.test', 'mx y.direct.test:2525', ['mx://:2525']],
    ['', 'a@verified.test', 'mx verified.test tls=required', ['mx://?tls=required']],
    ['mx@y.test', 'a@Else.test', 'mx else.test', ['mx://']],
    ['', 'a@nas.lan', 'to .lan', ['smtp://[2001:db8::1]:27']],
    ['jo@y.test', 'a@example.com', 'from jo@y.test', ['smtps://jo@s.test:465']],
    ['JO@Y.test', 'a@example.com', 'from jo@y.test', ['smtps://jo@s.test:465']],
    ['al@y.test', 'a@nowhere.test', 'from y.test', ['smtp://y.s.test:587']],
    [
      'jo@sub.y.test',
      'a@example.com',
      'to example.com',
      ['smtp://one.test:25', 'smtp://backup.test:25'],
    ],
    ['"jo@y.test"@z.test', 'a@nowhere.test', 'default', []],
    ['', 'a@example.net', 'default', []],
    ['', 'a@badexample.com', 'default', []],
    ['', 'local', 'default', []],
    ['', 'a@[192.0.2.7]', 'default', []],
  ];
  for (const [sender, recipient, name, relays] of table) {
    const route = routeOf(TABLES, sender, recipient);
    const shown = 'direct' in route ? [formatDirect(route.direct)] : route.relays?.map(formatRelay);
    assert.deepEqual([route.name, shown ?? []], [name, relays], `${sender} ${recipient}`);
  }
});

test('A line without a domain is for all others.', () => {
  const byDomain = tableOf(parseSmtpRoutes(lines(':r.test', 'example.com:one.test')));
  const tables = { byDomain, bySender: new Map() };
  assert.equal(routeOf(tables, '', 'a@nowhere.test').name, 'to others');
  assert.equal(routeOf(tables, '', 'a@example.com').name, 'to example.com');
});

test('With mx:// in control/relay each other domain is a route of its own.', () => {
  const tables = { ...TABLES, direct: { scheme: 'mx', port: 25 } } as const;
  assert.equal(routeOf(tables, '', 'a@nowhere.test').name, 'mx nowhere.test');
  assert.equal(routeOf(tables, '', 'a@[IPv6:2001:db8::1]').name, 'mx [ipv6:2001:db8::1]');
  assert.equal(routeOf(tables, '', 'local').name, 'mx ');
  assert.equal(routeOf(tables, '', 'a@example.com').name, 'to example.com');
});

test('A line that is none is named, without the password that it may hold.', () => {
  const table: [typeof parseSmtpRoutes, string, RegExp][] = [
    [parseSmtpRoutes, 'example.com', /relay/],
    [parseSmtpRoutes, 'exa mple.com:r.test', /relay/],
    [parseSmtpRoutes, 'example.com::0', /port/],
    [parseSmtpRoutes, 'example.com:mx://host', /names no host/],
    [parseSmtpRoutes, 'example.com:mx:// r.test', /not both/],
    [parseSmtpRoutes, 'example.com:r.test mx://', /lmtp:/],
    [parseSmtpRoutes, 'ok.test:', /not both/],
    [parseSmtpRoutes, 'example.com:mx://?pin=ab', /pin=/],
    [parseSmtpRoutes, 'example.com:smtp://', /host name/],
    [parseSmtpRoutes, 'example.com:smtp://me:secret@r.test', /no password/],
    [parseSmtpRoutes, 'example.com:r.test:99999', /port/],
    [parseSenderRoutes, 'jo@y.test', /relay/],
    [parseSenderRoutes, 'jo@ r.test', /relay/],
    [parseSenderRoutes, 'jo@y.test smtp://me:secret@r.test', /no password/],
  ];
  for (const [parse, text, expected] of table) {
    const read = parse(
      lines(
        'ok.test:r.test'.replace(/^.*$/, parse === parseSmtpRoutes ? '$&' : 'ok.test r.test'),
        text,
      ),
    );
    assert.ok('expected' in read, text);
    assert.match(read.expected, expected, text);
    assert.equal(read.line.number, 2);
    assert.doesNotMatch(read.found, /secret/);
  }
});

test('Any line is routes or a problem, and any mail has a route.', () => {
  const text = fc.oneof(
    fc.string(),
    fc.tuple(fc.constantFrom('a.test', '.a.test', ''), fc.string()).map((parts) => parts.join(':')),
  );
  fc.assert(
    fc.property(fc.array(text), fc.string(), fc.string(), (texts, sender, recipient) => {
      const byDomain = parseSmtpRoutes(lines(...texts));
      const bySender = parseSenderRoutes(lines(...texts));
      if ('expected' in byDomain || 'expected' in bySender) return;
      assert.notEqual(routeOf({ byDomain, bySender }, sender, recipient).name, '');
    }),
    { numRuns: 500 },
  );
});
