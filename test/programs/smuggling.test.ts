// A message that wants to be two arrives as one, however it is handed over and relayed.
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';
import { queueSmuggling, victim } from '../support/smuggling.ts';

test('No dot between line ends of any kind brings in a second message', async (t) => {
  const site = siteFor(t);
  const count = await queueSmuggling(site, 'alice@relayed.test');
  const spare = `${site.folder}/spare`;
  cpSync(site.spool, spare, { recursive: true });
  for (const extensions of [[], ['PIPELINING'], ['PIPELINING', 'CHUNKING']]) {
    await t.test(`${extensions.at(-1) ?? 'step by step'}: ${count} messages`, async (t) => {
      rmSync(site.spool, { recursive: true });
      cpSync(spare, site.spool, { recursive: true });
      const relay = await startRelay(t, { extensions });
      site.relays(relay.port);
      await drain(site);
      // The relay reads strictly, and a line end of another kind than CRLF is a fault of ours: whoever
      // reads it otherwise than it does finds no end where it finds none.
      assert.deepEqual(relay.faults, []);
      assert.equal(relay.received.length, count);
      for (const { from, to } of relay.received) {
        assert.deepEqual(to, ['alice@relayed.test']);
        assert.equal(from, 'www@site.test');
      }
      assert.ok(relay.lines.every((line) => !line.includes('evil') && !line.includes(victim)));
      // Nothing was cut off to be safe: where all tricks are in one message, they came through as text.
      const whole = relay.received.filter(({ raw }) => raw.includes('Subject: second')).length;
      assert.ok(whole >= 5, `${whole}`);
    });
  }
});

async function drain(site: Site): Promise<void> {
  const ran = await site.run('picorelay-cron');
  assert.equal(ran.status, 0, ran.stderr);
  assert.deepEqual(site.queued(), [], site.log());
}
