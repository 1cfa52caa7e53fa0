// Debian's OpenSMTPD as a relay without TLS and AUTH: Debian 12's package fails every TLS handshake as a
// server (OpenSMTPD issues 1171 and 1239), and offers AUTH inside TLS only.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, start, waitForGreeting } from '../support/process.ts';
import { mailbox, occupy, type RelayServer, recipients, relayServer } from './relay-server.ts';

/** Starts OpenSMTPD in its root. Throws, with its output, when it does not greet in time. */
export async function startOpensmtpd(): Promise<RelayServer> {
  const place = await occupy('opensmtpd');
  try {
    const port = await freePort();
    const dir = place.inside;
    place.write('known', recipients.map((to) => `${to}\n`).join(''));
    place.write('recipients', recipients.map((to) => `${to} ${mailbox.name}\n`).join(''));
    place.write('smtpd.conf', configuration(dir, port), 0o600);
    // Its spool has a fixed place; what a stopped server left behind is not this test's mail.
    for (const folder of ['queue', 'incoming', 'offline', 'temporary', 'purge']) {
      rmSync(join(place.root, 'var/spool/smtpd', folder), { recursive: true, force: true });
    }
    const server = await start(['chroot', place.root, 'smtpd', '-d', '-f', `${dir}/smtpd.conf`]);
    try {
      await waitForGreeting(port, server);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return relayServer(place, server, {
      port,
      access: undefined,
      queues: ['/var/spool/smtpd/queue'],
    });
  } catch (error) {
    await place.release();
    throw error;
  }
}

function configuration(dir: string, port: number): string {
  return `
table known file:${dir}/known
table recipients file:${dir}/recipients
listen on 127.0.0.1 port ${port} hostname relay.test
action "store" maildir "${dir}/mail/%{rcpt}" virtual <recipients>
match from any for rcpt-to <known> action "store"
`;
}
