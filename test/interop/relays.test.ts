// Relays through Debian's real mail servers: what was handed to sendmail has to lie in the mailboxes
// of programs that none of us wrote.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { makeSite, type Site } from '../support/site.ts';
import { queueSmuggling, victim } from '../support/smuggling.ts';
import { startAiosmtpd } from './aiosmtpd.ts';
import { startDovecot } from './dovecot.ts';
import { startExim } from './exim.ts';
import { startOpensmtpd } from './opensmtpd.ts';
import { startPostfix } from './postfix.ts';
import { type Access, type RelayServer, recipients, refusedRecipient } from './relay-server.ts';
import { skipWithout } from './require.ts';

const relays = [
  { name: 'Postfix', root: 'postfix', start: startPostfix, refusal: 'User unknown' },
  { name: 'Exim', root: 'exim', start: startExim, refusal: 'Unrouteable address' },
  { name: 'OpenSMTPD', root: 'opensmtpd', start: startOpensmtpd, refusal: 'Invalid recipient' },
  { name: 'aiosmtpd', root: 'aiosmtpd', start: startAiosmtpd, refusal: 'No such user' },
  { name: 'Dovecot', root: 'dovecot', start: lmtp, refusal: "User doesn't exist" },
] as const;

/** Dovecot's LMTP service asks for no login. */
async function lmtp(): Promise<RelayServer & { readonly scheme: string }> {
  return { ...(await startDovecot()), access: undefined, scheme: 'lmtp' };
}

const [alice = '', bob = '', carol = '', dave = '', erin = ''] = recipients;

for (const { name, root, start, refusal } of relays) {
  test(`${name} as the relay`, { skip: skipWithout(root) }, async (t) => {
    const server = await start();
    t.after(() => server.stop());

    await t.test('three recipients get one intact copy each', async (t) => {
      const site = siteFor(t, server, urlOf(server));
      await relayToThree(site, server, 'three recipients');
    });

    await t.test('a recipient that it refuses lies in Undelivered with its reply', async (t) => {
      const site = siteFor(t, server, urlOf(server));
      await submit(site, 'one refused', [alice, refusedRecipient, bob]);
      await site.run('picorelay-cron');
      const [entry = '', ...others] = [...site.undelivered().keys()].filter(
        (file) => !file.endsWith(':.result'),
      );
      assert.deepEqual(others, []);
      assert.ok(entry.includes(refusedRecipient), entry);
      const result = site.undelivered().get(`${entry}:.result`) ?? '';
      assert.match(result, /550/);
      assert.ok(result.includes(refusal), result);
      // The report to the sender may take a second run.
      await site.run('picorelay-cron');
      assert.deepEqual(site.queued(), [], site.log());
      await server.drained();
      for (const [recipient, copies] of [
        [alice, 1],
        [bob, 1],
        [carol, 0],
      ] as const) {
        assert.equal(bodies(server, recipient, 'one refused').length, copies, recipient);
      }
    });

    const { access, smtpsPort } = server;
    if (access !== undefined) {
      await t.test('a wrong password leaves everything in the queue', async (t) => {
        const site = siteFor(t, server, urlOf(server));
        site.control('authpassword', `not ${access.password}`);
        await staysQueued(site, server, 'wrong password');
      });

      await t.test(
        'a certificate of a strange authority leaves everything in the queue',
        async (t) => {
          const site = siteFor(t, server, urlOf(server));
          site.control('tlscafile', access.strangerCaFile);
          await staysQueued(site, server, 'strange authority');
        },
      );
    }

    if (smtpsPort !== undefined) {
      await t.test('TLS from the first byte serves as well', async (t) => {
        const site = siteFor(t, server, `smtps://127.0.0.1:${smtpsPort}`);
        await relayToThree(site, server, 'smtps');
      });
    }
  });
}

test('Postfix gets one message from each that wants to be two', {
  skip: skipWithout('postfix'),
}, async (t) => {
  const server = await startPostfix();
  t.after(() => server.stop());
  let before = 0;
  for (const [what, port] of [
    ['BDAT', server.port],
    ['DATA', server.dataPort],
  ] as const) {
    await t.test(what, async (t) => {
      const site = siteFor(t, server, `smtp://127.0.0.1:${port}`);
      const count = await queueSmuggling(site, alice);
      await site.run('picorelay-cron');
      assert.deepEqual(site.queued(), [], site.log());
      assert.equal(site.undelivered().size, 0, site.log());
      await server.drained();
      assert.equal(server.received(alice).length - before, count);
      assert.equal(server.received(victim).length, 0);
      assert.ok(!server.log().includes('from=<evil@site.test>'));
      before += count;
    });
  }
});

/** A site whose relay is this server, with the keys to it; removed after the test. */
function siteFor(t: TestContext, server: RelayServer, relay: string): Site {
  const site = makeSite();
  t.after(() => site.remove());
  site.control('relay', relay);
  if (server.access !== undefined) useAccess(site, server.access);
  return site;
}

function urlOf(server: RelayServer & { readonly scheme?: string }): string {
  return `${server.scheme ?? 'smtp'}://127.0.0.1:${server.port}`;
}

function useAccess(site: Site, access: Access): void {
  site.control('authuser', access.user);
  site.control('authpassword', access.password);
  site.control('tlscafile', access.caFile);
}

async function relayToThree(site: Site, server: RelayServer, subject: string): Promise<void> {
  const body = await submit(site, subject, [alice, bob, carol]);
  const cron = await site.run('picorelay-cron');
  assert.deepEqual(cron, { status: 0, stdout: '', stderr: '' }, site.log());
  assert.deepEqual(site.queued(), [], site.log());
  assert.equal(site.undelivered().size, 0, site.log());
  await server.drained();
  for (const recipient of [alice, bob, carol]) {
    assert.deepEqual(bodies(server, recipient, subject), [body], server.log());
  }
  assert.deepEqual(bodies(server, dave, subject), []);
}

async function staysQueued(site: Site, server: RelayServer, subject: string): Promise<void> {
  await submit(site, subject, [alice, bob, carol]);
  await site.run('picorelay-cron');
  const queued = site.queued();
  assert.equal(queued.length, 3, site.log());
  for (const recipient of [alice, bob, carol]) {
    assert.equal(queued.filter((name) => name.includes(recipient)).length, 1, queued.join('\n'));
  }
  assert.equal(site.undelivered().size, 0, site.log());
  await server.drained();
  assert.deepEqual(bodies(server, alice, subject), []);
}

/** Hands a message to sendmail, sees that it is queued, and returns its body. */
async function submit(site: Site, subject: string, to: readonly string[]): Promise<string> {
  const body = difficultBody();
  const message = [
    `From: Erin <${erin}>`,
    `To: ${to[0]}`,
    `Subject: ${subject}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    body,
  ].join('\n');
  const sent = await site.run('sendmail', ['-i', '-f', erin, ...to], message);
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  assert.equal(site.queued().length, to.length, 'exit 0 means queued');
  return body;
}

/** 2,000 lines: dots at line starts, lone dots, 8-bit text, empty lines and lines that look like SMTP. */
function difficultBody(): string {
  const kinds = ['.', '..', '. a dot', '.dot', 'Grüße, 世界', '', 'From here', 'QUIT', 'plain'];
  let body = '';
  for (let line = 0; line < 2000; line++) body += `${kinds[line % kinds.length]}\n`;
  return body;
}

/** The bodies of a recipient's messages with this subject. */
function bodies(server: RelayServer, recipient: string, subject: string): string[] {
  return server
    .received(recipient)
    .map((message) => {
      const end = message.indexOf('\n\n');
      return { header: message.slice(0, end), body: message.slice(end + 2) };
    })
    .filter(({ header }) => header.split('\n').includes(`Subject: ${subject}`))
    .map(({ body }) => body);
}
