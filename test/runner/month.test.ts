// A month of queue life in seconds: the runner with a clock of the test's, each tick of cron a call.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { Log } from '../../src/log/log.ts';
import { type RunMode, runQueue } from '../../src/runner/run.ts';
import { Spool } from '../../src/spool/spool.ts';
import { CLOSE, startRelay, type TestRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';
import { ORIGIN, TEXT } from '../support/spool.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** A host with its own time. */
class Host {
  now: number;
  readonly site: Site;
  readonly relay: TestRelay;
  /** Of everything that happened: when (UTC, to the minute), what, to whom. */
  readonly events: { readonly time: number; readonly kind: string; readonly to: string }[] = [];
  down = false;

  constructor(site: Site, relay: TestRelay, start: string) {
    this.site = site;
    this.relay = relay;
    this.now = Date.parse(start);
    site.relays(relay.port);
    site.control('bounce', 'sender');
    relay.script = ({ stage, line }) => {
      if (this.down && stage === 'greeting') return CLOSE;
      if (line.startsWith('RCPT TO:<later')) return '450 4.2.1 busy';
      return line.startsWith('RCPT TO:<never') ? '550 5.1.1 nobody' : undefined;
    };
  }

  submit(...to: readonly [string, ...string[]]): void {
    const [first, ...others] = to.map((address) => ({ address }));
    if (first === undefined) return;
    new Spool(this.site.spool, process.pid).submit(
      { sender: 'jo@y.test', recipients: [first, ...others] },
      { ...ORIGIN, time: this.now * 1000 },
      [Buffer.from(TEXT)],
    );
  }

  /** One look at the queue. */
  async tick(mode: RunMode = 'cron'): Promise<void> {
    const log = new Log('text', (line) => {
      const [, kind = ''] = /^(\w+)/.exec(line) ?? [];
      const [, to = ''] = /\bto=(\S+)/.exec(line) ?? [];
      this.events.push({ time: this.now, kind, to });
    });
    await runQueue(
      new Spool(this.site.spool, process.pid),
      openControl(join(this.site.folder, 'control')),
      log,
      { now: () => this.now, random: () => 0, stop: new AbortController().signal },
      mode,
    );
  }

  /** Time goes by, with a look at the queue every so often. */
  async live(span: number, step = 15 * 60_000): Promise<void> {
    for (const end = this.now + span; this.now < end; ) {
      await this.tick();
      this.now += step;
    }
  }

  /** When something happened to mail for somebody. */
  times(kind: string, to: string): string[] {
    return this.events
      .filter((event) => event.kind === kind && event.to === to)
      .map(({ time }) => new Date(time).toISOString().slice(5, 16));
  }

  /** Subjects of the reports that arrived. */
  reports(): string[] {
    return this.relay.received
      .filter(({ from }) => from === '')
      .map(({ raw }) => /^Subject: (.*)\r$/m.exec(raw.toString())?.[1] ?? '');
  }
}

async function hostAt(t: TestContext, start: string): Promise<Host> {
  const host = new Host(siteFor(t), await startRelay(t), start);
  // No run is to wait for more mail.
  host.site.control('linger', '0s');
  return host;
}

test('A mail that is put off is tried by the schedule, reported as delayed once, and expires', async (t) => {
  const host = await hostAt(t, '2026-03-20T00:00:00Z');
  host.submit('later@x.test');
  await host.live(6 * DAY, 60_000 * 30);
  const tried = host.times('deferred', 'later@x.test');
  assert.deepEqual(tried.slice(0, 8), [
    '03-20T00:00',
    '03-20T00:30',
    '03-20T01:00',
    '03-20T01:30',
    '03-20T02:00',
    '03-20T03:00',
    '03-20T05:00',
    '03-20T09:00',
  ]);
  for (const [index, time] of tried.slice(7, -1).entries()) {
    const next = tried[index + 8] ?? '';
    assert.equal(Date.parse(`2026-${next}Z`) - Date.parse(`2026-${time}Z`), 4 * HOUR);
  }
  assert.deepEqual(host.times('expired', 'later@x.test'), ['03-25T01:00']);
  assert.deepEqual(
    host.reports().map((subject) => /delayed|not/i.exec(subject)?.[0]?.toLowerCase()),
    ['delayed', 'not'],
  );
  assert.deepEqual(host.site.queued(), []);
  assert.equal(host.site.names('Undelivered').length, 2);
});

test('Two outages of a month cost no attempt, and order is kept; only what is too old expires', async (t) => {
  const host = await hostAt(t, '2026-04-01T00:00:00Z');
  // Two connections may overtake each other.
  host.site.control('connections', '1');
  for (let day = 1; day <= 30; day++) {
    // Two days in the second week, six in the third.
    host.down = (day >= 8 && day < 10) || (day >= 15 && day < 21);
    host.submit(`a${day}@x.test`, 'never@x.test');
    await host.live(12 * HOUR, HOUR);
    host.submit(`b${day}@x.test`);
    await host.live(12 * HOUR, HOUR);
  }
  const days = Array.from({ length: 30 }, (_, index) => index + 1);
  const mails = days.flatMap((day) => [`a${day}@x.test`, `b${day}@x.test`]);
  const expired = mails.filter((to) => host.times('expired', to).length > 0);
  // Accepted on the 15th, more than five days before the relay is back on the 21st.
  assert.deepEqual(expired, ['a15@x.test', 'b15@x.test']);
  assert.deepEqual(
    host.relay.received.flatMap(({ to }) => to).filter((to) => mails.includes(to)),
    mails.filter((to) => !expired.includes(to)),
  );
  assert.equal(host.events.filter(({ kind }) => kind === 'deferred').length, 0);
  assert.equal(host.times('refused', 'never@x.test').length + expired.length, 30 + 1);
  assert.deepEqual(host.site.queued(), []);
});

test('A window at night opens once a day by the clock on the wall, in both changes of the clocks', async (t) => {
  for (const [start, moments] of [
    // Forward on 29 March: there is no 02:30.
    ['2026-03-27T12:00:00Z', ['03-28T01:30', '03-29T01:30', '03-30T00:30', '03-31T00:30']],
    // Back on 25 October: there are two.
    ['2026-10-23T12:00:00Z', ['10-24T00:30', '10-25T00:30', '10-26T01:30', '10-27T01:30']],
  ] as const) {
    const host = await hostAt(t, start);
    host.site.control('retry', 'night.test: TZ=Europe/Berlin 30 2 * * *');
    for (let day = 0; day < 4; day++) {
      host.submit('a@night.test', 'b@x.test');
      await host.live(DAY);
    }
    assert.deepEqual(host.times('relayed', 'a@night.test'), moments);
    assert.equal(host.times('relayed', 'b@x.test').length, 4);
  }
});

test('After a week of sleep mail gets tries before it is given up', async (t) => {
  const host = await hostAt(t, '2026-05-01T00:00:00Z');
  host.submit('later@x.test');
  await host.live(2 * HOUR);
  const before = host.times('deferred', 'later@x.test').length;
  host.now += 7 * DAY;
  // The network is not up yet.
  host.down = true;
  await host.live(HOUR);
  host.down = false;
  await host.live(2.75 * HOUR);
  assert.ok(host.times('deferred', 'later@x.test').length > before);
  assert.deepEqual(host.times('expired', 'later@x.test'), []);
  await host.live(8 * HOUR);
  assert.equal(host.times('expired', 'later@x.test').length, 1);
});

test('A clock that leaps ten years ahead for a moment costs no mail, and no ten years', async (t) => {
  const host = await hostAt(t, '2026-06-01T00:00:00Z');
  host.submit('later@x.test');
  await host.tick();
  host.now += 3650 * DAY;
  await host.tick();
  host.now -= 3650 * DAY - HOUR;
  host.relay.script = () => undefined;
  await host.live(HOUR);
  assert.deepEqual(host.times('expired', 'later@x.test'), []);
  assert.deepEqual(host.times('relayed', 'later@x.test'), ['06-01T01:00']);
});

test('A clock that is set back an hour sends nothing twice and nothing early', async (t) => {
  const host = await hostAt(t, '2026-06-01T12:00:00Z');
  host.submit('later@x.test', 'ok@x.test');
  await host.live(2 * HOUR, 5 * 60_000);
  const tried = host.times('deferred', 'later@x.test').length;
  host.now -= HOUR;
  await host.live(HOUR, 5 * 60_000);
  assert.equal(host.times('deferred', 'later@x.test').length, tried);
  assert.equal(host.times('relayed', 'ok@x.test').length, 1);
});

test('Each try is made with the configuration of its time', async (t) => {
  const host = await hostAt(t, '2026-06-01T12:00:00Z');
  host.submit('later@x.test');
  await host.live(HOUR);
  writeFileSync(join(host.site.folder, 'control', 'queuelifetime'), '30m\n');
  await host.live(2 * HOUR);
  assert.equal(host.times('expired', 'later@x.test').length, 1);
});

test('A relay that dies for two hours with 5,000 entries costs a probe now and then, and no attempt', async (t) => {
  // Ahead of the control files' own times, which say when somebody mended something.
  const host = await hostAt(t, new Date(Date.now() + DAY).toISOString());
  host.down = true;
  // In order of age to the letter.
  host.site.control('connections', '1');
  const names = Array.from({ length: 5000 }, (_, n) => `to${String(n).padStart(4, '0')}@x.test`);
  for (const name of names) {
    host.submit(name);
    host.now += 1;
  }
  await host.live(2 * HOUR, 60_000);
  assert.ok(host.relay.connections <= 13, `${host.relay.connections} probes`);
  assert.equal(host.events.filter(({ kind }) => kind === 'paused').length, 1);
  assert.ok(host.site.queued().every((name) => /:0@\d{8}T\d{6}Z\.spool$|@x\.test$/.test(name)));
  host.down = false;
  await host.live(16 * 60_000, 60_000);
  assert.deepEqual(host.site.queued(), []);
  assert.deepEqual(host.relay.recipients(), names);
  const relayed = host.events.filter(({ kind }) => kind === 'relayed');
  assert.equal(new Set(relayed.map(({ time }) => time)).size, 1, 'in one run');
  assert.equal(host.events.filter(({ kind }) => kind === 'deferred').length, 0);
});
