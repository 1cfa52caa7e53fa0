import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import {
  InjectError,
  type Invocation,
  makePlan,
  namesOf,
  type Plan,
  parseInvocation,
} from '../../src/inject/qmail-inject.ts';
import { queueProgram } from '../../src/inject/queue-program.ts';
import { isMailbox } from '../../src/mail/address.ts';
import type { HeaderField } from '../../src/mail/header.ts';
import { mailboxOf, verpBase } from '../../src/mail/raw-address.ts';
import { fc } from '../support/properties.ts';

const NAMES = {
  defaultHost: 'host.test',
  defaultDomain: 'test',
  plusDomain: 'plus.test',
  idHost: 'id.test',
};
const TIME = new Date(Date.UTC(2026, 10, 20, 23, 15, 1, 999));
const SECONDS = 1795216501;
const DATE = 'Date: Fri, 20 Nov 2026 23:15:01 +0000';
const ID = 'Message-ID: <20261120231501.42.qmail@id.test>';
const FROM = 'From: joe@host.test';
const NOT_SHOWN = 'Cc: recipient list not shown: ;';

interface Given {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly header?: readonly string[];
  readonly lists?: string;
}

function plan({ args = [], env = {}, header = [], lists = '' }: Given): Plan {
  return makePlan(parseInvocation(args), fieldsOf(header), {
    environment: { QMAILUSER: 'joe', ...env },
    names: NAMES,
    time: TIME,
    pid: 42,
    lists,
  });
}

function fieldsOf(raws: readonly string[]): HeaderField[] {
  return raws.map((raw) => ({ name: raw.slice(0, raw.indexOf(':')).trimEnd(), raw }));
}

function header(given: Given): string[] {
  return plan(given).fields.map(({ raw }) => raw);
}

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof InjectError, String(error));
    assert.doesNotMatch(error.message, /\p{Cc}/u);
    return `${error.exit} ${error.message}`;
  }
  return assert.fail('nothing was refused');
}

test('the command line says where recipients come from, who sends, and whether to print', () => {
  const usual: Invocation = { recipients: [], fromHeader: true, sender: undefined, print: false };
  const table: [string[], Partial<Invocation>][] = [
    [[], {}],
    [['a'], { recipients: ['a'], fromHeader: false }],
    [['-A', 'a'], { recipients: ['a'], fromHeader: false }],
    [['-A'], {}],
    [['-a'], { fromHeader: false }],
    [['-h', 'a'], {}],
    [['-H', 'a', 'b'], { recipients: ['a', 'b'] }],
    [['-ah', 'a'], {}],
    [['-nH', '-fx', 'a'], { recipients: ['a'], sender: 'x', print: true }],
    [['-nN'], {}],
    [['-f', '', '-f', '-n'], { sender: '-n' }],
    [
      ['-fa', '-nfb c', '--', '-x'],
      { recipients: ['-x'], fromHeader: false, sender: 'b c', print: true },
    ],
    [['a', '-n'], { recipients: ['a', '-n'], fromHeader: false }],
    [['-', 'a'], { recipients: ['-', 'a'], fromHeader: false }],
  ];
  for (const [args, wanted] of table) {
    assert.deepEqual(parseInvocation(args), { ...usual, ...wanted }, args.join(' '));
  }
  assert.match(
    refusal(() => parseInvocation(['-f'])),
    /^100 .*-f/,
  );
  for (const word of ['-z', '--help', '-n\n', '-constructor']) {
    assert.match(
      refusal(() => parseInvocation([word])),
      /^100 unknown option/,
    );
  }
});

test('what is missing in the header comes first, and what is there stays as it is', () => {
  const table: [Given, string[]][] = [
    [{}, [DATE, ID, FROM, NOT_SHOWN]],
    [{ header: ['To: a@b.test'] }, [DATE, ID, FROM, 'To: a@b.test']],
    [{ header: ['cc : a@b.test'] }, [DATE, ID, FROM, 'cc : a@b.test']],
    [{ header: ['Bcc: a@b.test'] }, [DATE, ID, FROM, NOT_SHOWN]],
    [{ header: ['Apparently-To: a'] }, [DATE, ID, FROM, NOT_SHOWN, 'Apparently-To: a@host.test']],
    [
      { header: ['DATE: x', 'message-id: y', 'From: z@b.test', 'To: u@b.test', 'X:\r\n \xff'] },
      ['DATE: x', 'message-id: y', 'From: z@b.test', 'To: u@b.test', 'X:\r\n \xff'],
    ],
    [{ header: ['Date:', 'From: \r\n ', 'To: u@b.test'] }, [DATE, ID, FROM, 'To: u@b.test']],
    [
      {
        header: [
          'Content-Length: 3',
          'Return-Path: <x@y.test>',
          'RESENT-BCC: u',
          'Resent-To: v@b.test',
        ],
      },
      [`Resent-${DATE}`, `Resent-${ID}`, `Resent-${FROM}`, 'Resent-To: v@b.test'],
    ],
    [
      { header: ['Resent-Sender: v', 'To: u'] },
      [
        `Resent-${DATE}`,
        `Resent-${ID}`,
        `Resent-${FROM}`,
        `Resent-${NOT_SHOWN}`,
        'Resent-Sender: v@host.test',
        'To: u@host.test',
      ],
    ],
  ];
  for (const [given, wanted] of table) assert.deepEqual(header(given), wanted);
});

test('addresses are completed in every field that holds some', () => {
  const names =
    'To Cc Apparently-To Sender From Reply-To Return-Receipt-To Errors-To Resent-Sender Resent-From Resent-Reply-To Resent-To Resent-Cc';
  for (const name of names.split(' ')) {
    const fields = header({ header: [`${name}: bob`] });
    assert.ok(fields.includes(`${name}: bob@host.test`), name);
  }
  for (const untouched of ['Subject: bob', 'X-To: bob', 'Mail-Followup-To: bob']) {
    assert.ok(header({ header: [untouched] }).includes(untouched), untouched);
  }
});

test('a completed field is folded at its commas', () => {
  const [field = ''] = header({ header: [`To: ${'bob, '.repeat(300)}bob`] }).slice(-1);
  const lines = field.split('\r\n');
  assert.ok(lines.every((line, at) => line.length <= 78 && (at === 0 || /^ \S/.test(line))));
  assert.equal(field.match(/bob@host\.test/g)?.length, 301);
});

test('the author is named by the environment, the first name that is set', () => {
  const table: [Record<string, string>, string][] = [
    [{}, 'joe@host.test'],
    [{ QMAILUSER: '', MAILUSER: 'b', USER: 'c' }, 'b@host.test'],
    [{ QMAILUSER: '', USER: 'c', LOGNAME: 'd' }, 'c@host.test'],
    [{ QMAILUSER: '', LOGNAME: 'd' }, 'd@host.test'],
    [{ QMAILUSER: '' }, 'anonymous@host.test'],
    [{ QMAILUSER: 'a b' }, '"a b"@host.test'],
    [{ QMAILUSER: 'a@b.test' }, '"a@b.test"@host.test'],
    [{ QMAILHOST: 'x', MAILHOST: 'y' }, 'joe@x.test'],
    [{ MAILHOST: 'y+' }, 'joe@y.plus.test'],
    [{ QMAILSUSER: 's', QMAILSHOST: 't' }, 'joe@host.test'],
    [{ QMAILNAME: 'Joe "X"', NAME: 'N' }, '"Joe \\"X\\"" <joe@host.test>'],
    [{ MAILNAME: 'M', NAME: 'N' }, '"M" <joe@host.test>'],
    [{ NAME: 'Jürgen' }, '=?UTF-8?B?SsO8cmdlbg==?= <joe@host.test>'],
    [{ QMAILNAME: '', NAME: 'N' }, 'joe@host.test'],
    [{ QMAILINJECT: 'c', NAME: 'J (x\\)' }, 'joe@host.test (J \\(x\\\\\\))'],
    [{ QMAILINJECT: 'c', NAME: 'Jürgen' }, 'joe@host.test (=?UTF-8?B?SsO8cmdlbg==?=)'],
    [{ QMAILINJECT: 'c' }, 'joe@host.test'],
  ];
  for (const [env, author] of table) {
    const wanted = `From: ${author}`;
    assert.equal(header({ env, header: ['To: a@b.test'] }).at(2), wanted, JSON.stringify(env));
  }
});

test('the environment brings no field of its own into the header', () => {
  const name = 'x\r\nBcc: evil@b.test\n\nbody';
  for (const letters of ['', 'c']) {
    const fields = header({ env: { QMAILNAME: name, QMAILINJECT: letters } });
    assert.deepEqual(fields.length, 4);
    assert.ok(fields.every((raw) => !/\r?\n\S/.test(raw)));
  }
  assert.match(
    refusal(() => plan({ env: { QMAILUSER: 'x\nBcc: y' } })),
    /^100 the sender/,
  );
});

test('the sender is -f, else Return-Path, else the environment', () => {
  const table: [Given, string][] = [
    [{}, 'joe@host.test'],
    [{ env: { QMAILHOST: 'x', QMAILSUSER: 's u' } }, 's u@x.test'],
    [{ env: { QMAILHOST: 'x', QMAILSHOST: 'y+' } }, 'joe@y.plus.test'],
    [{ args: ['-f', ''] }, ''],
    [{ args: ['-f', '<>'] }, ''],
    [{ args: ['-f', '<a@b>'] }, 'a@b.test'],
    [{ args: ['-f', 'a b'], header: ['Return-Path: x@y.test'] }, 'a b@host.test'],
    [{ header: ['Return-Path: <r>', 'Return-Path: <x@y.test>'] }, 'r@host.test'],
    [{ header: ['Return-Path: <>'], env: { QMAILINJECT: 'r' } }, ''],
    [{ header: ['Return-Path: <r>'], env: { QMAILINJECT: 's' } }, 'joe@host.test'],
    [{ header: ['Return-Path: <r>'], env: { QMAILINJECT: 'rm' } }, 'r@host.test-@[]'],
    [{ env: { QMAILINJECT: 'r' } }, 'joe-@host.test-@[]'],
    [{ env: { QMAILINJECT: 'm' } }, `joe-${SECONDS}.42@host.test`],
    [{ env: { QMAILINJECT: 'mr', QMAILSHOST: 'x' } }, `joe-${SECONDS}.42-@x.test-@[]`],
    [{ args: ['-fjoe'], env: { QMAILINJECT: 'mr' } }, 'joe@host.test'],
    [{ args: ['-f', 'list-@x.test-@[]'] }, 'list-@x.test-@[]'],
  ];
  for (const [given, sender] of table) {
    assert.equal(plan(given).sender, sender, JSON.stringify(given));
  }
  for (const sender of ['a@b c', 'a\0b', 'x@[]', '#@[]', 'a b@c d-@[]']) {
    assert.match(
      refusal(() => plan({ args: ['-f', sender, 'a@b.test'] })),
      /^100 the sender/,
      sender,
    );
  }
  assert.match(
    refusal(() => plan({ header: ['Return-Path: <a'] })),
    /^100 .*Return-Path/,
  );
});

test('QMAILINJECT takes out From and Message-ID that came along', () => {
  const given = ['From: x@b.test', 'Message-ID: <y>', 'To: u@b.test'];
  const table: [string, string[]][] = [
    ['', [DATE, ...given]],
    ['f', [DATE, FROM, 'Message-ID: <y>', 'To: u@b.test']],
    ['i', [DATE, ID, 'From: x@b.test', 'To: u@b.test']],
    ['xfi?', [DATE, ID, FROM, 'To: u@b.test']],
  ];
  for (const [letters, wanted] of table) {
    assert.deepEqual(header({ header: given, env: { QMAILINJECT: letters } }), wanted);
  }
});

test('recipients are those that the options ask for, each once', () => {
  const letter = [
    'To: a, b@c',
    'Cc: Group: a, d;, <>',
    'Bcc: e',
    'Apparently-To: f',
    'Reply-To: no',
  ];
  const found = ['a', 'b@c.test', 'd', 'e', 'f'].map((one) =>
    one.includes('@') ? one : `${one}@host.test`,
  );
  const table: [Given, string[]][] = [
    [{ header: letter }, found],
    [{ header: letter, args: ['-h', 'x'] }, found],
    [
      { header: letter, args: ['-H', 'x', 'a'] },
      ['x@host.test', ...found.slice(0, 1), ...found.slice(1)],
    ],
    [{ header: letter, args: ['x', 'a b', '<y@z>'] }, ['x@host.test', 'a b@host.test', 'y@z.test']],
    [{ header: letter, args: ['-a'] }, []],
    [{ header: [...letter, 'Resent-To: r', 'Resent-Bcc: s'] }, ['r@host.test', 's@host.test']],
    [{ header: [...letter, 'Resent-Date: x'] }, []],
  ];
  for (const [given, wanted] of table) assert.deepEqual(plan(given).recipients, wanted);
});

test('an unreadable recipient is fatal on the command line and skipped with a warning in the header', () => {
  for (const word of ['', 'a@b c', '<>', 'a@[]', 'x\ny']) {
    assert.match(
      refusal(() => plan({ args: ['ok', word] })),
      /^100 the recipient/,
      word,
    );
  }
  const { recipients, warnings } = plan({ header: ['To: a, "b', 'Cc: c@d_.x-, x@[], e'] });
  assert.deepEqual(recipients, ['a@host.test', 'e@host.test']);
  assert.deepEqual(warnings, [
    'skipped recipients in To: unclosed quoted string',
    'skipped a recipient: "c@d_.x-"',
    'skipped a recipient: "x@[]"',
  ]);
});

test('a sender field that cannot be read is fatal', () => {
  for (const name of ['From', 'Sender', 'Reply-To', 'Errors-To', 'Resent-From']) {
    assert.match(
      refusal(() => plan({ header: [`${name}: "x`] })),
      new RegExp(`^100 .*${name}: `),
    );
  }
  assert.doesNotThrow(() => plan({ header: ['From: "x'], env: { QMAILINJECT: 'f' } }));
});

test('mail to a listed address gets Mail-Followup-To with all of To and Cc', () => {
  const lists = '# ours\nTeam@Lists.test \n\nother@lists.test\n';
  const to = ['To: "a b"@c, x', 'Cc: team@lists.TEST, <>', 'Bcc: secret@b.test'];
  const followup = 'Mail-Followup-To: "a b"@c.test, x@host.test, team@lists.TEST';
  assert.equal(header({ header: to, lists }).at(3), followup);
  const table: Given[] = [
    { header: to, lists: '#team@lists.test\n' },
    { header: ['Bcc: team@lists.test'], lists },
    { header: [...to, 'Resent-To: team@lists.test'], lists },
  ];
  for (const given of table) {
    assert.ok(!header(given).some((raw) => /mail-followup-to/i.test(raw)), JSON.stringify(given));
  }
  const own = header({ header: [...to, 'mail-followup-to: z@b.test'], lists });
  assert.equal(own.filter((raw) => /^mail-followup-to/i.test(raw)).length, 1);
});

test('the names come from the environment, else from the control folder, else from the host', () => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-inject-'));
  try {
    const control = () => openControl(folder);
    const lost = namesOf({}, control(), 'fallback');
    assert.deepEqual(lost.names, {
      ...{
        defaultHost: 'fallback',
        defaultDomain: undefined,
        plusDomain: 'fallback',
        idHost: 'fallback',
      },
    });
    assert.equal(lost.warnings.length, 1, 'one line for one missing file');
    writeFileSync(join(folder, 'me'), 'me.test\n');
    writeFileSync(join(folder, 'plusdomain'), 'plus.test\n');
    assert.deepEqual(namesOf({}, control(), 'fallback'), {
      names: {
        defaultHost: 'me.test',
        defaultDomain: undefined,
        plusDomain: 'plus.test',
        idHost: 'me.test',
      },
      warnings: [],
    });
    writeFileSync(join(folder, 'defaulthost'), '???\n');
    const environment = {
      QMAILDEFAULTHOST: 'h',
      QMAILDEFAULTDOMAIN: 'd',
      QMAILPLUSDOMAIN: 'p',
      QMAILIDHOST: 'i',
    };
    assert.deepEqual(namesOf(environment, control(), 'fallback'), {
      names: { defaultHost: 'h', defaultDomain: 'd', plusDomain: 'p', idHost: 'i' },
      warnings: [],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('another queue program runs only with the rights of the caller', () => {
  const same = { uid: 1, euid: 1, gid: 2, egid: 2 };
  assert.equal(queueProgram(undefined, same), undefined);
  assert.equal(queueProgram('', { ...same, euid: 0 }), undefined);
  assert.equal(queueProgram('/bin/qq', same), '/bin/qq');
  for (const ids of [
    { ...same, euid: 0 },
    { ...same, egid: 0 },
    { ...same, uid: 0 },
  ]) {
    assert.match(
      refusal(() => queueProgram('/bin/qq', ids)),
      /^111 .*rights/,
    );
  }
  assert.match(
    refusal(() => queueProgram('bin/qq', same)),
    /^111 .*absolute/,
  );
});

test('whatever the header and the words are, only addresses that can be sent are in the envelope', () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab.@,;:<>()[]"\\ é\0'), maxLength: 20 });
  fc.assert(
    fc.property(text, text, text, text, (to, from, sender, word) => {
      let made: Plan;
      try {
        made = plan({ args: ['-H', '-f', sender, word], header: [`To: ${to}`, `From: ${from}`] });
      } catch (error) {
        assert.ok(error instanceof InjectError);
        return;
      }
      assert.ok(made.recipients.every((address) => isMailbox(mailboxOf(address))));
      const reversePath = mailboxOf(verpBase(made.sender) ?? made.sender);
      assert.ok(made.sender === '' || isMailbox(reversePath));
      for (const { raw } of made.fields) assert.doesNotMatch(raw, /\n[^ \t]/);
    }),
    { numRuns: 2000 },
  );
});
