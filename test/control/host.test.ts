import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { test } from 'node:test';
import { loginIn, loginName, minutesEast } from '../../src/control/host.ts';

const PASSWD = `root:x:0:0:root:/root:/bin/bash
toor:x:0:0::/root:/bin/sh
broken
+::::::
:x:7:7::/:
evil name:x:8:8::/:
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
host$:x:1001:1001::/:
long:x:10010:1001::/:`;

test('A user has the first name that /etc/passwd gives the id.', () => {
  const cases: readonly (readonly [uid: number, name: string | undefined])[] = [
    [0, 'root'],
    [33, 'www-data'],
    [1001, 'host$'],
    [10010, 'long'],
    [7, undefined],
    [8, undefined],
    [100, undefined],
  ];
  for (const [uid, name] of cases) assert.equal(loginIn(PASSWD, uid), name, `${uid}`);
  assert.equal(loginIn('', 0), undefined);
});

test('This process has the name that the system gives it, and an id without one has a name too.', () => {
  assert.equal(loginName(process.getuid?.() ?? 0), userInfo().username);
  assert.equal(loginName(4_000_000_001), 'uid4000000001');
});

test('Local time is that of this host, as the runtime has it too.', () => {
  const runtime = (time: Date): number => 0 - time.getTimezoneOffset();
  for (const text of ['2026-01-15T12:00:00Z', '2026-07-15T12:00:00Z']) {
    const time = new Date(text);
    assert.equal(minutesEast(time, undefined), runtime(time));
    // The runtime's zone was settled at its start, by the same variable.
    assert.equal(minutesEast(time, 'Any/Where') + 0, runtime(time));
  }
});
