import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRelay } from '../../src/control/relay-url.ts';
import { findProvider, providerOfMx, providers } from '../../src/setup/providers.ts';

test('every provider has a relay that mail can log in to over TLS', () => {
  for (const { name, relay } of providers) {
    const parsed = parseRelay(relay);
    assert.ok(!('problem' in parsed), name);
    assert.ok(
      (parsed.scheme === 'smtps' && parsed.port === 465) ||
        (parsed.scheme === 'smtp' && parsed.port === 587),
      name,
    );
  }
});

test('no domain, no relay and no name belongs to two providers', () => {
  const all = providers.flatMap(({ name, relay, domains, mx }) => [
    name.toLowerCase(),
    relay,
    ...domains.map((domain) => `@${domain}`),
    ...mx.map((end) => `mx ${end}`),
  ]);
  assert.deepEqual(
    all.filter((each, index) => all.indexOf(each) !== index),
    [],
  );
});

for (const [text, name, relay] of [
  ['gmail.com', 'Gmail', 'smtps://smtp.gmail.com'],
  ['GoogleMail.com', 'Gmail', 'smtps://smtp.gmail.com'],
  ['smtp.gmail.com.', 'Gmail', 'smtps://smtp.gmail.com'],
  ['fastmail', 'Fastmail', 'smtps://smtp.fastmail.com'],
  ['smtp.office365.com', 'Microsoft 365', 'smtp://smtp.office365.com:587'],
  ['ses:eu-west-1', 'Amazon SES eu-west-1', 'smtps://email-smtp.eu-west-1.amazonaws.com'],
  [
    'email-smtp.us-gov-west-1.amazonaws.com',
    'Amazon SES us-gov-west-1',
    'smtps://email-smtp.us-gov-west-1.amazonaws.com',
  ],
] as const) {
  test(`${text} is found as ${name}`, () => {
    const found = findProvider(text);
    assert.deepEqual([found?.name, found?.relay], [name, relay]);
  });
}

for (const text of ['example.com', '', 'mail', 'ses:', 'ses:evil/../x-1', 'xgmail.com']) {
  test(`${JSON.stringify(text)} is nobody's`, () => {
    assert.equal(findProvider(text), undefined);
  });
}

for (const [host, name] of [
  ['aspmx.l.google.com', 'Gmail'],
  ['example-com.mail.protection.outlook.com', 'Microsoft 365'],
  ['in1-smtp.messagingengine.com', 'Fastmail'],
  ['mx00.kundenserver.de', 'IONOS Germany'],
  ['smtpin.rzone.de', 'Strato'],
  ['mx1.mailbox.org.', 'mailbox.org'],
  ['evilgoogle.com', undefined],
  ['google.com.example.net', undefined],
] as const) {
  test(`${host} takes mail for ${name ?? 'nobody in the table'}`, () => {
    assert.equal(providerOfMx(host)?.name, name);
  });
}
