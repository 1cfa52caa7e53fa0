import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { keptAppender } from '../../src/spool/disk.ts';
import { makeFolder } from '../support/spool.ts';

test('A log that is kept open gets each line, and a rotated one is left after a second', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const path = `${makeFolder(t)}/log`;
  const append = keptAppender(() => undefined);
  append(path, 'one\n');
  fs.renameSync(path, `${path}.1`);
  append(path, 'two\n');
  t.mock.timers.tick(1000);
  append(path, 'three\n');
  assert.equal(fs.readFileSync(`${path}.1`, 'utf8'), 'one\ntwo\n');
  assert.equal(fs.readFileSync(path, 'utf8'), 'three\n');
  t.mock.timers.tick(1000);
});
