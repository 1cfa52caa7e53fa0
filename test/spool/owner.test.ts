import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { formatOwner, judgeOwner, type Owner, ownerOf, parseOwner } from '../../src/spool/owner.ts';
import { waitFor } from '../support/process.ts';
import { fc } from '../support/properties.ts';

function self(): Owner {
  const owner = ownerOf(process.pid);
  assert.ok(owner !== undefined);
  return owner;
}

test('this process and its parent are alive', () => {
  assert.equal(judgeOwner(self(), self()), 'alive');
  const parent = ownerOf(process.ppid);
  assert.ok(parent !== undefined);
  assert.equal(judgeOwner(parent, self()), 'alive');
});

test('a process that ended is dead', () => {
  const { pid } = spawnSync('true');
  assert.equal(ownerOf(pid), undefined);
  assert.equal(judgeOwner({ ...self(), pid }, self()), 'dead');
});

test('a pid that another process has by now, and a pid of an earlier boot, are dead', () => {
  const owner = self();
  assert.equal(judgeOwner({ ...owner, start: `${owner.start}1` }, owner), 'dead');
  const boot = '00000000-0000-4000-8000-000000000000';
  assert.equal(judgeOwner({ ...owner, boot }, owner), 'dead');
  // Also where the name space is another one: its number may come back after a boot.
  assert.equal(judgeOwner({ ...owner, boot, space: 'pid:[1]' }, owner), 'dead');
});

test('a process of another pid name space cannot be judged', () => {
  const owner = self();
  assert.equal(judgeOwner({ ...owner, space: 'pid:[1]' }, owner), 'unknown');
  assert.equal(judgeOwner({ ...owner, space: 'pid:[1]', pid: 1, start: '1' }, owner), 'unknown');
});

test('a zombie is dead', async (t) => {
  // The shell becomes a program that never waits for the shell's child, which ends only after that.
  const parent = spawn('sh', ['-c', 'cat <&3 & echo $!; exec sleep 60 3<&-'], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  t.after(() => parent.kill());
  assert.ok(parent.stdout);
  const [output] = await once(parent.stdout, 'data');
  const pid = Number(String(output));
  const fields = () => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  };
  const command = () => readFileSync(`/proc/${parent.pid}/comm`, 'latin1');
  await waitFor('the program of the parent', () => command() === 'sleep\n');
  const end = parent.stdio[3];
  assert.ok(end instanceof Writable);
  end.end();
  await waitFor('the zombie', () => fields()[0] === 'Z');
  assert.equal(ownerOf(pid), undefined);
  assert.equal(judgeOwner({ ...self(), pid, start: fields()[19] ?? '' }, self()), 'dead');
});

test("a command's name cannot shift the fields", (t) => {
  const owner = self();
  const title = process.title;
  t.after(() => {
    process.title = title;
  });
  process.title = ') Z 1 (';
  assert.match(readFileSync('/proc/self/stat', 'latin1'), /\) Z 1 \(/);
  assert.deepEqual(self(), owner);
});

test('a record comes back as it was written', () => {
  assert.deepEqual(parseOwner(formatOwner(self())), self());
});

test('any other text is no record', () => {
  const good = formatOwner(self());
  for (const text of [
    '',
    good.trim(),
    `${good}\n`,
    ` ${good}`,
    '0 1 a b\n',
    '1 x a b\n',
    '1 1 Z b\n',
  ]) {
    assert.equal(parseOwner(text), undefined, text);
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const owner = parseOwner(text);
      if (owner !== undefined) assert.equal(formatOwner(owner), text);
    }),
  );
});
