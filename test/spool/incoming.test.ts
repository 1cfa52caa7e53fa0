// The road of callers without rights on the spool, where a system call fails.
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeAll } from '../../src/spool/disk.ts';
import { IncomingRoad } from '../../src/spool/incoming.ts';
import { envelopeTo, makeSpool, ORIGIN, TEXT } from '../support/spool.ts';
import { fail, watch } from '../support/syscalls.ts';

const TOKEN = '0123456789abcdef0123456789abcdef';

test('A file that cannot be closed is no reason to refuse a submission that is on the disk', (t) => {
  const spool = makeSpool(t);
  const road = new IncomingRoad(spool.folder, envelopeTo('a@x.test'), ORIGIN, TOKEN);
  const { path, fd } = road.open();
  writeAll(fd, Buffer.from(TEXT));
  const { error } = watch(
    spool.folder,
    () => road.commit(path, fd),
    (call, real) => (call.name === 'closeSync' ? fail(call, real, 'EIO') : real()),
  );
  assert.equal(error, undefined);
  assert.equal(readdirSync(join(spool.folder, 'incoming')).length, 1);
});

test('A submission whose file was erased meanwhile is refused', (t) => {
  const spool = makeSpool(t);
  const road = new IncomingRoad(spool.folder, envelopeTo('a@x.test'), ORIGIN, TOKEN);
  const { path, fd } = road.open();
  rmSync(path);
  assert.throws(() => road.commit(path, fd), { code: 'ENOENT' });
});
