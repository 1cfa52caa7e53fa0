// Limits on what is submitted, as the built programs keep to them.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../support/process.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';
const BIG = `Subject: tea\n\n${'at four\n'.repeat(1000)}`;

/** What each door says of one message for two recipients: exit status and its one line. */
const DOORS: Readonly<
  Record<string, (site: Site, text: string) => Promise<{ status: number | null; said: string }>>
> = {
  sendmail: async (site, text) => {
    const { status, stderr } = await site.run('sendmail', ['a@x.test', 'b@x.test'], text);
    return { status, said: stderr };
  },
  'sendmail -bs': async (site, text) => {
    const mail = `MAIL FROM:<me@x.test>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n`;
    const body = text.replaceAll('\n', '\r\n');
    const input = `EHLO me\r\n${mail}${body}.\r\nQUIT\r\n`;
    const { stdout } = await site.run('sendmail', ['-bs'], input);
    const bad = stdout.split('\r\n').find((line) => /^[45]/.test(line)) ?? '';
    return { status: bad === '' ? 0 : Number(bad.slice(0, 3)), said: `${bad}\n` };
  },
  'qmail-inject': async (site, text) => {
    const { status, stderr } = await site.run('qmail-inject', ['a@x.test', 'b@x.test'], text);
    return { status, said: stderr };
  },
  'qmail-queue': async (site, text) => {
    const [message, envelope] = ['message', 'envelope'].map((name) => join(site.folder, name));
    writeFileSync(message ?? '', text);
    writeFileSync(envelope ?? '', 'Fme@x.test\0Ta@x.test\0Tb@x.test\0\0');
    const { status } = await run(
      ['sh', '-c', 'exec "$0" <"$1" 1<"$2"', programPath('qmail-queue'), message, envelope].map(
        String,
      ),
      { env: site.env },
    );
    return { status, said: '' };
  },
};

for (const [door, submit] of Object.entries(DOORS)) {
  test(`${door} refuses for good what is too big or for too many, for now what finds no room`, async (t) => {
    const site = siteFor(t);
    const codes = {
      sendmail: { good: 65, now: 75, disk: 75, many: 65 },
      'sendmail -bs': { good: 552, now: 452, disk: 452, many: 452 },
      'qmail-inject': { good: 100, now: 111, disk: 111, many: 100 },
      'qmail-queue': { good: 31, now: 71, disk: 53, many: 31 },
    }[door];
    assert.ok(codes);
    const check = async (text: string, status: number, said: RegExp): Promise<void> => {
      const before = site.queued();
      const answer = await submit(site, text);
      assert.equal(answer.status, status, answer.said);
      if (door !== 'qmail-queue') assert.match(answer.said, said);
      assert.equal(site.queued().length - before.length, status === 0 ? 2 : 0);
      assert.deepEqual(site.names('tmp'), []);
    };
    await check(LETTER, 0, /^/);
    site.control('databytes', '1K');
    await check(LETTER, 0, /^/);
    await check(BIG, codes.good, /^[^\n]*bigger than 1024 octets[^\n]*\n$/);
    site.control('databytes', undefined);
    site.control('spoolfree', '8000T');
    await check(
      LETTER,
      codes.disk,
      /^[^\n]*free on the disk, less than 8000T, which control\/spoolfree keeps free[^\n]*\n$/,
    );
    site.control('spoolfree', undefined);
    site.control('maxrecipients', '2');
    await check(LETTER, 0, /^/);
    site.control('maxrecipients', '1');
    if (door === 'sendmail -bs') {
      // One of the two is taken; the client sends the message again for the other.
      assert.match((await submit(site, LETTER)).said, /^452 /);
    } else await check(LETTER, codes.many, /^[^\n]*2 recipients are more[^\n]*\n$/);
    site.control('maxrecipients', undefined);
    // A file that cannot be used costs no mail.
    site.control('databytes', 'a few');
    await check(LETTER, 0, /^/);
  });
}

test('explain refuses what sendmail would refuse', async (t) => {
  const site = siteFor(t);
  site.control('maxrecipients', '1');
  site.control('databytes', '1K');
  for (const [words, text, said] of [
    [['a@x.test', 'b@x.test'], LETTER, /2 recipients are more/],
    [['a@x.test'], BIG, /bigger than 1024 octets/],
  ] as const) {
    const { status, stderr } = await site.run('picorelay', ['explain', ...words], text);
    assert.equal(status, 65, stderr);
    assert.match(stderr, said);
  }
  assert.equal((await site.run('picorelay', ['explain', 'a@x.test'], LETTER)).status, 0);
});

test('A user who has as much in the queue as the limit says is told so, and root is not', async (t) => {
  const site = siteFor(t);
  site.control('userentries', '3');
  const uid = process.getuid?.();
  for (let n = 0; n < 4; n++) {
    const { status, stderr } = await site.run('sendmail', ['a@x.test'], LETTER);
    assert.equal(status, n < 3 || uid === 0 ? 0 : 75, stderr);
  }
});

test('sendmail -bs offers its limit as SIZE and refuses what is announced as bigger', async (t) => {
  const site = siteFor(t);
  site.control('databytes', '5K');
  const { stdout } = await site.run(
    'sendmail',
    ['-bs'],
    'EHLO me\r\nMAIL FROM:<a@x.test> SIZE=6000\r\nQUIT\r\n',
  );
  assert.match(stdout, /^250[ -]SIZE 5120\r$/m);
  assert.match(stdout, /^552 5\.3\.4 /m);
});
