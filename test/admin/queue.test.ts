// The commands that look after the queue, run as programs beside a relay and beside runners.
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Finished, freePort, run, waitFor } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { documentedShape, shapeOf } from '../support/shape.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';
import { onTerminal } from '../support/terminal.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** A site whose relay puts off later@, refuses never@ and takes all else. */
async function siteAndRelay(t: TestContext): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later')) return '450 4.2.1 mailbox busy';
      return line.startsWith('RCPT TO:<never') ? '550 5.1.1 nobody \x1b[31mhere' : undefined;
    },
  });
  site.relays(relay.port);
  return { site, relay };
}

async function send(site: Site, ...to: readonly string[]): Promise<void> {
  const sent = await site.run('sendmail', ['-f', 'jo@y.test', ...to], LETTER);
  assert.equal(sent.status, 0, sent.stderr);
}

async function json(site: Site, ...args: readonly string[]): Promise<{ [key: string]: unknown }> {
  const { status, stdout, stderr } = await site.run('picorelay', [...args, '--json']);
  assert.equal(stderr, '', `${status}`);
  return JSON.parse(stdout) as { [key: string]: unknown };
}

function done({ status, stderr }: Finished): void {
  assert.deepEqual([status, stderr], [0, '']);
}

test('list filters and sorts, and says how much it leaves out', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later2@x.test');
  await site.run('picorelay-cron');
  await site.run('sendmail', ['-f', '', 'ann@x.test'], `${LETTER}${'x'.repeat(3000)}\n`);
  await send(site, 'bob@x.test');
  await site.run('picorelay', ['hold', 'bob@x.test']);
  const order = async (...args: readonly string[]): Promise<string[]> => {
    const { stdout, status } = await site.run('picorelay', ['list', ...args]);
    assert.equal(status, 0);
    return [...stdout.matchAll(/ to <(\w+)@x\.test>/g)].map((match) => match[1] ?? '');
  };
  assert.deepEqual(await order(), ['later2', 'ann', 'bob']);
  assert.deepEqual(await order('--reverse'), ['bob', 'ann', 'later2']);
  assert.deepEqual(await order('--sort', 'to'), ['ann', 'bob', 'later2']);
  assert.deepEqual(await order('--sort', 'size'), ['ann', 'later2', 'bob']);
  assert.deepEqual(await order('--sort', 'next'), ['later2', 'ann', 'bob']);
  assert.deepEqual(await order('--sort', 'attempts'), ['later2', 'ann', 'bob']);
  assert.deepEqual(await order('--from', ''), ['ann']);
  assert.deepEqual(await order('--to', '*b*@x.test'), ['bob']);
  assert.deepEqual(await order('--state', 'held'), ['bob']);
  assert.deepEqual(await order('--older', '1h'), []);
  const { stdout } = await site.run('picorelay', ['list', '--state', 'held']);
  assert.match(stdout, /\n3 mails in the queue, of which 1 is shown\n$/);
  const wrong = await site.run('picorelay', ['list', '--older', 'long']);
  assert.equal(wrong.status, 64);
  assert.equal((await site.run('picorelay', ['list', '--sort', 'colour'])).status, 64);
});

test('What a relay said shows no control sequence', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'never@x.test');
  await site.run('picorelay-cron');
  for (const args of [['undelivered'], ['why', 'never'], ['show', 'never', '--json']]) {
    const { stdout } = await site.run('picorelay', args);
    assert.match(stdout, /nobody \\+x1b\[31mhere/, args.join(' '));
    assert.ok(!stdout.includes('\x1b'), args.join(' '));
  }
});

test('The JSON of each command has the shape that docs/json.md shows', async (t) => {
  const { site } = await siteAndRelay(t);
  const aliases = join(site.folder, 'aliases');
  writeFileSync(aliases, 'root: later@x.test\n');
  site.control('aliases', aliases);
  await site.run('sendmail', ['root', 'never@x.test', 'ann@x.test'], LETTER);
  await site.run('picorelay', ['hold', 'ann@x.test']);
  await site.run('picorelay-cron');
  const check = async (command: string, ...args: readonly string[]): Promise<void> => {
    const { stdout } = await site.run('picorelay', [command, ...args, '--json']);
    assert.deepEqual(shapeOf(JSON.parse(stdout)), documentedShape(command), command);
  };
  await check('undelivered');
  const explained = await site.run('picorelay', ['explain', '--json', 'root'], LETTER);
  assert.deepEqual(shapeOf(JSON.parse(explained.stdout)), documentedShape('explain'));
  await check('show', 'later@');
  await check('why', 'later@');
  await check('hold', '*');
  await site.run('picorelay', ['release', 'later@']);
  site.relays(await freePort());
  await check('retry', '--all');
  await check('list');
});

test('hold keeps a mail from every runner, release lets it go', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'ann@x.test', 'bob@x.test');
  done(await site.run('picorelay', ['hold', 'ann@x.test']));
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients(), ['bob@x.test']);
  const { status, stderr } = await site.run('picorelay', ['retry', 'ann@x.test']);
  assert.equal(status, 75);
  assert.match(stderr, /it is on hold; picorelay release/);
  const again = await site.run('picorelay', ['hold', '--all']);
  assert.equal(again.status, 75);
  assert.match(again.stderr, /it is on hold already/);
  const released = await site.run('picorelay', ['release', '--all']);
  assert.deepEqual(released, { status: 0, stdout: '1 mail released\n', stderr: '' });
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['bob@x.test', 'ann@x.test']);
  assert.match(site.log(), /^\S+ held id=\S+:ann@x\.test from=jo@y\.test to=ann@x\.test by=\S+$/m);
  assert.match(site.log(), /^\S+ released id=/m);
  assert.equal((await site.run('picorelay', ['release', '--all'])).status, 66);
});

test('An attempt that was counted stays counted on hold', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later@x.test');
  await site.run('picorelay-cron');
  await site.run('picorelay', ['hold', 'later']);
  await site.run('picorelay', ['release', 'later']);
  const { entries } = (await json(site, 'list')) as { entries: { attempts: number }[] };
  assert.equal(entries[0]?.attempts, 1);
});

test('release starts a runner where mail is sent at once', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'ann@x.test');
  await site.run('picorelay', ['hold', 'ann']);
  site.control('immediate', 'background');
  done(await site.run('picorelay', ['release', 'ann']));
  await waitFor('the mail at the relay', () => relay.received.length === 1);
  await site.atRest();
});

test('retry offers what is named and nothing else, and tells what came of it', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'later@x.test', 'never@x.test', 'ann@x.test', 'bob@x.test');
  const ann = await site.run('picorelay', ['retry', 'ann@x.test', '-v']);
  assert.equal(ann.status, 0);
  assert.match(ann.stdout, /^relayed ann@x\.test [\s\S]*\n1 relayed, 0 put off, 0 refused\n$/m);
  assert.match(ann.stderr, /^C: RCPT TO:<ann@x\.test>$/m);
  assert.deepEqual(relay.recipients(), ['ann@x.test']);
  assert.equal((await site.run('picorelay', ['retry', 'later'])).status, 75);
  assert.equal((await site.run('picorelay', ['retry', '--to', 'later@*'])).status, 75, 'not due');
  assert.equal((await site.run('picorelay', ['retry', 'never'])).status, 69);
  assert.equal(site.undelivered().size, 2);
  assert.equal((await site.run('picorelay', ['retry', 'nobody'])).status, 66);
  assert.equal((await site.run('picorelay', ['retry'])).status, 64);
  const { entries } = (await json(site, 'list')) as { entries: { attempts: number }[] };
  assert.deepEqual(
    entries.map(({ attempts }) => attempts),
    [0, 2],
  );
  const { stdout } = await site.run('picorelay', ['digest']);
  assert.match(stdout, /^ {2}1 relayed, 2 tries put off, 1 refused or given up$/m);
});

test('What a runner is sending is neither held nor removed nor sent twice', async (t) => {
  const site = siteFor(t);
  let answer: ((reply: undefined) => void) | undefined;
  const asked = new Promise<undefined>((resolve) => {
    answer = resolve;
  });
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'dot' ? asked : undefined),
  });
  site.relays(relay.port);
  await send(site, 'ann@x.test');
  const runner = site.run('picorelay', ['run', '--once']);
  await waitFor('the whole message', () => site.queued().some((name) => name.endsWith('.sending')));
  for (const args of [
    ['hold', 'ann'],
    ['remove', '--yes', 'ann'],
    ['retry', 'ann'],
  ]) {
    const { status, stderr } = await site.run('picorelay', args);
    assert.equal(status, 75, `${args.join(' ')}: ${stderr}`);
  }
  assert.match((await site.run('picorelay', ['list'])).stdout, /being sent now/);
  answer?.(undefined);
  assert.equal((await runner).status, 0);
  assert.deepEqual(site.queued(), []);
  assert.equal(relay.received.length, 1);
});

test('remove needs somebody to ask, or --yes; then nothing is left but a line of the log', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later@x.test', 'never@x.test', 'ann@x.test');
  await site.run('picorelay', ['hold', 'ann']);
  await site.run('picorelay-cron');
  const asked = await site.run('picorelay', ['remove', 'later']);
  assert.deepEqual([asked.status, asked.stdout], [64, '']);
  assert.match(asked.stderr, /^picorelay: 1 mail chosen, and nobody here to ask: add --yes\n$/);
  assert.equal(site.queued().length, 2);
  done(await site.run('picorelay', ['remove', '--yes', 'later']));
  assert.deepEqual(site.names('spool').length, 1, 'the result is gone, too');
  assert.equal(site.undelivered().size, 2);
  done(await site.run('picorelay', ['remove', '--all', '--yes']));
  assert.deepEqual(site.names('spool'), []);
  assert.equal(site.undelivered().size, 2, '--all is the queue');
  done(await site.run('picorelay', ['remove', '--state', 'undelivered', '--yes']));
  assert.equal(site.undelivered().size, 0);
  assert.equal(
    site.log().match(/^\S+ removed id=\S+:(later|never|ann)@x\.test from=/gm)?.length,
    3,
  );
});

test('On a terminal remove shows what it touches, and asks', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'ann@x.test', 'bob@x.test');
  const command = [programPath('picorelay'), 'remove', '--all'];
  const no = onTerminal(t, command, site.env);
  await no.expect(/<jo@y\.test> to <ann@x\.test>[\s\S]*bob@x\.test[\s\S]*Nothing of what/);
  await no.expect(/Remove these 2 mails\? \[y\/N\] /);
  no.type('\r');
  assert.equal(await no.end(), 1);
  assert.match(no.shown(), /nothing was removed/);
  assert.equal(site.queued().length, 2);
  const yes = onTerminal(t, command, site.env);
  await yes.expect(/\[y\/N\] /);
  yes.type('y\r');
  assert.equal(await yes.end(), 0);
  assert.deepEqual(site.queued(), []);
  const end = onTerminal(t, [programPath('picorelay'), 'remove', 'x'], site.env);
  assert.equal(await end.end(), 66);
});

test('The end of input and an interrupt mean no', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'ann@x.test');
  for (const key of ['\x04', '\x03']) {
    const asked = onTerminal(t, [programPath('picorelay'), 'remove', 'ann'], site.env);
    await asked.expect(/Remove this mail\? \[y\/N\] /);
    asked.type(key);
    assert.notEqual(await asked.end(), 0);
    assert.equal(site.queued().length, 1);
  }
});

test('resend makes a new mail of one in Undelivered, also for another recipient', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await site.run('sendmail', ['-f', 'jo@y.test', '-N', 'never', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  done(await site.run('picorelay', ['resend', 'never']));
  assert.equal(site.undelivered().size, 0);
  assert.equal(site.queued().length, 1);
  await site.run('picorelay-cron');
  assert.equal(site.undelivered().size, 2, 'refused again');
  done(await site.run('picorelay', ['resend', 'never', '--to', 'Ann <ann@x.test>']));
  const { stdout } = await site.run('picorelay', ['show', 'ann@x.test']);
  assert.match(stdout, /^ {4}from: <jo@y\.test>$/m);
  assert.match(stdout, /^ {4}resent: it was \S+:never@x\.test$/m);
  await site.run('picorelay-cron');
  assert.equal(relay.received.length, 1);
  assert.deepEqual(relay.recipients(), ['ann@x.test']);
  assert.match(relay.received[0]?.raw.toString() ?? '', /^Subject: tea\r$[\s\S]*at four\r\n$/m);
  assert.match(site.log(), /^\S+ resent id=\S+:never@x\.test \S+ \S+ by=\S+ as=\S+:ann@x\.test$/m);
});

test('resend of a mail that waits, of nothing and to no address is refused', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later@x.test', 'never@x.test', 'never2@x.test');
  await site.run('picorelay-cron');
  const waits = await site.run('picorelay', ['resend', 'later']);
  assert.equal(waits.status, 64);
  assert.match(waits.stderr, /is still in the queue: picorelay retry/);
  assert.equal((await site.run('picorelay', ['resend', 'nobody'])).status, 66);
  for (const to of ['', 'ann', 'a@x.test, b@x.test', 'a\nb@x.test']) {
    const wrong = await site.run('picorelay', ['resend', 'never@', '--to', to]);
    assert.equal(wrong.status, 64, to);
  }
  const several = await site.run('picorelay', ['resend', '--all']);
  assert.equal(several.status, 64);
  assert.match(several.stderr, /2 mails chosen, and nobody here to ask/);
  assert.equal(site.undelivered().size, 4, 'two mails and their results');
  done(await site.run('picorelay', ['resend', '--all', '-y']));
  assert.equal(site.queued().length, 3);
});

test('resend leaves what it cannot read where it is', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'never@x.test');
  await site.run('picorelay-cron');
  const [name = ''] = site.names('Undelivered');
  writeFileSync(join(site.spool, 'Undelivered', name), 'picorelay: 1\nsize: nonsense\n\n');
  const { status, stderr, stdout } = await site.run('picorelay', ['resend', 'never']);
  assert.deepEqual([status, stdout], [75, '0 mails queued again\n']);
  assert.match(stderr, /^picorelay: \S+:never@x\.test: .+\n$/);
  assert.deepEqual(site.queued(), []);
  assert.equal(site.undelivered().size, 2);
});

test('why tells what keeps a mail in each state', async (t) => {
  const { site, relay } = await siteAndRelay(t);
  await send(site, 'later@x.test');
  const why = async (id: string): Promise<string> => {
    const { status, stdout, stderr } = await site.run('picorelay', ['why', id]);
    assert.deepEqual([status, stderr], [0, ''], id);
    for (const line of stdout.split('\n').slice(1)) {
      if (!line.startsWith('    /') && !line.includes('picorelay re'))
        assert.ok(line.length <= 80, line);
    }
    return stdout;
  };
  assert.match(await why('later'), /was not offered to the relay yet[\s\S]*as soon as a runner/);
  await site.run('picorelay-cron');
  assert.match(
    await why('later'),
    /put off after 1 try[\s\S]*\(RCPT TO\):\n {4}450 4\.2\.1 mailbox busy\n\nThat means: [\s\S]*\nNext try: in \d+s, at \S+Z\nGiven up: \S+ \(control\/queuelifetime 5d\)\n/,
  );
  await site.run('picorelay', ['hold', 'later']);
  assert.match(await why('later'), /put it on hold[\s\S]* {4}picorelay release \S+\n$/);
  await site.run('picorelay', ['release', 'later']);
  site.relays(await freePort());
  await site.run('picorelay-cron');
  assert.match(
    await why('later'),
    /route is paused[\s\S]*Noted \d+s ago with smtp:\S+, when it connected:\n[\s\S]*ECONNREFUSED[\s\S]*Nothing listens on that port/,
  );
  site.control('relay', undefined);
  assert.match(await why('later'), /configuration cannot be used[\s\S]*control\/relay/);
  site.relays(relay.port);
  site.control('retry', '1m\n30 3 1 1 *');
  assert.match(await why('later'), /go at certain times only/);
});

test('why says that a storm guard holds a mail back', async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'later@x.test');
  await site.run('picorelay-cron');
  const uid = process.getuid?.() ?? 0;
  const [until, since] = [60_000, -60_000].map((n) => new Date(Date.now() + n).toISOString());
  writeFileSync(join(site.spool, 'run', 'rates'), `${uid} until=${until} held=${since}\n`);
  const { stdout } = await site.run('picorelay', ['why', 'later']);
  assert.match(stdout, /^Mail of user \d+ is held back: it is more than control\/userrate allows/m);
});

test('why says that no runner comes by', async (t) => {
  const { site } = await siteAndRelay(t);
  const name = '20200101T000000.000000Z:1:a@x.test:b@x.test';
  await send(site, 'ann@x.test');
  writeFileSync(
    join(site.spool, 'spool', `${name}:1@20200102T000000Z.spool`),
    'Subject: x\r\n\r\n',
  );
  const { stdout } = await site.run('picorelay', ['why', name]);
  assert.match(stdout, /no runner has taken it[\s\S]*picorelay check/);
});

test('Someone without rights on the spool is told who has them', {
  skip: process.getuid?.() !== 0,
}, async (t) => {
  const { site } = await siteAndRelay(t);
  await send(site, 'ann@x.test');
  chmodSync(site.folder, 0o755);
  const { status, stderr } = await run(
    ['setpriv', '--reuid', '65534', '--clear-groups', programPath('picorelay'), 'list'],
    { env: { ...site.env } },
  );
  assert.notEqual(status, 0);
  assert.match(stderr, /^picorelay: [^\n]*as root[^\n]*\n$/);
});

for (const [words, status] of [
  [['retry', '--all'], 75],
  [['run', '--once'], 0],
] as const) {
  test(`Many mails show as a bar on a terminal: ${words.join(' ')}`, async (t) => {
    const { site, relay } = await siteAndRelay(t);
    const many = Array.from({ length: 40 }, (_, n) => `m${n}@x.test`);
    await send(site, ...many, 'later@x.test');
    site.control('connections', '1');
    const bar = onTerminal(t, [programPath('picorelay'), ...words], site.env);
    assert.equal(await bar.end(), status);
    assert.match(bar.shown(), /\[#* *\]\S* \d+ of 41: \d+ relayed/);
    assert.match(bar.shown(), /deferred later@x\.test/);
    assert.match(bar.shown(), /40 relayed, 1 put off, 0 refused\r\n$/);
    assert.doesNotMatch(bar.shown(), /relayed m1@/);
    assert.equal(relay.recipients().length, 40);
  });
}
