// The units of systemd as the Debian package has them: systemd takes them, they lock in what they start,
// and what they start lives with that.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { must, run } from '../support/process.ts';
import { startSink } from '../support/sink.ts';
import { programPath, siteFor } from '../support/site.ts';

const folders = ['packaging/systemd', 'packaging/examples/systemd'];
const texts = new Map(
  folders.flatMap((folder) =>
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')] as const),
  ),
);
const units = [...texts.keys()];
const unit = (name: string): string => texts.get(name) ?? '';

test('systemd has nothing to say against the units', {
  skip: skipWithoutProgram('systemd-analyze', 'systemd'),
}, async (t) => {
  const { folder } = siteFor(t);
  const root = join(folder, 'root');
  const home = join(root, 'usr/lib/systemd/system');
  mkdirSync(home, { recursive: true });
  cpSync('/usr/lib/systemd/system', home, { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(root, 'usr/bin'));
  symlinkSync('usr/bin', join(root, 'bin'));
  symlinkSync('usr/lib', join(root, 'lib'));
  for (const name of units) {
    writeFileSync(join(home, name), unit(name));
    for (const [, program = ''] of unit(name).matchAll(/^Exec\w+=(\S+)/gm)) {
      writeFileSync(join(root, program), '#!/bin/sh\n', { mode: 0o755 });
    }
  }
  const said = await run(['systemd-analyze', 'verify', '--man=no', `--root=${root}`, ...units]);
  assert.deepEqual(said, { status: 0, stdout: '', stderr: '' });
  for (const name of units.filter((each) => each.endsWith('.service'))) {
    // Ten is a service without any bounds.
    await must([
      ...['systemd-analyze', 'security', '--offline=true', '--threshold=20'],
      ...[`--root=${root}`, name],
    ]);
  }
});

test('A runner lives with the system calls that the unit leaves it', {
  skip: skipWithoutProgram('strace'),
}, async (t) => {
  const site = siteFor(t);
  const sink = await startSink();
  t.after(() => sink.stop());
  site.relays(sink.port);
  site.control('authpasswordcommand', 'echo secret');
  await must([programPath('sendmail'), 'a@x.test'], { env: site.env, input: 'Subject: s\n\nb\n' });
  const trace = join(site.folder, 'trace');
  await must(['strace', '-f', '-qq', '-o', trace, programPath('picorelay-cron')], {
    env: site.env,
  });
  assert.equal(sink.received.length, 1);

  const made = new Set<string>();
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    const [, name] = /^\d+ +(\w+)\(/.exec(line) ?? [];
    if (name !== undefined) made.add(name);
  }
  assert.ok(made.size > 30, 'a trace');
  const service = unit('picorelay.service');
  const lists = [...service.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)];
  const [allowed, forbidden] = await Promise.all(
    ['', '~'].map(async (sign) => {
      const words = lists
        .filter(([, not]) => not === sign)
        .flatMap(([, , list = '']) => list.split(' '));
      return new Set((await Promise.all(words.map(callsOf))).flat());
    }),
  );
  const refused = [...made].filter((name) => !allowed?.has(name) || forbidden?.has(name));
  // V8 asks for keys to its memory, and goes on without.
  assert.deepEqual(refused, ['pkey_alloc']);

  await must([programPath('sendmail'), 'b@x.test'], { env: site.env, input: 'Subject: s\n\nb\n' });
  const answer = `inject=${refused.join(',')}:error=EPERM`;
  await must(
    ['strace', '-f', '-qq', '-o', '/dev/null', '-e', answer, programPath('picorelay-cron')],
    {
      env: site.env,
    },
  );
  assert.equal(sink.received.length, 2);
});

/** The system calls behind a name, which may be that of a set. */
async function callsOf(name: string): Promise<string[]> {
  if (!name.startsWith('@')) return [name];
  const text = await must(['systemd-analyze', 'syscall-filter', name]);
  const words = text
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
  const found = words.filter((word) => /^@?[a-z]\w*/.test(word));
  return (await Promise.all(found.map((each) => (each === name ? [] : callsOf(each))))).flat();
}
