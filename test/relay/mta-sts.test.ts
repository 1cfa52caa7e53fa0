import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bindingPolicy,
  currentPolicy,
  formatKept,
  type KeptPolicy,
  namesHost,
  parseKept,
  parsePolicy,
  recordId,
} from '../../src/relay/mta-sts.ts';
import type { Resolver } from '../../src/relay/resolver.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { notRoot, startPolicyServer } from '../support/policy-server.ts';
import { fc } from '../support/properties.ts';

const POLICY =
  'version: STSv1\r\nmode: enforce\r\nmx: mail.x.test\r\nmx: *.mx.x.test\r\nmax_age: 604800\r\n';

test('A policy file is read by the rules of RFC 8461 section 3.2, or not at all.', () => {
  assert.deepEqual(parsePolicy(POLICY), {
    mode: 'enforce',
    hosts: ['mail.x.test', '*.mx.x.test'],
    maxAge: 604_800,
  });
  const good = [
    POLICY.replaceAll('\r', ''),
    `${POLICY}extension: something\r\n`,
    `${POLICY}mode: none\r\n`,
    POLICY.replace('mode: ', 'mode  :\t'),
    'version: STSv1\nmode: none\nmax_age: 0',
    POLICY.replace('604800', '9999999999'),
  ];
  for (const text of good) assert.notEqual(parsePolicy(text), undefined, text);
  assert.equal(parsePolicy(good[5] ?? '')?.maxAge, 31_557_600);
  const bad = [
    '',
    '<html>',
    POLICY.replace('STSv1', 'STSv2'),
    POLICY.replace('enforce', 'strict'),
    POLICY.replace(/mx.*\r\n/g, ''),
    POLICY.replace('604800', '-1'),
    POLICY.replace('mail.x.test', 'mail.*.test'),
    POLICY.replace('mail.x.test', ''),
    POLICY.replace('max_age', 'maxage'),
    `${POLICY}a line that is none`,
    POLICY + 'mx: a.test\n'.repeat(1001),
  ];
  for (const text of bad) assert.equal(parsePolicy(text), undefined, text);
});

test('The one record of the version has an id.', () => {
  const table: [string[], string | undefined][] = [
    [['v=STSv1; id=20260101T000000;'], '20260101T000000'],
    [['v=STSv1;id=1'], '1'],
    [['v=STSv1; ext=a; id=1; more=b'], '1'],
    [['something', 'v=STSv1; id=1', 'v=spf1 -all'], '1'],
    [['v=STSv1; id=1', 'v=STSv1; id=2'], undefined],
    [['v=STSv1; id=a-b'], undefined],
    [['v=STSv1; xid=1'], undefined],
    [['v=STSv1'], undefined],
    [['v=STSv10; id=1'], undefined],
    [[`v=STSv1; id=${'1'.repeat(33)}`], undefined],
    [[], undefined],
  ];
  for (const [texts, id] of table) assert.equal(recordId(texts), id, texts.join());
});

test('A star stands for one label.', () => {
  const policy = parsePolicy(POLICY);
  assert.ok(policy);
  const hosts = [
    'mail.x.test',
    'MAIL.x.test.',
    'a.mx.x.test',
    'mx.x.test',
    'a.b.mx.x.test',
    'x.test',
    'other',
  ];
  assert.deepEqual(
    hosts.filter((host) => namesHost(policy, host)),
    ['mail.x.test', 'MAIL.x.test.', 'a.mx.x.test'],
  );
});

test('What is kept comes back, and anything else is nothing.', () => {
  const kept: KeptPolicy = {
    mode: 'enforce',
    hosts: ['a.test'],
    maxAge: 9,
    id: 'x',
    until: 5,
    failed: 3,
  };
  assert.deepEqual(parseKept(formatKept(kept)), kept);
  assert.equal(parseKept(formatKept(kept).slice(0, 30)), undefined);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      parseKept(text);
      parsePolicy(text);
      recordId([text]);
    }),
  );
});

const DAY = 86_400_000;

/** A resolver that knows the record of one domain, and where its policy is. */
function resolverWith(record: { id: string | undefined }, address: string): Resolver {
  return {
    mx: async () => ({ kind: 'none' }),
    addresses: async () => ({ kind: 'found', records: [{ address, family: 4 }] }),
    texts: async () =>
      record.id === undefined
        ? { kind: 'none' }
        : { kind: 'found', records: [`v=STSv1; id=${record.id}`] },
  };
}

test('A policy is fetched once, kept until it is too old, and outlives its record and its server.', {
  skip: noOpenssl || notRoot,
}, async (t) => {
  const address = '127.0.0.81';
  const certificate = makeCertificate(['DNS:mta-sts.x.test']);
  const server = await startPolicyServer(t, address, certificate);
  const record: { id: string | undefined } = { id: '1' };
  const resolver = resolverWith(record, address);
  const lookup = async () => [{ address, family: 4 }] as const;
  const look = (kept: KeptPolicy | undefined, now: number) =>
    currentPolicy({
      domain: 'x.test',
      kept,
      resolver,
      way: { lookup },
      authorities: certificate.cert,
      now,
    });

  server.text = POLICY;
  const first = await look(undefined, 0);
  assert.equal(first?.mode, 'enforce');
  assert.equal(first?.until, 7 * DAY);
  assert.deepEqual(bindingPolicy(first, DAY)?.hosts, ['mail.x.test', '*.mx.x.test']);
  assert.equal(bindingPolicy(first, 8 * DAY), undefined);
  assert.equal(await look(first, DAY), first);
  assert.equal(server.requests, 1);

  // Another id: another policy; its server is gone for a while.
  record.id = '2';
  server.status = 503;
  const second = await look(first, DAY);
  assert.equal(second?.id, '1');
  assert.equal(second?.failed, DAY);
  assert.equal(await look(second, DAY + 60_000), second);
  assert.equal(server.requests, 2);
  server.status = 200;
  server.text = POLICY.replace('enforce', 'testing');
  const third = await look(second, DAY + 10 * 60_000);
  assert.equal(third?.mode, 'testing');
  assert.equal(third?.id, '2');
  assert.equal(bindingPolicy(third, DAY), undefined);

  // A record that is gone, and then a policy that is too old.
  record.id = undefined;
  assert.equal(await look(first, DAY), first);
  assert.equal(await look(first, 8 * DAY), undefined);

  record.id = '3';
  for (const [change, value] of [
    ['status', 301],
    ['type', 'text/html'],
    ['text', 'x'.repeat(100_000)],
    ['text', 'mode: enforce'],
  ] as const) {
    const before = server[change];
    Object.assign(server, { [change]: value });
    const none = await look(undefined, 9 * DAY);
    assert.equal(bindingPolicy(none, 9 * DAY), undefined, change);
    assert.equal(none?.failed, 9 * DAY);
    Object.assign(server, { [change]: before });
  }
  // A certificate that nobody vouches for.
  const stranger = { domain: 'x.test', kept: undefined, resolver, way: { lookup }, now: 0 };
  const none = await currentPolicy({ ...stranger, authorities: makeCertificate(['DNS:a']).cert });
  assert.equal(none?.failed, 0);
});
