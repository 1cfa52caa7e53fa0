// Debian's Postfix as a relay: STARTTLS, then AUTH by Cyrus SASL from a sasldb of our own. A second port is
// like the first one and offers no CHUNKING.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, start, waitForGreeting } from '../support/process.ts';
import {
  accessTo,
  credentials,
  inRoot,
  mailbox,
  occupy,
  type RelayServer,
  recipients,
  relayServer,
} from './relay-server.ts';

export interface Postfix extends RelayServer {
  /** Port where messages end with a dot only. */
  readonly dataPort: number;
}

/** Starts Postfix in its root. Throws, with its log, when it does not greet in time. */
export async function startPostfix(): Promise<Postfix> {
  const place = await occupy('postfix');
  try {
    const [port, dataPort] = [await freePort(), await freePort()];
    const dir = place.inside;
    place.write('main.cf', mainCf(dir));
    place.write('master.cf', masterCf(port, dataPort));
    place.write('mailboxes', recipients.map((address) => `${address} ${address}/\n`).join(''));
    mkdirSync(join(place.outside, 'sasl'));
    place.write(
      'sasl/smtpd.conf',
      `pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\nsasldb_path: ${dir}/sasldb2\n`,
    );
    const script = 'printf %s "$3" | saslpasswd2 -p -c -f "$1/sasldb2" -u relay.test "$2"';
    await inRoot(place, 'sh', '-c', script, 'sh', dir, credentials.user, credentials.password);
    await inRoot(place, 'chown', 'postfix', `${dir}/sasldb2`);
    await inRoot(place, 'install', '-d', '-o', 'postfix', `${dir}/data`);
    await inRoot(place, 'install', '-d', `${dir}/queue`);
    await inRoot(place, 'postfix', '-c', dir, 'check');
    const server = await start([
      'chroot',
      place.root,
      '/usr/lib/postfix/sbin/master',
      '-d',
      '-c',
      dir,
    ]);
    try {
      await waitForGreeting(port, server);
    } catch (error) {
      await server.stop();
      throw error;
    }
    const common = relayServer(place, server, {
      port,
      access: accessTo(place),
      queues: ['maildrop', 'incoming', 'active', 'deferred'].map(
        (queue) => `${dir}/queue/${queue}`,
      ),
      logFile: 'log',
    });
    return { ...common, dataPort };
  } catch (error) {
    await place.release();
    throw error;
  }
}

function mainCf(dir: string): string {
  return `
compatibility_level = 3.6
queue_directory = ${dir}/queue
data_directory = ${dir}/data
maillog_file = ${dir}/log
maillog_file_prefixes = ${dir}
myhostname = relay.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
alias_database =
virtual_mailbox_domains = relayed.test
virtual_mailbox_base = ${dir}/mail
virtual_mailbox_maps = texthash:${dir}/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:${mailbox.uid}
virtual_gid_maps = static:${mailbox.gid}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = ${dir}/cert.pem
smtpd_tls_key_file = ${dir}/key.pem
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
cyrus_sasl_config_path = ${dir}/sasl
smtpd_sasl_local_domain = relay.test
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_sasl_authenticated, reject
`;
}

function masterCf(port: number, dataPort: number): string {
  return `
127.0.0.1:${port} inet n - n - - smtpd
127.0.0.1:${dataPort} inet n - n - - smtpd
  -o smtpd_discard_ehlo_keywords=chunking
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`;
}
