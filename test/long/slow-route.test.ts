// A relay that takes a connection and then says nothing: mail for others goes out meanwhile.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { start, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** Accepts connections and reads nothing. */
async function startMute(
  t: TestContext,
): Promise<{ port: number; open: Set<Socket>; seen: number }> {
  const state = { port: 0, open: new Set<Socket>(), seen: 0 };
  const server = createServer((socket) => {
    state.seen++;
    state.open.add(socket);
    socket.on('close', () => state.open.delete(socket));
    socket.on('error', () => undefined);
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of state.open) socket.destroy();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  state.port = address.port;
  return state;
}

for (const service of [false, true]) {
  test(`A route that hangs holds up no other one, with ${service ? 'picorelay run' : 'a runner in the background'}`, async (t) => {
    const site = siteFor(t);
    const [relay, mute] = [await startRelay(t), await startMute(t)];
    site.relays(relay.port);
    site.control('smtproutes', `mute.test:127.0.0.1:${mute.port}`);
    site.control('timeoutgreeting', '40s');
    site.control('immediate', 'background');
    if (service) {
      const running = await start([programPath('picorelay'), 'run'], { env: site.env });
      t.after(() => running.stop());
      await waitFor('the service', () => site.names('run').includes('runner.lock'));
    }
    await site.run('sendmail', ['a@mute.test'], LETTER);
    await waitFor('the connection', () => mute.seen === 1);
    for (const n of [1, 2, 3]) {
      await site.run('sendmail', [`b${n}@x.test`, `c${n}@mute.test`], LETTER);
      await waitFor(`mail ${n}`, () => relay.recipients().includes(`b${n}@x.test`));
      // The first connection still waits, and nobody has opened a second one.
      assert.deepEqual([mute.open.size, mute.seen], [1, 1]);
    }
    for (const socket of mute.open) socket.end('421 4.3.2 not today\r\n');
    await waitFor('the pause', () => / paused route="to mute\.test"/.test(site.log()));
    // What came meanwhile waits for the same relay, which rests now.
    if (!service) await site.atRest();
    assert.equal(site.queued().length, 4);
    assert.equal(mute.seen, 1);
    assert.deepEqual(relay.recipients(), ['b1@x.test', 'b2@x.test', 'b3@x.test']);
  });
}
