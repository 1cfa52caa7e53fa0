// The catalogue of commands, from which the command line and the documents are made.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usageOf } from '../../src/admin/command.ts';
import { commands } from '../../src/admin/commands.ts';
import { documentedShape } from '../support/shape.ts';
import { siteFor } from '../support/site.ts';

test('Each command and each of its words is told in one line without a full stop', () => {
  for (const { name, summary, positionals, options } of commands) {
    assert.match(name, /^[a-z]+$/);
    const lines = [...Object.values(positionals), ...Object.values(options)].map(
      ({ describe }) => describe,
    );
    for (const line of [summary, ...lines]) assert.match(line, /^[^\n]+[^.\n]$/, name);
  }
  const names = commands.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
});

test('A word that takes all others stands alone', () => {
  for (const { name, positionals } of commands) {
    const counts = Object.values(positionals).map(({ count }) => count);
    if (counts.includes('raw')) assert.equal(counts.length, 1, name);
  }
});

test('The usage names the words that are needed in <> and the others in []', () => {
  const byName = new Map(commands.map((each) => [each.name, usageOf(each)]));
  assert.equal(byName.get('show'), 'show <id>');
  assert.equal(byName.get('explain'), 'explain [words..]');
  assert.equal(byName.get('digest'), 'digest');
});

test('The help of every command fits a terminal of 80 columns', async (t) => {
  const site = siteFor(t);
  for (const args of [['--help'], ...commands.map(({ name }) => [name, '--help'])]) {
    const { status, stdout, stderr } = await site.run('picorelay', args);
    assert.deepEqual([status, stderr], [0, ''], args.join(' '));
    assert.match(stdout, /^usage: picorelay /);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  }
});

test('Each command that prints JSON has a chapter in docs/json.md', () => {
  for (const { name, options } of commands) {
    if ('json' in options) assert.ok(documentedShape(name) !== undefined, name);
  }
});

test('An option that wants a value is refused without one', async (t) => {
  const { status, stderr } = await siteFor(t).run('picorelay', ['digest', '--hours']);
  assert.equal(status, 64);
  assert.match(stderr, /^picorelay: .*hours/);
});
