// A user of a host without any rights on the queue: the output of a job of hers reaches the relay by the next
// minute of a real cron, with nothing set-id and no daemon of ours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installCheckout, picorelay } from '../interop/checkout.ts';
import { freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { waitFor } from '../support/process.ts';
import { startSink } from '../support/sink.ts';

test("a user's cron job is heard of", { skip: skipWithout('fresh') }, async (t) => {
  const sink = await startSink();
  t.after(() => sink.stop());
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  await fresh.must([
    ...[picorelay, 'init', '--yes', '--relay', `smtp://127.0.0.1:${sink.port}`],
    ...['--schedule', 'cron'],
  ]);
  const crontab = '/var/spool/cron/crontabs/tester';
  fresh.write(crontab, 'MAILTO=alice@relayed.test\n@reboot id -un\n', 0o600);
  await fresh.must(['chown', 'tester:crontab', crontab]);
  const cron = await fresh.start(['cron', '-f', '-L', '15']);
  t.after(() => cron.stop());
  await waitFor('the mail', () => sink.received.length > 0, {
    limit: 100_000,
    detail: () => `${cron.output()}${fresh.names('/var/spool/picorelay/incoming').join('\n')}`,
  });
  const [mail] = sink.received;
  assert.deepEqual([mail?.from, mail?.to], ['tester@host.test', ['alice@relayed.test']]);
  assert.match(mail?.message ?? '', /\n\ntester\n$/);
  assert.equal((await fresh.run(['find', '/opt/picorelay', '-perm', '/6000'])).stdout, '');
});
