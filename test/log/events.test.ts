// The log as the programs write it: each event once, the entry's base name as its id, and nothing from
// outside that a terminal or a reader of lines would obey.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: s\n\nb\n';

interface LoggedEvent {
  readonly event: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The lines of a log, in either format. */
function eventsOf(site: Site): LoggedEvent[] {
  return site
    .log()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      if (line.startsWith('{')) {
        const { event, ...values } = JSON.parse(line) as Record<string, unknown>;
        const fields = Object.entries(values).map(([key, value]) => [key, String(value)] as const);
        return { event: String(event), fields: Object.fromEntries(fields) };
      }
      const match =
        /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([a-z]+)((?: [a-z]+=(?:"[^"]*"|\S+))*)$/.exec(
          line,
        );
      assert.ok(match !== null, `a strange line: ${line}`);
      const [, time = '', event = '', rest = ''] = match;
      const fields = [...rest.matchAll(/ ([a-z]+)=(?:"([^"]*)"|(\S+))/g)].map(
        ([, key = '', quoted, plain]) => [key, quoted ?? plain ?? ''] as const,
      );
      return { event, fields: { time, ...Object.fromEntries(fields) } };
    });
}

/** The life of four mails under an outage: every event that the log knows. */
async function story(t: TestContext, format: 'text' | 'json'): Promise<Site> {
  const site = siteFor(t);
  site.control('logformat', format);
  const port = await freePort();
  site.relays(port);
  for (const to of ['now', 'later', 'never', 'broken']) {
    await site.run('sendmail', [`${to}@x.test`], LETTER);
  }
  await site.run('picorelay-cron');
  await site.run('picorelay-cron');
  const relay = await startRelay(t, {
    port,
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later@')) return '450-4.2.1 not\r\n450 4.2.1 now';
      return line.startsWith('RCPT TO:<never@') ? '550 5.1.1 nobody' : undefined;
    },
  });
  const broken = site.queued().find((name) => name.includes(':broken@')) ?? '';
  writeFileSync(join(site.spool, 'spool', broken), 'picorelay: 1\n');
  await site.run('picorelay', ['run', '--once']);
  site.control('queuelifetime', '1s');
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.faults, []);
  return site;
}

for (const format of ['text', 'json'] as const) {
  test(`Each event stands once in a log of ${format}, with the base name as its id`, async (t) => {
    const site = await story(t, format);
    const events = eventsOf(site);
    const of = (to: string): string[] =>
      events
        .filter(({ fields }) => fields['id']?.endsWith(`:${to}@x.test`))
        .map(({ event }) => event);
    assert.deepEqual(of('now'), ['accepted', 'relayed']);
    assert.deepEqual(of('later'), ['accepted', 'deferred', 'expired']);
    assert.deepEqual(of('never'), ['accepted', 'refused']);
    assert.deepEqual(of('broken'), ['accepted', 'corrupt']);
    const others = events.filter(({ fields }) => fields['id'] === undefined);
    assert.deepEqual(
      others.map(({ event }) => event),
      ['paused', 'resumed'],
    );
    for (const { fields } of events) {
      assert.match(fields['time'] ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      if (fields['id'] !== undefined) {
        assert.match(fields['id'], /^\d{8}T\d{6}\.\d{6}Z:\d+:root@client\.test:[a-z]+@x\.test$/);
      }
    }
    const deferred = events.find(({ event }) => event === 'deferred')?.fields;
    assert.equal(deferred?.['said'], '450-4.2.1 not 450 4.2.1 now');
    assert.equal(deferred?.['attempts'], '1');
    assert.equal(deferred?.['stage'], 'rcpt');
    assert.ok(Date.parse(deferred?.['next'] ?? '') > Date.now());
    const refused = events.find(({ event }) => event === 'refused')?.fields;
    assert.deepEqual(
      [refused?.['from'], refused?.['to'], refused?.['said']],
      ['root@client.test', 'never@x.test', '550 5.1.1 nobody'],
    );
  });
}

test('A reply with terminal escapes, NUL and forged lines is stored and shown escaped', async (t) => {
  for (const format of ['text', 'json']) {
    const site = siteFor(t);
    site.control('logformat', format);
    const evil = Buffer.from(
      '550-5.1.1 \x1b[2J\x1b]0;owned\x07 \0 end\r\n550 5.1.1 \u202e" relayed id=x \x9b31m\r\n',
      'utf8',
    );
    const relay = await startRelay(t, {
      script: ({ stage }) => (stage === 'rcpt' ? evil : undefined),
    });
    site.relays(relay.port);
    await site.run('sendmail', ['a@x.test'], 'Subject: \x1b[31mred\n\nb\n');
    const shown = await site.run('picorelay', ['run', '--once', '-v']);
    const [id = ''] = site.names('Undelivered').filter((name) => !name.endsWith('.result'));
    const result = site.result('Undelivered');
    const show = await site.run('picorelay', ['show', id]);
    assert.equal(show.status, 0, show.stderr);
    const texts = [site.log(), shown.stdout, shown.stderr, result, show.stdout];
    for (const [n, text] of texts.entries()) {
      assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/, `text ${n}`);
    }
    assert.match(result, /^ {4}550-5\.1\.1 \\x1b\[2J\\x1b\]0;owned\\x07 \\x00 end$/m);
    assert.match(show.stdout, /Subject: \\x1b\[31mred/);
    assert.deepEqual(
      eventsOf(site).map(({ event }) => event),
      ['accepted', 'refused'],
    );
  }
});

test('An address cannot forge a line or a field of the log', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['-f', '"x id=y"@x.test', '"a\\" relayed id=z"@x.test'], LETTER);
  await site.run('picorelay-cron');
  const events = eventsOf(site);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['accepted', 'relayed'],
  );
  for (const { fields } of events)
    assert.match(fields['id'] ?? '', /^\d{8}T\d{6}\.\d{6}Z:\d+:%22x/);
});

test('A log that cannot be written is told on standard error and stops no mail', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('log', join(site.folder, 'no', 'such', 'folder'));
  await site.run('sendmail', ['a@x.test'], LETTER);
  const ran = await site.run('picorelay-cron');
  assert.equal(ran.status, 0);
  assert.match(ran.stderr, /^picorelay: relayed id=.*\(log file: ENOENT/m);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});

test('With log stderr, cron prints the events there', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('log', 'stderr');
  await site.run('sendmail', ['a@x.test'], LETTER);
  const ran = await site.run('picorelay-cron');
  assert.match(ran.stderr, /^picorelay: accepted id=\S+ .*\npicorelay: relayed id=\S+ .*\n$/);
});

test('The log file is closed to others', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const path = join(site.folder, 'new-log');
  site.control('log', path);
  await site.run('sendmail', ['a@x.test'], LETTER);
  await site.run('picorelay-cron');
  const { statSync } = await import('node:fs');
  assert.equal(statSync(path).mode & 0o077, 0);
});
