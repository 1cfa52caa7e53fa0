// The commands that show how picorelay does, run as programs: status, watch, log, metrics.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { freePort, start, waitFor, waitForPort } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { documentedShape, shapeOf } from '../support/shape.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';
import { onTerminal } from '../support/terminal.ts';

const LETTER = 'Subject: tea\n\nat four\n';

async function siteAndRelay(t: TestContext): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later')) return '450 4.2.1 mailbox busy';
      return line.startsWith('RCPT TO:<never') ? '550 5.1.1 nobody \x1b[31m<b>here</b>' : undefined;
    },
  });
  site.relays(relay.port);
  return { site, relay };
}

async function send(site: Site, ...to: readonly string[]): Promise<void> {
  const sent = await site.run('sendmail', ['-f', 'jo@y.test', ...to], LETTER);
  assert.equal(sent.status, 0, sent.stderr);
}

test('status says on one screen what waits, what went and what is wrong', async (t) => {
  const { site } = await siteAndRelay(t);
  const before = await site.run('picorelay', ['status']);
  assert.match(before.stdout, /^Queue +empty$/m);
  assert.deepEqual(site.names('.'), [], 'looking makes nothing');
  await send(site, 'later@x.test', 'never@x.test', 'ok1@x.test', 'ok2@x.test');
  await site.run('picorelay-cron');
  const { status, stdout, stderr } = await site.run('picorelay', ['status']);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^picorelay on client\.test +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/m);
  assert.match(stdout, /^Routes +none is paused$/m);
  assert.match(stdout, /^Runner +at work \d+s ago$/m);
  assert.match(stdout, /^Queue +1 mail, \d+, oldest \d+s, next try in \d+s\n +up to 5m +#+ 1$/m);
  assert.match(stdout, /^Last 24 h +# 2 relayed {3}- 1 try put off {3}x 1 refused or given up$/m);
  assert.match(stdout, /^ +4 \| +x$/m);
  assert.match(stdout, /^Undelivered +1 mail, the newest \d+s old: picorelay undelivered$/m);
  assert.ok(stdout.split('\n').length <= 24);
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  site.relays(await freePort());
  await site.run('picorelay', ['run', '--once']);
  const paused = await site.run('picorelay', ['status']);
  assert.match(
    paused.stdout,
    /^Routes +paused for \d+s at connect by smtp:\S+\n +connect ECONNREFUSED/m,
  );
  const now = Date.now();
  const [until, since] = [now + 3_600_000, now - 60_000].map((time) =>
    new Date(time).toISOString(),
  );
  writeFileSync(join(site.spool, 'run', 'rates'), `0 until=${until} held=${since}\n`);
  const held = await site.run('picorelay', ['status']);
  assert.match(
    held.stdout,
    /^Held back +mail of user 0 for \d+s: more than control\/userrate allows$/m,
  );
  const json = JSON.parse((await site.run('picorelay', ['status', '--json'])).stdout) as unknown;
  assert.deepEqual(shapeOf(json), documentedShape('status'));
});

test('Blocks are drawn where the terminal has them, colours on a terminal only and not with NO_COLOR', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'ok@x.test');
  await site.run('picorelay-cron');
  const utf8 = await site.run('picorelay', ['status'], '', { env: { LANG: 'C.UTF-8' } });
  assert.match(utf8.stdout, /█ 1 relayed/);
  assert.ok(!utf8.stdout.includes('\x1b'));
  for (const [env, coloured] of [
    [{}, true],
    [{ NO_COLOR: '1' }, false],
    [{ NO_COLOR: '' }, true],
    [{ TERM: 'dumb' }, false],
  ] as const) {
    const terminal = onTerminal(t, [programPath('picorelay'), 'status'], { ...site.env, ...env });
    assert.equal(await terminal.end(), 0);
    assert.equal(terminal.shown().includes('\x1b['), coloured, JSON.stringify(env));
  }
});

test('watch draws anew what changes, and leaves the terminal as it was', async (t) => {
  const { site } = await siteAndRelay(t);
  const command = [programPath('picorelay'), 'watch', '--interval', '0.3'];
  const terminal = onTerminal(t, command, site.env);
  await terminal.expect(/\x1b\[\?1049h\x1b\[\?25l/);
  await terminal.expect(/empty/);
  await send(site, 'later@x.test');
  await terminal.expect(/1 mail, /);
  await terminal.expect(/<jo@y\.test> to <later@x\.test>/);
  terminal.type('x');
  await terminal.expect(/q quits/);
  terminal.type('q');
  assert.equal(await terminal.end(), 0);
  assert.ok(terminal.shown().trimEnd().endsWith('\x1b[?25h\x1b[?1049l'));
});

test('watch ends cleanly by an interrupt, and wants a terminal', async (t) => {
  const { site } = await siteAndRelay(t);
  for (const key of ['\x03', '\x1b']) {
    const terminal = onTerminal(t, [programPath('picorelay'), 'watch'], site.env);
    await terminal.expect(/q quits/);
    terminal.type(key);
    assert.equal(await terminal.end(), 0);
    assert.ok(terminal.shown().includes('\x1b[?1049l'));
  }
  const { status, stdout, stderr } = await site.run('picorelay', ['watch']);
  assert.deepEqual([status, stdout], [64, '']);
  assert.match(stderr, /watch wants a terminal/);
  assert.equal((await site.run('picorelay', ['watch', '--interval', '0'])).status, 64);
});

test('A screen never has more rows than the terminal', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, ...Array.from({ length: 30 }, (_, n) => `m${n}@x.test`));
  const terminal = onTerminal(t, [programPath('picorelay'), 'watch'], site.env, { rows: 10 });
  await terminal.expect(/q quits/);
  terminal.type('q');
  await terminal.end();
  const [, screen = ''] = terminal.shown().split('\x1b[H');
  assert.equal(screen.split('\r\n').length, 10);
});

test('log follows a mail from its acceptance to the relay, also through a resend', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'later@x.test', 'never@x.test');
  await site.run('picorelay-cron');
  relay.script = () => undefined;
  await site.run('picorelay', ['retry', 'later']);
  const later = await site.run('picorelay', ['log', 'later']);
  assert.deepEqual([later.status, later.stderr], [0, '']);
  assert.match(
    later.stdout,
    /^\S+:later@x\.test\n {2}\S+ \S+ accepted +\d+ octets, [\s\S]* put off +by smtp:\S+ at rcpt: 450 4\.2\.1\s+mailbox\s+busy; 1 try, next [\s\S]* relayed +by smtp:\S+ at dot: 250/,
  );
  await site.run('picorelay', ['resend', 'never', '--to', 'ann@x.test']);
  await site.run('picorelay-cron');
  const chain = await site.run('picorelay', ['log', 'never']);
  assert.match(
    chain.stdout,
    / refused [\s\S]* resent +by \S+, as the mail below\n\S+:ann@x\.test\n[\s\S]* relayed /,
  );
  assert.ok(!chain.stdout.includes('\x1b'));
  const json = await site.run('picorelay', ['log', 'never', '--json']);
  assert.deepEqual(shapeOf(JSON.parse(json.stdout)), documentedShape('log'));
  const several = await site.run('picorelay', ['log', '@x.test']);
  assert.match(several.stdout, /^3 mails with "@x\.test" in the name, name one:\n/);
  const nobody = await site.run('picorelay', ['log', 'nobody']);
  assert.equal(nobody.status, 66);
  assert.match(nobody.stderr, /tells of no mail with "nobody" in its name\n$/);
});

test('log reads rotated and packed files, the JSON format and another file', async (t) => {
  const { site } = await siteAndRelay(t);
  const file = join(site.folder, 'log');
  const day = (n: number): string => `2026-11-2${n}T06:00:00.000Z`;
  const event = (n: number, words: string): string =>
    `${day(n)} ${words.replace('ID', 'id=20261120T060000.000000Z:7:a@x.test:b@x.test')}\n`;
  const old = (name: string, n: number, data: string | Buffer): void => {
    writeFileSync(`${file}${name}`, data);
    utimesSync(`${file}${name}`, new Date(day(n)), new Date(day(n)));
  };
  old('.3', 0, gzipSync('').subarray(0, 5));
  old('.2.gz', 1, gzipSync(event(1, 'accepted ID from=a@x.test to=b@x.test size=5')));
  old(
    '-20261122',
    2,
    event(2, 'deferred ID from=a to=b relay=r stage=rcpt said="450 later" attempts=1'),
  );
  old('.old', 2, event(2, 'refused ID from=a to=b relay=r stage=rcpt said=x'));
  writeFileSync(
    file,
    `{"time":"${day(3)}","event":"relayed","id":"20261120T060000.000000Z:7:a@x.test:b@x.test","relay":"r","stage":"dot","said":"250 ok","delay":5}\n`,
  );
  const { stdout } = await site.run('picorelay', ['log', '20261120T060000']);
  assert.deepEqual(
    [...stdout.matchAll(/^ {2}(\S+) \S+ (accepted|put off|relayed|refused)/gm)].map((match) =>
      match.slice(1).join(' '),
    ),
    ['2026-11-21 accepted', '2026-11-22 put off', '2026-11-23 relayed'],
  );
  const other = await site.run('picorelay', ['log', '20261120', '--file', `${file}.old`]);
  assert.match(other.stdout, /refused/);
  site.control('log', 'stderr');
  const nowhere = await site.run('picorelay', ['log', 'x']);
  if (nowhere.stderr.includes('--file')) assert.equal(nowhere.status, 66);
});

test('log --follow waits until the mail is relayed', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'later@x.test');
  await site.run('picorelay-cron');
  const following = await start([programPath('picorelay'), 'log', '-f', 'later'], {
    env: site.env,
  });
  t.after(() => following.stop());
  await waitFor('the first try', () => following.output().includes('put off'));
  relay.script = () => undefined;
  await site.run('picorelay', ['retry', 'later']);
  await waitFor('the end', () => following.ended());
  assert.equal(following.status(), 0);
  assert.match(following.output(), / relayed +by /);
  assert.equal(following.output().match(/put off/g)?.length, 1);
});

test('metrics are text that Prometheus reads, in a file that is replaced as a whole', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later@x.test', 'never@x.test', 'ok@x.test');
  await site.run('picorelay-cron');
  site.relays(await freePort());
  await site.run('picorelay-cron');
  await send(site, 'new@x.test');
  await site.run('picorelay', ['run', '--once']);
  const file = join(site.folder, 'picorelay.prom');
  symlinkSync('/dev/null', file);
  const quiet = await site.run('picorelay', ['metrics', '--file', file]);
  assert.deepEqual(quiet, { status: 0, stdout: '', stderr: '' });
  const text = readFileSync(file, 'utf8');
  assert.equal(statSync(file).mode & 0o777, 0o644);
  assert.deepEqual(
    readdirSync(site.folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
  const names = new Set<string>();
  for (const line of text.trimEnd().split('\n')) {
    const [, name = ''] = /^# (?:HELP|TYPE) (picorelay_[a-z_]+) \S/.exec(line) ?? [];
    if (name !== '') names.add(name);
    else {
      const [, sample = ''] =
        /^([a-z_]+)(?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})? \d+(?:\.\d+)?$/.exec(line) ?? [];
      assert.ok(names.has(sample), line);
    }
  }
  assert.match(text, /^picorelay_queue_mails\{state="waiting"\} 2$/m);
  assert.match(text, /^picorelay_relayed_total 1$/m);
  assert.match(text, /^picorelay_deferred_total 1$/m);
  assert.match(text, /^picorelay_refused_total 1$/m);
  assert.match(text, /^picorelay_undelivered_mails 1$/m);
  assert.match(text, /^picorelay_route_paused_seconds\{route="default",stage="connect"\} [\d.]+$/m);
  const printed = await site.run('picorelay', ['metrics']);
  assert.match(printed.stdout, /^picorelay_corrupt_files 0$/m);
  const wrong = await site.run('picorelay', ['metrics', '--file', join(site.folder, 'no', 'such')]);
  assert.notEqual(wrong.status, 0);
});

test('run --metrics answers on loopback, and nothing but /metrics', async (t) => {
  const { site } = await siteAndRelay(t);
  const port = await freePort();
  const service = await start([programPath('picorelay'), 'run', '--metrics', String(port)], {
    env: site.env,
  });
  t.after(() => service.stop());
  await waitForPort(port);
  const get = async (path: string, init?: RequestInit): Promise<Response> =>
    await fetch(`http://127.0.0.1:${port}${path}`, init ?? {});
  const answer = await get('/metrics');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  assert.match(await answer.text(), /^picorelay_queue_mails\{state="new"\} 0$/m);
  assert.equal((await get('/')).status, 404);
  assert.equal((await get('/../../etc/passwd')).status, 404);
  assert.equal((await get('/metrics', { method: 'POST', body: 'x' })).status, 405);
  const garbage = createConnection({ host: '127.0.0.1', port });
  garbage.on('error', () => undefined);
  garbage.write('\x00\x01\x02 nonsense\r\n\r\n');
  await new Promise((resolve) => garbage.on('close', resolve).resume());
  assert.equal((await get('/metrics')).status, 200);
  const listening = execFileSync('cat', ['/proc/net/tcp', '/proc/net/tcp6'], { encoding: 'utf8' });
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  assert.deepEqual(
    [...listening.matchAll(new RegExp(`\\b(\\w+):${hex} \\w+:0000 0A`, 'g'))].map(
      (match) => match[1],
    ),
    ['0100007F'],
  );
  // A second one finds the port taken and says so.
  const second = await site.run('picorelay', ['run', '--metrics', String(port)]);
  assert.notEqual(second.status, 0);
  assert.match(second.stderr, /EADDRINUSE/);
  const wrong = await site.run('picorelay', ['run', '--metrics', 'nonsense']);
  assert.equal(wrong.status, 64);
  await service.stop();
});

test('status --html writes one page that holds all it needs and nothing that runs', async (t) => {
  const { site } = await siteAndRelay(t);
  await site.run('sendmail', ['-f', '', 'later@x.test', 'never@x.test', 'ok@x.test'], LETTER);
  await site.run('sendmail', ['-f', '"<script>"@y.test', '"<img/src=x>"@x.test'], LETTER);
  await site.run('picorelay', ['hold', '*img*']);
  await site.run('picorelay-cron');
  const file = join(site.folder, 'status.html');
  const made = await site.run('picorelay', ['status', '--html', file]);
  assert.deepEqual(made, { status: 0, stdout: '', stderr: '' });
  const page = readFileSync(file, 'utf8');
  assert.match(page, /^<!doctype html>/);
  assert.doesNotMatch(page, /<script|<img|<b>here|https?:|\burl\(|\bsrc=(?!x)|@import|\x1b/);
  assert.match(page, /default-src 'none'/);
  assert.match(page, /<svg[^>]*aria-label="Mail by the hour"/);
  assert.match(page, /nobody \\x1b\[31m&lt;b&gt;here/);
  const printed = await site.run('picorelay', ['status', '--html', '-']);
  assert.match(printed.stdout, /^<!doctype html>[\s\S]*<\/html>\n$/);
  rmSync(file);
  mkdirSync(file);
  assert.notEqual((await site.run('picorelay', ['status', '--html', file])).status, 0);
});
