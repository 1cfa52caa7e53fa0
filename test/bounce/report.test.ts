import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Original } from '../../src/bounce/original.ts';
import { formatDigest, formatReport, type Letterhead } from '../../src/bounce/report.ts';
import type { Fate } from '../../src/bounce/status.ts';
import { escapeText } from '../../src/mail/text.ts';
import { WireForm } from '../../src/mail/wireform.ts';
import type { Attempt } from '../../src/spool/result.ts';
import { fc } from '../support/properties.ts';
import { fieldOf, readReports, skipWithoutPython } from '../support/reports.ts';

const skip = skipWithoutPython();

const ACCEPTED = Date.UTC(2026, 10, 20, 23, 15, 1);
const HEAD: Letterhead = {
  from: 'MAILER-DAEMON@host.test',
  to: 'jo@host.test',
  host: 'host.test',
  time: new Date(ACCEPTED + 60_000),
  zoneMinutes: 60,
  messageId: '1.2.failed@host.test',
};
const HEADER = 'Subject: tea\r\nMessage-ID: <a@b>\r\n';
const ORIGINAL: Original = {
  accepted: ACCEPTED,
  envid: undefined,
  subject: 'tea',
  messageId: '<a@b>',
  excerpt: { whole: false, utf8: false, bytes: Buffer.from(HEADER) },
};
const REFUSED: Attempt = {
  time: ACCEPTED + 5000,
  outcome: 'refused',
  stage: 'rcpt',
  relay: 'smtps://alice@mail.example.com:465',
  lines: ['550 5.1.1 nobody of that name'],
};

function fate(address: string, last: Attempt = REFUSED, more: Partial<Fate> = {}): Fate {
  return { id: `ID:${address}`, recipient: { address }, history: [last], last, ...more };
}

function report(
  fates: readonly Fate[],
  change: { kind?: 'failed' | 'delayed' | 'relayed'; original?: Partial<Original> } = {},
): Buffer {
  return formatReport(HEAD, {
    kind: change.kind ?? 'failed',
    original: { ...ORIGINAL, ...change.original },
    fates,
    retryUntil: ACCEPTED + 432_000_000,
  });
}

/** Wire form already, no line too long. */
function assertSendable(message: Buffer): void {
  const form = new WireForm();
  const wire = Buffer.concat([Buffer.from(form.transform(message)), Buffer.from(form.end())]);
  assert.deepEqual(wire, message);
  assert.ok(form.longestLine <= 998, `a line of ${form.longestLine} octets`);
}

test('A report about one recipient has every field that RFC 3464 knows for it', { skip }, () => {
  const recipient = {
    address: 'ann@example.com',
    orcpt: 'rfc822;Ann+2BTea@example.org',
  };
  const message = report([fate(recipient.address, REFUSED, { recipient })], {
    original: { envid: 'QQ+3D1' },
  });
  assertSendable(message);
  const [read] = readReports([message]);
  assert.ok(read);
  assert.deepEqual(read.defects, []);
  assert.deepEqual(
    [read.type, read.reportType, ...read.parts],
    [
      'multipart/report',
      'delivery-status',
      'text/plain',
      'message/delivery-status',
      'text/rfc822-headers',
    ],
  );
  assert.deepEqual(
    read.fields.filter(([name]) => !name.startsWith('Content-')),
    [
      ['Date', 'Sat, 21 Nov 2026 00:16:01 +0100'],
      ['From', '"Mail relay on host.test" <MAILER-DAEMON@host.test>'],
      ['To', '<jo@host.test>'],
      ['Subject', 'Mail could not be delivered'],
      ['Message-ID', '<1.2.failed@host.test>'],
      ['In-Reply-To', '<a@b>'],
      ['References', '<a@b>'],
      ['Auto-Submitted', 'auto-replied'],
      ['MIME-Version', '1.0'],
    ],
  );
  assert.deepEqual(read.status, [
    [
      ['Original-Envelope-Id', 'QQ=1'],
      ['Reporting-MTA', 'dns; host.test'],
      ['Arrival-Date', 'Sat, 21 Nov 2026 00:15:01 +0100'],
    ],
    [
      ['Original-Recipient', 'rfc822; Ann+Tea@example.org'],
      ['Final-Recipient', 'rfc822; ann@example.com'],
      ['Action', 'failed'],
      ['Status', '5.1.1'],
      ['Remote-MTA', 'dns; mail.example.com'],
      ['Diagnostic-Code', 'smtp; 550 5.1.1 nobody of that name'],
      ['Last-Attempt-Date', 'Sat, 21 Nov 2026 00:15:06 +0100'],
      ['Final-Log-ID', 'ID:ann@example.com'],
    ],
  ]);
  assert.equal(read.original.trimEnd(), HEADER.replaceAll('\r\n', '\n').trimEnd());
  assert.match(
    read.text,
    /<ann@example\.com>\s+mail\.example\.com refused it:\s+550 5\.1\.1 nobody/,
  );
  assert.match(read.text, /What to do: look whether the address is right/);
  assert.doesNotMatch(message.toString(), /alice/, 'the login name is nobody’s business');
});

test('A delayed mail says until when it is tried; a relayed one that no more is heard', {
  skip,
}, () => {
  const deferred: Attempt = { ...REFUSED, outcome: 'deferred', lines: ['450 4.2.1 busy'] };
  const closed: Attempt = {
    ...deferred,
    outcome: 'paused',
    stage: 'connect',
    relay: 'none',
    lines: ['ECONNREFUSED'],
  };
  const untried: Attempt = { ...closed, lines: [] };
  const [delayed, relayed] = readReports([
    report([fate('a@x.test', deferred), fate('b@x.test', closed), fate('c@x.test', untried)], {
      kind: 'delayed',
    }),
    report(
      [fate('a@x.test', REFUSED, { last: { ...REFUSED, outcome: 'relayed', lines: ['250 ok'] } })],
      { kind: 'relayed' },
    ),
  ]);
  const values = (n: number): (string | undefined)[] =>
    ['Action', 'Status', 'Diagnostic-Code', 'Remote-MTA', 'Will-Retry-Until'].map((name) =>
      fieldOf(delayed?.status[n], name),
    );
  const until = 'Thu, 26 Nov 2026 00:15:01 +0100';
  assert.deepEqual(values(1), [
    'delayed',
    '4.2.1',
    'smtp; 450 4.2.1 busy',
    'dns; mail.example.com',
    until,
  ]);
  assert.deepEqual(values(2), ['delayed', '4.4.1', 'x-picorelay; ECONNREFUSED', undefined, until]);
  assert.deepEqual(values(3), ['delayed', '4.4.1', undefined, undefined, until]);
  assert.equal(fieldOf(delayed?.status[3], 'Last-Attempt-Date'), undefined);
  assert.match(delayed?.text ?? '', /nothing to do: it is tried again until Thu, 26 Nov 2026/);
  assert.equal(fieldOf(relayed?.status[1], 'Action'), 'relayed');
  assert.equal(fieldOf(relayed?.status[1], 'Status'), '2.0.0');
  assert.match(relayed?.text ?? '', /you will not hear whether it arrives/);
});

test('Expired mail is reported with its history, and a long one with its newest part', {
  skip,
}, () => {
  const attempts = Array.from(
    { length: 3000 },
    (_, n): Attempt => ({
      ...REFUSED,
      time: ACCEPTED + n * 1000,
      outcome: 'deferred',
      lines: [`450 4.2.1 busy ${n} ${'x'.repeat(100)}`],
    }),
  );
  const last: Attempt = { ...REFUSED, outcome: 'expired', lines: ['450 4.2.1 still busy'] };
  const short = report([fate('a@x.test', last, { history: [...attempts.slice(0, 3), last] })]);
  const long = report([fate('a@x.test', last, { history: [...attempts, last] })]);
  for (const message of [short, long]) assertSendable(message);
  const [first, second] = readReports([short, long]);
  assert.equal(fieldOf(first?.status[1], 'Status'), '4.4.7');
  assert.match(first?.text ?? '', /tried for too long/);
  for (const n of [0, 1, 2]) assert.ok(first?.text.includes(`busy ${n} x`));
  assert.ok(long.length < 400_000, `${long.length} octets`);
  assert.match(second?.text ?? '', /\d+ earlier ones are left out/);
  assert.ok(!second?.text.includes('busy 0 x') && second?.text.includes('busy 2999 x'));
});

test('Addresses in UTF-8 make the report one of RFC 6533', { skip }, () => {
  const recipient = { address: 'jörg@bücher.test', orcpt: 'utf-8;j\\x{F6}rg@b+C3+BCcher.test' };
  const message = report([fate('x', REFUSED, { recipient }), fate('ann@example.com')], {
    original: { excerpt: { whole: false, utf8: true, bytes: Buffer.from('Subject: Bücher\r\n') } },
  });
  assertSendable(message);
  const [read] = readReports([message]);
  assert.deepEqual(read?.defects, []);
  assert.deepEqual(read?.parts.slice(1), [
    'message/global-delivery-status',
    'message/global-headers',
  ]);
  assert.equal(read && fieldOf(read.fields, 'Content-Transfer-Encoding'), '8bit');
  assert.equal(fieldOf(read?.status[1], 'Final-Recipient'), 'utf-8; jörg@bücher.test');
  assert.equal(fieldOf(read?.status[1], 'Original-Recipient'), 'utf-8; jörg@bücher.test');
  assert.equal(fieldOf(read?.status[2], 'Final-Recipient'), 'rfc822; ann@example.com');
  assert.ok(read?.text.includes('<jörg@bücher.test>'));
});

test('A whole message comes back as one; its own boundary stays its own', { skip }, () => {
  const inner = report([fate('inner@x.test')]);
  const message = report([fate('outer@x.test')], {
    original: { excerpt: { whole: true, utf8: false, bytes: inner } },
  });
  assertSendable(message);
  const [read] = readReports([message]);
  assert.deepEqual(read?.parts, ['text/plain', 'message/delivery-status', 'message/rfc822']);
  assert.equal(read?.status.length, 2);
  assert.ok(read?.original.includes('Final-Recipient: rfc822; inner@x.test'));
});

test('A thousand recipients stand in one report, each with its fields', { skip }, () => {
  const fates = Array.from({ length: 1000 }, (_, n) =>
    fate(`r${n}@x.test`, { ...REFUSED, lines: [`550 5.1.1 ${'no '.repeat(600)}`] }),
  );
  const message = report(fates);
  assertSendable(message);
  assert.ok(message.length < 2_000_000, `${message.length} octets`);
  const [read] = readReports([message]);
  assert.equal(read?.status.length, 1001);
  for (const { recipient } of fates) assert.ok(read?.text.includes(`<${recipient.address}>`));
});

test('A digest names every recipient up to its limit, and is no report of one message', {
  skip,
}, () => {
  const items = Array.from({ length: 1200 }, (_, n) => ({
    kind: 'failed' as const,
    subject: `tea ${n}`,
    fate: fate(`r${n}@x.test`),
  }));
  const message = formatDigest(HEAD, items);
  assertSendable(message);
  const [read] = readReports([message]);
  assert.equal(read?.type, 'text/plain');
  assert.equal(read && fieldOf(read.fields, 'Auto-Submitted'), 'auto-replied');
  assert.match(read?.text ?? '', /These 1200 are told together/);
  assert.match(read?.text ?? '', /to <r999@x\.test>\n {4}subject: tea 999\n {4}550 5\.1\.1/);
  assert.match(read?.text ?? '', /200 more;/);
});

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.constantFrom(
    '\r\nBcc: eve@x.test\r\n\r\n',
    '--=_report_0_picorelay',
    '\r\n--=_report_0_picorelay--\r\n',
    '=_report_1_',
    '\n\nFinal-Recipient: rfc822; eve@x.test',
    '\u2028X: y',
    '\x85X: y',
    'é'.repeat(2000),
    'x'.repeat(3000),
    ' '.repeat(2000),
    '\ud800',
    '\x1b[2J',
    '',
  ),
);

const hostileReport = fc
  .record({
    addresses: fc.array(fc.tuple(nasty, nasty), { minLength: 1, maxLength: 3 }),
    lines: fc.array(fc.oneof(nasty, nasty.map(escapeText)), { maxLength: 3 }),
    envid: fc.option(nasty, { nil: undefined }),
    subject: fc.option(nasty, { nil: undefined }),
    messageId: fc.option(
      fc.oneof(
        nasty,
        nasty.map((text) => `<${text}>`),
      ),
      { nil: undefined },
    ),
    original: nasty,
    relay: fc.oneof(nasty, fc.constant('smtp://u@[::1]:25')),
    kind: fc.constantFrom('failed', 'delayed', 'relayed'),
    whole: fc.boolean(),
  })
  .map((hostile) => {
    const last = { ...REFUSED, lines: hostile.lines, relay: hostile.relay };
    const form = new WireForm();
    const wire = Buffer.from(form.transform(Buffer.from(`X: y\r\n\r\n${hostile.original}`)));
    const bytes = Buffer.concat([wire, Buffer.from(form.end())]);
    const fates = hostile.addresses.map(
      ([address, orcpt]): Fate => ({
        id: 'ID',
        recipient: { address, orcpt: `rfc822;${orcpt}` },
        history: [last, last],
        last,
      }),
    );
    const count = fates.length;
    // The excerpt is made by original.ts, which lets no long line through.
    const excerpt =
      form.longestLine > 998 ? ORIGINAL.excerpt : { whole: hostile.whole, utf8: false, bytes };
    const { kind, envid, subject, messageId } = hostile;
    return {
      count,
      message: report(fates, { kind, original: { envid, subject, messageId, excerpt } }),
    };
  });

test('No address, reply, subject or message breaks a report, adds a field or makes a long line', () => {
  fc.assert(
    fc.property(hostileReport, ({ message }) => {
      assertSendable(message);
      const text = message.toString('latin1');
      const boundary = /boundary="([^"]+)"/.exec(text)?.[1] ?? '';
      assert.equal(text.split(boundary).length - 1, 1 + 4, 'the boundary is in no part');
      const header = text.slice(0, text.indexOf('\r\n\r\n')).replace(/\r\n[ \t]/g, ' ');
      const names = header.split('\r\n').map((line) => /^[\w-]+(?=: )/.exec(line)?.[0]);
      const known =
        /^(Date|From|To|Subject|Message-ID|In-Reply-To|References|Auto-Submitted|MIME-Version|Content-Type|Content-Transfer-Encoding)$/;
      for (const name of names) assert.match(name ?? 'none', known);
    }),
  );
});

test('Python finds the same parts and recipients in hostile reports', { skip }, () => {
  const sample = fc.sample(hostileReport, 300);
  const read = readReports(sample.map(({ message }) => message));
  for (const [n, each] of read.entries()) {
    assert.deepEqual(each.defects, []);
    assert.equal(each.parts.length, 3, sample[n]?.message.toString());
    assert.equal(each.status.length, 1 + (sample[n]?.count ?? 0), sample[n]?.message.toString());
    for (const recipient of each.status.slice(1)) {
      const names = recipient.map(([name]) => name);
      assert.equal(new Set(names).size, names.length, 'no field stands twice');
      assert.ok(fieldOf(recipient, 'Final-Recipient') !== undefined);
    }
  }
});
