import assert from 'node:assert/strict';
import { test } from 'node:test';
import { announcedRelays, mailHosts } from '../../src/relay/discover.ts';
import { startNameServer } from '../support/dns.ts';

test('relays that a domain announces come by TLS first, then by priority and weight', async (t) => {
  const { address } = await startNameServer(t, {
    '_submission._tcp.example.com': { SRV: [[1, 0, 587, 'clear.example.com']] },
    '_submissions._tcp.example.com': {
      SRV: [
        [20, 0, 465, 'third.example.com'],
        [10, 1, 465, 'second.example.com'],
        [10, 9, 4650, 'First.example.com'],
      ],
    },
  });
  const relays = await announcedRelays('example.com', [address]);
  assert.deepEqual(
    relays.map(({ scheme, host, port }) => `${scheme}://${host}:${port}`),
    [
      'smtps://first.example.com:4650',
      'smtps://second.example.com:465',
      'smtps://third.example.com:465',
      'smtp://clear.example.com:587',
    ],
  );
});

test('a service that is announced as absent, or under no host name, is none', async (t) => {
  const { address } = await startNameServer(t, {
    '_submissions._tcp.example.com': {
      SRV: [
        [0, 0, 0, 'relay.example.com'],
        [0, 0, 465, ''],
        [0, 0, 465, 'a b\u001b[31m.example.com'],
      ],
    },
  });
  assert.deepEqual(await announcedRelays('example.com', [address]), []);
});

test('a failure of the name server is no relay', async (t) => {
  const { address } = await startNameServer(t, {
    'example.com': 'SERVFAIL',
    '_submissions._tcp.example.com': 'REFUSED',
  });
  assert.deepEqual(await announcedRelays('example.com', [address]), []);
  assert.deepEqual(await mailHosts('example.com', [address]), []);
});

test('the hosts that take mail come by priority', async (t) => {
  const { address } = await startNameServer(t, {
    'example.com': {
      MX: [
        [20, 'b.example.net'],
        [5, 'A.example.net'],
      ],
    },
  });
  assert.deepEqual(await mailHosts('example.com', [address]), ['a.example.net', 'b.example.net']);
});
