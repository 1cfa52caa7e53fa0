// aiosmtpd, Python's SMTP server, as a relay: STARTTLS and TLS from the first byte, AUTH PLAIN and LOGIN.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, start, waitForGreeting, waitForPort } from '../support/process.ts';
import {
  accessTo,
  credentials,
  occupy,
  type RelayServer,
  recipients,
  relayServer,
} from './relay-server.ts';

/** Starts aiosmtpd in its root. Throws, with its output, when it does not greet in time. */
export async function startAiosmtpd(): Promise<RelayServer> {
  const place = await occupy('aiosmtpd');
  try {
    const [port, smtpsPort] = [await freePort(), await freePort()];
    const dir = place.inside;
    copyFileSync('test/interop/aiosmtpd.py', join(place.outside, 'server.py'));
    const server = await start([
      ...['chroot', place.root, 'python3', `${dir}/server.py`, dir, `${port}`, `${smtpsPort}`],
      ...[credentials.user, credentials.password, ...recipients],
    ]);
    try {
      await waitForGreeting(port, server);
      await waitForPort(smtpsPort);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return relayServer(place, server, { port, smtpsPort, access: accessTo(place), queues: [] });
  } catch (error) {
    await place.release();
    throw error;
  }
}
