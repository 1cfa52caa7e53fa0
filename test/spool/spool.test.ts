import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatBlock } from '../../src/spool/block.ts';
import { LayoutError } from '../../src/spool/layout.ts';
import { formatName } from '../../src/spool/name.ts';
import type { Attempt } from '../../src/spool/result.ts';
import { type Claim, Spool } from '../../src/spool/spool.ts';
import {
  DEFERRED,
  envelopeTo,
  makeFolder,
  makeSpool,
  messageOf,
  NOW,
  namesIn,
  ORIGIN,
  only,
  submit,
  TEXT,
  textOf,
  writeOwner,
} from '../support/spool.ts';
import { dieAt, fail, watch } from '../support/syscalls.ts';

const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@example.com';
const DUE = '20261120T234501Z';
const LATER = NOW + 30 * 60 * 1000;
const HOUR = 3600 * 1000;
const REFUSED: Attempt = { ...DEFERRED, outcome: 'refused', lines: ['550 5.1.1 no such user'] };

function take(spool: Spool): Claim {
  const claim = spool.claim(only(spool), NOW);
  assert.ok(claim !== undefined);
  return claim;
}

function age(spool: Spool, milliseconds: number, ...path: readonly string[]): void {
  const seconds = (NOW - milliseconds) / 1000;
  fs.utimesSync(join(spool.folder, ...path), seconds, seconds);
}

test('the first submission makes the layout', (t) => {
  const spool = new Spool(join(makeFolder(t), 'var', 'mail'), process.pid);
  assert.throws(() => spool.checkLayout(), { code: 'ENOENT' });
  assert.deepEqual(submit(spool, 'bob@example.com'), [BASE]);
  spool.checkLayout();
  assert.deepEqual(fs.readdirSync(spool.folder).sort(), [
    'Undelivered',
    'corrupt',
    'incoming',
    'routes',
    'run',
    'spool',
    'tmp',
    'unsplit',
    'version',
  ]);
});

test('a spool of another layout is left alone', (t) => {
  const spool = makeSpool(t);
  fs.writeFileSync(join(spool.folder, 'version'), '2\n');
  assert.throws(() => spool.checkLayout(), LayoutError);
  spool.makeLayout();
  assert.equal(textOf(spool, 'version'), '2\n');
});

test('a layout whose making was cut short is made whole by the next one', (t) => {
  const make = (folder: string, index: number) =>
    watch(folder, () => new Spool(folder, process.pid).makeLayout(), dieAt(index));
  const { calls } = make(join(makeFolder(t), 'mail'), Number.POSITIVE_INFINITY);
  for (const { index, label } of calls) {
    const folder = join(makeFolder(t), 'mail');
    make(folder, index);
    const spool = new Spool(folder, process.pid);
    spool.makeLayout();
    assert.doesNotThrow(() => spool.checkLayout(), `killed at ${label}`);
  }
  // The version is no record that may be empty after a power cut.
  const labels = calls.map(({ label }) => label);
  const [written, synced, named] = ['write run/*', 'fsync run/*', 'rename run/* version'].map(
    (label) => labels.indexOf(label),
  );
  assert.ok(0 < Number(written) && Number(written) < Number(synced));
  assert.ok(Number(synced) < Number(named));
  // The spool folder itself has a name too, in a folder above.
  assert.ok(labels.includes('fsync ..'));
  // Who finds tmp/ makes nothing and syncs nothing of the layout.
  assert.ok(labels.indexOf('mkdir tmp') > labels.lastIndexOf('fsync ..'));
  assert.ok(labels.indexOf('mkdir tmp') > labels.lastIndexOf('mkdir incoming'));
});

test('all recipients of a submission are names of one file', (t) => {
  const spool = makeSpool(t);
  const bases = submit(spool, 'bob@example.com', 'ann@example.com', 'eve@example.com');
  const files = bases.map((base) => fs.statSync(join(spool.folder, 'spool', base)));
  assert.equal(new Set(files.map(({ ino }) => ino)).size, 1);
  assert.deepEqual(
    files.map(({ nlink }) => nlink),
    [3, 3, 3],
  );
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
  assert.deepEqual(namesIn(spool, 'tmp'), []);
});

test('a message is stored in wire form whatever its line ends were', (t) => {
  const spool = makeSpool(t);
  const pieces = ['Subject: h\xe9\r', '\n\nbody\n.\n', 'end'].map((text) =>
    Buffer.from(text, 'latin1'),
  );
  const [base = ''] = spool.submit(envelopeTo('bob@example.com'), ORIGIN, pieces);
  assert.equal(messageOf(spool, 'spool', base), 'Subject: h\xe9\r\n\r\nbody\r\n.\r\nend\r\n');
  const message = spool.look(base, 'spool', base);
  assert.equal(message.body, '8BITMIME');
  message.close();
});

test('a submission whose message cannot be read to its end is none', (t) => {
  const spool = makeSpool(t);
  function* pieces() {
    yield Buffer.alloc(100_000);
    throw new Error('lost the caller');
  }
  assert.throws(
    () => spool.submit(envelopeTo('bob@example.com'), ORIGIN, pieces()),
    /lost the caller/,
  );
  for (const folder of ['tmp', 'unsplit', 'spool']) assert.deepEqual(namesIn(spool, folder), []);
});

test('entries of a submission that is not split completely are nobody’s to send', (t) => {
  const spool = makeSpool(t);
  const bases = submit(spool, 'bob@example.com', 'ann@example.com', 'eve@example.com');
  const name = bases[0]?.split(':').slice(0, 3).join(':') ?? '';
  fs.linkSync(join(spool.folder, 'spool', bases[0] ?? ''), join(spool.folder, 'unsplit', name));
  fs.unlinkSync(join(spool.folder, 'spool', bases[1] ?? ''));
  // Another submission of this moment is not concerned.
  const [other = ''] = spool.submit(envelopeTo('bob@example.com'), { ...ORIGIN, pid: 42 }, [
    Buffer.from(TEXT),
  ]);
  assert.deepEqual(
    spool.list().entries.map(({ base }) => base),
    [other],
  );
  assert.deepEqual(spool.sweep(NOW), new Spool(spool.folder, process.pid).sweep(NOW));
  assert.deepEqual(
    spool.list().entries.map(({ base }) => base),
    [...bases, other].sort(),
  );
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
});

test('of two that claim the same entry one wins', (t) => {
  const one = makeSpool(t);
  const other = new Spool(one.folder, process.ppid);
  submit(one, 'bob@example.com');
  const entry = only(one);
  assert.deepEqual(one.claim(entry, NOW), { base: BASE, from: { kind: 'new' }, attempts: 0 });
  assert.equal(other.claim(entry, NOW), undefined);
  // Nor is what is seen as claimed claimed once more.
  assert.equal(other.claim(only(one), NOW), undefined);
  assert.deepEqual(namesIn(one, 'spool'), [`${BASE}:${process.pid}.sending`]);
  other.sweep(NOW);
  assert.deepEqual(namesIn(one, 'spool'), [`${BASE}:${process.pid}.sending`]);
});

test('an entry that moved on since it was listed cannot be claimed', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  const seen = only(spool);
  spool.defer(take(spool), DEFERRED, 1, LATER);
  assert.equal(spool.claim(seen, NOW), undefined);
  assert.equal(spool.postpone(seen, NOW), false);
  assert.deepEqual(only(spool).state, { kind: 'waiting', attempts: 1, due: LATER });
});

test('finish leaves nothing, not even a history', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.defer(take(spool), DEFERRED, 1, LATER);
  spool.finish(take(spool));
  assert.deepEqual(namesIn(spool, 'spool'), []);
  submit(spool, 'bob@example.com');
  spool.finish(take(spool));
  assert.deepEqual(namesIn(spool, 'spool'), []);
});

test('defer leaves the entry waiting and its history beside it', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.defer(take(spool), DEFERRED, 1, LATER);
  assert.deepEqual(namesIn(spool, 'spool'), [`${BASE}:.result`, `${BASE}:1@${DUE}.spool`]);
  const claim = take(spool);
  assert.equal(claim.attempts, 1);
  const second = { ...DEFERRED, lines: ['451 4.3.0 later'] };
  spool.defer(claim, second, 2, LATER);
  assert.deepEqual(namesIn(spool, 'spool'), [`${BASE}:.result`, `${BASE}:2@${DUE}.spool`]);
  assert.deepEqual(spool.history(BASE), [DEFERRED, second]);
  assert.equal(messageOf(spool, 'spool', `${BASE}:2@${DUE}.spool`), TEXT);
});

test('release gives an entry back as it was; what was new waits', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.release(take(spool), LATER);
  assert.deepEqual(namesIn(spool, 'spool'), [`${BASE}:0@${DUE}.spool`]);
  for (const state of [
    { kind: 'waiting', attempts: 3, due: LATER },
    { kind: 'held', attempts: 3 },
  ] as const) {
    const [before = ''] = namesIn(spool, 'spool');
    fs.renameSync(
      join(spool.folder, 'spool', before),
      join(spool.folder, 'spool', formatName(BASE, state)),
    );
    const claim = take(spool);
    assert.equal(claim.attempts, 3);
    spool.release(claim, NOW);
    assert.deepEqual(only(spool).state, state);
  }
});

test('hold keeps the attempts of an entry', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.hold(take(spool));
  assert.deepEqual(namesIn(spool, 'spool'), [`${BASE}:0.held`]);
  spool.defer(take(spool), DEFERRED, 4, LATER);
  spool.hold(take(spool));
  assert.deepEqual(only(spool).state, { kind: 'held', attempts: 4 });
});

test('postpone makes a new entry wait with no attempt spent', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  assert.equal(spool.postpone(only(spool), LATER), true);
  assert.deepEqual(namesIn(spool, 'spool'), [`${BASE}:0@${DUE}.spool`]);
});

test('refuse moves the entry beside its whole history', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.defer(take(spool), DEFERRED, 1, LATER);
  spool.refuse(take(spool), REFUSED);
  assert.deepEqual(namesIn(spool, 'spool'), []);
  assert.deepEqual(namesIn(spool, 'Undelivered'), [BASE, `${BASE}:.result`]);
  assert.deepEqual(spool.history(BASE, 'Undelivered'), [DEFERRED, REFUSED]);
  assert.deepEqual(spool.listUndelivered(), [BASE]);
  assert.equal(messageOf(spool, 'Undelivered', BASE), TEXT);
  assert.deepEqual(spool.history(BASE), []);
});

test('the reason is on the disk before the entry leaves the queue', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  const claim = take(spool);
  const { calls } = watch(spool.folder, () => spool.refuse(claim, REFUSED));
  assert.deepEqual(
    calls.map(({ label }) => label).filter((label) => !/^(open|close) /.test(label)),
    [
      'write spool/*',
      'fsync spool/*',
      'link spool/* Undelivered/*',
      'fsync Undelivered',
      'rename spool/* Undelivered/*',
      'fsync Undelivered',
      'unlink spool/*',
    ],
  );
});

test('condemn moves the entry beside the reason', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.condemn(take(spool), 'its block is odd');
  assert.deepEqual(namesIn(spool, 'spool'), []);
  assert.deepEqual(namesIn(spool, 'corrupt'), [BASE, `${BASE}:.reason`]);
  assert.equal(textOf(spool, 'corrupt', `${BASE}:.reason`), 'its block is odd\n');
});

/** Where the one mail of a spool is; it may be in one place only. */
function whereabouts(spool: Spool, when: string): string {
  const entries = namesIn(spool, 'spool').filter((name) => !name.endsWith('.result'));
  const undelivered = namesIn(spool, 'Undelivered').filter((name) => !name.endsWith('.result'));
  const corrupt = namesIn(spool, 'corrupt').filter((name) => !name.endsWith('.reason'));
  assert.ok(entries.length + undelivered.length + corrupt.length <= 1, when);
  for (const name of entries) assert.equal(messageOf(spool, 'spool', name), TEXT, when);
  for (const name of undelivered) {
    assert.equal(messageOf(spool, 'Undelivered', name), TEXT, when);
    const history = spool.history(name, 'Undelivered');
    assert.deepEqual(history.at(-1), REFUSED, `no reason beside it: ${when}`);
    assert.deepEqual(history[0], DEFERRED, `history lost: ${when}`);
  }
  for (const name of corrupt) {
    assert.match(textOf(spool, 'corrupt', `${name}:.reason`), /^(odd\n)+$/, when);
  }
  const places = [entries, undelivered, corrupt].map(({ length }) => length);
  return ['spool', 'Undelivered', 'corrupt'][places.indexOf(1)] ?? 'gone';
}

const VERBS: readonly [string, string, (spool: Spool, claim: Claim) => void][] = [
  ['finish', 'gone', (spool, claim) => spool.finish(claim)],
  ['defer', 'spool', (spool, claim) => spool.defer(claim, DEFERRED, 2, LATER)],
  ['refuse', 'Undelivered', (spool, claim) => spool.refuse(claim, REFUSED)],
  ['hold', 'spool', (spool, claim) => spool.hold(claim)],
  ['release', 'spool', (spool, claim) => spool.release(claim, NOW)],
  ['condemn', 'corrupt', (spool, claim) => spool.condemn(claim, 'odd')],
];

for (const [verb, end, settle] of VERBS) {
  for (const [cut, decide] of [
    ['killed at any call', (index: number) => dieAt(index)],
    [
      'where any one call fails',
      (index: number) => (call: Parameters<typeof fail>[0], real: () => unknown) =>
        call.index === index ? fail(call, real, 'EIO') : real(),
    ],
  ] as const) {
    for (const links of [true, false]) {
      test(`${verb}, ${cut}${links ? '' : ' without hard links'}: the mail is in one place, and where a reason belongs it is beside it`, (t) => {
        const start = () => {
          const spool = makeSpool(t);
          submit(spool, 'bob@example.com');
          spool.defer(take(spool), DEFERRED, 1, LATER);
          return { spool, claim: take(spool) };
        };
        const run = (index: number) => {
          const { spool, claim } = start();
          const fault = decide(index);
          const watched = watch(
            spool.folder,
            () => settle(spool, claim),
            (call, real) =>
              fault(
                call,
                call.name === 'linkSync' && !links ? () => fail(call, real, 'EPERM') : real,
              ),
          );
          return { spool, claim, ...watched };
        };
        const good = run(Number.POSITIVE_INFINITY);
        assert.equal(good.error, undefined);
        assert.equal(whereabouts(good.spool, 'no fault'), end);
        for (const { index, label } of good.calls) {
          const when = `${verb} at call ${index}, ${label}`;
          const { spool, claim } = run(index);
          const place = whereabouts(spool, when);
          assert.ok(place === 'spool' || place === end, `${place}: ${when}`);
          if (place !== 'spool') continue;
          // The next runner finds it and can do the same to the end.
          writeOwner(spool, process.pid);
          const next = new Spool(spool.folder, process.ppid);
          next.sweep(NOW);
          const again = take(next);
          assert.equal(again.base, claim.base);
          settle(next, again);
          if (verb !== 'refuse') assert.equal(whereabouts(next, `again: ${when}`), end);
          else {
            assert.deepEqual(next.history(BASE, 'Undelivered').at(-1), REFUSED, when);
            assert.deepEqual(next.history(BASE, 'Undelivered')[0], DEFERRED, when);
          }
        }
      });
    }
  }
}

test('the claim of a dead process goes back with its attempts, and its doubt is recorded', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.defer(take(spool), DEFERRED, 1, NOW);
  spool.defer(take(spool), DEFERRED, 2, NOW);
  take(spool);
  writeOwner(spool, process.pid);
  const next = new Spool(spool.folder, process.ppid);
  assert.deepEqual(next.sweep(NOW + 999).takenBack, [BASE]);
  assert.deepEqual(only(next).state, { kind: 'waiting', attempts: 2, due: NOW });
  const history = next.history(BASE);
  assert.equal(history.length, 3);
  assert.equal(history[2]?.outcome, 'interrupted');
  assert.match(history[2]?.lines.join() ?? '', /possible duplicate/);
  assert.deepEqual(next.sweep(NOW).takenBack, []);
});

test('a claim goes back only where its record of doubt was written', (t) => {
  const claimed = () => {
    const spool = makeSpool(t);
    submit(spool, 'bob@example.com');
    take(spool);
    writeOwner(spool, process.pid);
    return new Spool(spool.folder, process.ppid);
  };
  const first = claimed();
  const good = watch(first.folder, () => first.sweep(NOW));
  for (const { index, label } of good.calls) {
    const spool = claimed();
    watch(spool.folder, () => spool.sweep(NOW), dieAt(index));
    if (only(spool).state.kind === 'sending') continue;
    assert.equal(spool.history(BASE)[0]?.outcome, 'interrupted', `killed at ${label}`);
  }
});

test('a claim stays while its owner lives or may live', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  take(spool);
  const next = new Spool(spool.folder, process.ppid);
  assert.deepEqual(next.sweep(NOW).takenBack, []);
  // In another container its pid cannot be looked up: the age of its record decides.
  writeOwner(spool, process.pid, { space: 'pid:[1]' });
  age(spool, 29 * 60 * 1000, 'run', String(process.pid));
  assert.deepEqual(next.sweep(NOW).takenBack, []);
  age(spool, 31 * 60 * 1000, 'run', String(process.pid));
  assert.deepEqual(next.sweep(NOW).takenBack, [BASE]);
});

test('a record that somebody removed is left again before anything is claimed or swept', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  submit(spool, 'eve@example.com');
  const [first, second] = spool.list().entries;
  assert.ok(first !== undefined && second !== undefined);
  assert.ok(spool.claim(first, NOW) !== undefined);
  const record = join(spool.folder, 'run', String(process.pid));
  const other = new Spool(spool.folder, process.ppid);
  for (const act of [
    () => spool.claim(second, NOW),
    () => spool.sweep(NOW),
    () => spool.touch(NOW),
  ]) {
    fs.unlinkSync(record);
    act();
    assert.ok(fs.existsSync(record));
    assert.deepEqual(other.sweep(NOW).takenBack, []);
  }
  assert.equal(spool.list().entries.filter(({ state }) => state.kind === 'sending').length, 2);
});

test('a living process keeps its record fresh and takes it along', (t) => {
  const spool = makeSpool(t);
  spool.touch(NOW);
  spool.leave();
  assert.deepEqual(namesIn(spool, 'run'), []);
  submit(spool, 'bob@example.com');
  const claim = take(spool);
  const record = join(spool.folder, 'run', String(process.pid));
  spool.touch(LATER);
  assert.equal(fs.statSync(record).mtimeMs, LATER);
  spool.finish(claim);
  spool.leave();
  assert.deepEqual(namesIn(spool, 'run'), []);
});

test('claims of an earlier process of the same pid go back before anything is claimed', (t) => {
  for (const record of ['none', 'dead'] as const) {
    const spool = makeSpool(t);
    submit(spool, 'bob@example.com');
    take(spool);
    if (record === 'dead') writeOwner(spool, process.pid);
    else fs.unlinkSync(join(spool.folder, 'run', String(process.pid)));
    const next = new Spool(spool.folder, process.pid);
    submit(next, 'ann@example.com');
    const entry = next.list().entries.find(({ state }) => state.kind === 'new');
    assert.ok(entry !== undefined && next.claim(entry, NOW) !== undefined);
    const states = next.list().entries.map(({ state }) => state.kind);
    assert.deepEqual(states.sort(), ['sending', 'waiting']);
    assert.equal(next.history(BASE)[0]?.outcome, 'interrupted');
  }
});

test('a process of another container with the same pid keeps its claims', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  take(spool);
  writeOwner(spool, process.pid, { space: 'pid:[1]' });
  const next = new Spool(spool.folder, process.pid);
  submit(next, 'ann@example.com');
  const entry = next.list().entries.find(({ state }) => state.kind === 'new');
  assert.ok(entry !== undefined);
  const fresh = fs.statSync(join(spool.folder, 'run', String(process.pid))).mtimeMs;
  assert.throws(() => next.claim(entry, fresh), LayoutError);
  assert.ok(namesIn(spool, 'spool').includes(`${BASE}:${process.pid}.sending`));
  // Once its record is old it is gone.
  assert.ok(next.claim(entry, fresh + HOUR) !== undefined);
});

test('drafts go when they are older than 36 hours, not before', (t) => {
  const spool = makeSpool(t);
  for (const [name, hours] of [
    ['old', 37],
    ['young', 35],
  ] as const) {
    fs.writeFileSync(join(spool.folder, 'tmp', name), '');
    age(spool, hours * HOUR, 'tmp', name);
  }
  spool.sweep(NOW);
  assert.deepEqual(namesIn(spool, 'tmp'), ['young']);
});

test('a history without its entry goes after an hour, one beside its entry stays', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  spool.defer(take(spool), DEFERRED, 1, LATER);
  const lone = [BASE.replace('bob', 'old'), BASE.replace('bob', 'young')].map(
    (base) => `${base}:.result`,
  );
  for (const [index, name] of lone.entries()) {
    fs.writeFileSync(join(spool.folder, 'spool', name), 'x\n');
    age(spool, (index === 0 ? 61 : 59) * 60 * 1000, 'spool', name);
  }
  age(spool, 1000 * HOUR, 'spool', `${BASE}:.result`);
  spool.sweep(NOW);
  assert.deepEqual(
    namesIn(spool, 'spool').filter((name) => name.endsWith('.result')),
    [`${BASE}:.result`, lone[1]],
  );
});

test('a foreign name is listed and left alone', (t) => {
  const spool = makeSpool(t);
  const names = ['README', `${BASE}:x`, 'naïve\nname', '.hidden'];
  for (const name of names) {
    fs.writeFileSync(join(spool.folder, 'spool', name), 'x');
    age(spool, 1000 * HOUR, 'spool', name);
  }
  submit(spool, 'bob@example.com');
  spool.sweep(NOW);
  assert.deepEqual(spool.list().foreign, [`${BASE}:x`, 'README', 'naïve\nname']);
  assert.equal(only(spool).base, BASE);
  assert.deepEqual(namesIn(spool, 'spool'), [...names, BASE].sort());
});

test('whatever lies in unsplit, the others are split, and nothing goes without a reason', (t) => {
  const spool = makeSpool(t);
  const unsplit = join(spool.folder, 'unsplit');
  const prefix = '20261120T231500.000000Z:1';
  const block = formatBlock(envelopeTo('bob@example.com'), ORIGIN);
  const bad = [
    'README',
    `${prefix}:bare`,
    `${prefix}:block`,
    `${prefix}:fifo`,
    `${prefix}:folder`,
    `${prefix}:loop`,
    `${prefix}:short`,
    'é'.repeat(125),
  ];
  fs.writeFileSync(join(unsplit, 'README'), block);
  fs.writeFileSync(join(unsplit, `${prefix}:bare`), TEXT);
  fs.writeFileSync(join(unsplit, `${prefix}:block`), 'picorelay: 1\nx\n\n');
  fs.writeFileSync(join(unsplit, `${prefix}:short`), `${block.replace(/0\n/, '9\n')}`);
  fs.writeFileSync(join(unsplit, 'é'.repeat(125)), 'x');
  fs.symlinkSync('/etc/hostname', join(unsplit, `${prefix}:loop`));
  fs.mkdirSync(join(unsplit, `${prefix}:folder`));
  assert.equal(spawnSync('mkfifo', [join(unsplit, `${prefix}:fifo`)]).status, 0);
  const [base = ''] = submit(spool, 'bob@example.com', 'ann@example.com');
  fs.linkSync(
    join(spool.folder, 'spool', base),
    join(unsplit, base.split(':').slice(0, 3).join(':')),
  );
  const { corrupt } = spool.sweep(NOW);
  assert.deepEqual(corrupt.map(({ name }) => name).sort(), [...bad].sort());
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
  const kept = namesIn(spool, 'corrupt');
  assert.equal(kept.filter((name) => name.endsWith(':.reason')).length, bad.length);
  for (const name of bad) assert.ok(kept.includes(name), name);
  assert.equal(spool.list().entries.length, 2);
});

test('one submission that cannot be split now does not stop the sweep', (t) => {
  const spool = makeSpool(t);
  for (const pid of [1, 2, 3]) {
    const bases = spool.submit(
      envelopeTo('bob@example.com', 'ann@example.com'),
      { ...ORIGIN, pid },
      [Buffer.from(TEXT)],
    );
    const name = bases[0]?.split(':').slice(0, 3).join(':') ?? '';
    fs.renameSync(join(spool.folder, 'spool', bases[0] ?? ''), join(spool.folder, 'unsplit', name));
  }
  const { value } = watch(
    spool.folder,
    () => spool.sweep(NOW),
    (call, real) =>
      call.name === 'openSync' && String(call.args[0]).includes('Z:2:')
        ? fail(call, real, 'EIO')
        : real(),
  );
  // What could not be done is told, so that the log has it.
  assert.match(JSON.stringify(value), /EIO/);
  assert.equal(spool.list().entries.length, 4);
  spool.sweep(NOW);
  assert.equal(spool.list().entries.length, 6);
});

test('a folder where a file belongs stops neither the sweep nor the others', (t) => {
  const spool = makeSpool(t);
  const odd = ['tmp/old', `spool/${BASE.replace('bob', 'eve')}:.result`];
  for (const name of odd) {
    fs.mkdirSync(join(spool.folder, name));
    age(spool, 1000 * HOUR, name);
  }
  submit(spool, 'bob@example.com');
  take(spool);
  writeOwner(spool, process.pid);
  assert.deepEqual(new Spool(spool.folder, process.ppid).sweep(NOW).takenBack, [BASE]);
});

test('a route’s trouble is kept until the route is resumed', (t) => {
  const spool = makeSpool(t);
  const trouble: Attempt = { ...DEFERRED, outcome: 'paused', stage: 'connect', lines: ['refused'] };
  assert.equal(spool.records.routeTrouble('default'), undefined);
  spool.records.resumeRoute('default');
  spool.records.pauseRoute('default', trouble);
  assert.deepEqual(spool.records.routeTrouble('default'), trouble);
  spool.records.pauseRoute('default', { ...trouble, lines: ['timeout'] });
  assert.deepEqual(spool.records.routeTrouble('default')?.lines, ['timeout']);
  assert.equal(spool.records.routeTrouble('other'), undefined);
  spool.records.resumeRoute('default');
  assert.equal(spool.records.routeTrouble('default'), undefined);
  // What a power cut may leave.
  fs.writeFileSync(join(spool.folder, 'routes', 'default'), '');
  assert.equal(spool.records.routeTrouble('default'), undefined);
});

test('the time of the last run is kept', (t) => {
  const spool = makeSpool(t);
  assert.equal(spool.records.lastRun(''), undefined);
  spool.records.noteRun('', NOW);
  spool.records.noteRun('', LATER);
  assert.equal(spool.records.lastRun(''), LATER);
  assert.equal(spool.records.lastRun('example.com'), undefined);
  spool.records.noteRun('example.com', NOW);
  assert.equal(spool.records.lastRun('example.com'), NOW);
  assert.equal(spool.records.lastRun(''), LATER);
});
