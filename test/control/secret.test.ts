import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exposureOf, openLine, type Reader } from '../../src/control/secret.ts';

const QUEUE = 998;
const ME = 1000;

/** root, before it becomes the queue's user; that user; somebody with a spool of his own. */
const ROOT: Reader = { uid: 0, gid: 0, queue: QUEUE };
const RELAY: Reader = { uid: QUEUE, gid: QUEUE, queue: QUEUE };
const OWN: Reader = { uid: ME, gid: ME, queue: ME };

const nameOf = (gid: number): string => (gid === QUEUE ? 'relay' : String(gid));

const GIVE = 'chown root:relay F && chmod 640 F';

for (const [reader, uid, gid, mode, mend] of [
  [ROOT, 0, 0, 0o600, undefined],
  [ROOT, 0, 0, 0o640, undefined],
  [ROOT, 0, QUEUE, 0o640, undefined],
  [ROOT, 0, QUEUE, 0o440, undefined],
  [RELAY, 0, QUEUE, 0o640, undefined],
  [RELAY, QUEUE, QUEUE, 0o600, undefined],
  [OWN, ME, ME, 0o600, undefined],
  [OWN, ME, ME, 0o640, undefined],
  // Everybody may read or change it.
  [ROOT, 0, QUEUE, 0o644, 'chmod 640 F'],
  [ROOT, 0, QUEUE, 0o602, 'chmod 640 F'],
  [ROOT, 0, 0, 0o644, GIVE],
  [RELAY, QUEUE, QUEUE, 0o604, 'chmod 640 F'],
  [OWN, ME, 100, 0o644, 'chmod 600 F'],
  // Its group may change it.
  [ROOT, 0, QUEUE, 0o660, 'chmod 640 F'],
  // Its group may read it and is another one.
  [ROOT, 0, 8, 0o640, GIVE],
  [RELAY, 0, 8, 0o640, GIVE],
  [OWN, ME, 100, 0o640, 'chmod 600 F'],
  [OWN, ME, 100, 0o600, undefined],
  // It belongs to somebody else.
  [ROOT, 1001, QUEUE, 0o600, GIVE],
  [RELAY, 1001, QUEUE, 0o640, GIVE],
] as const) {
  const who = reader === ROOT ? 'root' : reader === RELAY ? 'relay' : 'me';
  test(`A secret of ${uid}:${gid} with mode ${mode.toString(8)} that ${who} reads: ${mend ?? 'fine'}`, () => {
    const exposure = exposureOf('F', { uid, gid, mode: 0o100000 | mode }, reader, nameOf);
    assert.equal(exposure?.mend, mend);
  });
}

test('The line that opens a secret to the queue closes it to others', () => {
  assert.equal(openLine('F', ROOT, nameOf), GIVE);
  assert.equal(openLine('F', { ...ROOT, queue: 7 }, nameOf), 'chown root:7 F && chmod 640 F');
});
