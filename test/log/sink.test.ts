import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Log } from '../../src/log/log.ts';
import { openSink } from '../../src/log/sink.ts';
import { run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, siteFor } from '../support/site.ts';

test('Lines of a file carry the time, in JSON as its first key', () => {
  const written: string[] = [];
  const sink = openSink('/var/log/x', {
    stderr: () => assert.fail('nothing is wrong'),
    append: (path, text) => written.push(`${path}|${text}`),
    now: () => Date.UTC(2026, 10, 20, 23, 15, 1, 5),
  });
  sink.write('paused route=default');
  sink.write('{"event":"paused"}');
  assert.deepEqual(written, [
    '/var/log/x|2026-11-20T23:15:01.005Z paused route=default\n',
    '/var/log/x|{"time":"2026-11-20T23:15:01.005Z","event":"paused"}\n',
  ]);
});

test('Values with spaces, quotes and equal signs stay one field', () => {
  const lines: string[] = [];
  const log = new Log('text', (line) => lines.push(line));
  log.corrupt('a b', 'say "x=1"\nforged id=2');
  log.fault('');
  assert.deepEqual(lines, [`corrupt id="a b" said="say 'x=1'\\x0aforged id=2"`, 'fault said=""']);
});

test('In JSON every value is escaped too', () => {
  const lines: string[] = [];
  new Log('json', (line) => lines.push(line)).corrupt('x', '\x1b"\u2028\\');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ event: 'corrupt', id: 'x', said: '\\x1b"\\u{2028}\\\\' }],
  );
});

test('syslog is one logger for a run, which gets every line', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('log', undefined);
  // There is no system log in a test: a logger that keeps what it is given stands in its place.
  const bin = join(site.folder, 'bin');
  mkdirSync(bin);
  const said = join(site.folder, 'said');
  writeFileSync(join(bin, 'logger'), `#!/bin/sh\necho "$*" >>'${said}'\nexec cat >>'${said}'\n`);
  chmodSync(join(bin, 'logger'), 0o755);
  await site.run('sendmail', ['a@x.test', 'b@x.test'], 'Subject: s\n\nb\n');
  const env = { ...site.env, PATH: `${bin}:/usr/bin:/bin` };
  const ran = await run([programPath('picorelay-cron')], { env });
  assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
  const [call, ...lines] = readFileSync(said, 'utf8').trimEnd().split('\n');
  assert.equal(call, '-t picorelay -p mail.info');
  assert.deepEqual(lines.map((line) => line.split(' ')[0]).toSorted(), [
    'accepted',
    'accepted',
    'relayed',
    'relayed',
  ]);
});

test('Without a logger the events go to standard error, and the mail goes out', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('log', undefined);
  await site.run('sendmail', ['a@x.test'], 'Subject: s\n\nb\n');
  const ran = await run([programPath('picorelay-cron')], {
    env: { ...site.env, PATH: join(site.folder, 'nowhere') },
  });
  assert.equal(ran.status, 0);
  assert.match(ran.stderr, /^picorelay: no syslog: logger: .*ENOENT/m);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.ok(!existsSync(join(site.folder, 'said')));
});
