import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addresseeOf, type Policy, readPolicy } from '../../src/bounce/policy.ts';
import type { ControlName, ControlValues } from '../../src/control/catalogue.ts';
import type { Control } from '../../src/control/control.ts';

const VALUES: Partial<ControlValues> = {
  me: 'host.test',
  defaulthost: 'example.com',
  bouncehost: 'host.test',
  bouncefrom: 'MAILER-DAEMON',
  idhost: 'host.test',
  doublebounceto: 'postmaster',
  bounce: 'sender',
  delaywarn: 14_400,
  queuelifetime: 432_000,
  bounceslimit: 20,
  sendermap: { entries: new Map() },
  rewriteto: 'complete',
};

function policyOf(change: Partial<ControlValues> = {}): Policy {
  const values = { ...VALUES, ...change };
  const get = <N extends ControlName>(name: N): ControlValues[N] =>
    values[name] as ControlValues[N];
  const control: Control = { folder: '/none', get };
  return readPolicy(control);
}

const ADMIN = { adminaddr: 'admin@example.com' };

test('Who gets a report follows from sender, recipients and the control files', () => {
  const table: [
    Partial<ControlValues>,
    sender: string,
    to: string,
    expected: string | undefined,
  ][] = [
    [{}, 'jo@example.com', 'x@y.test', 'jo@example.com'],
    [{}, 'root@host.test', 'x@y.test', 'root@host.test'],
    [ADMIN, 'root@host.test', 'x@y.test', 'admin@example.com'],
    [ADMIN, 'root@HOST.test', 'x@y.test', 'admin@example.com'],
    [ADMIN, 'root@localhost', 'x@y.test', 'admin@example.com'],
    // That host was chosen because mail to it arrives.
    [ADMIN, 'jo@example.com', 'x@y.test', 'jo@example.com'],
    [{ ...ADMIN, bounce: 'admin' }, 'jo@example.com', 'x@y.test', 'admin@example.com'],
    [{ bounce: 'admin' }, 'jo@example.com', 'x@y.test', 'postmaster@example.com'],
    [{ ...ADMIN, bounce: 'off' }, 'jo@example.com', 'x@y.test', undefined],
    [{ ...ADMIN, bounce: 'off' }, '', 'x@y.test', undefined],
    // What has no sender goes to doublebounceto, and what fails there to nobody.
    [{}, '', 'x@y.test', 'postmaster@example.com'],
    [{}, '', 'Postmaster@Example.com', undefined],
    [ADMIN, '', 'x@y.test', 'admin@example.com'],
    [ADMIN, '', 'admin@example.com', undefined],
    [{ ...ADMIN, doublebounceto: 'me@z.test' }, '', 'x@y.test', 'me@z.test'],
    [{}, 'no address', 'x@y.test', 'postmaster@example.com'],
    [{}, 'a@b\r\nBcc: c@d', 'x@y.test', 'postmaster@example.com'],
    [{}, '#@[]', 'x@y.test', undefined],
  ];
  for (const [change, sender, to, expected] of table) {
    const found = addresseeOf(policyOf(change), sender, [to]);
    assert.equal(found, expected, JSON.stringify([change, sender, to]));
  }
});

test('A report comes from MAILER-DAEMON at this host, and the times are milliseconds', () => {
  const policy = policyOf();
  assert.equal(policy.from, 'MAILER-DAEMON@host.test');
  assert.deepEqual([policy.delay, policy.lifetime], [14_400_000, 432_000_000]);
});
