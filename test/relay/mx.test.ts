import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findExchangers } from '../../src/relay/mx.ts';
import { openResolver, type Resolver } from '../../src/relay/resolver.ts';
import { startNameServer } from '../support/dns.ts';
import { fc } from '../support/properties.ts';

const OWN = new Set(['me.test', 'helo.test']);

const ZONE = {
  'plain.test': {
    MX: [
      [20, 'b.plain.test'],
      [10, 'A.plain.test'],
      [30, 'c.plain.test'],
    ],
  },
  'equal.test': {
    MX: [
      [10, 'a.equal.test'],
      [10, 'b.equal.test'],
      [5, 'first.equal.test'],
    ],
  },
  'null.test': { MX: [[0, '.']] },
  'mixed.test': {
    MX: [
      [0, '.'],
      [10, 'a.mixed.test'],
    ],
  },
  'implicit.test': { addresses: ['192.0.2.1'] },
  'implicit6.test': { addresses: ['2001:db8::1'] },
  'empty.test': {},
  'loop.test': {
    MX: [
      [10, 'better.test'],
      [20, 'Me.Test'],
      [20, 'same.test'],
      [30, 'worse.test'],
    ],
  },
  'ourselves.test': {
    MX: [
      [10, 'helo.test'],
      [20, 'worse.test'],
    ],
  },
  'me.test': { addresses: ['192.0.2.9'] },
  'broken.test': 'SERVFAIL',
  'refusing.test': 'REFUSED',
  'address.test': { MX: [[10, '192.0.2.7']] },
  'odd.test': {
    MX: [
      [10, 'a b.test'],
      [20, 'good.test'],
    ],
  },
  'twice.test': {
    MX: [
      [10, 'a.test'],
      [20, 'a.test'],
    ],
  },
  'xn--bcher-kva.test': { MX: [[10, 'mx.test']] },
  'many.test': { MX: Array.from({ length: 25 }, (_, n) => [n, `m${n}.test`] as const) },
} as const;

/** Hosts with commas, or what is said instead. */
async function found(
  resolver: Resolver,
  domain: string,
  random = (): number => 0,
): Promise<string> {
  const result = await findExchangers(domain, OWN, resolver, random);
  switch (result.kind) {
    case 'hosts':
      return result.hosts.join(',');
    case 'refused':
      return result.reply.lines.join();
    case 'trouble':
      return `trouble: ${result.reason}`;
  }
}

test('Mail exchangers come in their order; a domain without any is its own; null MX refuses.', async (t) => {
  const { address } = await startNameServer(t, ZONE);
  const resolver = openResolver([address]);
  const table: [string, string | RegExp][] = [
    ['plain.test', 'a.plain.test,b.plain.test,c.plain.test'],
    ['PLAIN.test', 'a.plain.test,b.plain.test,c.plain.test'],
    ['null.test', '5.1.10 picorelay: null.test takes no mail (null MX)'],
    ['mixed.test', 'a.mixed.test'],
    ['implicit.test', 'implicit.test'],
    ['implicit6.test', 'implicit6.test'],
    [
      'empty.test',
      '5.1.2 picorelay: the DNS has neither mail exchanger nor address for empty.test',
    ],
    [
      'nowhere.test',
      '5.1.2 picorelay: the DNS has neither mail exchanger nor address for nowhere.test',
    ],
    ['loop.test', 'better.test'],
    ['ourselves.test', /^5\.4\.6 .*itself the mail exchanger/],
    ['me.test', /^5\.4\.6 /],
    ['broken.test', /^trouble: .*SERVFAIL/],
    ['refusing.test', /^trouble: .*refused to answer/],
    ['address.test', /^trouble: .*no valid name: "192\.0\.2\.7"/],
    ['odd.test', 'good.test'],
    ['twice.test', 'a.test'],
    ['bücher.test', 'mx.test'],
    ['many.test', Array.from({ length: 20 }, (_, n) => `m${n}.test`).join()],
    ['[192.0.2.1]', '192.0.2.1'],
    ['[IPv6:2001:DB8::1]', '2001:db8::1'],
    ['[ipv6:2001:db8::1]', '2001:db8::1'],
    ['[192.0.2.1.5]', /^5\.1\.2 /],
    ['', /^5\.1\.2 /],
    ['1.2.3.4', /^5\.1\.2 /],
    ['a b.test', /^5\.1\.2 /],
  ];
  for (const [domain, expected] of table) {
    const said = await found(resolver, domain);
    if (typeof expected === 'string') assert.equal(said, expected, domain);
    else assert.match(said, expected, domain);
  }
});

test('Hosts that are preferred equally are mixed, others never.', async (t) => {
  const { address } = await startNameServer(t, ZONE);
  const resolver = openResolver([address]);
  const mixed = async (...ties: number[]): Promise<string> =>
    await found(resolver, 'equal.test', () => ties.shift() ?? 0);
  // In the order of the answer: whatever that is, one of them comes first in one case only.
  const orders = new Set([await mixed(0.1, 0.5, 0.9), await mixed(0.9, 0.5, 0.1)]);
  assert.deepEqual([...orders].sort(), [
    'first.equal.test,a.equal.test,b.equal.test',
    'first.equal.test,b.equal.test,a.equal.test',
  ]);
});

test('Without a server that answers nobody knows.', async (t) => {
  const { address } = await startNameServer(t, {});
  const port = Number(address.split(':')[1]);
  const resolver = openResolver([`127.0.0.2:${port}`]);
  assert.match(
    await found(resolver, 'plain.test'),
    /^trouble: .*no DNS server (?:can be reached|answered)/,
  );
});

test('No domain and no answer makes it throw.', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom('a.test', '.', '', 'me.test', 'x'.repeat(300)),
  );
  const records = fc.array(fc.record({ preference: fc.integer(), host: text }));
  await fc.assert(
    fc.asyncProperty(text, records, async (domain, mx) => {
      const resolver: Resolver = {
        mx: async () => ({ kind: 'found', records: mx }),
        addresses: async () => ({ kind: 'none' }),
        texts: async () => ({ kind: 'none' }),
      };
      const result = await findExchangers(domain, OWN, resolver, () => 0.5);
      if (result.kind !== 'hosts') return;
      assert.ok(result.hosts.length > 0 && result.hosts.length <= 20);
      assert.ok(!result.hosts.some((host) => OWN.has(host) || /[^a-z0-9._:-]/.test(host)));
    }),
  );
});
