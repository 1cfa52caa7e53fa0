// How mails are named and filtered on the command line.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandError } from '../../src/admin/command.ts';
import { cut, showSize, wrap } from '../../src/admin/layout.ts';
import { chosen, filterOf, type Mail, named, shortIds, theOne } from '../../src/admin/mails.ts';
import { formatBase } from '../../src/spool/name.ts';
import { fc } from '../support/properties.ts';

const SECOND = 1_000_000;

function mail(seconds: number, sender: string, recipient: string, held = false): Mail {
  const base = formatBase({ time: seconds * SECOND, pid: 7, sender, recipient });
  return held
    ? { base, place: 'spool', state: { kind: 'held', attempts: 2 } }
    : { base, place: 'spool', state: { kind: 'new' } };
}

const anyMails = fc
  .uniqueArray(
    fc.tuple(
      fc.integer({ min: 0, max: 3 }).map((day) => day * 86_400 + 5),
      fc.constantFrom('', 'a@x.test'),
      fc.constantFrom('b@x.test', 'ab@x.test', 'b@x.test.example', '000005.000000', 'ü@x.test'),
    ),
    { selector: (tuple) => tuple.join(' '), maxLength: 12 },
  )
  .map((tuples) => tuples.map((tuple) => mail(...tuple)));

test('By its short id a mail is found among all', () => {
  fc.assert(
    fc.property(anyMails, (mails) => {
      const ids = shortIds(() => mails.map(({ base }) => base));
      for (const each of mails) assert.equal(theOne(mails, ids(each.base)), each);
    }),
  );
});

test('A mail is named by its file too, with the suffix of its state and its folder', () => {
  const held = mail(5, 'a@x.test', 'b@x.test', true);
  const mails = [held, mail(6, 'a@x.test', 'b@x.test')];
  assert.equal(theOne(mails, `/var/spool/picorelay/spool/${held.base}:2.held`), held);
});

test('A pattern names several, a word that is part of several none', () => {
  const mails = [mail(5, 'a@x.test', 'b@x.test'), mail(6, 'a@x.test', 'c@x.test')];
  assert.deepEqual(named(mails, ['*@x.test']), mails);
  assert.deepEqual(named(mails, ['c@', 'b@']), mails, 'in the order of the queue');
  assert.throws(() => named(mails, ['x.test']), /"x.test" is part of 2 names:\n {2}\S+\n {2}\S+$/);
  assert.throws(() => named(mails, ['nobody']), CommandError);
  assert.throws(() => theOne(mails, '*'), /part of 2 names/);
});

test('A filter lets through what fits all of it', () => {
  const mails = [mail(1000, '', 'b@x.test'), mail(2000, 'A@x.test', 'b@y.test', true)];
  const none = { from: undefined, to: undefined, older: undefined, state: undefined };
  const at = (filter: object): number[] =>
    mails.filter(filterOf({ ...none, ...filter }, 4_000_000)).map((each) => mails.indexOf(each));
  assert.deepEqual(at({}), [0, 1]);
  assert.deepEqual(at({ from: '' }), [0]);
  assert.deepEqual(at({ from: 'a@*' }), [1]);
  assert.deepEqual(at({ to: '*@x.test' }), [0]);
  assert.deepEqual(at({ older: '40m' }), [0]);
  assert.deepEqual(at({ state: 'held' }), [1]);
  assert.deepEqual(at({ state: 'held', to: '*@x.test' }), []);
  assert.throws(() => at({ older: 'yesterday' }), /^CommandError: --older takes a duration/);
});

test('Without a name, an option or --all nothing is chosen', () => {
  const none = { from: undefined, to: undefined, older: undefined, state: undefined };
  const mails = [mail(5, '', 'b@x.test')];
  const choose = (how: object): readonly Mail[] =>
    chosen(mails, { ids: [], all: false, ...none, ...how }, 0);
  assert.throws(() => choose({}), /which mail\?/);
  assert.throws(() => choose({ ids: ['b'], all: true }), /not both/);
  assert.throws(() => choose({ from: 'nobody' }), /no mail is chosen/);
  assert.deepEqual(choose({ all: true }), mails);
  assert.deepEqual(choose({ ids: ['b'] }), mails);
});

test('A size takes at most five characters', () => {
  const sizes = [0, 999, 1000, 4300, 10_239, 999_999, 17 * 2 ** 20, 5 * 2 ** 30];
  assert.deepEqual(sizes.map(showSize), ['0', '999', '1.0K', '4.2K', '10K', '977K', '17M', '5.0G']);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (octets) => showSize(octets).length <= 5),
  );
});

test('A line is cut between characters, and wrapped between words', () => {
  assert.equal(cut('abcdef', 6), 'abcdef');
  assert.equal(cut('abcdefg', 6), 'abcde…');
  assert.equal(cut('abcd😀fg', 6), 'abcd…');
  assert.deepEqual(wrap('aa bb cc', 5), ['aa bb', 'cc']);
  assert.deepEqual(wrap('averylongword b', 5), ['averylongword', 'b']);
});
