// What senders are told, from a spool and a simulated clock.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Reporter } from '../../src/bounce/reporter.ts';
import type { ControlName } from '../../src/control/catalogue.ts';
import { openControl } from '../../src/control/control.ts';
import { Log } from '../../src/log/log.ts';
import type { Envelope, Recipient } from '../../src/mail/envelope.ts';
import { formatName } from '../../src/spool/name.ts';
import type { Attempt } from '../../src/spool/result.ts';
import type { Spool } from '../../src/spool/spool.ts';
import {
  DEFERRED,
  makeFolder,
  makeSpool,
  messageOf,
  NOW,
  ORIGIN,
  textOf,
} from '../support/spool.ts';
import { fail, watch } from '../support/syscalls.ts';

const HOUR = 3_600_000;
const REFUSED: Attempt = { ...DEFERRED, outcome: 'refused', lines: ['550 5.1.1 nobody'] };

class Desk {
  readonly spool: Spool;
  readonly reporter: Reporter;
  readonly log: string[] = [];
  readonly #control: string;
  now = NOW;
  #count = 0;

  constructor(t: TestContext) {
    this.spool = makeSpool(t);
    this.#control = makeFolder(t);
    this.control('me', 'host.test');
    const log = new Log('text', (line) => this.log.push(line));
    const control = { folder: this.#control, get: this.#get };
    this.reporter = new Reporter(this.spool, control, log, () => this.now);
  }

  /** Read anew each time, as each runner does. */
  readonly #get = <N extends ControlName>(name: N) => openControl(this.#control).get(name);

  control(name: string, text: string): void {
    writeFileSync(join(this.#control, name), `${text}\n`);
  }

  submit(
    sender: string,
    [first = { address: 'x@y.test' }, ...others]: readonly Recipient[],
    more: Partial<Envelope> = {},
  ): readonly string[] {
    const origin = { ...ORIGIN, time: (this.now + this.#count++) * 1000 };
    const text = Buffer.from(`Subject: tea ${this.#count}\r\n\r\nbody\r\n`);
    return this.spool.submit({ sender, recipients: [first, ...others], ...more }, origin, [text]);
  }

  /** What the runner does with refused entries. */
  refuse(bases: readonly string[], attempt: Attempt = REFUSED): void {
    for (const base of bases) {
      const entry = this.spool.list().entries.find((each) => each.base === base);
      const claim = entry && this.spool.claim(entry, this.now);
      if (claim === undefined) throw new Error(`no ${base}`);
      this.reporter.failing(base);
      this.spool.refuse(claim, attempt);
    }
  }

  fail(sender: string, ...recipients: readonly Recipient[]): void {
    this.refuse(this.submit(sender, recipients));
  }

  /** Recipient and text of the reports that lie in the spool, which go with this call. */
  collect(): { readonly to: string; readonly text: string }[] {
    return this.spool.list().entries.flatMap((entry) => {
      const name = formatName(entry.base, entry.state);
      const [, to] = /::(.*)$/.exec(entry.base) ?? [];
      if (to === undefined) return [];
      const text = messageOf(this.spool, 'spool', name);
      if (!text.includes('MAILER-DAEMON')) return [];
      rmSync(join(this.spool.folder, 'spool', name));
      return [{ to, text }];
    });
  }

  reports(): { readonly to: string; readonly text: string }[] {
    this.reporter.report();
    return this.collect();
  }
}

const finals = (text: string): string[] =>
  [...text.matchAll(/^Final-Recipient: rfc822; (.*)\r$/gm)].map(([, address]) => address ?? '');

test('All recipients of a message that fail in one run stand in one report, told once', (t) => {
  const desk = new Desk(t);
  const bases = desk.submit('jo@x.test', [
    { address: 'a@y.test' },
    { address: 'b@y.test' },
    { address: 'c@y.test' },
  ]);
  desk.refuse(bases.slice(0, 2));
  desk.fail('jo@x.test', { address: 'd@y.test' });
  const reports = desk.reports();
  assert.deepEqual(
    reports.map(({ to, text }) => [to, finals(text)]),
    [
      ['jo@x.test', ['a@y.test', 'b@y.test']],
      ['jo@x.test', ['d@y.test']],
    ],
  );
  assert.deepEqual(desk.reports(), []);
  assert.equal(desk.log.filter((line) => line.startsWith('reported ')).length, 3);
});

test('A crash between the refusal and the report loses none', (t) => {
  const desk = new Desk(t);
  desk.fail('jo@x.test', { address: 'a@y.test' });
  const next = new Reporter(
    desk.spool,
    openControl(join(desk.spool.folder, 'none')),
    new Log('text', () => undefined),
    () => NOW,
  );
  // Without control/me nothing can be told, and nothing is forgotten.
  next.report();
  assert.deepEqual(desk.collect(), []);
  assert.equal(desk.reports().length, 1);
});

test('A crash before the refusal makes no report, and its note goes', (t) => {
  const desk = new Desk(t);
  const [base = ''] = desk.submit('jo@x.test', [{ address: 'a@y.test' }]);
  desk.reporter.failing(base);
  assert.deepEqual(desk.reports(), []);
  // The note bears the time of the disk.
  desk.now = Date.now() + 2 * HOUR;
  desk.control('delaywarn', '0');
  assert.deepEqual(desk.reports(), [], 'it is still queued');
  assert.equal(textOf(desk.spool, 'run', 'bounces', base), '', 'it may yet be refused');
  desk.refuse([base]);
  assert.equal(desk.reports().length, 1);

  const [gone = ''] = desk.submit('jo@x.test', [{ address: 'b@y.test' }]);
  desk.reporter.failing(gone);
  rmSync(join(desk.spool.folder, 'spool', gone));
  desk.now = Date.now() + 2 * HOUR;
  assert.deepEqual(desk.reports(), []);
  assert.throws(() => textOf(desk.spool, 'run', 'bounces', gone), /ENOENT/);
});

test('NOTIFY decides for each recipient', (t) => {
  const desk = new Desk(t);
  const wishes = ['NEVER', 'SUCCESS', 'DELAY', 'SUCCESS,FAILURE', 'FAILURE', undefined];
  const recipients = wishes.map(
    (notify, n): Recipient =>
      notify === undefined ? { address: `r${n}@y.test` } : { address: `r${n}@y.test`, notify },
  );
  desk.fail('jo@x.test', ...recipients);
  desk.fail('jo@x.test', { address: 'never@y.test', notify: 'NEVER' });
  const reports = desk.reports();
  assert.deepEqual(
    reports.map(({ text }) => finals(text)),
    [['r3@y.test', 'r4@y.test', 'r5@y.test']],
  );
});

test('A variable reverse-path gets one report for each recipient, at its own address', (t) => {
  const desk = new Desk(t);
  desk.fail('list-@x.test-@[]', { address: 'a@y.test' }, { address: 'b@y.test' });
  assert.deepEqual(
    desk.reports().map(({ to, text }) => [to, finals(text)]),
    [
      ['list-a=y.test@x.test', ['a@y.test']],
      ['list-b=y.test@x.test', ['b@y.test']],
    ],
  );
});

test('A report that fails goes to doublebounceto, and what fails there ends', (t) => {
  const desk = new Desk(t);
  desk.control('doublebounceto', 'boss@z.test');
  desk.fail('jo@x.test', { address: 'a@y.test' });
  desk.reporter.report();
  const [bounce] = desk.spool.list().entries;
  desk.refuse([bounce?.base ?? '']);
  desk.reporter.report();
  const [double, ...others] = desk.spool.list().entries;
  assert.match(double?.base ?? '', /::boss@z\.test$/);
  assert.deepEqual(others, []);
  desk.refuse([double?.base ?? '']);
  desk.reporter.report();
  assert.deepEqual(desk.spool.list().entries, []);
  assert.equal(desk.spool.listUndelivered().length, 3);
});

test('A relayed mail is reported where SUCCESS was asked for', (t) => {
  const desk = new Desk(t);
  const told = (sender: string, notify: string | undefined): number => {
    const recipient = { address: 'a@y.test', ...(notify === undefined ? {} : { notify }) };
    const [base = ''] = desk.submit(sender, [recipient]);
    const message = desk.spool.look(base, 'spool', base);
    const last = { ...DEFERRED, outcome: 'relayed', lines: ['250 ok'] } as const;
    desk.reporter.relayed(message, [{ id: base, recipient, history: [], last }]);
    message.close();
    rmSync(join(desk.spool.folder, 'spool', base));
    const reports = desk.collect();
    for (const { text } of reports) assert.match(text, /^Action: relayed\r$/m);
    return reports.length;
  };
  assert.equal(told('jo@x.test', 'SUCCESS'), 1);
  assert.equal(told('jo@x.test', 'FAILURE,SUCCESS'), 1);
  assert.equal(told('jo@x.test', 'FAILURE'), 0);
  assert.equal(told('jo@x.test', undefined), 0);
  assert.equal(told('', 'SUCCESS'), 0);
  desk.control('bounce', 'off');
  assert.equal(told('jo@x.test', 'SUCCESS'), 0);
});

test('Mail that waits too long is reported once, to its sender alone', (t) => {
  const desk = new Desk(t);
  const put = (sender: string, recipient: Recipient): void => {
    const [base = ''] = desk.submit(sender, [recipient]);
    const entry = desk.spool.list().entries.find((each) => each.base === base);
    const claim = entry && desk.spool.claim(entry, desk.now);
    if (claim !== undefined) desk.spool.defer(claim, DEFERRED, 1, desk.now + HOUR);
  };
  put('jo@x.test', { address: 'a@y.test' });
  put('jo@x.test', { address: 'b@y.test', notify: 'FAILURE' });
  put('jo@x.test', { address: 'c@y.test', notify: 'DELAY' });
  put('', { address: 'd@y.test' });
  desk.now += 4 * HOUR - 1000;
  assert.deepEqual(desk.reports(), []);
  desk.now += 2000;
  const reports = desk.reports();
  assert.deepEqual(
    reports.map(({ text }) => finals(text)),
    [['a@y.test'], ['c@y.test']],
  );
  for (const { text } of reports) {
    assert.match(text, /^Action: delayed\r$/m);
    assert.match(text, /^Status: 4\.2\.1\r$/m);
    assert.match(text, /^Will-Retry-Until: /m);
  }
  desk.now += 10 * HOUR;
  assert.deepEqual(desk.reports(), [], 'once');
  const [entry] = desk.spool.list().entries;
  const outcomes = desk.spool.history(entry?.base ?? '').map(({ outcome }) => outcome);
  assert.deepEqual(outcomes, ['deferred', 'warned']);
});

test('A delay is not told where delaywarn is 0, or when the mail is about to expire', (t) => {
  for (const [delay, lifetime, reports] of [
    ['0', '101h', 0],
    ['4h', '99h', 0],
    ['4h', '101h', 1],
  ] as const) {
    const desk = new Desk(t);
    desk.submit('jo@x.test', [{ address: 'a@y.test' }]);
    desk.control('delaywarn', delay);
    desk.control('queuelifetime', lifetime);
    desk.now += 100 * HOUR;
    assert.equal(desk.reports().length, reports);
  }
});

test('A paused route is the reason that a delay report gives', (t) => {
  const desk = new Desk(t);
  desk.submit('jo@x.test', [{ address: 'a@y.test' }]);
  desk.spool.records.pauseRoute('default', {
    time: NOW,
    outcome: 'paused',
    stage: 'connect',
    relay: 'smtp://relay.test:25',
    lines: ['connect ECONNREFUSED'],
  });
  desk.now += 5 * HOUR;
  const [report] = desk.reports();
  assert.match(report?.text ?? '', /^Diagnostic-Code: x-picorelay; connect ECONNREFUSED\r$/m);
  assert.match(report?.text ?? '', /^Status: 4\.4\.1\r$/m);
});

test('Over the limit reports to one address are gathered for an hour, those to others are not', (t) => {
  const desk = new Desk(t);
  desk.control('bounceslimit', '2');
  for (let n = 0; n < 5; n++) desk.fail('jo@x.test', { address: `a${n}@y.test` });
  desk.fail('ann@x.test', { address: 'b@y.test' });
  const first = desk.reports();
  assert.deepEqual(first.map(({ to }) => to).sort(), ['ann@x.test', 'jo@x.test', 'jo@x.test']);
  desk.now += HOUR / 2;
  desk.fail('jo@x.test', { address: 'late@y.test' });
  assert.deepEqual(desk.reports(), []);
  desk.now += HOUR / 2;
  const [digest, ...others] = desk.reports();
  assert.deepEqual(others, []);
  assert.match(digest?.text ?? '', /^Content-Type: text\/plain/m);
  const named = [...(digest?.text ?? '').matchAll(/to <(\S+)>/g)].map(([, address]) => address);
  assert.deepEqual(named, ['a2@y.test', 'a3@y.test', 'a4@y.test', 'late@y.test']);
  assert.deepEqual(desk.reports(), []);
  desk.fail('jo@x.test', { address: 'c@y.test' });
  assert.match(desk.reports()[0]?.text ?? '', /multipart\/report/);
});

test('Three hundred mails that wait are not three hundred reports', (t) => {
  const desk = new Desk(t);
  for (let n = 0; n < 300; n++) desk.submit('jo@x.test', [{ address: `a${n}@y.test` }]);
  desk.now += 5 * HOUR;
  assert.equal(desk.reports().length, 20);
  desk.now += HOUR;
  const [digest, ...others] = desk.reports();
  assert.deepEqual(others, []);
  assert.match(digest?.text ?? '', /These 280 are told together/);
  desk.now += HOUR;
  assert.deepEqual(desk.reports(), []);
});

test('A long queue is looked into once, and while its sender waits for the digest not at all', (t) => {
  const desk = new Desk(t);
  const opened = (): number => {
    const { calls } = watch(desk.spool.folder, () => desk.reporter.report());
    desk.collect();
    // node opens a file that it reads by the same function.
    const looks = calls.filter(({ label }) => /^(open|readFile) spool/.test(label));
    return new Set(looks.map(({ args: [path] }) => path)).size;
  };
  for (let n = 0; n < 100; n++) desk.submit('jo@x.test', [{ address: `a${n}@y.test` }]);
  desk.submit('ann@x.test', [{ address: 'b@y.test' }]);
  desk.now += 5 * HOUR;
  assert.ok(opened() > 100);
  // Only the one that was told of is looked at, since those before it were not.
  assert.ok(opened() <= 1);
  desk.now += HOUR;
  assert.ok(opened() > 100);
  assert.equal(opened(), 0);
  desk.submit('jo@x.test', [{ address: 'c@y.test' }]);
  desk.now += 5 * HOUR;
  assert.ok(opened() > 0);
  assert.equal(opened(), 0);
});

test('More than one call tells of is told of by the next ones, each mail once', (t) => {
  const desk = new Desk(t);
  desk.control('bounceslimit', '10000');
  for (let n = 0; n < 2500; n++) desk.submit(`u${n}@x.test`, [{ address: 'a@y.test' }]);
  desk.now += 5 * HOUR;
  const told = [...desk.reports(), ...desk.reports(), ...desk.reports()].map(({ to }) => to);
  assert.equal(told.length, 2500);
  assert.equal(new Set(told).size, 2500);
});

test('One entry that cannot be read does not stop the other reports', (t) => {
  const desk = new Desk(t);
  const [bad = ''] = desk.submit('jo@x.test', [{ address: 'a@y.test' }]);
  desk.refuse([bad]);
  writeFileSync(join(desk.spool.folder, 'Undelivered', bad), 'picorelay: 9\n\n');
  const [folder = ''] = desk.submit('jo@x.test', [{ address: 'b@y.test' }]);
  desk.refuse([folder]);
  rmSync(join(desk.spool.folder, 'Undelivered', folder));
  mkdirSync(join(desk.spool.folder, 'Undelivered', folder));
  desk.fail('jo@x.test', { address: 'c@y.test' });
  assert.deepEqual(
    desk.reports().map(({ text }) => finals(text)),
    [['c@y.test']],
  );
  assert.equal(desk.log.filter((line) => line.startsWith('fault ')).length, 2);
  desk.reporter.report();
  assert.equal(desk.log.filter((line) => line.startsWith('fault ')).length, 2, 'told once');
});

test('A result that a broken disk keeps back for a while delays its report, and costs none', (t) => {
  const desk = new Desk(t);
  desk.fail('jo@x.test', { address: 'a@y.test' });
  watch(
    desk.spool.folder,
    () => desk.reporter.report(),
    (call, real) =>
      call.name === 'readFileSync' && call.label.includes('Undelivered')
        ? fail(call, real, 'EIO')
        : real(),
  );
  assert.deepEqual(desk.collect(), []);
  assert.deepEqual(
    desk.reports().map(({ text }) => finals(text)),
    [['a@y.test']],
  );
});
