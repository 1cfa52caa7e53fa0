// What answers mean in plain words: what relays and systems really say, and the meaning that is found.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Heard, meaningOf } from '../../src/admin/meaning.ts';
import { fc } from '../support/properties.ts';

const TABLE: readonly (readonly [Heard['stage'], string, RegExp])[] = [
  ['claim', 'the process that was sending it died', /may get it twice/],
  ['config', '/etc/picorelay/relay: expected …', /control file cannot be used/],
  ['resolve', 'getaddrinfo EAI_AGAIN mail.x.test', /name server .* does not answer/],
  ['resolve', 'getaddrinfo ENOTFOUND mail.x.test', /not known to the name server/],
  [
    'resolve',
    'the mail exchangers of x.test are not known: no DNS server answered in time',
    /DNS cannot say now/,
  ],
  ['resolve', 'the MTA-STS policy of x.test names none of its mail exchangers (a.test)', /MTA-STS/],
  ['connect', 'connect ECONNREFUSED 192.0.2.1:587', /Nothing listens/],
  ['connect', 'no answer within 60 seconds', /firewall/],
  ['connect', 'connect ENETUNREACH 2001:db8::1:25', /no way to the relay/],
  ['tls', 'certificate has expired', /out of date/],
  ['tls', "Hostname/IP does not match certificate's altnames: Host: a.", /another name/],
  ['tls', 'self-signed certificate', /signed by nobody/],
  ['tls', "the relay's certificate has none of the fingerprints of control/tlspin", /tlspin/],
  ['tls', 'SSL routines:ssl3_get_record:wrong version number', /first byte/],
  ['starttls', '502 5.5.1 command not implemented', /offers no encryption/],
  ['greeting', '554 5.7.1 no mail from your network', /turns this host away/],
  ['greeting', '421 4.3.2 too busy', /too busy/],
  ['auth', '535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6', /name and password/],
  ['auth', '534 5.7.9 Application-specific password required.', /no way to log in/],
  ['auth', 'the relay offers no AUTH; without a login remove control/authuser', /takes no login/],
  ['auth', '454 4.7.0 Temporary authentication failure', /just now/],
  ['mail', '530 5.7.0 Authentication required', /only after a login/],
  ['mail', '553 5.7.1 Sender address rejected: not owned by user me', /in the name of that sender/],
  ['rcpt', '451 4.7.1 Greylisting in action, please come back later', /greylisting/],
  ['rcpt', '550 5.1.1 <a@x.test>: User unknown in virtual mailbox table', /no such recipient/],
  [
    'rcpt',
    '550 5.1.2 picorelay: the DNS has neither mail exchanger nor address for x.test',
    /domain does not exist/,
  ],
  ['rcpt', '550 5.1.10 picorelay: x.test takes no mail (null MX)', /takes no mail at all/],
  ['rcpt', '550 5.4.6 picorelay: this host is itself the mail exchanger', /circle/],
  ['mail', '550 5.7.30 picorelay: the relay does not offer REQUIRETLS', /verified TLS only/],
  ['rcpt', '452 4.2.2 The email account is over quota', /full/],
  ['rcpt', '450 4.2.1 mailbox busy', /cannot take mail just now/],
  ['rcpt', '554 5.7.1 <a@x.test>: Relay access denied', /passes no mail on/],
  ['dot', '552 5.3.4 Message size exceeds fixed limit', /larger/],
  ['dot', '550 5.7.26 This mail has been blocked: DMARC unauthenticated', /SPF, DKIM, DMARC/],
  ['dot', '554 5.7.1 Message rejected as spam', /looks like spam/],
  ['dot', 'the relay closed the connection', /may get it twice/],
  ['data', 'no answer within 120 seconds', /connection to the relay broke/],
  ['dot', '450 come back', /puts the mail off/],
  ['dot', '554 no', /refuses the mail for good/],
];

for (const [stage, said, meaning] of TABLE) {
  test(`At ${stage}, "${said}" is told in plain words`, () => {
    const heard = { stage, relay: 'smtp://me@mail.x.test:587', lines: [said] };
    const { means, mend } = meaningOf(heard, '/etc/picorelay', 'ID');
    assert.match(means, meaning);
    assert.ok(mend.length > 0);
    for (const line of mend) assert.ok(line.length <= 76, line);
  });
}

test('What is tried again by itself need not be sent to another recipient', () => {
  const heard = { stage: 'rcpt', relay: 'none', lines: ['450 4.1.1 user unknown'] } as const;
  const { mend } = meaningOf(heard, '/etc/picorelay', 'ID');
  assert.ok(!mend.join(' ').includes('resend'));
});

test('Whatever a relay says has a meaning', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (said) => {
      const heard = { stage: 'rcpt', relay: said, lines: [said] } as const;
      assert.ok(meaningOf(heard, '/c', 'ID').means.endsWith('.'));
    }),
  );
});
