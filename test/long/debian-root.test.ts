// What root does in the package's scripts changes no foreign file, whatever lies where they work: links,
// second names of files, folders that somebody moved there, and mounts. And no mail that comes in meanwhile
// is taken.
import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Fresh, freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { differences, treeOf } from '../interop/tree.ts';
import { type Finished, must } from '../support/process.ts';

const spool = '/var/spool/picorelay';
const control = '/etc/picorelay';
const log = '/var/log/picorelay';
const record = '/var/lib/picorelay';
const tops = [control, log, record, spool];
const mailFolders = ['incoming', 'unsplit', 'spool', 'Undelivered', 'corrupt'];

/** An installation with something in each of its places, and what must not be touched. */
const MAKE = `
cd ${spool}
setpriv --reuid=picorelay --regid=picorelay --clear-groups sh -euc '
  mkdir -p run/bounces run/users run/runner.lock
  for file in tmp/draft run/seen run/oauth run/bounces/note run/users/0 routes/default socket; do
    echo x > $file
  done
  [ -p wake ] || mkfifo wake'
echo secret > ${control}/authpassword
ln -s /etc/aliases ${control}/aliases
mkdir ${control}/empty
install -d -o picorelay -g picorelay ${log}
setpriv --reuid=picorelay --regid=picorelay --clear-groups sh -c 'echo x > ${log}/log; echo x > ${log}/log.1'
mkdir -p ${record}
echo x > ${record}/installed

mkdir -p /srv/victims/roots/deep /srv/victims/testers /srv/victims/picorelays /srv/template /srv/away
chmod 1777 /srv/away
cd /srv/victims
echo 'root alone' > roots/secret
echo deeper > roots/deep/file
chmod 600 roots/secret
chmod 750 roots
# Every user may give it a second name.
echo 'open to all' > open
chmod 666 open
for user in tester picorelay; do
  cp roots/secret \${user}s/secret
  mkdir \${user}s/empty
  chown -R "$user:" \${user}s
done
cd /
cp -a --parents ${tops.map((top) => `.${top}`).join(' ')} ./srv/victims /srv/template

mkdir /srv/tools
printf '#!/bin/sh\\necho "$0" >> /srv/gone\\n' > /srv/tools/deluser
cp /srv/tools/deluser /srv/tools/delgroup
printf '#!/bin/sh\\n' > /srv/tools/deb-systemd-helper
chmod 755 /srv/tools/*
`;

const RESET = `
for top in ${tops.join(' ')} /srv/victims; do
  rm -rf "$top"
done
rm -rf /srv/gone /srv/away/*
cp -a /srv/template/. /
`;

/**
 * Puts something in each place and runs a script. $1 is what is put there. $2 lists the places as USER:PATH;
 * root mounts, and the user does all else. The other arguments are the script's command line.
 */
const CASE = `${RESET}
kind=$1 places=$2
shift 2
cat > /srv/plant <<'END'
kind=$1 place=$2
case $kind in
  mount)
    [ -e "$place" ] || mkdir "$place"
    exit ;;
  link) set -- ln -s "/srv/victims/$(id -un)s" "$place" ;;
  file-link) set -- ln -s /srv/victims/open "$place" ;;
  no-link) set -- ln -s /srv/victims/roots/new "$place" ;;
  name) set -- ln /srv/victims/open "$place" ;;
  folder)
    new=$(mktemp -d /srv/away/new-XXXXXX)
    mkdir "$new/deep"
    ln /srv/victims/open "$new/name"
    ln /srv/victims/open "$new/deep/name"
    ln -s /srv/victims/roots "$new/roots"
    ln -s /srv/victims/picorelays "$new/deep/relays"
    set -- mv -T "$new" "$place" ;;
esac
if [ -e "$place" ] || [ -L "$place" ]; then mv -T "$place" "$(mktemp -u /srv/away/old-XXXXXX)"; fi
"$@"
END
mounted=
for each in $places; do
  user=\${each%%:*} place=\${each#*:}
  setpriv --reuid="$user" --regid="$user" --init-groups sh -eu /srv/plant "$kind" "$place"
  if [ "$kind" = mount ]; then
    if [ -d "$place" ]; then from=/srv/victims/roots; else from=/srv/victims/roots/secret; fi
    mount --bind "$from" "$place"
    mounted="$place $mounted"
  fi
done
status=0
"$@" || status=$?
for place in $mounted; do umount "$place"; done
exit "$status"
`;

const scripts = {
  'postinst, first time': ['/var/lib/dpkg/info/picorelay.postinst', 'configure', ''],
  'postinst, upgrade': ['/var/lib/dpkg/info/picorelay.postinst', 'configure', '0.0.9'],
  'postrm remove': ['/var/lib/dpkg/info/picorelay.postrm', 'remove'],
  'postrm purge': ['/var/lib/dpkg/info/picorelay.postrm', 'purge'],
} as const;

/** What a user links to is his own: as that user, too, nobody must take it. postinst also writes a file. */
const kindsFor = (script: keyof typeof scripts): readonly string[] => [
  ...['link', 'name', 'folder', 'mount'],
  ...(script.startsWith('postinst') ? ['file-link', 'no-link'] : []),
];

const inSpool = (names: readonly string[]): readonly string[] =>
  names.map((name) => `picorelay:${spool}/${name}`);

/** What is planted at once: one of it must not keep a script from coming to another. */
const rounds: Readonly<Record<keyof typeof scripts, readonly (readonly string[])[]>> = {
  'postinst, first time': [
    [`root:${control}`],
    [`root:${control}/me`],
    [`root:${spool}`],
    [`root:${log}`, `root:${record}`],
  ],
  'postinst, upgrade': [[`root:${control}`], [`root:${control}/me`], [`root:${spool}`]],
  'postrm remove': [[`root:${spool}`], inSpool(mailFolders), [`tester:${spool}/incoming/new`]],
  'postrm purge': [
    [`root:${control}`, `root:${record}`, `root:${log}`, `root:${spool}`],
    [`root:${control}/me`, `root:${control}/new`],
    [`root:${record}/installed`, `root:${record}/new`],
    [
      ...[`picorelay:${log}/log`, `picorelay:${log}/new`],
      ...inSpool(['version', 'wake', 'socket', 'new', 'tmp/new', 'tmp/draft', 'routes/new']),
      ...inSpool(['run/new', 'run/runner.lock', 'run/bounces/new', 'run/users/new']),
    ],
    inSpool(['tmp', 'routes', 'run/bounces', 'run/users']),
    inSpool(['run']),
    inSpool(['incoming']),
    inSpool(mailFolders.map((name) => `${name}/new`)),
    [`tester:${spool}/incoming/new`],
  ],
};

const PATH = '/srv/tools:/usr/sbin:/usr/bin:/sbin:/bin';

async function hostWithPackage(t: TestContext): Promise<Fresh> {
  const host = await freshRoot(t);
  const out = mkdtempSync(join(tmpdir(), 'picorelay-deb-'));
  t.after(() => rmSync(out, { recursive: true }));
  const built = await must([process.execPath, 'packaging/deb.mjs', '--fast', '--out', out], {
    env: { PATH: process.env['PATH'] ?? '' },
  });
  await must(['cp', built.trim(), host.at('/tmp')]);
  await host.installNode();
  await host.must(['dpkg', '--unpack', `/tmp/${basename(built.trim())}`]);
  // It takes seconds each time, and is not what is looked at.
  await host.must(['rm', '/usr/lib/picorelay/packaging/code.mjs']);
  await host.must(['dpkg', '--configure', 'picorelay']);
  await host.must(['sh', '-euc', MAKE]);
  return host;
}

const exists = (host: Fresh, path: string): boolean =>
  lstatSync(host.at(path), { throwIfNoEntry: false }) !== undefined;

const victimsOf = (host: Fresh) => treeOf({ at: (path) => host.at(`/srv/victims${path}`) });

/** Runs a script on an installation as it was made, after these lines. */
async function runOn(
  host: Fresh,
  lines: string,
  command: readonly string[],
  path = PATH,
): Promise<Finished> {
  const text = `${RESET}\n${lines}\nexec "$@"`;
  return await host.run(['sh', '-euc', text, 'sh', ...command], { env: { PATH: path } });
}

test("The package's scripts leave foreign files alone", {
  skip: skipWithout('fresh'),
}, async (t) => {
  const host = await hostWithPackage(t);
  const victims = victimsOf(host);
  const purge = scripts['postrm purge'];

  for (const script of Object.keys(scripts) as (keyof typeof scripts)[]) {
    for (const kind of kindsFor(script)) {
      await t.test(`${script}: ${kind}`, async () => {
        const faults: string[] = [];
        for (const places of rounds[script]) {
          const { status, stdout, stderr } = await host.run(
            ['sh', '-euc', CASE, 'sh', kind, places.join(' '), ...scripts[script]],
            { env: { PATH } },
          );
          const found = [...differences(victims, victimsOf(host))];
          if (status !== 0) found.push(`exit status ${status}`);
          const said = `${stdout}${stderr}`;
          if (!/^(picorelay: [^\n]*\n)*$/.test(said)) found.push('says what is not for people');
          if (script === 'postrm purge') {
            const left = tops.filter((top) => exists(host, top));
            for (const top of left) {
              if (!said.includes(top)) found.push(`does not say that ${top} stays`);
            }
            if (exists(host, '/srv/gone') === left.length > 0) found.push('the user');
          }
          for (const fault of found) faults.push(`${places.join(' ')}: ${fault}\n${said}`);
        }
        assert.deepEqual(faults, []);
      });
    }
  }

  await t.test('All that is known goes, without a word, and the user too', async () => {
    const first = await runOn(host, '', purge);
    assert.deepEqual(first, { status: 0, stdout: '', stderr: '' });
    assert.deepEqual(
      tops.filter((top) => exists(host, top)),
      [],
    );
    assert.equal(host.read('/srv/gone'), '/srv/tools/deluser\n/srv/tools/delgroup\n');
    assert.deepEqual(await host.run(purge, { env: { PATH } }), first, 'once more');
  });

  await t.test('What stays is named, and shown so that no terminal obeys it', async () => {
    const { status, stderr } = await runOn(
      host,
      `mkdir -p ${control}/keys ${spool}/mine
      echo x > ${control}/keys/one
      cd ${log}
      setpriv --reuid=picorelay --regid=picorelay --clear-groups mkdir "$(printf 'a\\033[31m\\nb')"`,
      purge,
    );
    assert.equal(status, 0);
    const why = 'stays: it is not empty, a mount point, a link, or nothing of picorelay';
    assert.equal(
      stderr,
      `picorelay: ${control}/keys ${why}\n` +
        `picorelay: ${log}/a?[31m?b ${why}\n` +
        `picorelay: ${spool}/mine ${why}\n` +
        'picorelay: the user picorelay stays, because of what stays\n',
    );
    assert.deepEqual(host.names(control), ['keys']);
    assert.deepEqual(host.names(spool), ['mine']);
    assert.equal(exists(host, '/srv/gone'), false);
  });

  await t.test('root does not work in a folder that others can write', async () => {
    const { status, stderr } = await runOn(
      host,
      `chmod 2775 ${control}; chmod 777 ${record}`,
      purge,
    );
    assert.equal(status, 0);
    assert.match(
      stderr,
      /^picorelay: \/etc\/picorelay stays: .*others than root may write there$/m,
    );
    assert.ok(host.names(control).includes('authpassword'));
    assert.deepEqual(host.names(record), ['installed']);
    assert.equal(exists(host, spool), false);
  });

  await t.test('A spool of root goes but for what others can write in it', async () => {
    const own = await runOn(host, `chown -R root: ${spool}`, purge);
    assert.deepEqual(own, { status: 0, stdout: '', stderr: '' });
    assert.equal(exists(host, spool), false);
    const shared = await runOn(host, `chown -R root: ${spool}; chmod 770 ${spool}/tmp`, purge);
    assert.match(shared.stderr, /^picorelay: \/var\/spool\/picorelay\/tmp stays: /);
    assert.deepEqual(host.names(`${spool}/tmp`), ['draft']);
  });

  await t.test('A spool of root is told at an upgrade, and stays as it is', async () => {
    const { status, stderr } = await runOn(
      host,
      `chown root:root ${spool}`,
      scripts['postinst, upgrade'],
    );
    assert.equal(status, 0);
    assert.match(
      stderr,
      /^picorelay: \/var\/spool\/picorelay belongs to root and stays as it is: .*init/m,
    );
    assert.equal(lstatSync(host.at(spool)).uid, 0);
  });

  await t.test("init hands a spool of root to the package's user", async () => {
    const init = ['picorelay', 'init', '--yes', '--skip-test', '--relay', 'smtp://127.0.0.1:9'];
    const { status, stdout, stderr } = await runOn(
      host,
      `chown -R root: ${spool}; rm ${record}/installed`,
      init,
    );
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^done +queue in \/var\/spool\/picorelay, of picorelay$/m);
    const owner = await host.must(['stat', '-c', '%U', spool, `${spool}/incoming`]);
    assert.equal(owner, 'picorelay\npicorelay\n');
  });

  // Each tool that the script calls records its caller and its folder. At one of these calls mail arrives.
  await host.must([
    ...['sh', '-euc'],
    `mkdir /srv/watched
    cp /srv/tools/* /srv/watched
    cat > /srv/watched/rm <<'END'
#!/bin/sh
read moment < /srv/moment
[ "$moment" != 0 ] || echo "$(/usr/bin/id -u) $(pwd) \${0##*/} $*" >> /srv/calls
read count < /srv/count
count=$((count + 1))
echo "$count" > /srv/count
if [ "$count" = "$moment" ]; then
  for folder in ${mailFolders.join(' ')}; do
    path=${spool}/$folder/20260101T000000.000000Z:1:a@host.test:b@relayed.test
    if [ -d "\${path%/*}" ]; then echo mail > "$path"; echo "$path" >> /srv/accepted; fi
  done
fi
exec "/usr/bin/\${0##*/}" "$@"
END
    chmod 755 /srv/watched/rm
    for tool in rmdir find ls; do cp /srv/watched/rm /srv/watched/$tool; done`,
  ]);
  /** Purges. When the tools were called this often, mail arrives in each folder that exists. */
  const watched = async (moment: number): Promise<Finished> => {
    const prepare = `cd /srv
      : > calls; : > accepted; echo 0 > count; echo ${moment} > moment
      chmod 666 calls accepted count
      cd /`;
    return await runOn(host, prepare, purge, `/srv/watched:${PATH}`);
  };
  const linesOf = (path: string): readonly string[] => host.read(path).split('\n').slice(0, -1);

  await t.test('root removes nothing below a folder of another user', async () => {
    assert.equal((await watched(0)).status, 0);
    const changes = linesOf('/srv/calls').filter((call) => !/^\d+ \S+ ls /.test(call));
    const byRoot = changes.filter((call) => call.startsWith('0 '));
    const allowed = [
      /^0 \/etc\/picorelay (?:find|rmdir) \./,
      /^0 \/var\/lib\/picorelay rm -f installed$/,
      new RegExp(`^0 / rmdir (?:${tops.join('|')})$`),
    ];
    assert.deepEqual(
      byRoot.filter((call) => !allowed.some((each) => each.test(call))),
      [],
    );
    const { uid } = lstatSync(host.at('/srv/template/var/spool/picorelay'));
    assert.notEqual(uid, 0);
    assert.ok(changes.some((call) => call.startsWith(`${uid} ${spool} find tmp `)));
  });

  await t.test('Mail that comes in at any moment stays, with its user', async () => {
    const faults: string[] = [];
    let accepted: readonly string[];
    let moment = 0;
    let healed = 0;
    do {
      const { status, stderr } = await watched(++moment);
      accepted = linesOf('/srv/accepted');
      const found = accepted.filter((path) => !exists(host, path)).map((path) => `lost ${path}`);
      if (status !== 0) found.push(`exit status ${status}`);
      if (exists(host, '/srv/gone') === accepted.length > 0) found.push('the user');
      if (accepted.length > 0) {
        if (!stderr.includes(`mail is left in ${spool}`)) found.push('not told');
        const missing = () => mailFolders.filter((name) => !exists(host, `${spool}/${name}`));
        // Installed again, the host has a spool that takes mail.
        if (found.length === 0 && missing().length > 0) {
          healed++;
          await host.must(['mkdir', control]);
          await host.must([...scripts['postinst, first time']], { env: { PATH } });
          await host.run(['picorelay-cron']);
          if (missing().length > 0) found.push(`no folders ${missing().join(' ')}`);
        }
      }
      for (const fault of found) faults.push(`moment ${moment}: ${fault}\n${stderr}`);
    } while (accepted.length > 0);
    assert.deepEqual(faults, []);
    assert.ok(moment > mailFolders.length, `${moment} moments`);
    assert.ok(healed > 0);
  });
});
