import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { takeLock } from '../../src/runner/lock.ts';
import { parseOwner } from '../../src/spool/owner.ts';
import type { Spool } from '../../src/spool/spool.ts';
import { makeSpool, writeOwner } from '../support/spool.ts';

const MINUTE = 60 * 1000;

/** A process that tries to take the lock; it keeps it until `end`. */
async function startHolder(t: TestContext, spool: Spool) {
  const program = join(import.meta.dirname, 'lock-holder.js');
  const child = spawn(process.execPath, [program, spool.folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [output] = await once(child.stdout, 'data');
  const stop = async (how: 'end' | 'kill') => {
    const exited = once(child, 'exit');
    if (how === 'end') child.stdin.end();
    else child.kill('SIGKILL');
    await exited;
  };
  return { said: String(output).trim(), pid: child.pid, stop };
}

function lockPath(spool: Spool): string {
  return join(spool.folder, 'run', 'runner.lock');
}

function age(spool: Spool, milliseconds: number): void {
  const seconds = (Date.now() - milliseconds) / 1000;
  fs.utimesSync(lockPath(spool), seconds, seconds);
}

function recordedPid(spool: Spool): number | undefined {
  return parseOwner(fs.readFileSync(join(spool.folder, 'run', 'runner'), 'latin1'))?.pid;
}

test('one of two has the lock, and the other gets it after the release', async (t) => {
  const spool = makeSpool(t);
  const holder = await startHolder(t, spool);
  assert.equal(holder.said, 'taken');
  assert.equal(recordedPid(spool), holder.pid);
  assert.equal(await takeLock(spool), undefined);
  // A living holder that is slow to refresh keeps it.
  age(spool, 29 * MINUTE);
  assert.equal(await takeLock(spool), undefined);
  assert.equal(recordedPid(spool), holder.pid);
  await holder.stop('end');
  const lock = await takeLock(spool);
  assert.equal(lock?.lost, false);
  assert.equal(recordedPid(spool), process.pid);
  const refused = await startHolder(t, spool);
  assert.equal(refused.said, 'refused');
  await refused.stop('end');
  // Whoever was refused released nothing.
  assert.ok(fs.existsSync(lockPath(spool)));
  await lock?.release();
  assert.ok(!fs.existsSync(lockPath(spool)));
});

test('the lock of a killed process is taken over at once', async (t) => {
  const spool = makeSpool(t);
  const holder = await startHolder(t, spool);
  await holder.stop('kill');
  assert.ok(fs.existsSync(lockPath(spool)));
  age(spool, 3000);
  const lock = await takeLock(spool);
  assert.equal(lock?.lost, false);
  assert.equal(recordedPid(spool), process.pid);
  await lock?.release();
});

test('a lock is taken over by its owner’s death, its age, or the lack of a record', async (t) => {
  const record = (spool: Spool) => join(spool.folder, 'run', 'runner');
  const write = (spool: Spool, change: Parameters<typeof writeOwner>[2]) => {
    writeOwner(spool, process.pid, change);
    fs.renameSync(join(spool.folder, 'run', String(process.pid)), record(spool));
  };
  const table: readonly [string, number, (spool: Spool) => void, boolean][] = [
    ['another start of this pid', 3000, (spool) => write(spool, { start: '1' }), true],
    ['an earlier boot', 3000, (spool) => write(spool, { boot: 'a' }), true],
    ['the lock was taken just now', 0, (spool) => write(spool, { start: '1' }), false],
    ['it lives', 29 * MINUTE, (spool) => write(spool, {}), false],
    ['it lives, the lock is too old', 31 * MINUTE, (spool) => write(spool, {}), true],
    ['another container', 29 * MINUTE, (spool) => write(spool, { space: 'pid:[1]' }), false],
    ['another container, too old', 31 * MINUTE, (spool) => write(spool, { space: 'x' }), true],
    ['no record yet', 0, () => undefined, false],
    ['no record: its maker died', 3000, () => undefined, true],
    ['an empty record yet', 0, (spool) => fs.writeFileSync(record(spool), ''), false],
    ['an empty record', 3000, (spool) => fs.writeFileSync(record(spool), ''), true],
  ];
  for (const [title, old, prepare, taken] of table) {
    const spool = makeSpool(t);
    prepare(spool);
    fs.mkdirSync(lockPath(spool));
    age(spool, old);
    const lock = await takeLock(spool);
    assert.equal(lock !== undefined, taken, title);
    await lock?.release();
  }
});

test('a runner learns that its lock was taken over, and does not release the other’s', async (t) => {
  const spool = makeSpool(t);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lock = await takeLock(spool);
  assert.equal(lock?.lost, false);
  age(spool, 31 * MINUTE);
  const other = await startHolder(t, spool);
  assert.equal(other.said, 'taken');
  assert.equal(lock?.lost, false);
  // Its next refresh.
  t.mock.timers.tick(MINUTE);
  while (!lock?.lost) await new Promise((resolve) => setImmediate(resolve));
  await lock?.release();
  assert.ok(fs.existsSync(lockPath(spool)));
  assert.equal(recordedPid(spool), other.pid);
  await other.stop('end');
  assert.ok(!fs.existsSync(lockPath(spool)));
});

test('a runner that refreshes its lock keeps it', async (t) => {
  const spool = makeSpool(t);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lock = await takeLock(spool);
  const before = fs.statSync(lockPath(spool)).mtimeMs;
  // The lock compares its own time stamp, so the clock has to go on by itself.
  while (Date.now() <= before + 1) await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(MINUTE);
  while (fs.statSync(lockPath(spool)).mtimeMs <= before) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(lock?.lost, false);
  assert.equal(await takeLock(spool), undefined);
  await lock?.release();
});
