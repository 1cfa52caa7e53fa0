// picorelay check, run as a program against relays and folders that are sound and that are not.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startersIn } from '../../src/admin/check-host.ts';
import { keyRecord } from '../../src/mail/dkim.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { makeKey } from '../support/dkim.ts';
import { startNameServer } from '../support/dns.ts';
import { freePort, run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { startScripted } from '../support/scripted.ts';
import { documentedShape, shapeOf } from '../support/shape.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

interface Found {
  readonly area: string;
  readonly level: string;
  readonly what: string;
  readonly mend: readonly string[];
}

async function check(site: Site, ...areas: readonly string[]): Promise<readonly Found[]> {
  const { status, stdout, stderr } = await site.run('picorelay', ['check', '--json', ...areas]);
  assert.equal(stderr, '');
  const answer = JSON.parse(stdout) as { status: string; findings: readonly Found[] };
  assert.equal(status, ['ok', 'warning', 'failure'].indexOf(answer.status));
  const worst = ['failure', 'warning', 'ok'].find((level) =>
    answer.findings.some((each) => each.level === level),
  );
  assert.equal(answer.status, worst ?? 'ok');
  return answer.findings;
}

/** The findings of a level, one line each. */
async function told(site: Site, level: string, ...areas: readonly string[]): Promise<string> {
  const found = await check(site, ...areas);
  return found
    .filter((each) => each.level === level)
    .map(({ what, mend }) => [what, ...mend].join(' > '))
    .join('\n');
}

async function soundSite(t: TestContext): Promise<Site> {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  return site;
}

test('A sound control folder, spool, queue and relay are all ok', async (t) => {
  const site = await soundSite(t);
  assert.equal(
    await told(site, 'ok', 'spool'),
    `${site.spool} is made when the first mail comes in`,
  );
  await site.run('sendmail', ['ann@x.test'], 'Subject: x\n\n');
  const found = await check(site, 'control', 'spool', 'queue', 'relay');
  assert.deepEqual(
    found.filter(({ level }) => level !== 'ok'),
    [],
  );
  assert.match(found.map(({ what }) => what).join('\n'), /1 mail opened and found whole/);
  assert.deepEqual(
    shapeOf({ status: 'ok', findings: found.map((each) => ({ ...each, mend: ['x'] })) }),
    documentedShape('check'),
  );
});

test('A control folder is told file by file', async (t) => {
  const site = await soundSite(t);
  await site.run('sendmail', ['ann@x.test'], '');
  const file = (name: string): string => join(site.folder, 'control', name);
  site.control('timeoutmail', 'soon');
  site.control('relya', 'smtp://x.test');
  site.control('notes', 'mine');
  site.control('relay~', 'smtp://x.test');
  writeFileSync(file('authpassword'), 'secret\n', { mode: 0o644 });
  chmodSync(file('log'), 0o666);
  symlinkSync('/nowhere', file('proxy'));
  const failures = await told(site, 'failure', 'control');
  assert.match(failures, /timeoutmail/);
  assert.match(
    failures,
    /authpassword: expected a file that others cannot read.* > chmod 640 \S+authpassword/,
  );
  assert.match(failures, /everybody may change \S+\/log > chmod o-w \S+\/log/);
  assert.match(failures, /proxy is a link to nothing/);
  const warnings = await told(site, 'warning', 'control');
  assert.match(warnings, /relya is no control file; relay is one > mv /);
  assert.match(warnings, /notes is no control file: nothing reads it/);
  assert.doesNotMatch(warnings, /relay~/);
  const all = JSON.stringify(await check(site));
  assert.ok(!all.includes('secret\\n'), 'no secret is shown');
});

test('A missing name, a missing relay and a missing folder are failures with a command', async (t) => {
  const site = siteFor(t);
  assert.match(
    await told(site, 'failure', 'relay'),
    /no relay is configured\. > echo smtp:\S+ > \S+\/relay/,
  );
  site.control('me', undefined);
  assert.match(await told(site, 'failure', 'control'), /control\/me: .* > hostname -f > \S+\/me/);
  site.control('me', 'localhost');
  assert.match(await told(site, 'warning', 'host'), /control\/me says localhost/);
  rmSync(join(site.folder, 'control'), { recursive: true });
  assert.match(await told(site, 'failure', 'control'), /there is no control folder/);
});

test('A spool of the wrong owner, with holes or with strange files is told', async (t) => {
  const site = await soundSite(t);
  await site.run('sendmail', ['ann@x.test'], '');
  const [entry = ''] = site.queued();
  writeFileSync(join(site.spool, 'spool', entry), 'picorelay: 1\nsize: nonsense\n\n');
  writeFileSync(join(site.spool, 'spool', 'readme'), '');
  writeFileSync(join(site.spool, 'corrupt', 'x'), '');
  assert.match(
    await told(site, 'failure', 'spool'),
    /1 mail that cannot be read.* > picorelay show \S+ann@/,
  );
  const warnings = await told(site, 'warning', 'spool');
  assert.match(warnings, /1 file in \S+\/spool that no runner touches/);
  assert.match(warnings, /1 file in \S+\/corrupt/);
  rmSync(join(site.spool, 'routes'), { recursive: true });
  chmodSync(join(site.spool, 'Undelivered'), 0o777);
  const broken = await told(site, 'failure', 'spool');
  assert.match(broken, /routes is missing > install -d -m 700/);
  assert.match(broken, /everybody may change \S+Undelivered > chmod o-w/);
  writeFileSync(join(site.spool, 'version'), '9\n');
  assert.match(await told(site, 'failure', 'spool'), /this program knows layout 1/);
});

test('Too little room on the disk is told before mail is refused', async (t) => {
  const site = await soundSite(t);
  await site.run('sendmail', ['ann@x.test'], '');
  site.control('spoolfree', '99%');
  assert.match(await told(site, 'failure', 'spool'), /new mail is refused: .*spoolfree.* > df -h /);
});

test('Files that the owner of the spool cannot read are failures, and others are told who may look', {
  skip: process.getuid?.() !== 0,
}, async (t) => {
  const site = await soundSite(t);
  await site.run('sendmail', ['ann@x.test'], '');
  chmodSync(site.folder, 0o755);
  const control = join(site.folder, 'control');
  writeFileSync(join(control, 'authpassword'), 'secret\n', { mode: 0o600 });
  const owned = await run(['chown', '-R', '65534:65534', site.spool]);
  assert.equal(owned.status, 0);
  const failures = await told(site, 'failure', 'control');
  assert.match(failures, /user 65534.* cannot read \S+authpassword > chgrp 65534 \S+ && chmod 640/);
  const [entry = ''] = site.queued();
  chownSync(join(site.spool, 'spool', entry), 1, 1);
  assert.match(await told(site, 'failure', 'spool'), /of another user.* > chown 65534/);
  const other = await run(
    [
      'setpriv',
      '--reuid',
      '1',
      '--clear-groups',
      programPath('picorelay'),
      'check',
      'spool',
      'queue',
    ],
    { env: { ...site.env } },
  );
  assert.equal(other.status, 2);
  assert.match(other.stdout, /only root and its\s+owner\s+can\s+look/);
});

test('What waits for long, is paused or was refused shows in the queue', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => (line.startsWith('RCPT TO:<never') ? '550 5.1.1 no' : undefined),
  });
  site.relays(relay.port);
  assert.equal(await told(site, 'ok', 'queue'), 'nothing waits');
  await site.run('sendmail', ['never@x.test'], '');
  await site.run('picorelay-cron');
  assert.match(await told(site, 'warning', 'queue'), /1 mail refused.* > picorelay undelivered/);
  const old = '20200101T000000.000000Z:1:a@x.test:b@x.test';
  writeFileSync(join(site.spool, 'spool', old), 'Subject: x\r\n\r\n');
  assert.match(
    await told(site, 'warning', 'queue'),
    /1 mail in the queue, the oldest for \d+d > picorelay why/,
  );
  site.relays(await freePort());
  site.control('alertafter', '0s');
  await site.run('picorelay-cron');
  assert.match(
    await told(site, 'failure', 'queue'),
    /paused since \S+ at connect .* > editor \S+\/relay/,
  );
});

test('A relay is told as it is: name, address, offers', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, { extensions: ['PIPELINING', 'SIZE 1000'] });
  site.relays(relay.port);
  const fine = await told(site, 'ok', 'relay');
  assert.match(fine, /IPv4 127\.0\.0\.1 takes connections/);
  assert.match(fine, /no TLS, and none is needed on this host/);
  assert.match(fine, /offers PIPELINING, SIZE 1000/);
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(relay.lines, ['EHLO client.test', 'QUIT'], 'no mail is named');
  await site.run('sendmail', ['ann@x.test'], `Subject: x\n\n${'x\n'.repeat(1000)}`);
  assert.match(await told(site, 'warning', 'relay'), /takes 1000 a mail; the largest in the queue/);
  site.control('relay', 'smtp://no-such-host.invalid:25');
  assert.match(
    await told(site, 'failure', 'relay'),
    /not known to the name server.*getaddrinfo.* > getent hosts no-such-host\.invalid/,
  );
  site.relays(await freePort());
  assert.match(
    await told(site, 'failure', 'relay'),
    /Nothing listens on that port.*connect: connect ECONNREFUSED/,
  );
});

test('A relay is reached over IPv6, too', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, { host: '::1' });
  site.control('relay', `smtp://[::1]:${relay.port}`);
  const found = (await check(site, 'relay'))
    .map(({ level, what }) => `${level} ${what}`)
    .join('\n');
  assert.match(found, /^ok .*IPv6 ::1 takes connections$/m);
});

test('An address that takes no connections is told although another one does', {
  skip: process.getuid?.() !== 0,
}, async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.control('tls', 'off');
  site.control('relay', `smtp://two.test:${relay.port}`);
  const hosts = join(site.folder, 'hosts');
  writeFileSync(hosts, '127.0.0.1 two.test\n::1 two.test\n');
  const script = `mount --bind ${hosts} /etc/hosts && exec ${programPath('picorelay')} check relay`;
  const { status, stdout } = await run(['unshare', '--mount', 'sh', '-c', script], {
    env: { ...site.env },
  });
  assert.equal(status, 1, stdout);
  assert.match(stdout, /^ok .*IPv4 127\.0\.0\.1/m);
  assert.match(stdout, /^(?:ok|warning) .*IPv6\s+::1/m);
  assert.match(stdout, /no TLS: anybody on the way/);
});

test('The relays of all routes are looked at, each once', async (t) => {
  const site = siteFor(t);
  const [one, other] = [await startRelay(t), await startRelay(t)];
  site.relays(one.port);
  site.control('smtproutes', `a.test:127.0.0.1:${other.port}\nb.test:127.0.0.1:${other.port}`);
  await check(site, 'relay');
  assert.deepEqual([one.connections, other.connections], [2, 2], 'a connection and a session');
});

test('A certificate and its days left are shown, a login is tried', {
  skip: noOpenssl,
}, async (t) => {
  const site = siteFor(t);
  const certificate = makeCertificate(['IP:127.0.0.1']);
  let right = true;
  const relay = await startScripted(t, {
    certificate,
    implicit: true,
    offers: ['AUTH PLAIN'],
    speaker: (line) =>
      line.startsWith('AUTH') ? (right ? '235 2.7.0 ok' : '535 5.7.8 no') : undefined,
  });
  site.control('relay', `smtps://me@127.0.0.1:${relay.port}`);
  site.control('authpassword', 'very-secret');
  writeFileSync(join(site.folder, 'ca.pem'), certificate.cert);
  site.control('tlscafile', join(site.folder, 'ca.pem'));
  const found = await check(site, 'relay');
  const all = found.map(({ level, what }) => `${level} ${what}`).join('\n');
  assert.match(
    all,
    /^warning .*TLSv1\.3, certificate of test by test, until \d{4}-\d\d-\d\d: \d days? left$/m,
  );
  assert.match(all, /^ok .*: the login of me is taken$/m);
  right = false;
  const failures = await told(site, 'failure', 'relay');
  assert.match(
    failures,
    /does not know this name and password.*auth: 535 5\.7\.8 no.* > editor \S+authpassword/,
  );
  assert.ok(!JSON.stringify(found).includes('secret') && !failures.includes('secret'));
  writeFileSync(join(site.folder, 'ca.pem'), makeCertificate(['IP:127.0.0.1']).cert);
  assert.match(await told(site, 'failure', 'relay'), /signed by nobody whom this host trusts/);
});

test('A login that was refused is not tried again before its time', async (t) => {
  const site = siteFor(t);
  const relay = await startScripted(t, {
    offers: ['AUTH PLAIN'],
    speaker: (line) => (line.startsWith('AUTH') ? '535 5.7.8 no' : undefined),
  });
  site.control('relay', `smtp://me@127.0.0.1:${relay.port}`);
  site.control('authpassword', 'x');
  await site.run('sendmail', ['ann@x.test'], '');
  await site.run('picorelay-cron');
  const logins = (): number => relay.lines.filter((line) => line.startsWith('AUTH')).length;
  const before = logins();
  assert.match(await told(site, 'failure', 'relay'), /535 5\.7\.8 no .*does not lock the account/);
  assert.equal(logins(), before);
});

test('What starts the runner is found in crontabs and units', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'picorelay-root-'));
  t.after(() => rmSync(root, { recursive: true }));
  const put = (path: string, text: string): void => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  assert.deepEqual(startersIn(root), []);
  put('etc/cron.d/picorelay', '# picorelay-cron\n\n* * * * * root /opt/bin/picorelay-cron\n');
  assert.deepEqual(startersIn(root), [
    { where: 'a line of /etc/cron.d/picorelay', idle: 'no cron is running' },
  ]);
  put('proc/77/comm', 'cron\n');
  put('proc/self/comm', 'cron\n');
  assert.deepEqual(startersIn(root), [
    { where: 'a line of /etc/cron.d/picorelay', idle: undefined },
  ]);
  put('etc/cron.d/picorelay', '* * * * * x [ -d /run/systemd/system ] || picorelay-cron\n');
  put('usr/lib/systemd/system/picorelay.timer', '[Timer]\n');
  put('usr/lib/systemd/system/other.service', '[Service]\nExecStart=/usr/bin/picorelay run\n');
  assert.equal(startersIn(root).length, 1, 'without systemd its units are nothing');
  mkdirSync(join(root, 'run/systemd/system'), { recursive: true });
  assert.deepEqual(startersIn(root), [
    { where: 'other.service', idle: 'not enabled: systemctl enable --now other.service' },
    { where: 'picorelay.timer', idle: 'not enabled: systemctl enable --now picorelay.timer' },
  ]);
  put('etc/systemd/system/timers.target.wants/picorelay.timer', '');
  assert.equal(startersIn(root)[1]?.idle, undefined);
});

test('All of a host that is set up is ok, and a line each', {
  skip: process.getuid?.() !== 0,
}, async (t) => {
  const site = await soundSite(t);
  await site.run('sendmail', ['ann@x.test'], '');
  await site.run('picorelay-cron');
  const script = [
    'mount -t tmpfs none /usr/sbin && mount -t tmpfs none /etc/cron.d || exit 99',
    `ln -s ${programPath('sendmail')} /usr/sbin/sendmail`,
    "echo '* * * * * root picorelay-cron' > /etc/cron.d/picorelay",
    `cp "$(command -v sleep)" ${site.folder}/cron && { ${site.folder}/cron 60 & }`,
    `${programPath('picorelay')} check; status=$?; kill $!; exit $status`,
  ].join('\n');
  const { status, stdout } = await run(['unshare', '--mount', 'sh', '-c', script], {
    env: { ...site.env },
  });
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^ok +runner +it is started by a line of \/etc\/cron\.d\/picorelay/m);
  assert.match(stdout, /^ok +runner +a runner was at work \d+s ago$/m);
  assert.match(stdout, /^ok +host +\/usr\/sbin\/sendmail is picorelay's$/m);
  assert.match(stdout, /\n0 failures, 0 warnings, \d+ ok\n$/);
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
});

test('A clock that was set back is noticed by the files of later', async (t) => {
  const site = await soundSite(t);
  const ahead = new Date(Date.now() + 3 * 3_600_000);
  mkdirSync(join(site.spool, 'run'), { recursive: true });
  writeFileSync(join(site.spool, 'run', 'runner'), '');
  const touched = await run([
    'touch',
    '-d',
    ahead.toISOString(),
    join(site.spool, 'run', 'runner'),
  ]);
  assert.equal(touched.status, 0);
  assert.match(await told(site, 'failure', 'host'), /the clock is wrong/);
});

test('--quiet prints only what is not ok', async (t) => {
  const site = await soundSite(t);
  const fine = await site.run('picorelay', ['check', '-q', 'control', 'relay']);
  assert.deepEqual(fine, { status: 0, stdout: '', stderr: '' });
  site.relays(await freePort());
  const { status, stdout } = await site.run('picorelay', ['check', '-q', 'control', 'relay']);
  assert.equal(status, 2);
  assert.match(stdout, /^failure +relay +[\s\S]*\n {18}> editor \S+\n$/);
  assert.equal((await site.run('picorelay', ['check', 'nonsense'])).status, 64);
});

test('The keys that sign are compared with the DNS', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const [good, other] = [makeKey('rsa'), makeKey('ed25519')];
  const path = join(site.folder, 'key.pem');
  writeFileSync(path, good.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const dns = await startNameServer(t, {
    'a._domainkey.x.test': { TXT: [keyRecord(good).replace('; p=', '; p= ')] },
    'b._domainkey.x.test': { TXT: ['v=DKIM1; p=', keyRecord(other)] },
    'd._domainkey.x.test': 'SERVFAIL',
  });
  site.control('nameservers', dns.address);
  site.control('dkim', ['a', 'b', 'c', 'd'].map((name) => `x.test ${name} ${path}`).join('\n'));
  assert.match(await told(site, 'ok', 'relay'), /signed, and the DNS has a\._domainkey\.x\.test/);
  const failures = await told(site, 'failure', 'relay');
  assert.match(failures, /another key than b\._domainkey\.x\.test has > picorelay dkim/);
  assert.match(failures, /the DNS has no c\._domainkey\.x\.test > picorelay dkim/);
  assert.match(await told(site, 'warning', 'relay'), /d\._domainkey\.x\.test: .*SERVFAIL/);
  site.control('dkim', `x.test a ${path}.none`);
  assert.match(await told(site, 'failure', 'relay'), /control\/dkim line 1: .*ENOENT/);
});

test('A token that is about to end is a warning', async (t) => {
  const site = siteFor(t);
  site.control('oauthtokenurl', 'https://x.test/token');
  site.control('oauthclientid', 'me');
  site.control('oauthrefreshtoken', 'hush');
  chmodSync(join(site.folder, 'control/oauthrefreshtoken'), 0o600);
  site.control('oauthexpires', '2026-01-01');
  assert.match(await told(site, 'warning', 'control'), /the refresh token ends at 2026-01-01/);
});
