// Debian's cron with the line of the README: what an outage left goes out by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { occupyCallers, spoolFolder } from '../interop/callers.ts';
import { skipWithout } from '../interop/require.ts';
import { freePort, waitFor } from '../support/process.ts';
import { startSink } from '../support/sink.ts';

test('A one-minute entry of cron delivers what an outage left, and mails nothing', {
  skip: skipWithout('callers'),
}, async (t) => {
  const port = await freePort();
  const callers = await occupyCallers(port);
  t.after(() => callers.release());
  const queued = (): string[] =>
    callers.names(`${spoolFolder}/spool`).filter((name) => !name.endsWith(':.result'));
  for (const name of ['one', 'two', 'three']) {
    const finished = await callers.run(['/usr/sbin/sendmail', `${name}@relayed.test`], {
      input: 'Subject: kept\n\nbody\n',
    });
    assert.deepEqual(finished, { status: 0, stdout: '', stderr: '' });
  }
  const outage = await callers.run(['/opt/picorelay/bin/picorelay-cron']);
  assert.match(outage.stderr, /ECONNREFUSED|refused/);
  assert.equal(queued().length, 3);

  const sink = await startSink(port);
  t.after(() => sink.stop());
  for (const stale of ['/run/crond.pid', '/run/crond.reboot']) callers.erase(stale);
  const crontab = '/var/spool/cron/crontabs/root';
  callers.write(crontab, '* * * * * /opt/picorelay/bin/picorelay-cron\n', 0o600);
  t.after(() => callers.erase(crontab));
  const cron = await callers.start(['cron', '-f', '-L', '15']);
  t.after(() => cron.stop());
  await waitFor('an empty queue', () => queued().length === 0, {
    limit: 300_000,
    detail: () => `${cron.output()}${callers.log()}`,
  });
  // What cron itself had mailed would have come, too.
  assert.deepEqual(
    sink.received.map(({ to, message }) => [...to, /^Subject: .*/m.exec(message)?.[0]]).toSorted(),
    ['one', 'three', 'two'].map((name) => [`${name}@relayed.test`, 'Subject: kept']),
  );
});
