import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { directRoute } from '../../src/control/routing.ts';
import { Log } from '../../src/log/log.ts';
import { Courier } from '../../src/runner/courier.ts';
import { Spool } from '../../src/spool/spool.ts';
import { startNameServer } from '../support/dns.ts';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';
import { envelopeTo, ORIGIN, TEXT } from '../support/spool.ts';

test('A session that is still open is used again while the DNS names its host, and no longer', async (t) => {
  const site = siteFor(t);
  const port = await freePort();
  const [one, two] = [
    await startRelay(t, { host: '127.0.0.71', port }),
    await startRelay(t, { host: '127.0.0.72', port }),
  ];
  const zone = {
    'one.test': { addresses: ['127.0.0.71'] },
    'two.test': { addresses: ['127.0.0.72'] },
  };
  const dns = await startNameServer(t, { ...zone, 'x.test': { MX: [[10, 'one.test']] } });
  site.control('nameservers', dns.address);
  const spool = new Spool(site.spool, process.pid);
  const courier = new Courier(
    spool,
    openControl(`${site.folder}/control`),
    new Log('text', () => undefined),
    { now: Date.now, random: () => 0, stop: new AbortController().signal },
    directRoute({ scheme: 'mx', port }, 'x.test'),
    () => '0',
  );
  const send = async (n: number): Promise<void> => {
    const origin = { ...ORIGIN, time: ORIGIN.time + n };
    spool.submit(envelopeTo(`to${n}@x.test`), origin, [Buffer.from(TEXT)]);
    await courier.deliver(spool.list().entries, true, () => false);
  };
  await send(1);
  await send(2);
  assert.equal(one.connections, 1);
  dns.zone = { ...zone, 'x.test': { MX: [[10, 'two.test']] } };
  await send(3);
  await courier.close();
  spool.leave();
  assert.deepEqual(one.recipients(), ['to1@x.test', 'to2@x.test']);
  assert.deepEqual(two.recipients(), ['to3@x.test']);
});
