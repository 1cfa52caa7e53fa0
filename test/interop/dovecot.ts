// Debian's Dovecot: its LMTP service, which keeps what it gets, and its submission service, which offers more
// ways to log in than any mail server and passes on what it gets to a relay behind it.
import { createHmac } from 'node:crypto';
import { mkdirSync } from 'node:fs';
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

export interface Dovecot extends RelayServer {
  /** Port of the submission service, with STARTTLS. */
  readonly submissionPort: number;
  /** An access token (RFC 7519, HS256) for the user who may relay. */
  readonly token: string;
}

/** Known to the server, and what the token is signed with. */
const SECRET = 'a secret that is known to this test and to the server';

/**
 * Starts Dovecot in its root. Throws, with its log, when it does not greet in time.
 * @param behind the port to which the submission service passes mail
 */
export async function startDovecot(behind = 1): Promise<Dovecot> {
  const place = await occupy('dovecot');
  try {
    const [port, submissionPort] = [await freePort(), await freePort()];
    const dir = place.inside;
    place.write('dovecot.conf', configuration(dir, port, submissionPort, behind));
    const users = recipients.map((to) => `${to}:{PLAIN}none:::::\n`).join('');
    place.write('users', `${users}${credentials.user}:{PLAIN}${credentials.password}:::::\n`);
    place.write(
      'oauth2.conf',
      `introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=${dir}/keys/\n`,
    );
    const keys = 'keys/default/HS256';
    mkdirSync(join(place.outside, keys), { recursive: true });
    place.write(`${keys}/default`, Buffer.from(SECRET).toString('base64'));
    // It keeps sockets of processes that are gone.
    await inRoot(place, 'rm', '-rf', '/run/dovecot');
    const server = await start([
      'chroot',
      place.root,
      'dovecot',
      '-F',
      '-c',
      `${dir}/dovecot.conf`,
    ]);
    try {
      await waitForGreeting(port, server);
      await waitForPort(submissionPort);
    } catch (error) {
      await server.stop();
      throw error;
    }
    const common = relayServer(place, server, { port, access: undefined, queues: [] });
    return {
      ...common,
      access: accessTo(place),
      submissionPort,
      token: tokenFor(credentials.user),
    };
  } catch (error) {
    await place.release();
    throw error;
  }
}

function tokenFor(user: string): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: user, email: user, iat: now, nbf: now - 60, exp: now + 3600, iss: 'test' };
  const text = `${encode({ typ: 'JWT', alg: 'HS256' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

function configuration(dir: string, port: number, submissionPort: number, behind: number): string {
  return `
base_dir = /run/dovecot
log_path = /dev/stderr
auth_verbose = yes
auth_failure_delay = 0
protocols = lmtp submission
hostname = relay.test
listen = 127.0.0.1
ssl = yes
ssl_cert = <${dir}/cert.pem
ssl_key = <${dir}/key.pem
disable_plaintext_auth = yes
auth_mechanisms = plain login cram-md5 scram-sha-256 oauthbearer xoauth2
mail_location = maildir:${dir}/mail/%u
mail_uid = ${mailbox.uid}
mail_gid = ${mailbox.gid}
first_valid_uid = 1
submission_relay_host = 127.0.0.1
submission_relay_port = ${behind}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = ${dir}/oauth2.conf
}
passdb {
  driver = passwd-file
  mechanisms = plain login cram-md5 scram-sha-256
  args = ${dir}/users
}
userdb {
  driver = passwd-file
  args = ${dir}/users
  default_fields = home=${dir}/mail/%u
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${port}
  }
}
service submission-login {
  inet_listener submission {
    address = 127.0.0.1
    port = ${submissionPort}
  }
}
`;
}
