// The promise of submit: when it returned, the message is there for every recipient; when it threw,
// for none. Every system call on the way is made to fail, and the process is killed at each of them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Envelope } from '../../src/mail/envelope.ts';
import { DirectRoad } from '../../src/spool/commit.ts';
import { Draft } from '../../src/spool/draft.ts';
import { Spool } from '../../src/spool/spool.ts';
import {
  envelopeTo,
  makeFolder,
  makeSpool,
  messageOf,
  NOW,
  namesIn,
  ORIGIN,
  TEXT,
} from '../support/spool.ts';
import { type Call, dieAt, fail, failure, watch } from '../support/syscalls.ts';

const ONE = envelopeTo('bob@example.com');
const THREE = envelopeTo('bob@example.com', 'ann@example.com', 'eve@example.com');
const CODES = ['ENOSPC', 'EIO', 'EDQUOT', 'EROFS', 'EMFILE', 'EACCES'];

type Fault = (call: Call, real: () => unknown) => unknown;

function take(spool: Spool, envelope: Envelope, fault?: Fault) {
  const action = () => {
    const draft = new Draft(new DirectRoad(spool.folder, envelope, ORIGIN), envelope, ORIGIN);
    try {
      draft.write(Buffer.from(TEXT));
    } catch (error) {
      draft.abort();
      throw error;
    }
    return draft.commit(false);
  };
  return watch(spool.folder, action, fault);
}

/** After the next runner's sweep, all recipients have their entry, whole. */
function assertComplete(spool: Spool, envelope: Envelope): void {
  spool.sweep(NOW);
  const names = spool.list().entries.map(({ base }) => base);
  const wanted = envelope.recipients.map(({ address }) => address).sort();
  assert.deepEqual(names.map((base) => base.split(':')[3]).sort(), wanted);
  for (const name of names) assert.equal(messageOf(spool, 'spool', name), TEXT);
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
}

function assertNothing(spool: Spool): void {
  assert.deepEqual(namesIn(spool, 'spool'), []);
  assert.deepEqual(namesIn(spool, 'unsplit'), []);
}

/** A file system without hard links. */
function withoutLinks(fault: Fault): Fault {
  return (call, real) =>
    fault(call, call.name === 'linkSync' ? () => fail(call, real, 'EPERM') : real);
}

const plain: Fault = (_, real) => real();

for (const [title, codes, envelope, system] of [
  ['one recipient', CODES, ONE, (fault: Fault) => fault],
  ['three recipients', CODES, THREE, (fault: Fault) => fault],
  ['one recipient without hard links', ['ENOSPC', 'EIO'], ONE, withoutLinks],
  ['three recipients without hard links', ['ENOSPC', 'EIO'], THREE, withoutLinks],
] as const) {
  test(`${title}: whichever call fails, either all have the message or none has`, (t) => {
    const good = take(makeSpool(t), envelope, system(plain));
    assert.equal(good.error, undefined);
    for (const { index, label, name } of good.calls) {
      for (const code of codes) {
        const spool = makeSpool(t);
        const fault: Fault = (call, real) =>
          call.index === index ? fail(call, real, code) : real();
        const { value, error } = take(spool, envelope, system(fault));
        const when = `${code} at call ${index}, ${label}`;
        if (error === undefined) {
          assert.equal(value?.length, envelope.recipients.length, when);
          assertComplete(spool, envelope);
        } else {
          assert.equal((error as NodeJS.ErrnoException).code, code, when);
          assertNothing(spool);
          if (name !== 'unlinkSync') assert.deepEqual(namesIn(spool, 'tmp'), [], when);
        }
      }
    }
  });

  test(`${title}: killed at any call, either all have the message or none has`, (t) => {
    const good = take(makeSpool(t), envelope, system(plain));
    let accepted = 0;
    for (const { index, label } of good.calls) {
      const spool = makeSpool(t);
      take(spool, envelope, system(dieAt(index)));
      const listed = spool.list().entries.length;
      const whole = envelope.recipients.length;
      assert.ok(listed === 0 || listed === whole, `${listed} listed: killed at ${index}, ${label}`);
      const queued = namesIn(spool, 'spool').length + namesIn(spool, 'unsplit').length > 0;
      if (queued) {
        accepted++;
        assertComplete(spool, envelope);
      }
      // A second sweep finds nothing more to do.
      spool.sweep(NOW);
      assert.equal(spool.list().entries.length, queued ? whole : 0);
    }
    // It was walked over both sides of the commit.
    assert.ok(accepted > 0 && accepted < good.calls.length);
  });

  test(`${title}: an error that comes after the commit does not undo the answer`, (t) => {
    // What was done, though the call said otherwise, may at most be reported as not queued.
    const good = take(makeSpool(t), envelope, system(plain));
    for (const { index, name } of good.calls) {
      if (name !== 'fsyncSync' && name !== 'closeSync') continue;
      const spool = makeSpool(t);
      const { error } = take(
        spool,
        envelope,
        system((call, real) => {
          const result = real();
          if (call.index === index) throw failure('EIO');
          return result;
        }),
      );
      if (error === undefined) assertComplete(spool, envelope);
      else assertNothing(spool);
    }
  });
}

test('the file is synced before it is queued, and the folder before submit returns', (t) => {
  const labels = (envelope: Envelope) =>
    take(makeSpool(t), envelope).calls.map(({ label }) => label);
  const written = ['open tmp/*', 'write tmp/*', 'fsync tmp/*', 'close tmp/*'];
  const synced = (folder: string) => [`open ${folder}`, `fsync ${folder}`, `close ${folder}`];
  assert.deepEqual(labels(ONE), [
    ...written,
    'link tmp/* spool/*',
    ...synced('spool'),
    'unlink tmp/*',
  ]);
  const split = labels(THREE).filter((label) => !label.startsWith('stat'));
  assert.deepEqual(split, [
    ...written,
    'link tmp/* unsplit/*',
    ...synced('unsplit'),
    'unlink tmp/*',
    'link unsplit/* spool/*',
    'link unsplit/* spool/*',
    'link unsplit/* spool/*',
    ...synced('spool'),
    'unlink unsplit/*',
    ...synced('unsplit'),
  ]);
});

test('a copy is synced before it gets its name', (t) => {
  const { calls } = take(makeSpool(t), ONE, withoutLinks(plain));
  const labels = calls.map(({ label }) => label);
  const copied = labels.indexOf('copyFile tmp/* tmp/*');
  const named = labels.indexOf('rename tmp/* spool/*');
  assert.ok(copied > 0 && named > copied);
  assert.ok(labels.slice(copied, named).includes('fsync tmp/*'));
});

test('a short write goes on where it stopped', (t) => {
  for (const envelope of [ONE, THREE]) {
    const spool = makeSpool(t);
    const { error, calls } = take(spool, envelope, (call, real) => {
      if (call.name !== 'writeSync') return real();
      const [fd, bytes, offset, length, position] = call.args as [
        number,
        Uint8Array,
        number,
        number,
        number | null,
      ];
      const part = bytes.subarray(offset, offset + Math.min(7, length));
      return fs.writevSync(fd, [part], position ?? undefined);
    });
    assert.equal(error, undefined);
    assert.ok(calls.filter(({ name }) => name === 'writeSync').length > 10);
    assertComplete(spool, envelope);
  }
});

test('a write that takes nothing is a full disk, not an endless loop', (t) => {
  const spool = makeSpool(t);
  const { error } = take(spool, ONE, (call, real) => (call.name === 'writeSync' ? 0 : real()));
  assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  assertNothing(spool);
  assert.deepEqual(namesIn(spool, 'tmp'), []);
});

test('EMLINK: a recipient beyond the last link gets a copy', (t) => {
  const spool = makeSpool(t);
  let links = 0;
  const { error } = take(spool, THREE, (call, real) => {
    if (call.name === 'linkSync' && ++links > 2) return fail(call, real, 'EMLINK');
    return real();
  });
  assert.equal(error, undefined);
  assertComplete(spool, THREE);
});

test('a copy that was cut short in tmp costs no recipient its mail', (t) => {
  // Killed at each call of a split on a file system without links, then split on that same system.
  const good = take(makeSpool(t), THREE, withoutLinks(plain));
  for (const { index } of good.calls) {
    const spool = makeSpool(t);
    take(spool, THREE, withoutLinks(dieAt(index)));
    const queued = namesIn(spool, 'spool').length + namesIn(spool, 'unsplit').length > 0;
    watch(spool.folder, () => spool.sweep(NOW), withoutLinks(plain));
    assert.equal(spool.list().entries.length, queued ? 3 : 0, `killed at ${index}`);
  }
});

test('two that split the same submission without hard links lose nothing', (t) => {
  const good = take(makeSpool(t), THREE, withoutLinks(plain));
  for (const { index } of good.calls) {
    const spool = makeSpool(t);
    const { error } = take(
      spool,
      THREE,
      withoutLinks((call, real) => {
        // A runner sweeps just before this call.
        if (call.index === index) {
          const runner = new Spool(spool.folder, process.pid);
          runner.sweep(NOW);
        }
        return real();
      }),
    );
    assert.equal(error, undefined);
    assertComplete(spool, THREE);
  }
});

test('a runner that sweeps between any two calls of a submission changes nothing', (t) => {
  const good = take(makeSpool(t), THREE);
  for (const { index } of good.calls) {
    const spool = makeSpool(t);
    const { error } = take(spool, THREE, (call, real) => {
      if (call.index === index) {
        const runner = new Spool(spool.folder, process.pid);
        runner.sweep(NOW);
        const listed = runner.list().entries.length;
        assert.ok(listed === 0 || listed === 3);
      }
      return real();
    });
    assert.equal(error, undefined);
    assertComplete(spool, THREE);
  }
});

for (const [system, title] of [
  [(fault: Fault) => fault, ''],
  [withoutLinks, ' without hard links'],
] as const) {
  test(`a runner that relays between any two calls of a submission relays each recipient once${title}`, (t) => {
    const good = take(makeSpool(t), THREE, system(plain));
    for (const { index, name } of good.calls) {
      // No call renames a file only while another name is there: this instant stays open.
      if (name === 'renameSync') continue;

      const spool = makeSpool(t);
      const relayed: string[] = [];
      const relay = () => {
        const runner = new Spool(spool.folder, process.pid);
        runner.sweep(NOW);
        for (const entry of runner.list().entries) {
          const claim = runner.claim(entry, NOW);
          assert.ok(claim !== undefined);
          relayed.push(claim.base.split(':')[3] ?? '');
          runner.finish(claim);
        }
        runner.leave();
      };
      const { error } = take(
        spool,
        THREE,
        system((call, real) => {
          if (call.index === index) relay();
          return real();
        }),
      );
      assert.equal(error, undefined);
      relay();
      assert.deepEqual(relayed.sort(), ['ann@example.com', 'bob@example.com', 'eve@example.com']);
    }
  });
}

test('a copy in tmp that belongs to somebody else is neither used nor overwritten', (t) => {
  const spool = makeSpool(t);
  const copies = [
    '20261120T231501.123456Z:4242.copy1',
    '20261120T231501.123456Z:4242:root@host.test:bob@example.com.copy1',
  ];
  for (const name of copies) fs.writeFileSync(join(spool.folder, 'tmp', name), 'half');
  const { error } = take(spool, THREE, withoutLinks(plain));
  assert.equal(error, undefined);
  assertComplete(spool, THREE);
  for (const name of copies) {
    assert.equal(fs.readFileSync(join(spool.folder, 'tmp', name), 'latin1'), 'half');
  }
});

test('a name that is taken is never overwritten: the next microsecond is taken', (t) => {
  for (const envelope of [ONE, THREE]) {
    const spool = makeSpool(t);
    const first = take(spool, envelope);
    const second = take(spool, envelope);
    assert.equal(first.error ?? second.error, undefined);
    const names = [...(first.value ?? []), ...(second.value ?? [])];
    assert.equal(new Set(names).size, 2 * envelope.recipients.length);
    assert.deepEqual(namesIn(spool, 'spool'), names.sort());
    assert.match(names.at(-1) ?? '', /\.123457Z:/);
  }
});

test('a single recipient and several of the same microsecond keep apart', (t) => {
  for (const [one, other] of [
    [ONE, THREE],
    [THREE, ONE],
  ] as const) {
    const spool = makeSpool(t);
    take(spool, one);
    const { error } = take(spool, other);
    assert.equal(error, undefined);
    assert.equal(namesIn(spool, 'spool').length, 4);
    assert.equal(spool.list().entries.length, 4);
  }
});

test('a draft of the same microsecond in tmp is left alone', (t) => {
  const spool = makeSpool(t);
  const one = new Draft(new DirectRoad(spool.folder, ONE, ORIGIN), ONE, ORIGIN);
  const other = new Draft(new DirectRoad(spool.folder, ONE, ORIGIN), ONE, ORIGIN);
  one.write(Buffer.from('one\r\n'));
  other.write(Buffer.from('other\r\n'));
  const names = [...other.commit(false), ...one.commit(false)];
  assert.equal(new Set(names).size, 2);
  assert.deepEqual(
    names.map((name) => messageOf(spool, 'spool', name)),
    ['other\r\n', 'one\r\n'],
  );
});

test('the same recipient twice is one entry', (t) => {
  const spool = makeSpool(t);
  take(spool, envelopeTo('bob@example.com', 'bob@example.com'));
  assert.equal(spool.list().entries.length, 1);
});

test('an abandoned draft leaves nothing', (t) => {
  const spool = makeSpool(t);
  const draft = new Draft(new DirectRoad(spool.folder, ONE, ORIGIN), ONE, ORIGIN);
  draft.write(Buffer.alloc(200_000));
  draft.abort();
  assert.deepEqual(namesIn(spool, 'tmp'), []);
  assertNothing(spool);
});

test('messages of any size and division come back byte for byte', (t) => {
  const spool = makeSpool(t);
  const K64 = 64 * 1024;
  const block = 300;
  for (const size of [0, 1, K64 - block, K64 - 1, K64, K64 + 1, 3 * K64 + 5]) {
    for (const step of [1000, K64 - 1, K64, K64 + 1, 4 * K64]) {
      check(spool, ONE, size, step);
    }
  }
  // Around the size at which block and message just fill the buffer.
  for (let size = K64 - block; size < K64 - block + 150; size += 3) check(spool, ONE, size, K64);
});

test('a block larger than the buffer is written whole', (t) => {
  const spool = makeSpool(t);
  const others = Array.from({ length: 30 }, (_, n) => `${n}${'x'.repeat(2500)}@example.com`);
  const names = check(spool, envelopeTo('bob@example.com', ...others), 10, 10);
  assert.equal(names.length, 31);
});

function check(spool: Spool, envelope: Envelope, size: number, step: number): readonly string[] {
  const bytes = Buffer.alloc(size, 'abcdefghijk\r\n');
  const draft = new Draft(new DirectRoad(spool.folder, envelope, ORIGIN), envelope, ORIGIN);
  const chunk = Buffer.alloc(step);
  for (let at = 0; at < size; at += step) {
    const copied = bytes.copy(chunk, 0, at, at + step);
    draft.write(chunk.subarray(0, copied));
    // The caller uses its chunk again.
    chunk.fill('!');
  }
  const names = draft.commit(true);
  const [name = ''] = names;
  assert.equal(messageOf(spool, 'spool', name), bytes.toString('latin1'), `${size} by ${step}`);
  const message = spool.look(name, 'spool', name);
  assert.equal(message.size, size);
  assert.equal(message.body, '8BITMIME');
  message.close();
  return names;
}

/** The modes of a spool's folders and of a file in it, in octal. */
function modesOf(spool: Spool): Record<string, string> {
  const [name = ''] = take(spool, ONE).value ?? [];
  const names = ['tmp', 'unsplit', 'spool', 'Undelivered', 'corrupt', 'routes', 'run', 'incoming'];
  const modes = [...names, `spool/${name}`].map((each) => [
    each.replace(name, 'ENTRY'),
    (fs.statSync(join(spool.folder, each)).mode & 0o7777).toString(8),
  ]);
  return Object.fromEntries(modes) as Record<string, string>;
}

test('folders are for the owner of the spool alone, but one that takes and does not show', (t) => {
  const umask = process.umask(0o077);
  t.after(() => process.umask(umask));
  assert.deepEqual(modesOf(makeSpool(t)), {
    tmp: '700',
    unsplit: '700',
    spool: '700',
    Undelivered: '700',
    corrupt: '700',
    routes: '700',
    run: '700',
    incoming: '1733',
    'spool/ENTRY': '600',
  });
});

test('a spool folder that hands its group on lets its members in', (t) => {
  const folder = join(makeFolder(t), 'mail');
  fs.mkdirSync(folder);
  fs.chmodSync(folder, 0o2711);
  const spool = new Spool(folder, process.pid);
  spool.makeLayout();
  assert.deepEqual(modesOf(spool), {
    tmp: '2770',
    unsplit: '2770',
    spool: '2770',
    Undelivered: '2750',
    corrupt: '2750',
    routes: '2750',
    run: '2700',
    incoming: '3733',
    'spool/ENTRY': '600',
  });
});
