import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  dmaQueue,
  msmtpQueue,
  nullmailerQueue,
  parseDmaEnvelope,
  parseNullmailerHead,
  parsePostcat,
  type Queued,
  sendmailWords,
} from '../../src/migrate/queues.ts';

function folder(t: Pick<TestContext, 'after'>): string {
  const path = mkdtempSync(join(tmpdir(), 'picorelay-queue-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function read(mail: Queued): { sender: string | undefined; to: readonly string[]; text: string } {
  const { delivery, pieces, close } = mail.open();
  // A piece is good until the next one is asked for.
  const chunks: Buffer[] = [];
  for (const piece of pieces) chunks.push(Buffer.from(piece));
  const text = Buffer.concat(chunks).toString();
  close();
  return { sender: delivery.sender, to: delivery.recipients, text };
}

test("nullmailer's file is envelope and message, and is laid aside when it is taken", (t) => {
  const queue = folder(t);
  writeFileSync(
    join(queue, '1700000000.1'),
    `a@x.example\nb@y.example\nc@y.example\n\nSubject: s\n\n${'body\n'.repeat(40_000)}`,
  );
  const [mail, ...others] = nullmailerQueue(queue);
  assert.ok(mail);
  assert.deepEqual(others, []);
  const { sender, to, text } = read(mail);
  assert.deepEqual([sender, to], ['a@x.example', ['b@y.example', 'c@y.example']]);
  assert.equal(text, `Subject: s\n\n${'body\n'.repeat(40_000)}`);
  mail.settle();
  assert.deepEqual(nullmailerQueue(queue), []);
  assert.deepEqual(readdirSync(join(queue, '.taken-by-picorelay')), ['1700000000.1']);
});

test("dma's pair of files is one mail of one recipient, though messages share a file", (t) => {
  const queue = folder(t);
  writeFileSync(join(queue, 'M1.a'), 'Subject: s\n\nbody\n');
  linkSync(join(queue, 'M1.a'), join(queue, 'M1.b'));
  for (const [id, to] of [
    ['1.a', 'b@y.example'],
    ['1.b', 'c@y.example'],
  ]) {
    writeFileSync(join(queue, `Q${id}`), `ID: ${id}\nSender: root@x.example\nRecipient: ${to}\n`);
  }
  const mails = dmaQueue(queue);
  assert.deepEqual(
    mails.map((mail) => read(mail).to),
    [['b@y.example'], ['c@y.example']],
  );
  mails[0]?.settle();
  assert.deepEqual(
    dmaQueue(queue).map((mail) => read(mail).to),
    [['c@y.example']],
  );
});

test("msmtpq's arguments tell sender and recipients", (t) => {
  const queue = folder(t);
  writeFileSync(
    join(queue, '2026-01-01-00.00.00.msmtp'),
    '-a work -oi -f a@x.example -- b@y.example\n',
  );
  writeFileSync(join(queue, '2026-01-01-00.00.00.mail'), 'Subject: s\n\n.\nbody\n');
  const [mail] = msmtpQueue(queue);
  assert.ok(mail);
  assert.deepEqual(read(mail), {
    ...{ sender: 'a@x.example', to: ['b@y.example'], text: 'Subject: s\n\n.\nbody\n' },
  });
});

test('msmtp’s own options are left out, and what only sendmail has is not smuggled in', () => {
  for (const [words, wanted] of [
    [['-a', 'x', '-C', '/etc/f', '-t'], ['-t']],
    [
      ['--from=a@b', '--account=x', '--read-recipients'],
      ['-f', 'a@b', '-t'],
    ],
    [
      ['--from', 'a@b', '--', '-bs'],
      ['-f', 'a@b', '--', '-bs'],
    ],
  ] as const) {
    assert.deepEqual(sendmailWords(words), wanted);
  }
});

for (const [title, text] of [
  ['nothing', ''],
  ['a message without an envelope', 'Subject: s\n'],
  ['no recipient', 'a@x.example\n\nbody\n'],
  ['an address that is none', 'a@x.example\nb@@y\n\nbody\n'],
  ['a control character in an address', 'a@x.example\nb\u001b@y.example\n\nbody\n'],
] as const) {
  test(`nullmailer's file with ${title} is left where it is`, (t) => {
    const queue = folder(t);
    writeFileSync(join(queue, '1'), text);
    const [mail] = nullmailerQueue(queue);
    assert.throws(() => mail?.open(), Error);
    assert.ok(existsSync(join(queue, '1')));
  });
}

test('links, folders and files that have a name elsewhere are not opened', (t) => {
  const queue = folder(t);
  const other = folder(t);
  const text = 'a@x.example\nb@y.example\n\nsecret\n';
  writeFileSync(join(other, 'secret'), text);
  linkSync(join(other, 'secret'), join(queue, '1-hard'));
  symlinkSync(join(other, 'secret'), join(queue, '2-symbolic'));
  mkdirSync(join(queue, '3-folder'));
  const mails = nullmailerQueue(queue);
  assert.deepEqual(
    mails.map(({ id }) => id),
    ['1-hard'],
  );
  assert.throws(() => mails[0]?.open(), /somewhere else/);
});

test('a file that became a link after it was listed is not followed', (t) => {
  const queue = folder(t);
  const other = folder(t);
  writeFileSync(join(queue, '1'), 'a@x.example\nb@y.example\n\n\n');
  const [mail] = nullmailerQueue(queue);
  rmSync(join(queue, '1'));
  writeFileSync(join(other, 'secret'), 'a@x.example\nb@y.example\n\nsecret\n');
  symlinkSync(join(other, 'secret'), join(queue, '1'));
  assert.throws(() => mail?.open(), /ELOOP/);
});

test('envelopes that are none are refused', () => {
  assert.throws(() => parseDmaEnvelope('Sender: a\n'));
  assert.throws(() => parseNullmailerHead('\n\nbody'));
  assert.throws(() => parsePostcat('sender: a@b\n'));
  assert.deepEqual(parsePostcat('sender: \ndone_recipient: x@y\nrecipient: z@y\n'), {
    ...{ sender: '', recipients: ['z@y'] },
  });
});
