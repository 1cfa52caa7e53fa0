// Each row of the caller table through the built program: the envelope and the header that result.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';
import { CALLERS } from './caller-table.ts';

for (const { name, args, input, from, to, has = [], hasNot = [] } of CALLERS) {
  test(`${name} gets its mail out: ${args.join(' ')}`, async (t) => {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    const ran = await site.run('sendmail', args, input, { env: { USER: 'root' } });
    assert.equal(ran.status, 0, ran.stderr);
    assert.equal(ran.stderr, '');
    await site.run('picorelay', ['run', '--once']);
    // With -odb a runner in the background may be the one that has it.
    await waitFor('the mail', () => relay.received.length > 0, { detail: site.log });
    assert.deepEqual(relay.faults, []);
    const [mail, ...others] = relay.received;
    assert.ok(mail !== undefined && others.length === 0, site.log());
    assert.deepEqual([mail.from, [...mail.to].sort()], [from, [...to].sort()]);
    const text = mail.raw.toString();
    const header = text.slice(0, text.indexOf('\r\n\r\n')).replaceAll('\r\n', '\n');
    for (const field of ['Date', 'Message-ID', 'From', 'To', 'Subject']) {
      const count = header.match(new RegExp(`^${field}:`, 'gim'))?.length;
      assert.equal(count, 1, `${field} in\n${header}`);
    }
    for (const pattern of has) assert.match(header, pattern);
    for (const pattern of hasNot) assert.doesNotMatch(header, pattern);
    const body = args[0] === '-bs' ? /body\r\n/ : new RegExp(`${lastLine(input)}\r\n$`);
    assert.match(text, body);
  });
}

test('Every row that names a test of the real program names one that is there', () => {
  const interop = readFileSync('test/interop/callers.test.ts', 'utf8');
  const missing = CALLERS.flatMap(({ real }) => real ?? []).filter((title) => {
    const program = title.replace(/ submits one message$/, '');
    return (
      !interop.includes(title) &&
      !interop.includes(`name: '${program}'`) &&
      !interop.includes(`name: "${program}"`)
    );
  });
  assert.deepEqual(missing, []);
});

function lastLine(input: string): string {
  const line = input.trimEnd().split('\n').at(-1) ?? '';
  return line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace('\u00f6', '.*');
}
