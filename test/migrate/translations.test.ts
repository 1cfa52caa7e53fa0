// What the settings of other programs become, in tables: real files shortened, one feature a row.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { programs } from '../../src/migrate/programs.ts';
import { shellWords, type Translation } from '../../src/migrate/translation.ts';
import { fc } from '../support/properties.ts';
import { dropped, fakeFiles, settingsOf } from './files.ts';

const PIN = 'a'.repeat(64);

function translate(
  name: string,
  texts: Readonly<Record<string, string>>,
  path: string,
): Translation {
  const program = programs.find((each) => each.name === name);
  assert.ok(program, name);
  return program.translate(fakeFiles(texts), path);
}

interface Row {
  readonly title: string;
  readonly files: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly dropped?: readonly string[];
}

const tables: readonly {
  readonly name: string;
  readonly path: string;
  readonly rows: readonly Row[];
}[] = [
  {
    name: 'msmtp',
    path: '/etc/msmtprc',
    rows: [
      {
        title: 'the system file of msmtp’s own example',
        files: {
          '/etc/msmtprc': `# A system wide configuration file is optional.
account default
host mailhub.oursite.example
from %U@oursite.example
syslog LOG_MAIL
`,
        },
        settings: {
          relay: 'smtp://mailhub.oursite.example:25?tls=opportunistic',
          masquerade: 'oursite.example',
        },
        dropped: ['syslog LOG_MAIL'],
      },
      {
        title: 'defaults, an account with a password, and the default taken from it',
        files: {
          '/etc/msmtprc': `defaults
auth on
tls on
tls_trust_file /etc/ssl/certs/ca-certificates.crt
logfile ~/.msmtp.log
aliases /etc/aliases

account gmail
host smtp.gmail.com
port 587
from me@gmail.com
user me@gmail.com
password "correct # horse"

account default : gmail
`,
        },
        settings: {
          relay: 'smtp://smtp.gmail.com:587',
          authuser: 'me@gmail.com',
          authpassword: 'correct # horse',
          aliases: '/etc/aliases',
          masquerade: 'me@gmail.com',
        },
        dropped: ['tls_trust_file /etc/ssl/certs/ca-certificates.crt', 'logfile ~/.msmtp.log'],
      },
      {
        title: 'several accounts, by their senders',
        files: {
          '/etc/msmtprc': `defaults
tls on
auth on
account work
host smtp.work.example
port 587
from jo@work.example
user jo
password secret-one
account home
host smtp.home.example
tls_starttls off
from *@home.example
user jo@home.example
password secret-two
account default : work
`,
        },
        settings: {
          relay: 'smtp://jo@smtp.work.example:587',
          senderroutes: 'home.example smtps://jo%40home.example@smtp.home.example:465',
          authpasswords: 'jo secret-one\njo@home.example secret-two',
          masquerade: 'jo@work.example',
        },
      },
      {
        title: 'a password command, a pin, a proxy, and a sender that always counts',
        files: {
          '/etc/msmtprc': `host relay.example
port 465
tls on
tls_starttls off
tls_fingerprint ${PIN.toUpperCase()}
auth scram-sha-256
user u
passwordeval "gpg -q -d /etc/pw.gpg"
from u@example.com
allow_from_override off
proxy_host 127.0.0.1
proxy_port 9050
domain helo.example
timeout 30
`,
        },
        settings: {
          relay: `smtps://relay.example:465?pin=${PIN}`,
          authuser: 'u',
          authpasswordcommand: 'gpg -q -d /etc/pw.gpg',
          authmechanisms: 'scram-sha-256',
          sendermap: '*: u@example.com',
          proxy: 'socks5://127.0.0.1:9050',
          helohost: 'helo.example',
          timeoutconnect: '30',
        },
        dropped: ['proxy_port 9050'],
      },
      {
        title: 'a command in the file is not run, a host with spaces is not taken',
        files: { '/etc/msmtprc': 'eval echo host evil\nhost a b\nfrom a@b.example\n' },
        settings: { masquerade: 'a@b.example' },
        dropped: ['/etc/msmtprc: line 1: eval', 'all for relay'],
      },
    ],
  },
  {
    name: 'nullmailer',
    path: '/etc/nullmailer',
    rows: [
      {
        title: 'what Debian’s package asks for',
        files: {
          '/etc/nullmailer/remotes': 'mail.example.org smtp\n',
          '/etc/nullmailer/adminaddr': 'root@example.org\n',
          '/etc/nullmailer/defaultdomain': 'example.org\n',
          '/etc/mailname': 'box.example.org\n',
        },
        settings: {
          relay: 'smtp://mail.example.org:25?tls=opportunistic',
          adminaddr: 'root@example.org',
          defaultdomain: 'example.org',
          me: 'box.example.org',
        },
      },
      {
        title: 'two relays in their order, with options, quotes and one login',
        files: {
          '/etc/nullmailer/remotes': `# first
smtp.example.com smtp --port=587 --starttls --user=me --pass='it'"'"'s a "secret"'
[192.0.2.1] smtp ssl user=me pass="it's a \\"secret\\""
old.example.com qmqp
`,
          '/etc/nullmailer/me': 'box.example.com\n',
          '/etc/nullmailer/queuelifetime': '86400\n',
          '/etc/nullmailer/pausetime': '60\n',
          '/etc/nullmailer/allmailfrom': 'me@example.com\n',
        },
        settings: {
          relay: 'smtp://smtp.example.com:587\nsmtps://192.0.2.1:465',
          authuser: 'me',
          authpassword: 'it\'s a "secret"',
          me: 'box.example.com',
          queuelifetime: '86400',
          sendermap: '*: me@example.com',
        },
        dropped: ['remotes line 4: old.example.com qmqp', 'pausetime: 60'],
      },
    ],
  },
  {
    name: 'dma',
    path: '/etc/dma',
    rows: [
      {
        title: 'a smarthost with STARTTLS and a login that holds colons',
        files: {
          '/etc/dma/dma.conf': `SMARTHOST smtp.example.com
PORT 587
AUTHPATH /etc/dma/auth.conf
SECURETRANSFER
STARTTLS
MASQUERADE me@example.com
MAILNAME /etc/mailname
#DEFER
NULLCLIENT
`,
          '/etc/dma/auth.conf':
            '# c\nother|smtp.other.com:x\nme@example.com|smtp.example.com:a:b|c\n',
          '/etc/mailname': 'box.example.com\n',
        },
        settings: {
          relay: 'smtp://smtp.example.com:587',
          authuser: 'me@example.com',
          authpassword: 'a:b|c',
          masquerade: 'me@example.com',
          me: 'box.example.com',
        },
        dropped: ['NULLCLIENT'],
      },
      {
        title: 'without a smarthost mail goes to the domains themselves',
        files: { '/etc/dma/dma.conf': 'MAILNAME box.example.com\n', '/etc/aliases': 'root: me\n' },
        settings: { relay: 'mx://', me: 'box.example.com', aliases: '/etc/aliases' },
      },
      {
        title: 'a pinned certificate',
        files: {
          '/etc/dma/dma.conf': `SMARTHOST r.example.com\nPORT 465\nSECURETRANSFER\nFINGERPRINT ${PIN}\n`,
        },
        settings: { relay: `smtps://r.example.com:465?pin=${PIN}` },
      },
    ],
  },
  {
    name: 'ssmtp',
    path: '/etc/ssmtp',
    rows: [
      {
        title: 'what Debian’s package writes',
        files: {
          '/etc/ssmtp/ssmtp.conf': `#
# Config file for sSMTP sendmail
#
# The person who gets all mail for userids < 1000
# Make this empty to disable rewriting.
root=postmaster

# The place where the mail goes. The actual machine name is required no
# MX records are consulted. Commonly mailhosts are named mail.domain.com
mailhub=mail.example.com

# Where will the mail seem to come from?
#rewriteDomain=

# The full hostname
hostname=box.example.com

# Are users allowed to set their own From: address?
# YES - Allow the user to specify their own From: address
# NO - Use the system generated From: address
#FromLineOverride=YES
`,
        },
        settings: { relay: 'smtp://mail.example.com:25?tls=opportunistic', me: 'box.example.com' },
        dropped: ['root=postmaster', 'FromLineOverride=NO'],
      },
      {
        title: 'a login, and aliases of senders, one with a relay of its own',
        files: {
          '/etc/ssmtp/ssmtp.conf': `Root=me@example.com
MailHub=smtp.example.com:587
UseSTARTTLS=YES
AuthUser=me
AuthPass=hunter#2
FromLineOverride=YES
`,
          '/etc/ssmtp/revaliases':
            'root:me@example.com\nshop:shop@example.net:smtp.example.net:25\n',
        },
        settings: {
          adminaddr: 'me@example.com',
          relay: 'smtp://smtp.example.com:587',
          authuser: 'me',
          authpassword: 'hunter',
          senderroutes: 'shop@example.net smtp://smtp.example.net:25',
          sendermap: 'root: me@example.com\nshop: shop@example.net',
        },
      },
    ],
  },
  {
    name: 'esmtp',
    path: '/etc/esmtprc',
    rows: [
      {
        title: 'the sample file, with its identities',
        files: {
          '/etc/esmtprc': `hostname = localhost:25
username = "USER#NAME"
password = "PASS\\"WORD"
#starttls = disabled
identity = myself@somewhere.com
	hostname = smtp.somewhere.com:25
	username = "myself"
	password = "secret"
	starttls = required
mda = "/usr/bin/procmail -d %T"
preconnect = "ssh -f x"
`,
        },
        settings: {
          relay: 'smtp://USER%23NAME@localhost:25',
          senderroutes: 'myself@somewhere.com smtp://myself@smtp.somewhere.com:25',
          authpasswords: 'USER#NAME PASS"WORD\nmyself secret',
        },
      },
      {
        title: 'an identity that is the default',
        files: {
          '/etc/esmtprc':
            'identity "me@example.com"\nhostname smtp.example.com\nforce reverse_path "me@example.com"\nqualifydomain = example.com\n',
        },
        settings: {
          relay: 'smtp://smtp.example.com:587?tls=opportunistic',
          masquerade: 'me@example.com',
          sendermap: '*: me@example.com',
          defaulthost: 'example.com',
        },
      },
    ],
  },
  {
    name: 'postfix',
    path: '/etc/postfix/main.cf',
    rows: [
      {
        title: 'Debian’s satellite system',
        files: {
          '/etc/postfix/main.cf': `# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
myhostname = box.example.com
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = $myhostname, box,
  localhost.example.com, localhost
relayhost = [smtp.example.com]:submission
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:$config_directory/sasl_passwd
smtp_tls_security_level = encrypt
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_generic_maps = hash:/etc/postfix/generic
maximal_queue_lifetime = 3d
delay_warning_time = 2
message_size_limit = 20480000
`,
          '/etc/postfix/sasl_passwd':
            '# c\n[smtp.example.com]:submission me@example.com:pa:ss word\n',
          '/etc/postfix/generic':
            'root@box.example.com me@example.com\n@box.example.com\n   info@example.com\n',
          '/etc/aliases': 'root: me@example.com\n',
          '/etc/mailname': 'example.com\n',
        },
        settings: {
          relay: 'smtp://smtp.example.com:587',
          authuser: 'me@example.com',
          authpassword: 'pa:ss word',
          sendermap: 'root@box.example.com: me@example.com\n@box.example.com: info@example.com',
          me: 'box.example.com',
          aliases: '/etc/aliases',
          defaulthost: 'example.com',
          locals: 'box.example.com\nbox\nlocalhost.example.com',
          queuelifetime: '3d',
          delaywarn: '2h',
          databytes: '20480000',
        },
        dropped: ['smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt'],
      },
      {
        title: 'relays of senders and of domains',
        files: {
          '/etc/postfix/main.cf': `relayhost = relay.example.com
sender_dependent_relayhost_maps = texthash:/etc/postfix/sender_relay
transport_maps = hash:/etc/postfix/transport
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:/etc/postfix/sasl_passwd
smtp_tls_wrappermode = yes
smtp_tls_security_level = secure
`,
          '/etc/postfix/sender_relay': '@shop.example [smtp.shop.example]:465\n',
          '/etc/postfix/transport':
            'intern.example smtp:[10.0.0.1]\nuser@x.example smtp:[y]\n.sub.example relay:[r.example]:26\nlocal.example local:\n',
          '/etc/postfix/sasl_passwd':
            'relay.example.com a:secret-b\n[smtp.shop.example]:465 c:secret-d\n',
        },
        settings: {
          relay: 'smtps://a@relay.example.com:25',
          senderroutes: 'shop.example smtps://c@smtp.shop.example:465',
          authpasswords: 'a secret-b\nc secret-d',
          smtproutes: 'intern.example:smtps://10.0.0.1:25\n.sub.example:smtps://r.example:26',
        },
        dropped: [
          'transport_maps: user@x.example smtp:[y]',
          'transport_maps: local.example local:',
        ],
      },
      {
        title: 'parameters that name each other without an end',
        files: { '/etc/postfix/main.cf': 'a = $b$b\nb = $a$a\nrelayhost = [$a.example.com]\n' },
        settings: {},
        dropped: ['all for relay'],
      },
    ],
  },
  {
    name: 'picoqmail',
    path: '/var/qmail/control',
    rows: [
      {
        title: 'the control folder as it is',
        files: {
          '/var/qmail/control/me': 'box.example.com\n',
          '/var/qmail/control/relayip': '192.0.2.25\n',
          '/var/qmail/control/minivars': 'RELAYPORT=25\n',
          '/var/qmail/control/defaultdomain': 'example.com\n',
          '/var/qmail/control/plusdomain': 'example.com\n',
          '/var/qmail/control/smtproutes':
            'example.net:relay.example.net:2525\n:relay.example.com\n',
          '/var/qmail/control/queuelifetime': '604800\n',
          '/var/qmail/control/concurrencyremote': '20\n',
          '/var/qmail/control/rcpthosts': 'localhost\n',
          '/var/qmail/control/virtualdomains': '',
        },
        settings: {
          me: 'box.example.com',
          relayip: '192.0.2.25',
          minivars: 'RELAYPORT=25',
          defaultdomain: 'example.com',
          plusdomain: 'example.com',
          smtproutes: 'example.net:relay.example.net:2525\n:relay.example.com',
          queuelifetime: '604800',
          connections: '20',
        },
        dropped: ['rcpthosts', 'virtualdomains'],
      },
    ],
  },
];

for (const { name, path, rows } of tables) {
  for (const { title, files, settings, dropped: wanted = [] } of rows) {
    test(`${name}: ${title}`, () => {
      const translation = translate(name, files, path);
      assert.deepEqual(settingsOf(translation), settings);
      for (const source of wanted) {
        assert.ok(
          dropped(translation).includes(source),
          `${source} is not among ${dropped(translation).join('; ')}`,
        );
      }
    });
  }
}

test('no secret is in a line that is shown', () => {
  for (const { name, path, rows } of tables) {
    for (const { files } of rows) {
      const { settings, lines } = translate(name, files, path);
      const secrets = ['authpassword', 'authpasswordcommand'].flatMap((each) => [
        ...(settings.get(each as 'authpassword')?.split('\n') ?? []),
      ]);
      for (const line of settings.get('authpasswords')?.split('\n') ?? []) {
        secrets.push(line.slice(line.indexOf(' ')));
      }
      for (const { source, text = '', note = '' } of lines) {
        for (const secret of secrets) {
          assert.ok(!`${source} ${text} ${note}`.includes(secret), `${name}: ${source}`);
        }
      }
    }
  }
});

test('whatever a file holds, what becomes of it can be read as a control folder', () => {
  const words = fc.constantFrom(
    ...['host', 'account', 'default', ':', '=', 'relayhost', '[', ']', '$a', '$(relayhost)', '"'],
    ...["'", '\\', '\n', ' ', '\t', '#', 'SMARTHOST', 'mailhub=', 'identity', 'smtp', '\0', 'é'],
    ...['port', '587', 'user', 'a@b', 'password', 'hash:/etc/x', 'me', '|', '--ssl', '--user='],
  );
  const text = fc.array(fc.oneof(words, fc.string())).map((parts) => parts.join(' '));
  fc.assert(
    fc.property(fc.constantFrom(...programs), text, (program, content) => {
      const path = program.marks[0] ?? '';
      const folder = path.slice(0, path.lastIndexOf('/'));
      const files = fakeFiles({ [path]: content, [`${folder}/sasl_passwd`]: content });
      const { settings } = program.translate(files, program.folder ? folder : path);
      const control = openControl('/nonexistent', settings);
      for (const name of settings.keys()) control.get(name);
    }),
    { numRuns: 500 },
  );
});

test('shell words are split as a shell does, with nothing expanded', () => {
  for (const [text, words] of [
    ['a b  c', ['a', 'b', 'c']],
    [`'a b'c "d\\"e" f\\ g`, ['a bc', 'd"e', 'f g']],
    [`$HOME "$(id)" '\\'`, ['$HOME', '$(id)', '\\']],
    [`"a\\b" ''`, ['a\\b', '']],
    [`'open`, ['open']],
  ] as const) {
    assert.deepEqual(shellWords(text), words, text);
  }
});
