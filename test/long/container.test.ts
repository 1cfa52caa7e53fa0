// The container as far as it is seen without an engine: its entry point with its settings, as a user
// without a name, on a root that is read-only but for the spool and a folder in memory.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { must, waitFor } from '../support/process.ts';
import { EXTENSIONS, startRelay } from '../support/relay.ts';

const file = readFileSync('packaging/container/Containerfile', 'utf8');

/** What stands behind a word of the Containerfile's last stage, the last one counts. */
function instruction(word: string): string {
  const found = [...file.matchAll(new RegExp(`^${word} (.*)$`, 'gm'))].at(-1)?.[1];
  assert.ok(found !== undefined, word);
  return found;
}

/** Runs a command as the engine would; its first word is user and group. */
const ENGINE = `
mount --bind / /mnt
mount --bind /spool /mnt/var/spool/picorelay
mount -t proc proc /mnt/proc
mount --rbind /dev /mnt/dev
mount -t tmpfs -o mode=755 none /mnt/run
mkdir -m 1777 /mnt/run/picorelay
mkdir /mnt/run/secrets
echo 'a secret' > /mnt/run/secrets/picorelay_authpassword
mount -o remount,bind,ro /mnt
user=$1; shift
exec chroot --userspec="$user" --groups= /mnt env -i PATH=/usr/sbin:/usr/bin "$@"
`;

test('The entry point serves without root on a read-only root', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const host = await freshRoot(t);
  const relay = await startRelay(t, { extensions: [...EXTENSIONS, 'AUTH PLAIN'] });
  await host.installNode();
  const out = mkdtempSync(join(tmpdir(), 'picorelay-container-'));
  t.after(() => rmSync(out, { recursive: true }));
  const deb = await must([process.execPath, 'packaging/deb.mjs', '--fast', '--out', out], {
    env: { PATH: process.env['PATH'] ?? '' },
  });
  await must(['dpkg-deb', '-x', deb.trim(), join(out, 'tree')]);
  await must(['cp', '-r', join(out, 'tree/usr/lib/picorelay'), host.at('/opt')]);
  await must(['cp', 'build/container/settings.js', host.at('/opt/picorelay/settings.mjs')]);
  await must([
    'cp',
    'packaging/container/entry.sh',
    'packaging/container/health.sh',
    host.at('/opt/picorelay'),
  ]);

  // What the Containerfile does in its last stage.
  const [, commands = ''] = /^RUN (for [\s\S]*?)\n(?=[A-Z])/m.exec(file) ?? [];
  await host.must(['sh', '-euc', commands.replaceAll('\\\n', '')]);
  const user = instruction('USER');
  assert.match(user, /^[1-9]\d*:[1-9]\d*$/);
  await host.must(['install', '-d', '-m', '700', '-o', user.split(':')[0] ?? '', '/spool']);
  const [name = '', value = ''] = instruction('ENV').split('=');
  const settings = {
    [name]: value,
    PICORELAY_ME: 'app.test',
    PICORELAY_RELAY: `smtp://127.0.0.1:${relay.port}`,
    PICORELAY_AUTHUSER: 'me',
    PICORELAY_AUTH_CLEARTEXT: 'yes',
    PICORELAY_LINGER: '0s',
  };
  const [entry = ''] = JSON.parse(instruction('ENTRYPOINT')) as string[];
  const words = JSON.parse(instruction('CMD')) as string[];
  const inContainer = (more: Readonly<Record<string, string>>, command: readonly string[]) => [
    ...['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-euc', ENGINE, 'sh', user],
    ...Object.entries({ ...settings, ...more }).map(([key, text]) => `${key}=${text}`),
    ...[entry, ...command],
  ];
  const container = await host.start(inContainer({}, words));
  t.after(() => container.stop());
  await waitFor('the socket', () => host.names('/spool').includes('socket') || container.ended(), {
    detail: container.output,
  });
  assert.equal(container.ended(), false, container.output());

  // Another container hands over a message by the socket, which is on a folder that both have.
  const asUser = ['setpriv', `--reuid=${user.split(':')[0]}`, '--clear-groups'];
  const message = 'Subject: from a container\\r\\n\\r\\nb\\r\\n';
  const client = `const s=require('net').connect({path:'/spool/socket',allowHalfOpen:true});s.pipe(process.stdout);s.end('Fa@x.test\\0Tb@x.test\\0\\0${message}')`;
  const answer = await host.must([...asUser, 'node', '-e', client]);
  assert.match(answer, /^K/);
  await waitFor('the mail at the relay', () => relay.received.length === 1, {
    detail: container.output,
  });
  assert.match(relay.received[0]?.raw.toString() ?? '', /^Subject: from a container\r$/m);
  const login = Buffer.from('\0me\0a secret').toString('base64');
  assert.ok(relay.lines.includes(`AUTH PLAIN ${login}`), relay.lines.join('\n'));
  await waitFor('the line of the log', () => container.output().includes('relayed'));
  assert.doesNotMatch(container.output(), /a secret/);

  // The engine asks for its health inside the container.
  await container.stop();
  const [, health = ''] = /^HEALTHCHECK .* CMD \["(.*)"\]$/m.exec(file) ?? [];
  const asked = `${words.join(' ')} & until [ -S ${words.at(-1)} ]; do sleep 0.1; done; ${health} >&2 && echo well || echo ill; kill $!; wait`;
  const healthOf = async (more: Readonly<Record<string, string>>): Promise<string> => {
    rmSync(host.at('/spool/socket'), { force: true });
    const { stdout, stderr } = await host.run(inContainer(more, ['sh', '-c', asked]));
    return `${stdout}${stderr}`;
  };
  assert.match(await healthOf({}), /^well\n/);
  assert.match(
    await healthOf({ PICORELAY_RELAY: 'smtp://127.0.0.1:1' }),
    /^ill\n[\s\S]*failure +relay/,
  );
});
