// Reports of the built programs: from a refused mail to what its sender receives.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freePort } from '../support/process.ts';
import { EXTENSIONS, startRelay, type TestRelay } from '../support/relay.ts';
import { fieldOf, type ReadReport, readReports, skipWithoutPython } from '../support/reports.ts';
import { type Site, siteFor } from '../support/site.ts';

const skip = skipWithoutPython();
const LETTER = 'Subject: tea\nMessage-ID: <a@b>\n\nat four\n';

async function siteWith(
  t: TestContext,
  extensions: readonly string[] = EXTENSIONS,
): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  site.control('bounce', 'sender');
  const relay = await startRelay(t, {
    extensions,
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<never')) return '550-5.1.1 nobody\r\n550 5.1.1 of that name';
      return line.startsWith('RCPT TO:<later') ? '450 4.2.1 busy' : undefined;
    },
  });
  site.relays(relay.port);
  return { site, relay };
}

const reportsIn = (relay: TestRelay): readonly ReadReport[] =>
  readReports(relay.received.filter(({ from }) => from === '').map(({ raw }) => raw));

const addressesIn = (report: ReadReport | undefined): (string | undefined)[] | undefined =>
  report?.status.slice(1).map((fields) => fieldOf(fields, 'Final-Recipient'));

test('The sender hears within the same run which recipients were refused and why', {
  skip,
}, async (t) => {
  const { site, relay } = await siteWith(t);
  const recipients = ['ok@x.test', 'never@x.test', 'later@x.test', 'never2@x.test'];
  await site.run(
    'sendmail',
    ['-f', 'jo@y.test', '-R', 'FULL', '-V', 'id=1', ...recipients],
    LETTER,
  );
  const ran = await site.run('picorelay-cron');
  assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(
    relay.received.map(({ from, to }) => [from, to]),
    [
      ['jo@y.test', ['ok@x.test']],
      ['', ['jo@y.test']],
    ],
  );
  const [report] = reportsIn(relay);
  assert.deepEqual(addressesIn(report), ['rfc822; never2@x.test', 'rfc822; never@x.test']);
  assert.equal(fieldOf(report?.status[0], 'Original-Envelope-Id'), 'id=1');
  assert.equal(fieldOf(report?.status[0], 'Reporting-MTA'), 'dns; client.test');
  assert.equal(fieldOf(report?.status[1], 'Status'), '5.1.1');
  assert.equal(report && fieldOf(report.fields, 'In-Reply-To'), '<a@b>');
  assert.equal(report && fieldOf(report.fields, 'To'), '<jo@y.test>');
  assert.match(report?.original ?? '', /^Subject: tea$/m);
  assert.match(report?.original ?? '', /\nat four\n$/);
  assert.match(site.log(), /^\S+ accepted id=\S+::jo@y\.test .*program=bounce$/m);
  assert.equal(site.log().match(/^\S+ reported /gm)?.length, 2);
  assert.deepEqual(site.names('run').includes('bounces') && site.queued().length, 1);
});

test('Success is reported where it was asked for and the relay cannot', { skip }, async (t) => {
  const { site, relay } = await siteWith(t);
  await site.run(
    'sendmail',
    ['-f', 'jo@y.test', '-N', 'SUCCESS', 'ok@x.test', 'never@x.test'],
    LETTER,
  );
  await site.run('picorelay-cron');
  const [report, ...others] = reportsIn(relay);
  assert.deepEqual(others, [], 'no failure: it was not asked for');
  assert.equal(fieldOf(report?.status[1], 'Action'), 'relayed');
  assert.deepEqual(addressesIn(report), ['rfc822; ok@x.test']);

  const able = await siteWith(t, [...EXTENSIONS, 'DSN']);
  await able.site.run('sendmail', ['-f', 'jo@y.test', '-N', 'SUCCESS', 'ok@x.test'], LETTER);
  await able.site.run('picorelay-cron');
  assert.deepEqual(able.relay.recipients(), ['ok@x.test']);
});

test('A report that is refused goes to doublebounceto, and no report follows it', {
  skip,
}, async (t) => {
  const { site, relay } = await siteWith(t);
  site.control('doublebounceto', 'neverboss@x.test');
  await site.run('sendmail', ['-f', 'neverme@y.test', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), []);
  assert.deepEqual(site.queued(), []);
  const refused = [...site.undelivered().keys()].filter((name) => !name.endsWith('.result'));
  assert.deepEqual(
    refused.map((name) => name.split(':').slice(2).join(' ')),
    ['neverme@y.test never@x.test', ' neverme@y.test', ' neverboss@x.test'],
  );
});

test('Reports for users of this host, and all where the admin wants them, go to adminaddr', {
  skip,
}, async (t) => {
  const { site, relay } = await siteWith(t);
  site.control('adminaddr', 'admin@z.test');
  await site.run('sendmail', ['-f', 'root', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  site.control('bounce', 'admin');
  await site.run('sendmail', ['-f', 'jo@y.test', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  site.control('bounce', 'off');
  await site.run('sendmail', ['-f', 'jo@y.test', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['admin@z.test', 'admin@z.test']);
  assert.deepEqual(site.names('run').includes('bounces') ? site.names('run/bounces') : [], []);
});

test('Mail to and from addresses in UTF-8 is reported in UTF-8', { skip }, async (t) => {
  const { site, relay } = await siteWith(t, [...EXTENSIONS, 'SMTPUTF8']);
  relay.script = ({ line }) => (line.startsWith('RCPT TO:<büro') ? '550 5.1.1 no' : undefined);
  await site.run('sendmail', ['-f', 'jörg@y.test', 'büro@x.test'], 'Subject: Grüße\n\nx\n');
  await site.run('picorelay-cron');
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(relay.recipients(), ['jörg@y.test']);
  const [report] = reportsIn(relay);
  assert.deepEqual(report?.defects, []);
  assert.deepEqual(addressesIn(report), ['utf-8; büro@x.test']);
  assert.deepEqual(report?.parts, [
    'text/plain',
    'message/global-delivery-status',
    'message/global-headers',
  ]);
});

test('Expired mail is reported with its history, delayed mail once, while the relay is away', {
  skip,
}, async (t) => {
  const { site, relay } = await siteWith(t);
  site.control('delaywarn', '1s');
  await site.run('sendmail', ['-f', 'jo@y.test', 'later@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.deepEqual(reportsIn(relay), []);
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  await site.run('picorelay-cron');
  await site.run('picorelay', ['run', '--once']);
  const [delayed, ...more] = reportsIn(relay);
  assert.deepEqual(more, []);
  assert.equal(fieldOf(delayed?.status[1], 'Action'), 'delayed');
  assert.match(site.result('spool'), /^\S+ warned at /m);

  site.control('queuelifetime', '1s');
  const port = await freePort();
  site.relays(port);
  await site.run('picorelay', ['run', '--once']);
  assert.match(site.queued().join(), /::jo@y\.test(,|:0@|$)/, 'the report waits for the relay');
  site.control('queuelifetime', '5d');
  site.relays(relay.port);
  await site.run('picorelay', ['run', '--once']);
  const [, expired, ...others] = reportsIn(relay);
  assert.deepEqual(others, []);
  assert.equal(fieldOf(expired?.status[1], 'Status'), '4.4.7');
  assert.match(expired?.text ?? '', /deferred at rcpt.*450 4\.2\.1 busy.*expired at connect/s);
});

test('Of a huge message the header comes back', { skip }, async (t) => {
  const { site, relay } = await siteWith(t);
  const huge = `${LETTER}${'all work and no play\n'.repeat(200_000)}`;
  await site.run('sendmail', ['-f', 'jo@y.test', '-R', 'FULL', 'never@x.test'], huge);
  await site.run('picorelay-cron');
  const [report] = reportsIn(relay);
  assert.equal(report?.parts[2], 'text/rfc822-headers');
  assert.match(report?.original ?? '', /^Subject: tea$/m);
  assert.ok((relay.received[0]?.size ?? 0) < 4000);
});
