// Moving over from the relays that Debian has, each as its own package sets it up: what it has queued arrives
// through picorelay, once, and so does what is sent afterwards.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { installCheckout, picorelay } from '../interop/checkout.ts';
import { type Fresh, freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { differences, treeOf } from '../interop/tree.ts';
import { freePort, waitFor } from '../support/process.ts';
import { type Received, type Sink, startSink } from '../support/sink.ts';

const sender = 'someone@host.test';
const recipient = 'alice@relayed.test';

interface Peer {
  /** Its Debian package, and how picorelay calls it. */
  readonly package: string;
  readonly name: string;
  /** Sets it up by what a person would write, for a relay on this port. */
  readonly configure: (fresh: Fresh, port: number) => Promise<void>;
  /** Its command, which gets sender, recipient and the message. */
  readonly send: readonly string[];
  /** Control files that its settings become. */
  readonly settings: (port: number) => Readonly<Record<string, string>>;
  /** How many of the two mails sent while the relay is down it queues. */
  readonly queues: boolean;
  /** Has it try to send, and ends what runs. */
  readonly rest?: (fresh: Fresh) => Promise<void>;
  /** Files that wait in its queue. */
  readonly left: string;
}

const peers: readonly Peer[] = [
  {
    package: 'nullmailer',
    name: 'nullmailer',
    configure: async (fresh, port) => {
      fresh.write('/etc/nullmailer/remotes', `127.0.0.1 smtp --port=${port}\n`, 0o600);
      fresh.write('/etc/nullmailer/adminaddr', `${recipient}\n`);
      fresh.write('/etc/mailname', 'host.test\n');
      await fresh.must(['chown', 'mail:mail', '/etc/nullmailer/remotes']);
      // systemd-tmpfiles makes it where it runs.
      await fresh.must(['sh', '-c', 'cd /var/spool/nullmailer; [ -p trigger ] || mkfifo trigger']);
      await fresh.must(['chown', 'mail:root', '/var/spool/nullmailer/trigger']);
    },
    send: ['/usr/sbin/sendmail', '-i', '-f', sender, recipient],
    settings: (port) => ({
      relay: `smtp://127.0.0.1:${port}?tls=opportunistic`,
      adminaddr: recipient,
      me: 'host.test',
    }),
    queues: true,
    left: '/var/spool/nullmailer/queue',
  },
  {
    package: 'dma',
    name: 'dma',
    configure: async (fresh, port) => {
      const conf = fresh.read('/etc/dma/dma.conf');
      fresh.write(
        '/etc/dma/dma.conf',
        `${conf.replace(/^SMARTHOST.*$/m, '')}\nSMARTHOST 127.0.0.1\nPORT ${port}\nDEFER\nNULLCLIENT\n`,
        0o640,
      );
      fresh.write('/etc/mailname', 'host.test\n');
      await fresh.must(['chown', 'root:mail', '/etc/dma/dma.conf']);
    },
    send: ['/usr/sbin/sendmail', '-i', '-f', sender, recipient],
    settings: (port) => ({
      relay: `smtp://127.0.0.1:${port}?tls=opportunistic`,
      immediate: 'off',
      me: 'host.test',
    }),
    queues: true,
    left: '/var/spool/dma',
  },
  {
    package: 'msmtp',
    name: 'msmtp',
    configure: async (fresh, port) => {
      const account = `account relay\nhost 127.0.0.1\nport ${port}\nfrom ${sender}\naccount default : relay\n`;
      fresh.write('/etc/msmtprc', `# for everybody\ndefaults\ntls off\n${account}`);
      await fresh.must(['mkdir', '-p', '/root/log']);
    },
    send: [
      ...['env', 'HOME=/root', 'EMAIL_CONN_TEST=x', 'EMAIL_QUEUE_QUIET=t'],
      ...['/usr/libexec/msmtp/msmtpq/msmtpq', '-f', sender, '--', recipient],
    ],
    settings: (port) => ({
      relay: `smtp://127.0.0.1:${port}?tls=opportunistic`,
      masquerade: sender,
    }),
    queues: true,
    left: '/root/.msmtp.queue',
  },
  {
    package: 'ssmtp',
    name: 'ssmtp',
    configure: async (fresh, port) => {
      const conf = fresh.read('/etc/ssmtp/ssmtp.conf');
      fresh.write(
        '/etc/ssmtp/ssmtp.conf',
        `${conf
          .replace(/^mailhub=.*$/m, `mailhub=127.0.0.1:${port}`)
          .replace(/^root=.*$/m, `root=${recipient}`)
          .replace(/^hostname=.*$/m, 'hostname=host.test')}\nFromLineOverride=YES\n`,
      );
      fresh.write('/etc/ssmtp/revaliases', `root:${sender}:127.0.0.1:${port}\n`);
    },
    send: ['/usr/sbin/sendmail', '-i', `-f${sender}`, recipient],
    settings: (port) => ({
      relay: `smtp://127.0.0.1:${port}?tls=opportunistic`,
      adminaddr: recipient,
      sendermap: `root: ${sender}`,
      me: 'host.test',
    }),
    queues: false,
    left: '/nowhere',
  },
  {
    package: 'esmtp-run',
    name: 'esmtp',
    configure: (fresh, port) => {
      fresh.write('/etc/esmtprc', `hostname = 127.0.0.1:${port}\nstarttls = disabled\n`);
      return Promise.resolve();
    },
    send: ['/usr/sbin/sendmail', '-i', '-f', sender, recipient],
    settings: (port) => ({ relay: `smtp://127.0.0.1:${port}?tls=opportunistic` }),
    queues: false,
    left: '/nowhere',
  },
  {
    package: 'postfix',
    name: 'postfix',
    configure: async (fresh, port) => {
      await fresh.must([
        ...['postconf', '-e', `relayhost=[127.0.0.1]:${port}`, 'myhostname=host.test'],
        ...['inet_interfaces=loopback-only', 'mydestination=', 'maillog_file=/var/log/postfix.log'],
        ...['smtp_generic_maps=hash:/etc/postfix/generic', 'myorigin=$myhostname'],
      ]);
      fresh.write('/etc/postfix/generic', `root@host.test ${sender}\n`);
      await fresh.must(['postmap', '/etc/postfix/generic']);
      await fresh.must(['postconf', '-M#', 'smtp/inet']);
      await fresh.must(['postfix', 'start']);
    },
    send: ['/usr/sbin/sendmail', '-i', '-f', sender, recipient],
    settings: (port) => ({
      relay: `smtp://127.0.0.1:${port}?tls=opportunistic`,
      me: 'host.test',
      defaulthost: 'host.test',
      sendermap: `root@host.test: ${sender}`,
    }),
    queues: true,
    rest: async (fresh) => {
      await waitFor(
        'a deferred mail',
        async () =>
          (await fresh.must(['find', '/var/spool/postfix/deferred', '-type', 'f'])) !== '',
      );
      await fresh.must(['postfix', 'stop']);
    },
    left: '/var/spool/postfix/maildrop',
  },
];

for (const peer of peers) {
  test(`from ${peer.package}`, { skip: skipWithout('peers') }, async (t) => {
    const port = await freePort();
    const fresh = await freshRoot(t, 'peers');
    installCheckout(fresh);
    await installPeer(fresh, peer.package);
    await peer.configure(fresh, port);

    if (!peer.queues)
      await t.test('it relays by these settings itself', () => relays(t, fresh, peer, port));

    if (peer.queues) {
      await t.test('it queues two mails while the relay is down', async () => {
        for (const subject of ['first', 'second']) {
          await send(fresh, peer.send, subject);
          if (subject === 'first') await peer.rest?.(fresh);
        }
      });
    }
    const before = treeOf(fresh);
    const sink = await startSink(port);
    t.after(() => sink.stop());

    await t.test('a dry run shows the translation and changes nothing', async () => {
      const shown = await fresh.must([
        picorelay,
        'import',
        '--dry-run',
        '--replace',
        '--skip-test',
      ]);
      assert.match(shown, new RegExp(`-> relay: smtp://127\\.0\\.0\\.1:${port}`));
      assert.match(shown, peer.queues ? /^2 of its mails wait$/m : /^0 of its mails wait$/m);
      assert.deepEqual(differences(before, treeOf(fresh)), []);
    });

    await t.test('import sets the host up and takes the mails over', async () => {
      const options = ['--yes', '--replace', '--schedule', 'cron'];
      const done = await fresh.run([picorelay, 'import', peer.name, ...options]);
      assert.equal(done.status, 0, `${done.stdout}${done.stderr}`);
      const settings = Object.fromEntries(
        Object.keys(peer.settings(port)).map((name) => [
          name,
          fresh.read(`/etc/picorelay/${name}`).trimEnd(),
        ]),
      );
      assert.deepEqual(settings, peer.settings(port));
      assert.deepEqual(
        fresh.names(peer.left).filter((name) => !name.startsWith('.') && name !== 'flush'),
        [],
      );
    });

    await t.test('each of them arrives once', async () => {
      await fresh.must([picorelay, 'run', '--once']);
      const wanted = peer.queues ? ['first', 'second'] : [];
      assert.deepEqual(subjects(sink.received), wanted);
      for (const mail of sink.received) {
        assert.deepEqual([mail.from, mail.to], [sender, [recipient]]);
        assert.match(mail.message, /\n\n(?:a line\n){2}\.\n$/);
      }
      const again = await fresh.run([
        ...[picorelay, 'import', peer.name, '--yes', '--replace', '--schedule', 'cron'],
      ]);
      assert.equal(again.status, 0, again.stderr);
      assert.match(again.stdout, /^0 of its mails wait$/m);
    });

    await t.test('sendmail is picorelay now, and the peer’s again after uninstall', async () => {
      await send(fresh, ['/usr/sbin/sendmail', '-i', '-f', sender, recipient], 'third');
      if (peer.settings(port)['immediate'] === 'off')
        await fresh.must([picorelay, 'run', '--once']);
      await waitFor('the mail', () => subjects(sink.received).includes('third'));
      const gone = await fresh.run([picorelay, 'uninstall', '--purge', '--yes']);
      assert.equal(gone.status, 0, gone.stderr);
      const left = differences(before, treeOf(fresh)).filter(
        (line) => !line.startsWith(peer.left) && !/^\/var\/(?:log|spool\/postfix)\//.test(line),
      );
      assert.deepEqual(left, []);
    });
  });
}

test('a queue whose daemon runs is left alone', { skip: skipWithout('peers') }, async (t) => {
  const fresh = await freshRoot(t, 'peers');
  installCheckout(fresh);
  await installPeer(fresh, 'nullmailer');
  const port = await freePort();
  const [nullmailer] = peers;
  assert.ok(nullmailer);
  await nullmailer.configure(fresh, port);
  await send(fresh, nullmailer.send, 'first');
  const daemon = await fresh.start([
    'setpriv',
    '--reuid=mail',
    '--clear-groups',
    'nullmailer-send',
  ]);
  t.after(() => daemon.stop());
  await waitFor('the daemon', () => /Starting delivery|Rescanning/.test(daemon.output()));
  const options = ['--yes', '--replace', '--schedule', 'cron', '--skip-test'];
  const refused = await fresh.run([picorelay, 'import', 'nullmailer', ...options]);
  assert.equal(refused.status, 75, refused.stdout);
  assert.match(refused.stderr, /nullmailer runs .*systemctl disable --now nullmailer/);
  assert.deepEqual(fresh.names('/etc/picorelay'), []);
  const settings = await fresh.run([picorelay, 'import', '--settings-only', ...options]);
  assert.equal(settings.status, 0, settings.stderr);
  assert.equal(fresh.names('/var/spool/nullmailer/queue').length, 1);
});

async function installPeer(fresh: Fresh, name: string): Promise<void> {
  await fresh.must([
    ...['sh', '-c', 'exec apt-get install -y -qq --no-install-recommends "$0"/*.deb < /dev/null'],
    `/srv/peers/${name}`,
  ]);
}

async function relays(t: TestContext, fresh: Fresh, peer: Peer, port: number): Promise<void> {
  const sink: Sink = await startSink(port);
  try {
    await send(fresh, peer.send, 'proof');
    await waitFor('the mail', () => sink.received.length > 0);
    assert.deepEqual(subjects(sink.received), ['proof']);
    t.diagnostic(`${peer.package} sends from <${sink.received[0]?.from}>`);
  } finally {
    await sink.stop();
  }
}

async function send(fresh: Fresh, command: readonly string[], subject: string): Promise<void> {
  const input = `From: ${sender}\nTo: ${recipient}\nSubject: ${subject}\n\na line\na line\n.\n`;
  const done = await fresh.run(command, { input });
  assert.equal(done.status, 0, `${command.join(' ')}: ${done.stdout}${done.stderr}`);
}

function subjects(mails: readonly Received[]): readonly string[] {
  return mails.map(({ message }) => /^Subject: (.*)$/m.exec(message)?.[1] ?? '');
}
