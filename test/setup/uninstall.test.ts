import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Found } from '../../src/setup/host.ts';
import type { Made } from '../../src/setup/steps.ts';
import { planRemoval, type QueueState, sayMade, sayUndo } from '../../src/setup/uninstall.ts';
import { type FakeHost, fakeHost, folder } from './fake-host.ts';

const file = (text = ''): Found => ({ kind: 'file', text, mode: 0o644, uid: 0, gid: 0 });
const link = (target: string): Found => ({ kind: 'link', target, real: undefined });

const sendmail = '/usr/sbin/sendmail';
const target = '/opt/picorelay/bin/sendmail';
const made: readonly Made[] = [
  { kind: 'group', name: 'relay' },
  { kind: 'user', name: 'relay' },
  { kind: 'folder', path: '/etc/picorelay' },
  { kind: 'file', path: '/etc/picorelay/relay', role: 'control' },
  { kind: 'spool', path: '/var/spool/picorelay', user: 'relay' },
  { kind: 'divert', path: sendmail, to: `${sendmail}.distrib` },
  { kind: 'link', path: sendmail, target },
  { kind: 'file', path: '/etc/cron.d/picorelay', role: 'own' },
];

const host: FakeHost = {
  at: {
    '/etc/picorelay': folder,
    '/etc/picorelay/relay': file(),
    '/var/spool/picorelay': folder,
    [sendmail]: link(target),
    '/etc/cron.d/picorelay': file(),
  },
  users: { relay: { uid: 999, gid: 999 } },
  groups: { relay: 999 },
  diversions: { [sendmail]: { to: `${sendmail}.distrib`, by: 'LOCAL' } },
};

const empty: QueueState = { waiting: 0, undelivered: 0, odd: 0 };

function removal(
  changed: FakeHost = {},
  queue: QueueState | undefined = empty,
  purge = false,
): { readonly undos: readonly string[]; readonly stays: readonly string[] } {
  const at = { ...host.at, ...changed.at };
  const names = (path: string): readonly string[] =>
    path === '/etc/picorelay' ? ['adminaddr', 'relay'] : [];
  const { undos, stays } = planRemoval(
    made,
    fakeHost({ ...host, ...changed, at }),
    queue,
    purge,
    names,
  );
  return {
    undos: undos.map(({ undo }) => sayUndo(undo)),
    stays: stays.map(({ made: each, why }) => `${sayMade(each)}: ${why}`),
  };
}

test('the last step goes first; settings, queue and its user stay', () => {
  assert.deepEqual(removal(), {
    undos: [
      '/etc/cron.d/picorelay removed',
      '/usr/sbin/sendmail removed',
      "/usr/sbin/sendmail is the packages' again (dpkg-divert)",
    ],
    stays: [
      '/var/spool/picorelay: the queue, empty; --purge removes it',
      '/etc/picorelay/relay: a setting; --purge removes it',
      '/etc/picorelay: the settings; --purge removes them',
      'user relay: owns the queue',
      'group relay: owns the queue',
    ],
  });
});

test('--purge takes all, also settings that were written by hand', () => {
  assert.deepEqual(removal({}, empty, true), {
    undos: [
      '/etc/cron.d/picorelay removed',
      '/usr/sbin/sendmail removed',
      "/usr/sbin/sendmail is the packages' again (dpkg-divert)",
      'queue in /var/spool/picorelay removed, it was empty',
      '/etc/picorelay/relay removed',
      '/etc/picorelay/adminaddr removed',
      '/etc/picorelay removed',
      'user relay removed',
      'group relay removed',
    ],
    stays: [],
  });
});

for (const [queue, why] of [
  [{ ...empty, waiting: 2 }, 'holds mail: 2 waiting'],
  [{ ...empty, undelivered: 1, odd: 3 }, 'holds mail: 1 in Undelivered, 3 that could not be read'],
] as const) {
  test(`a queue that ${why} stays whatever was asked`, () => {
    const { undos, stays } = removal({}, queue, true);
    assert.deepEqual(stays, [
      `/var/spool/picorelay: ${why}`,
      'user relay: owns the queue',
      'group relay: owns the queue',
    ]);
    assert.ok(undos.includes('/etc/picorelay removed'));
  });
}

test('a name that somebody else has by now stays, and so does its diversion', () => {
  for (const found of [link('/usr/sbin/exim4'), file('#!/bin/sh\n'), folder]) {
    const { undos, stays } = removal({ at: { [sendmail]: found } });
    assert.deepEqual(
      undos.filter((each) => each.includes('sendmail')),
      [],
    );
    assert.deepEqual(stays.slice(0, 2), [
      '/usr/sbin/sendmail: somebody else’s by now',
      '/usr/sbin/sendmail: /usr/sbin/sendmail is still there',
    ]);
  }
});

test('what is gone already is no step', () => {
  const gone = fakeHost({});
  assert.deepEqual(
    planRemoval(made, gone, undefined, true, () => []),
    { undos: [], stays: [] },
  );
});
