// Debian's Exim (light daemon) as a relay: STARTTLS and TLS from the first byte, AUTH PLAIN, LOGIN and CRAM-MD5.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, start, waitForGreeting, waitForPort } from '../support/process.ts';
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

/** Starts Exim in its root. Throws, with its log, when it does not greet in time. */
export async function startExim(): Promise<RelayServer> {
  const place = await occupy('exim');
  try {
    const [port, smtpsPort] = [await freePort(), await freePort()];
    const dir = place.inside;
    place.write('exim.conf', configuration(dir, port, smtpsPort));
    place.write('recipients', recipients.map(exactKey).join(''));
    // Exim gives up root for any configuration file but the one that it was built for.
    copyFileSync(join(place.outside, 'exim.conf'), join(place.root, 'etc/exim4/exim4.conf'));
    await inRoot(place, 'chgrp', 'Debian-exim', `${dir}/key.pem`);
    await inRoot(place, 'chmod', '640', `${dir}/key.pem`);
    await inRoot(place, 'install', '-d', '-o', 'Debian-exim', `${dir}/spool`, `${dir}/log`);
    const server = await start(['chroot', place.root, 'exim4', '-bdf']);
    try {
      await waitForGreeting(port, server);
      await waitForPort(smtpsPort);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return relayServer(place, server, {
      port,
      smtpsPort,
      access: accessTo(place),
      queues: [`${dir}/spool/input`],
      logFile: 'log/main',
    });
  } catch (error) {
    await place.release();
    throw error;
  }
}

/** A line whose value repeats the key: Exim uses only looked-up data as part of a file's name. */
function exactKey(address: string): string {
  const name = address.replace(/@.*/, '');
  return `${name}: ${name}\n`;
}

function configuration(dir: string, port: number, smtpsPort: number): string {
  const granted = (user: string, password: string): string =>
    `\${if and{{eq{${user}}{${credentials.user}}}{eq{${password}}{${credentials.password}}}}}`;
  return `
primary_hostname = relay.test
spool_directory = ${dir}/spool
log_file_path = ${dir}/log/%s
pid_file_path = ${dir}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = ${port} : ${smtpsPort}
tls_on_connect_ports = ${smtpsPort}
tls_advertise_hosts = *
tls_certificate = ${dir}/cert.pem
tls_privatekey = ${dir}/key.pem
auth_advertise_hosts = \${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
host_lookup =
rfc1413_query_timeout = 0s
begin acl
rcpt:
  deny
    !authenticated = *
    message = authentication required
  require
    verify = recipient
  accept
begin routers
known:
  driver = accept
  domains = relayed.test
  local_parts = lsearch;${dir}/recipients
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = ${dir}/mail/$local_part_data@relayed.test
  user = ${mailbox.name}
  envelope_to_add
  return_path_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${granted('$auth2', '$auth3')}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${granted('$auth1', '$auth2')}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = \${if eq{$auth1}{${credentials.user}}{${credentials.password}}fail}
  server_set_id = $auth1
`;
}
