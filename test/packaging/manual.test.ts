// The manual pages: readers of manual pages take them, and they tell what the programs take.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SENDMAIL_IGNORED } from '../../packaging/manual/programs.ts';
import { formatPage } from '../../packaging/manual/roff.ts';
import { parseInvocation } from '../../src/sendmail/arguments.ts';
import { providers } from '../../src/setup/providers.ts';
import { skipWithoutProgram } from '../interop/require.ts';
import { must, run } from '../support/process.ts';
import { programPath } from '../support/site.ts';

const pages = readdirSync('man').map((name) => join('man', name));
const plain = (path: string): string =>
  readFileSync(path, 'utf8')
    .replaceAll(/\\f[BP]/g, '')
    .replaceAll('\\-', '-');

test('mandoc has nothing to say against the pages', {
  skip: skipWithoutProgram('mandoc'),
}, async () => {
  assert.ok(pages.length >= 8);
  for (const page of pages) {
    const done = await run(['mandoc', '-T', 'lint', '-W', 'style', page]);
    assert.deepEqual(done, { status: 0, stdout: '', stderr: '' }, page);
  }
});

test('man shows them without a warning', {
  skip: skipWithoutProgram('man', 'man-db'),
}, async () => {
  for (const page of pages) {
    const env = { MANWIDTH: '80', LC_ALL: 'C.UTF-8' };
    const { status, stdout, stderr } = await run(['man', '--warnings', '-l', page], { env });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' }, page);
    assert.match(stdout, /SYNOPSIS|DESCRIPTION/);
  }
});

test('What would be a request or an escape is text', async () => {
  const page = {
    name: 'odd',
    section: 5,
    summary: 'text that is hostile to roff',
    parts: [
      {
        title: 'DESCRIPTION',
        blocks: [
          '.so /etc/passwd',
          "'br",
          'a\\nb \\*[x] `-f~^` …é',
          { example: ".x\n'y\n\\z" },
          { term: '.t', text: ['.u'] },
        ],
      },
    ],
    seeAlso: [],
  } as const;
  const text = formatPage(page, 'x', '2026-01-01');
  assert.doesNotMatch(text, /^[.'](so|br|x|y|t|u)\b/m);
  assert.match(text, /^a\\enb \\e\*\[x\] \\fB\\-f\\\(ti\\\(ha\\fP \.\.\.\\\[u00E9\]$/m);
});

test('sendmail knows each option of its page, and its page each option of sendmail', () => {
  const page = plain('man/picorelay-sendmail.8');
  const documented = new Set(
    [...page.matchAll(/(?:^|, |\n)-([A-Za-z])/g)].map(([, letter]) => letter),
  );
  const letters = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];
  const known = letters.filter((letter) => {
    const invocation = parseInvocation('sendmail', [`-${letter}`, 'x']);
    return !('problem' in invocation) || !/unknown option/.test(invocation.problem);
  });
  assert.deepEqual([...documented].sort(), known.sort());
  const message = (words: readonly string[]): unknown =>
    parseInvocation('sendmail', [...words, 'a@x.test']);
  for (const letter of SENDMAIL_IGNORED) {
    const value = /[BCDLMOXhp]/.test(letter) ? ['value'] : [];
    assert.deepEqual(message([`-${letter}`, ...value]), message([]), letter);
  }
});

for (const program of ['picorelay-cron', 'picorelay-send'] as const) {
  test(`The page of ${program} has the options of its --help`, async () => {
    const help = await must([programPath(program), '--help']);
    const page = plain(`man/${program}.8`);
    for (const [option] of help.matchAll(/(?<=[ [])--?[a-z]+/g))
      assert.ok(page.includes(option), option);
  });
}

test('The package of npm has every page', () => {
  const { man } = JSON.parse(readFileSync('package.json', 'utf8')) as { man: string[] };
  assert.deepEqual([...man].sort(), [...pages].sort());
});

test('The tables of providers are those that picorelay init knows', () => {
  const rows = (path: string): string[] =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => /^\| [^|]+ \| `smtps?:\/\//.test(line));
  const all = rows('docs/providers.md');
  assert.deepEqual(
    all.map((row) => row.split(' | ')[0]?.slice(2)),
    providers.map(({ name }) => name),
  );
  const common = rows('README.md').filter((row) => !row.includes('Amazon SES'));
  assert.ok(common.length >= 10);
  assert.deepEqual(
    common.filter((row) => !all.includes(row)),
    [],
  );
});
