// What relays offer and how it is used: limits (RFC 9422), addresses and DSN in the forms they take.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXTENSIONS, startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

test('The limits that a relay announces are kept to: recipients, their domains, messages', async (t) => {
  const site = siteFor(t);
  const offered = 'LIMITS RCPTMAX=3 RCPTDOMAINMAX=2 MAILMAX=2';
  const relay = await startRelay(t, { extensions: [...EXTENSIONS, offered] });
  site.relays(relay.port);
  site.control('connections', '1');
  const to = ['a@x.test', 'b@x.test', 'c@y.test', 'd@x.test', 'e@y.test', 'f@z.test', 'g@z.test'];
  await site.run('sendmail', to, LETTER);
  assert.deepEqual(await site.run('picorelay-cron'), { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(relay.recipients().sort(), to);
  for (const message of relay.received) {
    assert.ok(message.to.length <= 3, message.to.join());
    assert.ok(new Set(message.to.map((each) => each.split('@')[1])).size <= 2, message.to.join());
  }
  const connections = relay.received.map(({ connection }) => connection);
  for (const each of connections) assert.ok(connections.filter((one) => one === each).length <= 2);
  // As few transactions as that allows.
  assert.equal(relay.received.length, 3);
});

test('DSN parameters go on as they came, ORCPT in the form that the relay can read', async (t) => {
  const site = siteFor(t);
  const [plain, wide] = [
    await startRelay(t, { extensions: [...EXTENSIONS, 'DSN'] }),
    await startRelay(t, { extensions: [...EXTENSIONS, 'DSN', 'SMTPUTF8'] }),
  ];
  site.relays(plain.port);
  site.control('smtproutes', `wide.test:127.0.0.1:${wide.port}`);
  const dialogue = (domain: string, mail: string): string =>
    [
      `MAIL FROM:<a@x.test> RET=HDRS ENVID=QQ+2B1${mail}`,
      `RCPT TO:<b@${domain}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bb@x.test`,
      `RCPT TO:<c@${domain}> ORCPT=utf-8;käse+2B@x.test`,
      `RCPT TO:<d@${domain}> ORCPT=unknown;käse`,
      'DATA',
      'Subject: x\r\n\r\n.\r\n',
    ].join('\r\n');
  const input = `${dialogue('plain.test', '')}${dialogue('wide.test', ' SMTPUTF8')}QUIT\r\n`;
  await site.run('sendmail', ['-bs'], input);
  await site.run('picorelay-cron');
  const heard = (lines: readonly string[]) =>
    lines
      .filter((line) => /^(?:MAIL|RCPT)/.test(line))
      .map((line) => line.replace(/ SIZE=\d+/, ''));
  assert.deepEqual(heard(plain.lines), [
    'MAIL FROM:<a@x.test> RET=HDRS ENVID=QQ+2B1',
    'RCPT TO:<b@plain.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bb@x.test',
    'RCPT TO:<c@plain.test> ORCPT=utf-8;k\\x{E4}se+2B@x.test',
    'RCPT TO:<d@plain.test>',
  ]);
  assert.deepEqual(heard(wide.lines), [
    'MAIL FROM:<a@x.test> SMTPUTF8 RET=HDRS ENVID=QQ+2B1',
    'RCPT TO:<b@wide.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bb@x.test',
    'RCPT TO:<c@wide.test> ORCPT=utf-8;käse+2B@x.test',
    'RCPT TO:<d@wide.test> ORCPT=unknown;käse',
  ]);
});
