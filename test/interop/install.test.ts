// From nothing to a cron job's mail at a relay that wants TLS and a login, by the README's own lines, and
// back: what uninstall leaves is what was there before.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { waitFor } from '../support/process.ts';
import { installCheckout, picorelay } from './checkout.ts';
import { startExim } from './exim.ts';
import { type Fresh, freshRoot } from './fresh.ts';
import type { RelayServer } from './relay-server.ts';
import { credentials } from './relay-server.ts';
import { skipWithout } from './require.ts';
import { differences, treeOf } from './tree.ts';

const admin = 'alice@relayed.test';

test('a stranger and a fresh host', { skip: skipWithout('fresh', 'exim') }, async (t) => {
  const exim = await startExim();
  t.after(() => exim.stop());
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  const before = treeOf(fresh);
  fresh.write('/root/password', `${credentials.password}\n`, 0o600);
  const init = readmeLine('picorelay init --yes')
    .replace('bin/picorelay', picorelay)
    .replace('you@example.com', admin)
    .replace(/smtps:\/\/\S+/, relayOf(exim));
  const initCommand = ['sh', '-c', `${init} --user ${credentials.user} --schedule cron`];

  await t.test('a dry run shows the steps and changes nothing', async () => {
    const dry = await fresh.run(['sh', '-c', `${initCommand[2]} --dry-run`]);
    assert.equal(dry.status, 0, dry.stderr);
    assert.match(dry.stdout, /^to do {2}system user relay/m);
    assert.doesNotMatch(dry.stdout, new RegExp(credentials.password));
    assert.deepEqual(differences(before, treeOf(fresh)), [
      `/root/password: nothing, now ${treeOf(fresh).get('/root/password')}`,
    ]);
  });

  await t.test('a wrong password is told before anything is changed', async () => {
    fresh.write('/root/wrong', 'wrong\n');
    const wrong = await fresh.run([
      ...['sh', '-c', initCommand[2]?.replace('/root/password', '/root/wrong') ?? ''],
    ]);
    rmSync(fresh.at('/root/wrong'));
    assert.equal(wrong.status, 69, wrong.stdout);
    assert.match(wrong.stderr, /login name or password is refused \(535/);
    assert.ok(!existsSync(fresh.at('/etc/picorelay')));
  });

  await t.test("the README's line sets the host up", async () => {
    const done = await fresh.run(initCommand);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /takes this login/);
    rmSync(fresh.at('/root/password'));
  });

  await t.test('a second run finds everything as it is', async () => {
    const tree = treeOf(fresh);
    const again = await fresh.run([picorelay, 'init', '--yes', '--schedule', 'cron']);
    assert.equal(again.status, 0, again.stderr);
    assert.doesNotMatch(again.stdout, /^done/m);
    assert.deepEqual(differences(tree, treeOf(fresh)), []);
  });

  await t.test("a job's output arrives, though cron's PATH is short", async (t) => {
    await withCron(t, fresh, `MAILTO=${admin}\n@reboot echo the job says hello\n`);
    await waitFor('the mail', () => exim.received(admin).length > 0, { detail: exim.log });
    const [mail = ''] = exim.received(admin);
    assert.match(mail, /^the job says hello$/m);
    assert.match(mail, /^Return-path: <alice@relayed\.test>$/m);
  });

  await t.test('uninstall keeps settings and queue, and takes back the rest', async () => {
    const done = await fresh.run([picorelay, 'uninstall', '--yes']);
    assert.equal(done.status, 0, done.stderr);
    const left = differences(before, treeOf(fresh)).map((line) => line.split(':', 1)[0] ?? '');
    assert.deepEqual(
      left.filter((path) => !/^\/(etc|var\/spool|var\/lib)\/picorelay(\/|$)|^\/run\//.test(path)),
      ['/etc/group', '/etc/gshadow', '/etc/passwd', '/etc/shadow'],
    );
    assert.match(done.stdout, /^stays {2}\/var\/spool\/picorelay/m);
  });

  await t.test('--purge keeps mail that waits', async () => {
    const entry =
      '/var/spool/picorelay/spool/20260101T000000.000000Z:1:a@host.test:b@relayed.test:0.held';
    fresh.write(entry, 'Subject: wait\r\n\r\n');
    const done = await fresh.run([picorelay, 'uninstall', '--purge', '--yes']);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /^stays {2}\/var\/spool\/picorelay: holds mail: 1 waiting$/m);
    assert.ok(existsSync(fresh.at(entry)));
    rmSync(fresh.at(entry));
  });

  await t.test('--purge without mail leaves the host as it was', async () => {
    const done = await fresh.run([picorelay, 'uninstall', '--purge', '--yes']);
    assert.equal(done.status, 0, done.stderr);
    // cron's own marks, and the mount point of the programs.
    for (const path of ['run/crond.pid', 'run/crond.reboot']) {
      rmSync(fresh.at(`/${path}`), { force: true });
    }
    assert.deepEqual(differences(before, treeOf(fresh)), []);
  });
});

test('programs that npm installed need no node in PATH', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  const bin = '/usr/lib/node_modules/picorelay/bin';
  const portable = await fresh.run([
    ...['sh', '-euc'],
    `mkdir -p ${bin}; cd ${bin}/..; cp -r /opt/picorelay/bin /opt/picorelay/dist .
    ln -s /opt/picorelay/node_modules /opt/picorelay/package.json .
    for f in bin/*; do case $f in *.*) ;; *) sed -i '1s,.*,#!/usr/bin/env node,' $f; esac; done`,
  ]);
  assert.equal(portable.status, 0, portable.stderr);
  const before = treeOf(fresh);
  const init = await fresh.run([
    ...[process.execPath, `${bin}/picorelay`, 'init', '--yes', '--skip-test'],
    ...['--relay', 'smtp://127.0.0.1:9', '--schedule', 'cron'],
  ]);
  assert.equal(init.status, 0, init.stderr);
  fresh.write('/etc/picorelay/immediate', 'off\n');
  for (const [command, said] of [
    [['/usr/sbin/sendmail', '-i', 'bob@relayed.test'], /^$/],
    [['/usr/bin/mailq'], /bob@relayed\.test/],
    [['/var/qmail/bin/qmail-inject', 'bob@relayed.test'], /^$/],
    [['/bin/sh', '-c', (cronLine(fresh) ?? '').replace(/^(\S+ ){6}/, '')], /^$/],
  ] as const) {
    const bare = ['env', '-i', 'PATH=/nowhere', ...command];
    const done = await fresh.run(bare, { input: 'Subject: x\n\n' });
    assert.equal(done.status, 0, `${command.join(' ')}: ${done.stderr}`);
    assert.match(done.stdout, said);
  }
  for (const name of fresh.names('/var/spool/picorelay/spool')) {
    rmSync(fresh.at(`/var/spool/picorelay/spool/${name}`));
  }
  const gone = await fresh.run([
    ...[process.execPath, `${bin}/picorelay`, 'uninstall', '--purge', '--yes'],
  ]);
  assert.equal(gone.status, 0, gone.stderr);
  assert.deepEqual(differences(before, treeOf(fresh)), []);
});

test('somebody at a terminal', { skip: skipWithout('fresh', 'exim') }, async (t) => {
  const exim = await startExim();
  t.after(() => exim.stop());
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  const before = treeOf(fresh);
  const relay = relayOf(exim).slice(1, -1);

  await t.test('is asked for what is needed, and the password is not shown', async () => {
    const shown = await atTerminal(fresh, `${picorelay} init --schedule cron`, [
      ['Mail address of the account that mail goes out by, or - for none: ', admin],
      ['Relay, as in smtp.example.com: ', relay],
      [`Login name, or - for none [${admin}]: `, credentials.user],
      ['Password (it is not shown): ', credentials.password],
      [`Who gets mail for root and the other users of this host [${admin}]: `, ''],
      ['Do it? [Y/n] ', 'y'],
    ]);
    assert.doesNotMatch(shown, new RegExp(credentials.password));
    assert.match(shown, /takes this login/);
    assert.equal(fresh.read('/etc/picorelay/authpassword'), `${credentials.password}\n`);
    assert.equal(fresh.read('/etc/picorelay/adminaddr'), `${admin}\n`);
  });

  await t.test('may say no, and nothing is changed', async () => {
    const tree = treeOf(fresh);
    const shown = await atTerminal(fresh, `${picorelay} uninstall --purge`, [
      ['Do it? [Y/n] ', 'n'],
    ]);
    assert.match(shown, /nothing was changed/);
    assert.deepEqual(differences(tree, treeOf(fresh)), []);
  });

  await t.test('without a terminal nothing is done that nobody agreed to', async () => {
    const refused = await fresh.run([picorelay, 'uninstall', '--purge']);
    assert.equal(refused.status, 64);
    assert.match(refused.stderr, /--yes does it/);
    await fresh.must([picorelay, 'uninstall', '--purge', '--yes']);
    assert.deepEqual(differences(before, treeOf(fresh)), []);
  });
});

test('what was cut short is taken back', { skip: skipWithout('fresh') }, async (t) => {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  await fresh.must(['mkdir', '/etc/cron.d/picorelay']);
  const before = treeOf(fresh);
  const options = ['--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9', '--schedule', 'cron'];
  const failed = await fresh.run([picorelay, 'init', ...options]);
  assert.equal(failed.status, 75, failed.stdout);
  assert.match(failed.stderr, /cron\.d\/picorelay.*EISDIR.*picorelay uninstall/);
  const gone = await fresh.run([picorelay, 'uninstall', '--purge', '--yes']);
  assert.equal(gone.status, 0, gone.stderr);
  assert.deepEqual(
    differences(before, treeOf(fresh)).filter((line) => !line.includes('.picorelay-new')),
    [],
  );
});

test('a mail server that comes later gets its names when picorelay goes', {
  skip: skipWithout('peers'),
}, async (t) => {
  const fresh = await freshRoot(t, 'peers');
  installCheckout(fresh);
  const options = ['--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9', '--schedule', 'cron'];
  await fresh.must([picorelay, 'init', ...options]);
  await fresh.must(['sh', '-c', 'dpkg -i /srv/peers/nullmailer/*.deb < /dev/null']);
  assert.match(await fresh.must(['readlink', '/usr/sbin/sendmail']), /picorelay\/bin\/sendmail/);
  await fresh.must([picorelay, 'uninstall', '--purge', '--yes']);
  assert.equal((await fresh.run(['dpkg', '--verify', 'nullmailer'])).stdout, '');
  assert.equal((await fresh.run(['readlink', '/usr/sbin/sendmail'])).stdout, '');
});

test('systemd is told of the units, and of their end', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  // No systemd runs in a root: this stands for its command, and keeps what is said to it.
  await fresh.must(['mkdir', '-p', '/run/systemd/system', '/etc/systemd/system']);
  fresh.write(
    '/usr/local/bin/systemctl',
    `#!/bin/sh
echo "$*" >> /tmp/said
case $1 in
  enable) touch /tmp/enabled ;;
  disable) rm /tmp/enabled ;;
  is-enabled) [ ! -e /tmp/enabled ] || echo enabled ;;
esac
`,
    0o755,
  );
  const before = treeOf(fresh);
  const options = ['--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9'];
  await fresh.must([picorelay, 'init', ...options]);
  assert.match(
    fresh.read('/etc/systemd/system/picorelay.service'),
    /^ExecStart=\/opt\/picorelay\/bin\/picorelay-cron$/m,
  );
  assert.deepEqual(
    fresh.names('/etc/cron.d').filter((name) => name === 'picorelay'),
    [],
  );
  const again = await fresh.must([picorelay, 'init', '--skip-test']);
  assert.doesNotMatch(again, /^(?:done|to do)/m);
  await fresh.must([picorelay, 'uninstall', '--purge', '--yes']);
  assert.deepEqual(
    fresh
      .read('/tmp/said')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('is-enabled')),
    [
      'daemon-reload',
      'enable --now picorelay.timer picorelay.path',
      'disable --now picorelay.timer picorelay.path',
      'daemon-reload',
    ],
  );
  assert.deepEqual(differences(before, treeOf(fresh)), []);
});

test('on a host without dpkg another sendmail is renamed, and comes back', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  await fresh.must(['sh', '-c', 'rm -f /usr/bin/dpkg-divert /usr/bin/dpkg-query']);
  fresh.write('/usr/sbin/sendmail', '#!/bin/sh\nexit 1\n', 0o755);
  const before = treeOf(fresh);
  const options = ['--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9', '--schedule', 'cron'];
  assert.equal((await fresh.run([picorelay, 'init', ...options])).status, 78);
  assert.deepEqual(differences(before, treeOf(fresh)), []);
  await fresh.must([picorelay, 'init', '--replace', ...options]);
  assert.match(await fresh.must(['mailq']), /Mail queue is empty/);
  assert.match(await fresh.must(['readlink', '/usr/sbin/sendmail']), /picorelay/);
  await fresh.must([picorelay, 'uninstall', '--purge', '--yes']);
  assert.deepEqual(differences(before, treeOf(fresh)), []);
});

test("update-alternatives gives another mail server's name back", {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  const made = await fresh.run([
    ...['sh', '-euc'],
    `for mta in one two; do echo '#!/bin/sh' > /usr/lib/$mta; chmod 755 /usr/lib/$mta; done
    rm -f /usr/sbin/sendmail /usr/bin/mailq
    for mta in one two; do
      update-alternatives --install /usr/sbin/sendmail mta /usr/lib/$mta 10 --slave /usr/bin/mailq mta-mailq /usr/lib/$mta
    done
    update-alternatives --set mta /usr/lib/one`,
  ]);
  assert.equal(made.status, 0, made.stderr);
  const before = treeOf(fresh);
  const options = ['--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9', '--schedule', 'cron'];
  const refused = await fresh.run([picorelay, 'init', ...options]);
  assert.equal(refused.status, 78);
  assert.match(refused.stderr, /sendmail of \/usr\/lib\/one already: --replace/);
  assert.deepEqual(differences(before, treeOf(fresh)), []);
  const done = await fresh.run([picorelay, 'init', '--replace', ...options]);
  assert.equal(done.status, 0, done.stderr);
  const mailq = await fresh.run(['mailq']);
  assert.match(mailq.stdout, /Mail queue is empty/);
  const again = await fresh.run([picorelay, 'init', '--skip-test', '--schedule', 'cron']);
  assert.doesNotMatch(again.stdout, /^(done|to do)/m, again.stdout);
  const gone = await fresh.run([picorelay, 'uninstall', '--purge', '--yes']);
  assert.equal(gone.status, 0, gone.stderr);
  const after = treeOf(fresh);
  assert.deepEqual(
    differences(before, after).filter((line) => !line.startsWith('/var/log/alternatives.log')),
    [],
  );
});

/** Runs a command on a terminal of its own, and answers each question when it is asked. */
async function atTerminal(
  fresh: Fresh,
  command: string,
  answers: readonly (readonly [question: string, answer: string])[],
): Promise<string> {
  await fresh.must(['sh', '-c', 'rm -f /tmp/keys; mkfifo /tmp/keys']);
  const line = `exec script -qec '${command}; echo ended with $?' /dev/null < /tmp/keys`;
  const terminal = await fresh.start(['sh', '-c', line]);
  const keys = openSync(fresh.at('/tmp/keys'), 'w');
  try {
    let from = 0;
    for (const [question, answer] of answers) {
      await waitFor(question, () => terminal.output().includes(question, from), {
        detail: terminal.output,
      });
      from = terminal.output().indexOf(question, from) + question.length;
      writeSync(keys, `${answer}\r`);
    }
    await waitFor('the end', () => /ended with \d+/.test(terminal.output()), {
      detail: terminal.output,
    });
    assert.match(terminal.output(), /ended with 0/);
    return terminal.output();
  } finally {
    closeSync(keys);
    await terminal.stop();
  }
}

/** A line of the README's install section. */
function readmeLine(part: string): string {
  const readme = readFileSync('README.md', 'utf8');
  const line = readme.split('\n').find((each) => each.startsWith('    ') && each.includes(part));
  assert.ok(line, `the README has no line with ${part}`);
  return line.trim();
}

/** The relay with the fingerprint of its certificate, which no public authority has signed. */
function relayOf({ port, access }: RelayServer): string {
  assert.ok(access);
  const certificate = new X509Certificate(
    readFileSync(access.caFile.replace('ca.pem', 'cert.pem')),
  );
  return `'smtp://localhost:${port}?pin=${certificate.fingerprint256.replaceAll(':', '')}'`;
}

function cronLine(fresh: Fresh): string | undefined {
  return fresh
    .read('/etc/cron.d/picorelay')
    .split('\n')
    .find((line) => line.startsWith('* * * * * relay '));
}

/** Runs cron with root's crontab for as long as the test. */
async function withCron(t: TestContext, fresh: Fresh, crontab: string): Promise<void> {
  const file = '/var/spool/cron/crontabs/root';
  fresh.write(file, crontab, 0o600);
  const cron = await fresh.start(['cron', '-f', '-L', '15']);
  t.after(async () => {
    await cron.stop();
    rmSync(fresh.at(file));
  });
}
