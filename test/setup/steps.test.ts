import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatRecord,
  type Made,
  madeBy,
  parseRecord,
  type Step,
  sayStep,
} from '../../src/setup/steps.ts';
import { fc } from '../support/properties.ts';

const path = fc.stringMatching(/^\/[ -~]{1,30}$/);
const name = fc.stringMatching(/^[a-z][a-z0-9._-]{0,20}$/);

const made: fc.Arbitrary<Made> = fc.oneof(
  fc.record({ kind: fc.constantFrom('group' as const, 'user' as const), name }),
  fc.record({ kind: fc.constant('folder' as const), path }),
  fc.record({
    kind: fc.constant('file' as const),
    path,
    role: fc.constantFrom('control' as const, 'starter' as const, 'own' as const, 'log' as const),
  }),
  fc.record({ kind: fc.constant('link' as const), path, target: path }),
  fc.record({ kind: fc.constantFrom('divert' as const, 'aside' as const), path, to: path }),
  fc.record({ kind: fc.constant('alternative' as const), group: name, target: path }),
  fc.record({ kind: fc.constant('alternative' as const), group: name, target: path, chosen: path }),
  fc.record({ kind: fc.constant('spool' as const), path, user: name }),
  fc.record({ kind: fc.constant('units' as const), names: fc.array(name) }),
);

test('what is recorded is read back', () => {
  fc.assert(
    fc.property(fc.array(made), (steps) => {
      // fast-check makes objects without a prototype.
      assert.deepEqual(
        parseRecord(formatRecord(steps)),
        steps.map((each) => ({ ...each })),
      );
    }),
  );
});

test('a record that was tampered with is refused as a whole, with the line', () => {
  const good = formatRecord([{ kind: 'user', name: 'relay' }]);
  for (const line of [
    '{"kind":"user","name":"--root=/tmp"}',
    '{"kind":"user","name":"a b"}',
    '{"kind":"file","path":"etc/passwd","role":"own"}',
    '{"kind":"file","path":"/etc/passwd","role":"other"}',
    '{"kind":"units","names":["a","-b"]}',
    '{"kind":"reboot"}',
    '[]',
    'null',
    '{',
  ]) {
    assert.throws(() => parseRecord(`${good}${line}\n`), /^Error: line 3: /, line);
  }
  assert.throws(() => parseRecord('something else\n'), /^Error: line 1: /);
  assert.throws(() => parseRecord(''), /^Error: line 1: /);
});

test('the record holds no text of a file, and so no password', () => {
  const step: Step = {
    kind: 'file',
    role: 'control',
    path: '/etc/picorelay/authpassword',
    text: 'hunter2\n',
    mode: 0o640,
    group: 'relay',
    secret: true,
  };
  const record = madeBy(step);
  assert.ok(record !== undefined);
  assert.doesNotMatch(formatRecord([record]), /hunter2/);
  assert.equal(sayStep(step), '/etc/picorelay/authpassword (640 root:relay): not shown');
});
