import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Completion,
  completeHeader,
  formatDate,
  receivedField,
  recipientsOf,
} from '../../src/mail/completion.ts';
import { fieldBody, formatField, type HeaderField } from '../../src/mail/header.ts';
import { fc } from '../support/properties.ts';

const TIME = new Date(Date.UTC(2026, 10, 20, 23, 15, 1));

const CONTEXT: Completion = {
  time: TIME,
  zoneMinutes: 60,
  messageId: '20261120231501.42',
  idHost: 'host.example',
  from: () => ({ address: 'root@host.example', name: undefined }),
  received: '(made here)',
};

const RECEIVED = 'Received: (made here)';
const DATE = 'Date: Sat, 21 Nov 2026 00:15:01 +0100';
const ID = 'Message-ID: <20261120231501.42@host.example>';
const FROM = 'From: root@host.example';
const UNDISCLOSED = 'To: undisclosed-recipients:;';

function fieldsOf(...raws: string[]): HeaderField[] {
  return raws.map((raw) => ({ name: raw.slice(0, raw.indexOf(':')).trimEnd(), raw }));
}

function complete(...raws: string[]): string[] {
  return completeHeader(fieldsOf(...raws), CONTEXT).map((field) => field.raw);
}

test('what is missing is added and what is there stays as it is', () => {
  const table: [string[], string[]][] = [
    [[], [RECEIVED, DATE, ID, FROM, UNDISCLOSED]],
    [
      ['subject:  x \t', 'To: a,\r\n b', 'X-\xff: \xff'],
      [RECEIVED, 'subject:  x \t', 'To: a,\r\n b', 'X-\xff: \xff', DATE, ID, FROM],
    ],
    [
      ['date: today', 'MESSAGE-ID : <a@b>', 'from: root', 'cc: x'],
      [RECEIVED, 'date: today', 'MESSAGE-ID : <a@b>', 'from: root', 'cc: x'],
    ],
    [
      ['Bcc: a', 'bCC : b', 'Return-Path: <x@y>', 'Content-Length: 3', 'To: c', 'Lines: 3'],
      [RECEIVED, 'To: c', 'Lines: 3', DATE, ID, FROM],
    ],
    [
      ['Date: \r\n ', 'From:', 'Message-Id:', 'To: c', 'X: y'],
      [RECEIVED, DATE, FROM, ID, 'To: c', 'X: y'],
    ],
    [
      ['Date:', 'Date: now', 'To: c'],
      [RECEIVED, 'Date:', 'Date: now', 'To: c', ID, FROM],
    ],
    [['Bcc: a'], [RECEIVED, DATE, ID, FROM, UNDISCLOSED]],
  ];
  for (const [given, wanted] of table) assert.deepEqual(complete(...given), wanted);
});

test('with Resent- fields the Resent- set is completed and the plain one is left alone', () => {
  assert.deepEqual(
    complete('Received: old', 'Resent-To: a@x', 'Subject: s', 'Bcc: secret', 'Date:'),
    [
      RECEIVED,
      'Received: old',
      `Resent-${DATE}`,
      `Resent-${ID}`,
      `Resent-${FROM}`,
      'Resent-To: a@x',
      'Subject: s',
      'Date:',
    ],
  );
  assert.deepEqual(complete('resent-bcc: a@x', 'To: b@y'), [
    RECEIVED,
    `Resent-${DATE}`,
    `Resent-${ID}`,
    `Resent-${FROM}`,
    `Resent-${UNDISCLOSED}`,
    'To: b@y',
  ]);
});

test('a second resending is completed apart from the first', () => {
  const first = [
    'Resent-Date: then',
    'Resent-From: a@x',
    'Resent-Message-ID: <1@x>',
    'Resent-To: b@y',
  ];
  assert.deepEqual(complete('Resent-From: b@y', 'Resent-Cc: c@z', 'Received: by y', ...first), [
    RECEIVED,
    `Resent-${DATE}`,
    `Resent-${ID}`,
    'Resent-From: b@y',
    'Resent-Cc: c@z',
    'Received: by y',
    ...first,
  ]);
});

test('the author made from a full name is quoted or encoded', () => {
  const table: [string | undefined, string, string][] = [
    [undefined, 'root@host.example', 'root@host.example'],
    [' ', 'a@x', 'a@x'],
    ['Cron Daemon', 'root@host.example', '"Cron Daemon" <root@host.example>'],
    ['A "B" \\ C, D.', 'a@x', '"A \\"B\\" \\\\ C, D." <a@x>'],
    ['Jörg', 'a@x', '=?UTF-8?B?SsO2cmc=?= <a@x>'],
    ['X\r\nBcc: evil@x', 'a@x', '"X  Bcc: evil@x" <a@x>'],
  ];
  for (const [name, address, body] of table) {
    const [, , , from] = completeHeader([], { ...CONTEXT, from: () => ({ name, address }) });
    assert.equal(from?.raw, `From: ${body}`);
  }
});

test('a full name in any script comes back from its encoded words', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }), (text) => {
      const name = `é${text.replace(/[\p{Cc}\s]/gu, 'x')}`;
      const header = completeHeader([], { ...CONTEXT, from: () => ({ name, address: 'a@x' }) });
      const words = fieldBody(header[3] ?? formatField('From', '')).split(' ');
      assert.equal(words.pop(), '<a@x>');
      for (const word of words) assert.ok(word.length <= 75);
      const decoded = words.map((word) => {
        const base64 = /^=\?UTF-8\?B\?([\w+/=]+)\?=$/.exec(word)?.[1] ?? '';
        return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(base64, 'base64'));
      });
      assert.equal(decoded.join(''), name);
    }),
  );
});

const NAMES = ['Date', 'Message-ID', 'From', 'To', 'Cc', 'Bcc', 'Resent-Date', 'Resent-Message-Id'];
const anyFields = fc.array(
  fc
    .tuple(
      fc.constantFrom(...NAMES, 'Resent-From', 'RESENT-TO', 'Resent-Cc', 'Resent-Bcc', 'Received'),
      fc.constantFrom('', ' ', 'a@x', 'b@y, c', '\r\n '),
    )
    .map(([name, body]): HeaderField => ({ name, raw: `${name}:${body}` })),
  { maxLength: 12 },
);

test('completing a header again changes nothing but the Received', () => {
  fc.assert(
    fc.property(anyFields, fc.boolean(), (fields, resent) => {
      const chosen = resent ? fields : fields.filter((field) => !/^resent/i.test(field.name));
      const once = completeHeader(chosen, CONTEXT);
      const [received, ...again] = completeHeader(once.slice(1), CONTEXT);
      assert.equal(received?.raw, RECEIVED);
      assert.deepEqual(again, once.slice(1));
      // It holds with the Received in place as well.
      assert.deepEqual(completeHeader(once, CONTEXT).slice(1), once);
    }),
    { numRuns: 3000 },
  );
});

test('nothing but the removed fields goes away, and no secret recipient stays', () => {
  fc.assert(
    fc.property(anyFields, (fields) => {
      const done = completeHeader(fields, CONTEXT);
      const keeps = fields.filter(
        (field) => !/^(resent-)?bcc$/i.test(field.name) && fieldBody(field) !== '',
      );
      assert.deepEqual(
        keeps,
        done.filter((field) => keeps.includes(field)),
      );
      assert.ok(!done.some((field) => /^(resent-)?bcc$/i.test(field.name)));
    }),
  );
});

test('recipients come from To, Cc and Bcc, or from the Resent- fields alone', () => {
  const first = ['Resent-From: o@x', 'Resent-To: old@x', 'Resent-Bcc: old2@x'];
  const table: [string[], string[]][] = [
    [[], []],
    [['Subject: a@x'], []],
    [
      ['To: a, B <b@x>', 'From: f@x', 'cc : c@x', 'BCC: d@x,\r\n e@x', 'To: a'],
      ['a', 'b@x', 'c@x', 'd@x', 'e@x', 'a'],
    ],
    [
      ['To: a@x', 'Resent-To: b@x', 'resent-cc: c@x', 'Bcc: d@x', 'Resent-Bcc: e@x'],
      ['b@x', 'c@x', 'e@x'],
    ],
    [['To: a@x', 'Resent-From: b@x'], []],
    [['Resent-To: n@x', 'Resent-From: n@x', 'Received: y', ...first], ['n@x']],
    [['Resent-From: n@x', 'Resent-To: n@x', ...first], ['n@x']],
    [
      ['Resent-From: n@x', 'Subject: s', 'Resent-To: n@x', 'To: t@x', 'Resent-Cc: m@x'],
      ['n@x', 'm@x'],
    ],
    [
      ['Resent-To: n@x', 'Resent-To: m@x'],
      ['n@x', 'm@x'],
    ],
    [['Resent-From: n@x', 'Received: y', 'Resent-To: o@x'], ['o@x']],
  ];
  for (const [raws, addresses] of table) {
    assert.deepEqual(recipientsOf(fieldsOf(...raws)), { addresses, problems: [] }, raws.join());
  }
});

test('recipients that cannot be read are named with their field', () => {
  const { addresses, problems } = recipientsOf(
    fieldsOf('To: Bob Smith, a@x', 'CC: <b@x', 'Bcc: \xc3\xa9@x', 'Bcc: \xe9@y'),
  );
  assert.deepEqual(addresses, ['a@x', 'é@x', 'é@y']);
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? '', /^To: words without an address/);
  assert.match(problems[1] ?? '', /^CC: unclosed angle bracket/);
});

test('many recipients are read', () => {
  const list = Array.from({ length: 200_000 }, (_, i) => `u${i}@example.com`);
  const { addresses } = recipientsOf(fieldsOf(`To: ${list.join(', ')}`));
  assert.deepEqual(addresses, list);
});

test('dates are written in their zone', () => {
  const table: [Date, number, string][] = [
    [TIME, 0, 'Fri, 20 Nov 2026 23:15:01 +0000'],
    [TIME, 60, 'Sat, 21 Nov 2026 00:15:01 +0100'],
    [TIME, -210, 'Fri, 20 Nov 2026 19:45:01 -0330'],
    [TIME, 345, 'Sat, 21 Nov 2026 05:00:01 +0545'],
    [new Date(0), 0, 'Thu, 1 Jan 1970 00:00:00 +0000'],
    [new Date(Date.UTC(2024, 1, 29, 12)), -720, 'Thu, 29 Feb 2024 00:00:00 -1200'],
  ];
  for (const [time, zone, text] of table) assert.equal(formatDate(time, zone), text);
  fc.assert(
    fc.property(
      fc.date({ min: new Date('1970-01-01'), max: new Date('2999-01-01'), noInvalidDate: true }),
      fc.integer({ min: -14 * 60, max: 14 * 60 }),
      (time, zone) => {
        assert.equal(Date.parse(formatDate(time, zone)), Math.floor(time.getTime() / 1000) * 1000);
      },
    ),
  );
});

test('a Received body names the program, the process and the user', () => {
  const date = formatDate(TIME, 0);
  const origin = { program: 'sendmail', pid: 42, uid: 1000, host: 'host.example' };
  const body = '(picorelay sendmail 42 invoked by uid 1000) by host.example';
  assert.equal(receivedField(origin, date), `${body}; ${date}`);
  const hostile = { program: 'a)(\r\n', pid: 1, uid: 0, host: 'h; x\n(' };
  assert.match(receivedField(hostile, date), /^\([^()\r\n;]*\) by [\w.-]+; [^\r\n;()]*$/);
  assert.deepEqual(formatField('Received', receivedField(origin, date)).raw.split('\r\n'), [
    `Received: ${body};`,
    ` ${date}`,
  ]);
});
