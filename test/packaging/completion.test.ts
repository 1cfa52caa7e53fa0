// Completion in the shells themselves: a line is typed on a terminal, and TAB is pressed.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { must, run } from '../support/process.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

/** A site with two mails in the queue and one in Undelivered, and their short ids. */
async function filled(site: Site): Promise<{ queued: string; refused: string }> {
  await site.run('sendmail', ['a@x.test'], 'Subject: s\n\nb\n');
  await site.run('sendmail', ['b@x.test'], 'Subject: s\n\nb\n');
  const [first = ''] = site.queued();
  const refused = '20200101T010203.000000Z:7:root@x.test:gone@x.test';
  writeFileSync(join(site.spool, 'Undelivered', refused), 'Subject: old\r\n\r\nb\r\n');
  return { queued: first.slice(9, 22), refused: '010203.000000' };
}

const environment = (site: Site): Record<string, string> => ({
  ...site.env,
  PATH: `${dirname(programPath('picorelay'))}:${dirname(process.execPath)}:/usr/bin:/bin`,
  LC_ALL: 'C',
});

for (const shell of ['bash', 'zsh'] as const) {
  test(`${shell} completes commands, options, values and ids`, {
    skip: skipWithoutProgram(shell),
  }, async (t) => {
    const site = siteFor(t);
    const { queued, refused } = await filled(site);
    const env = environment(site);
    const script = join(site.folder, 'completion');
    writeFileSync(script, await must(['picorelay', 'completion', shell], { env }));
    let count = 0;
    const tab = async (line: string): Promise<string> => {
      const folder = join(site.folder, `shell${count++}`);
      mkdirSync(folder);
      const typed = await must(['python3', 'test/packaging/tab.py', shell, script, folder, line], {
        env,
      });
      return typed.trimEnd();
    };
    const rows = [
      ['picorelay unde', 'picorelay undelivered'],
      ['picorelay list --rev', 'picorelay list --reverse'],
      ['picorelay list --state he', 'picorelay list --state held'],
      ['picorelay list --state held --sort si', 'picorelay list --state held --sort size'],
      // Of two that wait, the first differs from the other in its last digits.
      [`picorelay show ${queued.slice(0, -1)}`, `picorelay show ${queued}`],
      ['picorelay resend 0', `picorelay resend ${refused}`],
      ['picorelay retry 0102', 'picorelay retry 0102'],
      ['picorelay check sp', 'picorelay check spool'],
      [
        `picorelay run --socket ${site.folder}/contr`,
        `picorelay run --socket ${site.folder}/control/`,
      ],
    ] as const;
    for (const [typed, completed] of rows) assert.equal(await tab(typed), completed, typed);
  });
}

test('fish completes commands, options, values and ids', {
  skip: skipWithoutProgram('fish'),
}, async (t) => {
  const site = siteFor(t);
  const { queued, refused } = await filled(site);
  const env = { ...environment(site), HOME: site.folder };
  const script = join(site.folder, 'picorelay.fish');
  writeFileSync(script, await must(['picorelay', 'completion', 'fish'], { env }));
  const offered = async (line: string): Promise<string[]> => {
    const text = await must(
      ['fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line],
      { env },
    );
    return text
      .split('\n')
      .filter((each) => each !== '')
      .map((each) => each.split('\t')[0] ?? '');
  };
  assert.deepEqual(await offered('picorelay unde'), ['undelivered']);
  assert.deepEqual(await offered('picorelay list --rev'), ['--reverse']);
  assert.deepEqual((await offered('picorelay list --state ')).sort(), [
    'held',
    'new',
    'sending',
    'undelivered',
    'waiting',
  ]);
  assert.ok((await offered('picorelay show ')).includes(queued));
  assert.deepEqual(await offered('picorelay resend '), [refused]);
  assert.deepEqual(await offered('picorelay check sp'), ['spool']);
});

test('The scripts are ones that their shells and shellcheck take', {
  skip: skipWithoutProgram('shellcheck'),
}, async (t) => {
  const { folder, env } = siteFor(t);
  for (const shell of ['bash', 'zsh', 'fish']) {
    const path = join(folder, shell);
    writeFileSync(path, await must([programPath('picorelay'), 'completion', shell], { env }));
    assert.deepEqual(await run([shell, '-n', path]), { status: 0, stdout: '', stderr: '' }, shell);
  }
  const checked = await run(['shellcheck', '--shell=bash', join(folder, 'bash')]);
  assert.deepEqual(checked, { status: 0, stdout: '', stderr: '' });
  const wrong = await run([programPath('picorelay'), 'completion', 'csh'], { env });
  assert.equal(wrong.status, 64);
  assert.match(wrong.stderr, /"csh" is none of "bash", "zsh", "fish"/);
});
