import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  announceRunner,
  listenForWake,
  type WakeListener,
  wakeRunner,
  withdrawNote,
} from '../../src/runner/wake.ts';
import { makeFolder } from '../support/spool.ts';

/** Longer than any of these tests may take: a wait that ends by it has failed. */
const LONG = 60_000;

/** The runner is not told to stop. */
const GOING = new AbortController().signal;

async function listen(folder: string): Promise<WakeListener> {
  const listener = await listenForWake(folder);
  assert.ok(listener !== undefined);
  return listener;
}

test('where nobody listens, nobody is woken', async (t) => {
  const folder = makeFolder(t);
  assert.equal(wakeRunner(folder), false);
  assert.deepEqual(fs.readdirSync(folder), []);
  assert.equal(spawnSync('mkfifo', [join(folder, 'wake')]).status, 0);
  assert.equal(wakeRunner(folder), false);
  const listener = await listen(folder);
  await listener.close();
  assert.equal(wakeRunner(folder), false);
});

test('a listener hears a wake-up while it waits', async (t) => {
  const listener = await listen(makeFolder(t));
  assert.equal(await listener.wait(0, GOING), false);
  await listener.close();
  const folder = makeFolder(t);
  const other = await listen(folder);
  const heard = other.wait(LONG, GOING);
  assert.equal(wakeRunner(folder), true);
  assert.equal(await heard, true);
  await other.close();
});

test('a wake-up that comes while nobody waits is not lost, and several are one', async (t) => {
  const folder = makeFolder(t);
  const listener = await listen(folder);
  for (let n = 0; n < 3; n++) assert.equal(wakeRunner(folder), true);
  assert.equal(await listener.wait(LONG, GOING), true);
  assert.equal(await listener.wait(0, GOING), false);
  assert.equal(wakeRunner(folder), true);
  assert.equal(await listener.wait(LONG, GOING), true);
  await listener.close();
});

test('many wake-ups while the listener is busy are few when it waits', async (t) => {
  const folder = makeFolder(t);
  const listener = await listen(folder);
  for (let n = 0; n < 100; n++) {
    assert.equal(wakeRunner(folder), true);
    // What is busy sends mail, so that the event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
  }
  let heard = 0;
  // Long enough for what is left to be heard, if there were any.
  while (await listener.wait(100, GOING)) heard++;
  assert.ok(heard === 1 || heard === 2, String(heard));
  await listener.close();
});

test('a wait without a wake-up ends by its time', async (t) => {
  const listener = await listen(makeFolder(t));
  assert.equal(await listener.wait(1, GOING), false);
  await listener.close();
});

test('a stop ends the wait, and a wait after it', async (t) => {
  const folder = makeFolder(t);
  const listener = await listen(folder);
  const stop = new AbortController();
  const waited = listener.wait(LONG, stop.signal);
  stop.abort();
  assert.equal(await waited, false);
  assert.equal(await listener.wait(LONG, stop.signal), false);
  await listener.close();
});

test('a FIFO that is full of wake-ups counts as heard', async (t) => {
  const folder = makeFolder(t);
  const listener = await listen(folder);
  const fd = fs.openSync(join(folder, 'wake'), fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  assert.throws(
    () => {
      for (;;) fs.writeSync(fd, Buffer.alloc(4096));
    },
    { code: 'EAGAIN' },
  );
  fs.closeSync(fd);
  assert.equal(wakeRunner(folder), true);
  assert.equal(await listener.wait(LONG, GOING), true);
  await listener.close();
});

test('closing is done once, and ends also for one that closed already', async (t) => {
  const folder = makeFolder(t);
  const listener = await listen(folder);
  await listener.close();
  await listener.close();
  assert.equal(wakeRunner(folder), false);
  const next = await listen(folder);
  assert.equal(wakeRunner(folder), true);
  assert.equal(await next.wait(LONG, GOING), true);
  await next.close();
});

test('what is no FIFO is neither listened to nor written to', async (t) => {
  const folder = makeFolder(t);
  const path = join(folder, 'wake');
  fs.writeFileSync(path, 'precious');
  assert.equal(await listenForWake(folder), undefined);
  assert.equal(wakeRunner(folder), false);
  assert.equal(fs.readFileSync(path, 'latin1'), 'precious');
  // Nor through a link, be it to a FIFO.
  const target = join(makeFolder(t), 'target');
  fs.renameSync(path, target);
  fs.symlinkSync(target, path);
  assert.equal(await listenForWake(folder), undefined);
  assert.equal(wakeRunner(folder), false);
  assert.equal(fs.readFileSync(target, 'latin1'), 'precious');
  fs.unlinkSync(path);
  fs.mkdirSync(path);
  assert.equal(await listenForWake(folder), undefined);
  assert.equal(wakeRunner(folder), false);
});

test('where no FIFO can be made, nobody listens and nothing fails', async (t) => {
  const folder = join(makeFolder(t), 'missing');
  assert.equal(await listenForWake(folder), undefined);
  assert.equal(wakeRunner(folder), false);
});

test('who finds the note of a runner on its way starts none', (t) => {
  const folder = makeFolder(t);
  fs.mkdirSync(join(folder, 'run'));
  const now = Date.now();
  assert.equal(announceRunner(folder, now), true);
  assert.equal(announceRunner(folder, now + 1000), false);
  withdrawNote(folder);
  assert.deepEqual(fs.readdirSync(join(folder, 'run')), []);
  withdrawNote(folder);
  assert.equal(announceRunner(folder, now), true);
});

test('a note whose runner never came, or from a clock that leapt, holds for seconds', (t) => {
  const folder = makeFolder(t);
  fs.mkdirSync(join(folder, 'run'));
  const now = Date.now();
  assert.equal(announceRunner(folder, now), true);
  assert.equal(announceRunner(folder, now + 60_000), true);
  // That one renewed it.
  assert.equal(announceRunner(folder, now + 61_000), false);
  assert.equal(announceRunner(folder, now), true);
});

test('where no note can be left, a runner is started all the same', (t) => {
  assert.equal(announceRunner(makeFolder(t), Date.now()), true);
});
