// SECURITY.md names a test for each incident: the tests are there.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const rows = readFileSync('SECURITY.md', 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && line.includes('`test/'))
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')));

test('Each incident of SECURITY.md names a test that exists', () => {
  assert.ok(rows.length > 25, String(rows.length));
  for (const row of rows) {
    assert.equal(row.length, 4, row[0]);
    const [, path = '', title] = /^`(test\/[\w./-]+)`(?:: (.+))?$/.exec(row[3] ?? '') ?? [];
    const text = readFileSync(path, 'utf8');
    if (title === undefined) continue;
    assert.ok(text.includes(`test('${title}'`), `${path} has no test called ${title}`);
  }
});

test('Every number of a vulnerability is written as one', () => {
  const text = readFileSync('SECURITY.md', 'utf8');
  const numbers = text.match(/CVE[\s\S]{0,14}/g) ?? [];
  for (const number of numbers) assert.match(number, /^CVE-(?:19|20)\d\d-\d{4,5}/);
});
