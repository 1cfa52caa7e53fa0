// The Debian package in a fresh Debian: it installs, takes the output of a cron job to a relay, upgrades,
// goes and is purged, and never takes a mail with it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Fresh, freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { must, run, waitFor } from '../support/process.ts';
import { startSink } from '../support/sink.ts';

const spool = '/var/spool/picorelay';

/** Builds the package and puts it into the root; returns its path in there. */
async function putPackage(t: TestContext, host: Fresh, version: string): Promise<string> {
  const out = mkdtempSync(join(tmpdir(), 'picorelay-deb-'));
  t.after(() => rmSync(out, { recursive: true }));
  const built = await must(
    [process.execPath, 'packaging/deb.mjs', '--fast', '--out', out, '--version', version],
    { env: { PATH: process.env['PATH'] ?? '' } },
  );
  const name = basename(built.trim());
  await must(['cp', join(out, name), host.at('/tmp')]);
  return `/tmp/${name}`;
}

/** Every path in the root with its mode, owner and target, but for logs and what packagers keep. */
async function listing(host: Fresh): Promise<string[]> {
  const left = `^/(proc|dev|sys|tmp|run|var/lib/(dpkg|apt|systemd)|var/cache|var/log|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?)(/|$)`;
  const all = await host.must(['find', '/', '-xdev', '-printf', '%p %M %u %g %l\n']);
  return all.split('\n').filter((line) => !new RegExp(left).test(line.split(' ', 1)[0] ?? ''));
}

function difference(lines: readonly string[], others: readonly string[]): string[] {
  const known = new Set(others);
  return lines.filter((line) => !known.has(line));
}

/** An entry's name without its state, which a runner may change at any moment. */
const baseOf = (name: string): string => name.split(':').slice(0, 4).join(':');

const queued = (host: Fresh): string[] =>
  host.names(`${spool}/spool`).filter((name) => !name.endsWith('.result'));

test('The Debian package on a fresh host', { skip: skipWithout('fresh') }, async (t) => {
  const host = await freshRoot(t);
  const sink = await startSink();
  t.after(() => sink.stop());
  const first = await putPackage(t, host, '0.1.0');
  const second = await putPackage(t, host, '0.1.1~next');
  const apt = ['apt-get', '-y', '-q', '-o', 'Dpkg::Options::=--force-confold'];

  await t.test('It says that it wants a newer node than there is.', async () => {
    const { status, stdout, stderr } = await host.run([...apt, 'install', first]);
    assert.notEqual(status, 0);
    assert.match(stdout + stderr, /picorelay : Depends: nodejs \(>= 20\.19\)/);
  });

  await host.installNode();
  const before = await listing(host);

  await t.test('It installs without a question and without a relay.', async () => {
    const { status, stdout, stderr } = await host.run([...apt, 'install', first]);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout + stderr, /picorelay: no relay is set: mail waits\./);
    assert.equal(host.read('/etc/picorelay/me'), 'host.test\n');
    const modes = await host.must([
      ...['stat', '-c', '%n %U:%G %a', '/etc/picorelay', spool, '/etc/cron.d/picorelay'],
    ]);
    assert.equal(
      modes,
      `/etc/picorelay root:picorelay 2755\n${spool} picorelay:picorelay 711\n` +
        '/etc/cron.d/picorelay root:root 644\n',
    );
    assert.equal(
      (
        await host.must(['sh', '-c', 'find / -xdev -perm /6000 -path "*picorelay*" -type f'])
      ).trim(),
      '',
    );
    for (const path of [
      '/usr/sbin/sendmail',
      '/usr/lib/sendmail',
      '/usr/bin/mailq',
      '/usr/bin/newaliases',
    ]) {
      assert.equal(
        (await host.must(['readlink', '-f', path])).trim(),
        '/usr/lib/picorelay/bin/sendmail',
      );
    }
    for (const page of [
      'man8/sendmail.8.gz',
      'man8/picorelay.8.gz',
      'man5/picorelay-control.5.gz',
    ]) {
      await host.must(['gzip', '-t', `/usr/share/man/${page}`]);
    }
    const kept = host.names('/usr/lib/picorelay/dist').filter((name) => name.endsWith('.code'));
    assert.equal(kept.length, 5, 'what node made of each program is kept');
  });

  await t.test('Mail waits until a relay is named.', async () => {
    await host.must(['sendmail', 'early@relayed.test'], { input: 'Subject: early\n\nb\n' });
    assert.equal(queued(host).length, 1);
  });

  await t.test('Every user may submit.', async () => {
    const letter = { user: 'tester', input: 'Subject: of a user\n\nb\n' };
    await host.must(['sendmail', 'user@relayed.test'], letter);
    // The runner that the mail before started may still live and take this one over.
    const waiting = (): number =>
      ['incoming', 'unsplit'].flatMap((folder) => host.names(`${spool}/${folder}`)).length +
      queued(host).length;
    await waitFor('both mails', () => waiting() === 2, { detail: () => String(waiting()) });
  });

  host.write('/etc/picorelay/log', '/var/log/picorelay/log\n');
  await host.must(['install', '-d', '-o', 'picorelay', '-g', 'picorelay', '/var/log/picorelay']);
  await host.must(['install', '-m', '640', '/dev/null', '/etc/picorelay/authpassword']);
  await t.test(
    'A password file made as the README says is for root and the relay alone.',
    async () => {
      const modes = await host.must(['stat', '-c', '%U:%G %a', '/etc/picorelay/authpassword']);
      assert.equal(modes, 'root:picorelay 640\n');
      host.write('/etc/picorelay/authpassword', 'nobody asks for it\n');
      host.write('/etc/picorelay/relay', `smtp://127.0.0.1:${sink.port}\n`);
    },
  );

  await t.test('cron relays what waited, and what a cron job prints.', async () => {
    host.write(
      '/var/spool/cron/crontabs/root',
      "MAILTO=bob@relayed.test\n@reboot printf 'cron says\\n'\n",
      0o600,
    );
    const cron = await host.start(['cron', '-f', '-L', '15']);
    try {
      await waitFor('all three mails at the relay', () => sink.received.length >= 3, {
        limit: 120_000,
        detail: () =>
          `${cron.output()}${queued(host).join('\n')}\n${host.read('/var/log/picorelay/log')}`,
      });
    } finally {
      await cron.stop();
    }
    const subjects = sink.received
      .map(({ message }) => /^Subject: (.*)$/m.exec(message)?.[1])
      .sort();
    assert.deepEqual(subjects, ["Cron <root@host> printf 'cron says\\n'", 'early', 'of a user']);
    assert.ok(sink.received.some(({ from }) => from === 'tester@host.test'));
    await host.must(['rm', '-r', '/var/spool/cron/crontabs/root']);
  });

  await t.test('The line of cron.d relays what waits by itself.', async () => {
    host.write('/etc/picorelay/immediate', 'off\n');
    await host.must(['sendmail', 'later@relayed.test'], { input: 'Subject: later\n\nb\n' });
    assert.equal(queued(host).length, 1);
    const cron = await host.start(['cron', '-f']);
    try {
      await waitFor('the mail at the relay', () => sink.received.length >= 4, { limit: 90_000 });
    } finally {
      await cron.stop();
    }
  });

  await t.test('An upgrade keeps mail, settings and what was changed in cron.d.', async () => {
    await host.must(['rm', '/etc/picorelay/relay']);
    await host.must(['sendmail', 'kept@relayed.test'], { input: 'Subject: kept\n\nb\n' });
    const waiting = queued(host);
    const crontab = `${host.read('/etc/cron.d/picorelay')}# ours\n`;
    host.write('/etc/cron.d/picorelay', crontab);
    await host.must([...apt, 'install', second]);
    assert.match(await host.must(['dpkg-query', '-W', 'picorelay']), /0\.1\.1~next/);
    assert.deepEqual(queued(host).map(baseOf), waiting.map(baseOf));
    assert.equal(waiting.length, 1);
    assert.equal(host.read('/etc/cron.d/picorelay'), crontab);
    assert.equal(host.read('/etc/picorelay/immediate'), 'off\n');
    assert.match(await host.must(['mailq']), /kept@relayed\.test/);
  });

  await t.test('Removed, it leaves mail and settings and takes every program.', async () => {
    const { status, stdout, stderr } = await host.run([...apt, 'remove', 'picorelay']);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout + stderr, /mail is left in \/var\/spool\/picorelay; nobody sends it now/);
    assert.equal(queued(host).length, 1);
    assert.deepEqual(host.names('/usr/lib/picorelay'), []);
    assert.notEqual((await run(['test', '-e', host.at('/usr/sbin/sendmail')])).status, 0);
    assert.ok(host.names('/etc/picorelay').includes('authpassword'));
  });

  await t.test('Purged, it leaves mail and its owner alone, and takes passwords.', async () => {
    const { status, stdout, stderr } = await host.run([...apt, 'purge', 'picorelay']);
    assert.equal(status, 0, stdout + stderr);
    assert.match(
      stdout + stderr,
      /^picorelay: mail is left in \/var\/spool\/picorelay: it stays$/m,
    );
    assert.match(stdout + stderr, /^picorelay: the user picorelay stays, because of what stays$/m);
    assert.equal(queued(host).length, 1);
    assert.deepEqual(host.names('/etc/picorelay'), []);
    await host.must(['id', 'picorelay']);
  });

  await t.test(
    'Installed again it relays that mail; purged without mail it leaves nothing.',
    async () => {
      await host.must([...apt, 'install', second]);
      host.write('/etc/picorelay/relay', `smtp://127.0.0.1:${sink.port}\n`);
      await host.must(['picorelay-cron']);
      assert.match(sink.received.at(-1)?.message ?? '', /^Subject: kept$/m);
      assert.deepEqual(queued(host), []);
      const purged = await host.run([...apt, 'purge', 'picorelay']);
      assert.equal(purged.status, 0, purged.stdout + purged.stderr);
      assert.doesNotMatch(purged.stdout + purged.stderr, /^picorelay: /m, 'nothing stays');
      assert.deepEqual(host.names('/var/log/picorelay'), []);
      assert.notEqual((await host.run(['id', 'picorelay'])).status, 0);
      const after = await listing(host);
      assert.deepEqual([...difference(after, before), ...difference(before, after)], []);
    },
  );
});

test('The same sources make the same package, octet by octet.', async (t) => {
  const out = mkdtempSync(join(tmpdir(), 'picorelay-deb-'));
  t.after(() => rmSync(out, { recursive: true }));
  const digests = [];
  for (const each of ['a', 'b']) {
    const built = await must([process.execPath, 'packaging/deb.mjs', '--out', join(out, each)], {
      env: { PATH: process.env['PATH'] ?? '' },
    });
    digests.push((await must(['sha256sum', built.trim()])).slice(0, 64));
  }
  assert.equal(digests[0], digests[1]);
});
