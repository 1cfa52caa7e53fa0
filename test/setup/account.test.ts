import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRelay, type Relay } from '../../src/control/relay-url.ts';
import {
  accountSettings,
  announcedCandidates,
  knownCandidate,
  namedCandidate,
  usualLogin,
} from '../../src/setup/account.ts';

function relay(scheme: 'smtp' | 'smtps', host: string, port: number): Relay {
  return { scheme, host, port, user: undefined };
}

test('a provider of the table is known by the mail address alone', () => {
  const found = knownCandidate('jo@gmx.de');
  assert.equal(found && formatRelay(found.relay), 'smtps://mail.gmx.net:465');
  assert.equal(knownCandidate('jo@example.com'), undefined);
});

test("what a domain announces under its own name is trusted, another domain's host is not", () => {
  const announced = { relays: [relay('smtps', 'smtp.example.com', 465)], hosts: [] };
  assert.equal(announcedCandidates('jo@example.com', announced)[0]?.doubtful, false);
  const elsewhere = { relays: [relay('smtps', 'smtp.example.net', 465)], hosts: [] };
  assert.equal(announcedCandidates('jo@example.com', elsewhere)[0]?.doubtful, true);
  const lookalike = { relays: [relay('smtps', 'evilexample.com', 465)], hosts: [] };
  assert.equal(announcedCandidates('jo@example.com', lookalike)[0]?.doubtful, true);
  const known = { relays: [relay('smtps', 'smtp.fastmail.com', 465)], hosts: [] };
  assert.equal(announcedCandidates('jo@example.com', known)[0]?.doubtful, false);
});

test('the hosts that take mail for a domain tell its provider', () => {
  const [found] = announcedCandidates('jo@example.com', {
    relays: [],
    hosts: ['mx1.example.net', 'in1-smtp.messagingengine.com'],
  });
  assert.equal(found?.provider?.name, 'Fastmail');
});

for (const [text, withLogin, wanted] of [
  ['gmail', true, 'smtps://smtp.gmail.com:465'],
  ['smtp.office365.com', true, 'smtp://smtp.office365.com:587'],
  ['relay.example.com', true, 'smtp://relay.example.com:587'],
  ['relay.example.com', false, 'smtp://relay.example.com:25'],
  ['relay.example.com:2525', true, 'smtp://relay.example.com:2525'],
  ['smtps://relay.example.com', true, 'smtps://relay.example.com:465'],
  ['192.0.2.7', false, 'smtp://192.0.2.7:25'],
] as const) {
  test(`--relay ${text} ${withLogin ? 'with' : 'without'} login is ${wanted}`, () => {
    const found = namedCandidate(text, withLogin);
    assert.ok(typeof found !== 'string', String(found));
    assert.equal(formatRelay(found.relay), wanted);
  });
}

test('what is no relay is told', () => {
  assert.match(String(namedCandidate('http://x', true)), /^expected smtp:\/\//);
});

test('who sends under any address keeps it, who may not sends as the account', () => {
  const account = {
    relay: relay('smtps', 'smtp.example.com', 465),
    login: 'jo@example.com',
    secret: { password: 'hunter2' },
    email: 'jo@example.com',
    adminaddr: 'jo@example.com',
  };
  assert.deepEqual(
    [...accountSettings({ ...account, ownAddress: false })],
    [
      ['relay', 'smtps://smtp.example.com:465'],
      ['authuser', 'jo@example.com'],
      ['authpassword', 'hunter2'],
      ['authpasswordcommand', undefined],
      ['adminaddr', 'jo@example.com'],
      ['masquerade', 'jo@example.com'],
    ],
  );
  const own = accountSettings({ ...account, ownAddress: true });
  assert.equal(own.get('sendermap'), '*: jo@example.com');
});

test('a relay without login rewrites no sender', () => {
  const settings = accountSettings({
    relay: relay('smtp', 'relay.example.com', 25),
    login: undefined,
    secret: undefined,
    email: undefined,
    adminaddr: undefined,
    ownAddress: false,
  });
  assert.deepEqual(
    [...settings].filter(([, text]) => text !== undefined),
    [['relay', 'smtp://relay.example.com:25']],
  );
});

test('the login name is that of the relay, else what the provider wants, else the address', () => {
  const named = namedCandidate('smtps://me@relay.example.com', true);
  const sendgrid = namedCandidate('sendgrid', true);
  assert.ok(typeof named !== 'string' && typeof sendgrid !== 'string');
  assert.equal(usualLogin(named, 'jo@example.com'), 'me');
  assert.equal(usualLogin(sendgrid, 'jo@example.com'), 'apikey');
});
