// What users without rights left in incoming/ becomes entries exactly once, whatever fails on the way and
// wherever the process is killed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Envelope, Origin } from '../../src/mail/envelope.ts';
import { NO_LIMITS } from '../../src/mail/limits.ts';
import { formatBlock } from '../../src/spool/block.ts';
import { Draft } from '../../src/spool/draft.ts';
import { IncomingRoad } from '../../src/spool/incoming.ts';
import { formatTaking, parseTaking } from '../../src/spool/name.ts';
import { Spool } from '../../src/spool/spool.ts';
import { type Admission, inTurn, type TakenOver, Takeover } from '../../src/spool/takeover.ts';
import {
  envelopeTo,
  makeSpool,
  messageOf,
  NOW,
  namesIn,
  ORIGIN,
  TEXT,
  textOf,
  writeOwner,
} from '../support/spool.ts';
import { type Call, dieAt, fail, watch } from '../support/syscalls.ts';

const TRACE = 'Received: (test)\r\n';
const ADMISSION: Admission = { received: () => TRACE, limits: NO_LIMITS };
const ONE = envelopeTo('bob@example.com');
const THREE = envelopeTo('bob@example.com', 'ann@example.com', 'eve@example.com');
const EIGHT_BIT = 'Subject: t\r\n\r\nth\xc3\xa9\r\n';

let count = 0;

/** Submits as a caller without rights does. */
function leave(spool: Spool, envelope: Envelope, text = TEXT, origin: Origin = ORIGIN): string {
  count++;
  const token = String(count).padStart(32, '0');
  const draft = new Draft(
    new IncomingRoad(spool.folder, envelope, origin, token),
    envelope,
    origin,
  );
  draft.write(Buffer.from(text, 'latin1'));
  assert.deepEqual(draft.commit(false), []);
  return token;
}

function put(spool: Spool, name: string, content: string | Buffer): string {
  const path = join(spool.folder, 'incoming', name);
  fs.writeFileSync(path, content);
  return path;
}

function takeOver(spool: Spool, admission = ADMISSION): TakenOver {
  return new Takeover(spool).run(NOW, admission);
}

/** What a runner does after a take-over: it splits, and relays what is listed; the recipients. */
function deliver(spool: Spool): string[] {
  spool.sweep(NOW);
  return spool.list().entries.flatMap((entry) => {
    const claim = spool.claim(entry, NOW);
    assert.ok(claim !== undefined);
    const message = spool.open(claim);
    const { address } = message.recipientOf(claim.base);
    message.close();
    spool.finish(claim);
    return [address];
  });
}

/** Does something without waiting for the disk. */
function unsynced<T>(spool: Spool, action: () => T): T {
  const { value, error } = watch(spool.folder, action);
  if (error !== undefined) throw error;
  return value as T;
}

function addressesOf({ recipients }: Envelope): string[] {
  return recipients.map(({ address }) => address).toSorted();
}

function assertClean(spool: Spool): void {
  for (const folder of ['incoming', 'unsplit', 'spool', 'corrupt']) {
    assert.deepEqual(namesIn(spool, folder), [], folder);
  }
}

test('A submission without rights becomes entries with a trace of its owner', (t) => {
  const spool = makeSpool(t);
  leave(spool, ONE);
  leave(spool, THREE, EIGHT_BIT, {
    ...ORIGIN,
    uid: 0,
    program: 'qmail-queue',
    notes: ['repaired: x'],
  });
  const report = takeOver(spool);
  assert.deepEqual(report, { taken: 2, corrupt: [], discarded: [], faults: [], more: false });
  spool.sweep(NOW);
  const names = namesIn(spool, 'spool');
  assert.equal(names.length, 4);
  const single =
    names.find((name) =>
      names.every((other) => other === name || other.split(':')[0] !== name.split(':')[0]),
    ) ?? '';
  assert.equal(messageOf(spool, 'spool', single), TRACE + TEXT);
  const uid = process.getuid?.();
  assert.match(textOf(spool, 'spool', single), new RegExp(`^uid: ${uid}\nprogram: incoming$`, 'm'));
  const other = names.find((name) => name !== single) ?? '';
  assert.match(
    textOf(spool, 'spool', other),
    new RegExp(`^uid: ${uid}\nprogram: qmail-queue$`, 'm'),
  );
  assert.match(textOf(spool, 'spool', other), /^note: repaired: x$/m);
});

type Fault = (call: Call, real: () => unknown) => unknown;

for (const [title, envelope, text] of [
  ['one recipient', ONE, TEXT],
  ['three recipients', THREE, TEXT],
  ['a message that needs repair', ONE, EIGHT_BIT],
] as const) {
  const prepared = (t: TestContext): Spool => {
    const spool = makeSpool(t);
    unsynced(spool, () => leave(spool, envelope, text));
    return spool;
  };
  const calls = (t: TestContext, fault?: Fault) => {
    const spool = prepared(t);
    // Who this process is, is asked once.
    assert.ok(spool.self);
    return { spool, ...watch(spool.folder, () => takeOver(spool), fault) };
  };

  test(`${title}: killed at any call, each recipient gets it exactly once`, (t) => {
    for (const { index, label } of calls(t).calls) {
      for (const resumer of ['the same process', 'another process'] as const) {
        const { spool } = calls(t, dieAt(index));
        const next = resumer === 'another process' ? new Spool(spool.folder, process.ppid) : spool;
        // Another runner that finds entries sends them.
        if (resumer === 'another process') writeOwner(spool, process.pid);
        const early = unsynced(next, () => deliver(next));
        unsynced(next, () => takeOver(next));
        const delivered = [...early, ...unsynced(next, () => deliver(next))].toSorted();
        const when = `${resumer} after ${index}, ${label}`;
        assert.deepEqual(delivered, addressesOf(envelope), when);
        assertClean(spool);
        // A third look finds nothing more to do.
        assert.equal(takeOver(next).taken, 0, when);
        assert.deepEqual(deliver(next), [], when);
      }
    }
  });

  test(`${title}: whichever call fails, each recipient gets it exactly once`, (t) => {
    for (const { index, label } of calls(t).calls) {
      for (const code of ['ENOSPC', 'EIO', 'EDQUOT', 'EROFS', 'EMFILE']) {
        const { spool, error, value } = calls(t, (call, real) =>
          call.index === index ? fail(call, real, code) : real(),
        );
        const when = `${code} at ${index}, ${label}`;
        if (value?.taken !== 1) {
          const told = error === undefined ? value?.faults.join() : String(error);
          assert.match(told ?? '', new RegExp(code), when);
        }
        const early = unsynced(spool, () => deliver(spool));
        unsynced(spool, () => takeOver(spool));
        const delivered = [...early, ...unsynced(spool, () => deliver(spool))].toSorted();
        assert.deepEqual(delivered, addressesOf(envelope), when);
        assertClean(spool);
      }
    }
  });
}

test('Nothing is sent of a submission whose claim is still there', (t) => {
  const spool = makeSpool(t);
  leave(spool, ONE);
  const { error } = watch(
    spool.folder,
    () => takeOver(spool),
    (call, real) => (call.label === 'unlink unsplit/*' ? fail(call, real, 'EIO') : real()),
  );
  assert.equal(error, undefined);
  assert.equal(namesIn(spool, 'spool').length, 1);
  assert.deepEqual(spool.list().entries, []);
  assert.equal(takeOver(spool).taken, 1);
  assert.equal(spool.list().entries.length, 1);
});

test('Files and folders are synced before the next step relies on them', (t) => {
  const spool = makeSpool(t);
  leave(spool, ONE);
  const { calls } = watch(spool.folder, () => takeOver(spool));
  const labels = calls.map(({ label }) => label);
  const changing = /^(rename|fsync|write|link|unlink) (?!run)/;
  assert.deepEqual(
    labels.filter((label) => changing.test(label)),
    [
      'rename incoming/* unsplit/*',
      'fsync unsplit',
      'fsync incoming',
      'write tmp/*',
      'fsync tmp/*',
      'link tmp/* spool/*',
      'unlink tmp/*',
      'fsync spool',
      'unlink unsplit/*',
      'fsync unsplit',
    ],
  );
});

test('Two runners that meet in incoming take each file once', (t) => {
  const spool = makeSpool(t);
  const other = new Spool(spool.folder, process.ppid);
  for (let n = 0; n < 5; n++) leave(spool, ONE);
  let met = false;
  const { value } = watch(
    spool.folder,
    () => takeOver(spool),
    (call, real) => {
      if (call.label === 'rename incoming/* unsplit/*' && !met) {
        met = true;
        assert.equal(takeOver(other).taken, 5);
      }
      return real();
    },
  );
  assert.equal(value?.taken, 0);
  assert.equal(deliver(spool).length, 5);
});

test('What holds no message is erased and counted, what is damaged is kept with its reason', (t) => {
  const spool = makeSpool(t);
  const incoming = join(spool.folder, 'incoming');
  const outside = join(spool.folder, 'outside');
  fs.writeFileSync(outside, 'mine');
  const block = formatBlock(ONE, ORIGIN);
  fs.symlinkSync(outside, join(incoming, 'symlink'));
  fs.symlinkSync('/etc/passwd', join(incoming, '.symlink'));
  fs.linkSync(outside, join(incoming, 'hardlink'));
  fs.mkdirSync(join(incoming, 'folder'));
  fs.mkdirSync(join(incoming, 'full'));
  fs.writeFileSync(join(incoming, 'full', 'x'), '');
  put(spool, 'empty', '');
  put(spool, 'second', '');
  put(spool, 'bare', TEXT);
  put(spool, 'short', block.replace(/0\n/, '9\n'));
  put(spool, 'rest', `${block}more`);
  put(spool, 'version', block.replace('picorelay: 1', 'picorelay: 2'));
  put(spool, 'injection', block.replace('bob@example.com', 'bob%0D%0ADATA@example.com'));
  put(
    spool,
    'parameter',
    block.replace('bob@example.com', 'bob@example.com ORCPT=rfc822;a%0D%0Ab'),
  );
  put(spool, 'envid', block.replace('sender', 'envid: a%0A\nsender'));
  const odd = Buffer.concat([Buffer.from(`${incoming}/`), Buffer.alloc(255, 0xff)]);
  fs.writeFileSync(odd, '');
  leave(spool, ONE);
  const { taken, corrupt, discarded, faults } = takeOver(spool);
  assert.equal(taken, 1);
  assert.deepEqual(faults, []);
  assert.deepEqual(discarded.map(({ reason, count: many }) => [reason, many]).toSorted(), [
    ['a file with more than one name', 1],
    ['an empty file', 3],
    ['no regular file', 3],
  ]);
  assert.equal(fs.readFileSync(outside, 'utf8'), 'mine');
  assert.deepEqual(namesIn(spool, 'incoming'), ['full']);
  assert.equal(corrupt.length, 7);
  for (const { name, reason } of corrupt) {
    assert.match(name, /^[\dT.]+Z:\d+:uid\d+$/);
    assert.equal(textOf(spool, 'corrupt', `${name}:.reason`), `${reason}\n`);
  }
  const reasons = corrupt.map(({ reason }) => reason).join('\n');
  for (const expected of [
    /control characters/,
    /parameter/,
    /another version/,
    /no envelope block/,
  ]) {
    assert.match(reasons, expected);
  }
  spool.sweep(NOW);
  assert.equal(spool.list().entries.length, 1);
});

test('A file that changes or grows while it is copied is noticed and not queued', (t) => {
  for (const change of ['grow', 'rewrite'] as const) {
    const spool = makeSpool(t);
    const token = leave(spool, ONE, `Subject: x\r\n\r\n${'0123456\r\n'.repeat(50_000)}`);
    const name = namesIn(spool, 'incoming').find((each) => each.endsWith(token)) ?? '';
    const fd = fs.openSync(join(spool.folder, 'incoming', name), 'r+');
    t.after(() => fs.closeSync(fd));
    let done = false;
    const { value } = watch(
      spool.folder,
      () => takeOver(spool),
      (call, real) => {
        if (call.label === 'read unsplit/*' && Number(call.args[4]) > 100_000 && !done) {
          done = true;
          // The clock of file times lags a tick behind.
          fs.futimesSync(fd, 1, 1);
          if (change === 'grow') fs.writeSync(fd, 'more', null);
          else fs.writeSync(fd, 'X', 200_000);
        }
        return real();
      },
    );
    assert.ok(done);
    assert.deepEqual(
      value?.corrupt.map(({ reason }) => reason.split(' (')[0]),
      ['it was changed while it was taken over'],
    );
    assert.deepEqual([namesIn(spool, 'spool'), namesIn(spool, 'tmp')], [[], []]);
  }
});

test('A hidden file is left alone while it may be written, and erased when it is old', (t) => {
  const spool = makeSpool(t);
  const path = put(spool, '.20261120T231501.000000Z:1:x', 'half');
  fs.utimesSync(path, 1, 1);
  const now = fs.statSync(path).ctimeMs;
  const takeover = new Takeover(spool);
  takeover.run(now + 35 * 3600 * 1000, ADMISSION);
  assert.equal(namesIn(spool, 'incoming').length, 1);
  assert.equal(takeover.waiting(), false);
  takeover.run(now + 37 * 3600 * 1000, ADMISSION);
  assert.equal(namesIn(spool, 'incoming').length, 0);
});

test('A pass takes a bounded number and says that there is more', (t) => {
  const spool = makeSpool(t);
  for (let n = 0; n < 250; n++) unsynced(spool, () => leave(spool, ONE));
  const takeover = new Takeover(spool);
  assert.equal(takeover.waiting(), true);
  const first = unsynced(spool, () => takeover.run(NOW, ADMISSION));
  assert.deepEqual([first.taken, first.more], [200, true]);
  const second = takeover.run(NOW, ADMISSION);
  assert.deepEqual([second.taken, second.more], [50, false]);
  assert.equal(takeover.waiting(), false);
  assert.equal(deliver(spool).length, 250);
});

test('More files than one pass looks at end in no endless round, and hide none for long', (t) => {
  const spool = makeSpool(t);
  for (let n = 0; n < 20_500; n++) put(spool, `.x${n}`, '');
  leave(spool, ONE);
  const takeover = new Takeover(spool);
  const passes = Array.from({ length: 4 }, () => takeover.run(NOW, ADMISSION));
  const taken = passes.map((pass) => pass.taken);
  assert.equal(
    taken.reduce((sum, each) => sum + each),
    1,
  );
  const last = taken.indexOf(1);
  assert.ok(last < 2, `taken by pass ${last}`);
  // Where it was in the first part, one more look at the beginning is in order.
  assert.ok(passes.findIndex(({ more }) => !more) <= 3);
});

test('A submission over a limit of its user waits, and one that never fits goes to corrupt', (t) => {
  const spool = makeSpool(t);
  const limits = { ...NO_LIMITS, userEntries: 2 };
  for (let n = 0; n < 4; n++) leave(spool, ONE);
  leave(spool, THREE);
  for (const name of namesIn(spool, 'incoming')) {
    // root has no limit.
    if (process.getuid?.() === 0) fs.chownSync(join(spool.folder, 'incoming', name), 1234, 1234);
  }
  const takeover = new Takeover(spool);
  const pass = () => takeover.run(NOW, { ...ADMISSION, limits });
  const first = pass();
  assert.deepEqual([first.taken, first.corrupt, first.more], [2, [], false]);
  assert.match(first.faults.join(), /^incoming\/: mail of uid \d+ waits: /);
  assert.equal(takeover.waiting(), false);
  assert.deepEqual([pass().taken, pass().faults], [0, []], 'it is told once');
  assert.equal(deliver(spool).length, 2);
  const second = pass();
  assert.equal(second.taken, 2);
  assert.match(second.corrupt[0]?.reason ?? '', /control\/userentries/);
  assert.equal(deliver(spool).length, 2);
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
});

test('Users take turns, oldest names first, within what a pass may copy', () => {
  const file = (name: string, octets = 1) => ({ name: Buffer.from(name), octets });
  const names = (users: Parameters<typeof inTurn>[0]) => {
    const { chosen, left } = inTurn(users);
    return [chosen.map(({ name }) => String(name)).join(' '), left];
  };
  assert.deepEqual(names([]), ['', false]);
  assert.deepEqual(
    names([[file('e3'), file('e1'), file('e2')], [file('b1')], [file('w2'), file('w1')]]),
    ['e1 b1 w1 e2 w2 e3', false],
  );
  const many = Array.from({ length: 5000 }, (_, n) => file(`e${String(n).padStart(4, '0')}`));
  const [chosen, left] = names([many, [file('b1')]]);
  assert.equal(left, true);
  assert.match(String(chosen), /^e0000 b1 e0001 /);
  const large = 40 * 1024 * 1024;
  assert.deepEqual(names([[file('e1', large), file('e2', large)], [file('b1')]]), ['e1 b1', true]);
  assert.deepEqual(names([[file('e1', 10 * large)], [file('b1')]]), ['e1', true]);
});

test('The name of a claim comes back, and no other name is one', () => {
  const taking = { time: NOW * 1000 + 7, pid: 42, inode: '123' };
  const name = formatTaking(taking, 77);
  assert.equal(name, '20261120T231501.000007Z:42:123.77.taking');
  assert.deepEqual(parseTaking(name), { ...taking, owner: 77 });
  for (const other of [
    '20261120T231501.000007Z:42:root@x.test',
    '20261120T231501.000007Z:42:123.0.taking',
    '20261320T231501.000007Z:42:123.77.taking',
    'x:42:123.77.taking',
    '',
  ]) {
    assert.equal(parseTaking(other), undefined, other);
  }
});
