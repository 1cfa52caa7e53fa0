// A thousand calls are a loop in somebody's shell: they share a runner and its connections.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { countRunners } from '../support/counted.ts';
import { run, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const CALLS = 1000;

for (const callers of [1, 8]) {
  test(`${CALLS} calls by ${callers} at once start few runners and make few connections`, async (t) => {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    site.control('immediate', 'background');
    site.control('linger', '2s');
    const counted = countRunners(site);
    let next = 0;
    const caller = async (): Promise<void> => {
      for (let n = next++; n < CALLS; n = next++) {
        const done = await run([join(counted.bin, 'sendmail'), `a${n}@x.test`], {
          env: site.env,
          input: 'Subject: s\n\nb\n',
        });
        assert.deepEqual(done, { status: 0, stdout: '', stderr: '' });
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
    await waitFor('all mail', () => relay.received.length >= CALLS, {
      detail: () => `${relay.received.length} came; ${site.queued().length} wait\n${site.log()}`,
    });
    await site.atRest();
    const expected = Array.from({ length: CALLS }, (_, n) => `a${n}@x.test`);
    assert.deepEqual(relay.recipients().toSorted(), expected.toSorted());
    assert.deepEqual(site.names('spool'), []);
    assert.ok(!site.names('run').includes('starting'));
    t.diagnostic(`${counted.runners()} runners, ${relay.connections} connections`);
    // The machine may stall for longer than a runner lingers, but hardly often.
    assert.ok(counted.runners() <= 5, `${counted.runners()} runners`);
    assert.ok(relay.connections <= 20, `${relay.connections} connections`);
  });
}
