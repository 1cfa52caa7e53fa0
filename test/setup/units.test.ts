import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cronFile, logrotateFile, systemdUnits, userCrontab } from '../../src/setup/units.ts';
import { skipWithoutProgram } from '../interop/require.ts';
import { run } from '../support/process.ts';

const service = {
  user: 'relay',
  spool: '/var/spool/picorelay',
  command: ['/usr/bin/true', '/opt/pico relay/100%/$x/picorelay-cron'],
  log: undefined,
  control: undefined,
};

test('systemd takes the units', { skip: skipWithoutProgram('systemd-analyze') }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-units-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const units = systemdUnits({ ...service, log: '/var/log/picorelay.log', control: '/etc/p' });
  const paths = [...units].map(([name, text]) => {
    // Whoever verifies looks whether the user and the manual page are there.
    const known = text.replace('User=relay', 'User=daemon').replace(/^Documentation=.*\n/m, '');
    writeFileSync(join(folder, name), known);
    return join(folder, name);
  });
  const verified = await run(['systemd-analyze', 'verify', '--man=no', ...paths]);
  assert.equal(verified.status, 0, verified.stderr);
  assert.doesNotMatch(verified.stderr, /picorelay/);
});

test("cron gets one line, where a percent sign is cron's own", () => {
  const [line] = cronFile(service).split('\n').slice(-2);
  assert.equal(line, "* * * * * relay /usr/bin/true '/opt/pico relay/100\\%/$x/picorelay-cron'");
  assert.match(userCrontab(service), /^\* \* \* \* \* \/usr\/bin\/true /m);
  assert.match(
    cronFile({ ...service, control: '/etc/other' }),
    /^PICORELAY_CONTROL=\/etc\/other$/m,
  );
});

test('logrotate makes the new log as it was', () => {
  const text = logrotateFile({ ...service, log: '/var/log/picorelay.log' }, false);
  assert.match(text, /^\/var\/log\/picorelay\.log \{$/m);
  assert.match(text, /create 0640 relay relay/);
});
