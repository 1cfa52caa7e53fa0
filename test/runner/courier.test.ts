import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { DEFAULT_ROUTE } from '../../src/control/routing.ts';
import { Log } from '../../src/log/log.ts';
import { Courier } from '../../src/runner/courier.ts';
import { Spool } from '../../src/spool/spool.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';
import { envelopeTo, ORIGIN, TEXT } from '../support/spool.ts';

const ENTRIES = 60;

test('A machine that fails in the middle of a delivery ends it, and every mail is relayed or queued', async (t) => {
  for (const failing of ['claim', 'open'] as const) {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    const spool = new Spool(site.spool, process.pid);
    for (let n = 0; n < ENTRIES; n++) {
      const origin = { ...ORIGIN, time: ORIGIN.time + n };
      spool.submit(envelopeTo(`to${n}@x.test`), origin, [Buffer.from(TEXT)]);
    }
    let calls = 0;
    const eio = Object.assign(new Error('EIO: i/o error'), { code: 'EIO', syscall: 'rename' });
    const real = spool[failing].bind(spool) as (...args: unknown[]) => unknown;
    t.mock.method(spool, failing, (...args: unknown[]) => {
      if (++calls >= ENTRIES / 2) throw eio;
      return real(...args);
    });
    const faults: string[] = [];
    const log = new Log('text', (line) => {
      if (line.startsWith('fault')) faults.push(line);
    });
    const courier = new Courier(
      spool,
      openControl(`${site.folder}/control`),
      log,
      {
        now: Date.now,
        random: () => 0,
        stop: new AbortController().signal,
      },
      DEFAULT_ROUTE,
      () => '1000',
    );
    const delivery = courier.deliver(spool.list().entries, true, () => false);
    // A claim that fails is the spool's fault and ends it; a file that cannot be opened is one mail's.
    if (failing === 'claim') await assert.rejects(delivery, eio);
    else await delivery;
    await courier.close();
    spool.leave();
    assert.equal(faults.length > 0, failing === 'open');
    assert.equal(relay.received.length, ENTRIES / 2 - 1, failing);
    const left = site.names('spool').filter((name) => !name.endsWith('.sending'));
    assert.equal(left.length, ENTRIES - relay.received.length, failing);
  }
});

test('Connections are opened for transactions, not for recipients', async (t) => {
  for (const [submissions, recipients, most] of [
    [1, 400, 1],
    [12, 1, 3],
  ] as const) {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    const spool = new Spool(site.spool, process.pid);
    for (let n = 0; n < submissions; n++) {
      const others = Array.from({ length: recipients - 1 }, (_, m) => `to${m}@x.test`);
      const origin = { ...ORIGIN, time: ORIGIN.time + n };
      spool.submit(envelopeTo(`first${n}@x.test`, ...others), origin, [Buffer.from(TEXT)]);
    }
    const courier = new Courier(
      spool,
      openControl(`${site.folder}/control`),
      new Log('text', () => undefined),
      { now: Date.now, random: () => 0, stop: new AbortController().signal },
      DEFAULT_ROUTE,
      () => '1000',
    );
    await courier.deliver(spool.list().entries, true, () => false);
    await courier.close();
    spool.leave();
    assert.equal(relay.recipients().length, submissions * recipients);
    assert.ok(relay.connections <= most, `${relay.connections} connections`);
  }
});
