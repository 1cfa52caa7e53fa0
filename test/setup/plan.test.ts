import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Found } from '../../src/setup/host.ts';
import { type Plan, planInstallation, usualSchedule, type Wish } from '../../src/setup/plan.ts';
import { sayStep } from '../../src/setup/steps.ts';
import { FOLDERS } from '../../src/spool/layout.ts';
import { type FakeHost, fakeHost, folder } from './fake-host.ts';

const wish: Wish = {
  control: '/etc/picorelay',
  settings: new Map([
    ['relay', 'smtp://relay.example.com:587'],
    ['authpassword', 'hunter2'],
  ]),
  spool: '/var/spool/picorelay',
  log: undefined,
  user: 'relay',
  schedule: 'cron',
  replace: false,
  programs: { kind: 'direct', bin: '/opt/picorelay/bin' },
  node: '/usr/bin/node',
};

const debian: FakeHost = {
  tools: ['useradd', 'dpkg-divert', 'cron'],
  at: { '/etc/cron.d': folder },
};

const ofRelay = { kind: 'folder', mode: 0o711, uid: 999, gid: 999 } as const;

const ours: Found = { kind: 'link', target: '/opt/picorelay/bin/sendmail', real: undefined };
const foreign: Found = { kind: 'link', target: '../sbin/exim4', real: '/usr/sbin/exim4' };

function plan(host: FakeHost, changed: Partial<Wish> = {}): Plan {
  return planInstallation({ ...wish, ...changed }, fakeHost(host));
}

/** The steps that are still to be taken. */
function toDo(made: Plan): readonly string[] {
  return made.items.filter(({ done }) => !done).map(({ step }) => sayStep(step));
}

function stepsOf(made: Plan, kind: string): readonly string[] {
  return made.items.filter(({ step }) => step.kind === kind).map(({ step }) => sayStep(step));
}

test('a host with nothing on it gets everything, and no problem', () => {
  const made = plan(debian);
  assert.deepEqual(made.problems, []);
  assert.deepEqual(made.replaced, []);
  const steps = toDo(made);
  assert.equal(steps.length, made.items.length);
  for (const wanted of [
    'system group relay',
    '/etc/picorelay/relay: smtp://relay.example.com:587',
    '/etc/picorelay/authpassword (640 root:relay): not shown',
    'queue in /var/spool/picorelay, of relay',
    '/usr/sbin/sendmail -> /opt/picorelay/bin/sendmail',
    '/usr/bin/mailq -> /opt/picorelay/bin/sendmail',
    '/var/qmail/bin/qmail-queue -> /opt/picorelay/bin/qmail-queue',
    '/etc/cron.d/picorelay',
  ]) {
    assert.ok(steps.includes(wanted), wanted);
  }
});

test('the group is made before the file that it may read, the diversion before the link', () => {
  const kinds = plan(debian).items.map(({ step }) => sayStep(step));
  const before = (one: string, other: string): void => {
    const [a, b] = [one, other].map((part) => kinds.findIndex((each) => each.includes(part)));
    assert.ok(a !== undefined && b !== undefined && a >= 0 && a < b, `${one}, ${other}`);
  };
  before('system group', 'authpassword');
  before('folder /etc/picorelay', '/etc/picorelay/relay');
  before('system user', 'queue in');
  before('sendmail of other packages', 'sendmail ->');
});

test('what is so already is left', () => {
  const text = (content: string, mode = 0o644, gid = 0): Found => ({
    ...{ kind: 'file', text: content, mode, uid: 0, gid },
  });
  const first = plan(debian);
  const cron = first.items.find(({ step }) => 'path' in step && /cron/.test(step.path))?.step;
  assert.ok(cron?.kind === 'file');
  const links = Object.fromEntries(
    first.items.flatMap(({ step }) =>
      step.kind === 'link'
        ? [[step.path, { kind: 'link', target: step.target, real: undefined } as const]]
        : [],
    ),
  );
  const names = [
    '/usr/sbin/sendmail',
    '/usr/lib/sendmail',
    '/usr/bin/mailq',
    '/usr/bin/newaliases',
  ];
  const made = plan({
    ...debian,
    at: {
      ...debian.at,
      ...links,
      '/etc/picorelay': folder,
      '/etc/picorelay/relay': text('smtp://relay.example.com:587\n'),
      '/etc/picorelay/authpassword': text('hunter2\n', 0o640, 999),
      '/etc/cron.d/picorelay': text(cron.text),
      '/var/spool/picorelay': ofRelay,
      '/var/spool/picorelay/version': {
        kind: 'file',
        text: '1\n',
        mode: 0o600,
        uid: 999,
        gid: 999,
      },
      ...Object.fromEntries(FOLDERS.map(([name]) => [`/var/spool/picorelay/${name}`, ofRelay])),
      '/var/qmail': folder,
      '/var/qmail/bin': folder,
    },
    users: { relay: { uid: 999, gid: 999 } },
    groups: { relay: 999 },
    diversions: Object.fromEntries(
      names.map((path) => [path, { to: `${path}.distrib`, by: 'LOCAL' }]),
    ),
  });
  assert.deepEqual(made.problems, []);
  assert.deepEqual(toDo(made), []);
});

test('a secret that others could read is closed, and its text is not written again', () => {
  const made = plan(
    {
      ...debian,
      groups: { relay: 999 },
      at: {
        ...debian.at,
        '/etc/picorelay/authpassword': {
          ...{ kind: 'file', text: 'hunter2\n', mode: 0o644, uid: 0, gid: 0 },
        },
      },
    },
    { settings: new Map() },
  );
  assert.deepEqual(
    made.items.filter(({ step }) => 'path' in step && step.path === '/etc/picorelay/authpassword'),
    [
      {
        step: {
          ...{ kind: 'rights', path: '/etc/picorelay/authpassword' },
          ...{ mode: 0o640, group: 'relay' },
        },
        done: false,
      },
    ],
  );
});

test('a spool that was handed over in part is handed over again', () => {
  const at = {
    '/var/spool/picorelay': ofRelay,
    '/var/spool/picorelay/version': { ...ofRelay, kind: 'file', text: '1\n' } as const,
    ...Object.fromEntries(FOLDERS.map(([name]) => [`/var/spool/picorelay/${name}`, ofRelay])),
  };
  const host = { ...debian, users: { relay: { uid: 999, gid: 999 } } };
  const queue = 'queue in /var/spool/picorelay, of relay';
  assert.ok(!toDo(plan({ ...host, at: { ...debian.at, ...at } })).includes(queue));
  const partly = { ...at, '/var/spool/picorelay/corrupt': folder };
  assert.ok(toDo(plan({ ...host, at: { ...debian.at, ...partly } })).includes(queue));
});

test('root writes only where root alone controls the path; its user writes the log elsewhere', () => {
  const made = plan(
    {
      ...debian,
      users: { relay: { uid: 999, gid: 999 } },
      owners: { '/etc/picorelay': 1000, '/srv/mail': 'every user can change /srv/mail' },
    },
    { spool: '/srv/mail/spool' },
  );
  assert.deepEqual(made.problems, [
    '/etc/picorelay/relay: user id 1000 can change where this path leads, so root does not write there: choose a folder that only root can change, or chown root /etc/picorelay',
    'every user can change /srv/mail',
  ]);
  const logging = (owner: number): Plan =>
    plan(
      {
        ...debian,
        users: { relay: { uid: 999, gid: 999 } },
        owners: { '/var/log/mine': owner },
        at: { ...debian.at, '/etc/logrotate.d': folder },
      },
      { log: '/var/log/mine/log' },
    );
  assert.deepEqual(logging(999).problems, []);
  assert.match(logging(1000).problems.join(), /^\/var\/log\/mine\/log: user id 1000 can change/);
  const rotated = (made: Plan): string =>
    made.items
      .map(({ step }) => step)
      .filter((step) => step.kind === 'file' && step.path === '/etc/logrotate.d/picorelay')
      .map((step) => (step.kind === 'file' ? step.text : ''))
      .join();
  assert.match(rotated(logging(999)), /^\tsu relay relay$/m);
  assert.doesNotMatch(rotated(logging(0)), /\bsu\b/);
});

test('a sendmail of another package stays unless it may be replaced', () => {
  const host: FakeHost = {
    ...debian,
    at: { ...debian.at, '/usr/sbin/sendmail': foreign },
    packages: { '/usr/sbin/sendmail': 'exim4-daemon-light' },
  };
  const refused = plan(host);
  assert.deepEqual(refused.problems, [
    'there is /usr/sbin/sendmail of exim4-daemon-light already: --replace puts it aside, and uninstall back',
  ]);
  const taken = plan(host, { replace: true });
  assert.deepEqual(taken.problems, []);
  assert.deepEqual(taken.replaced, ['/usr/sbin/sendmail of exim4-daemon-light']);
});

test('without dpkg another sendmail is renamed', () => {
  const host: FakeHost = { at: { '/usr/sbin/sendmail': foreign, '/etc/cron.d': folder } };
  assert.equal(plan(host).problems.length, 1);
  assert.deepEqual(stepsOf(plan(host, { replace: true }), 'aside'), [
    '/usr/sbin/sendmail renamed to /usr/sbin/sendmail.before-picorelay',
  ]);
});

test('a link of an earlier build is replaced without a question, and dpkg does not rename it', () => {
  const made = plan({
    ...debian,
    at: { ...debian.at, '/usr/sbin/sendmail': { ...ours, target: '/srv/picorelay/bin/sendmail' } },
  });
  assert.deepEqual(made.problems, []);
  const divert = made.items.find(
    ({ step }) => step.kind === 'divert' && step.path === '/usr/sbin/sendmail',
  );
  assert.ok(divert?.step.kind === 'divert');
  assert.equal(divert.step.rename, false);
  assert.ok(toDo(made).includes('/usr/sbin/sendmail -> /opt/picorelay/bin/sendmail'));
});

for (const { title, host, changed = {}, problem } of [
  {
    title: "another package's diversion",
    host: { diversions: { '/usr/sbin/sendmail': { to: '/usr/sbin/sendmail.x', by: 'other' } } },
    problem: /diverted by the package other/,
  },
  {
    title: 'a file that the admin put where he diverted a package',
    host: {
      at: { '/usr/sbin/sendmail': foreign, '/etc/cron.d': folder },
      diversions: { '/usr/sbin/sendmail': { to: '/usr/sbin/sendmail.real', by: 'LOCAL' } },
    },
    changed: { replace: true },
    problem: /remove it first/,
  },
  {
    title: 'a person who is called like the system user',
    host: { users: { relay: { uid: 1000, gid: 1000 } } },
    problem: /uid 1000, who is no system user/,
  },
  {
    title: 'root as the system user',
    host: { users: { root: { uid: 0, gid: 0 } } },
    changed: { user: 'root' },
    problem: /uid 0, who is no system user/,
  },
  {
    title: 'a user name that is an option',
    host: {},
    changed: { user: '--help' },
    problem: /--user-name takes/,
  },
  {
    title: 'a node in a folder that is closed to others',
    host: { at: { '/root': { ...folder, mode: 0o700 }, '/etc/cron.d': folder } },
    changed: { node: '/root/.nvm/node' },
    problem: /\/root is closed to them/,
  },
  {
    title: 'a queue of somebody else',
    host: { at: { '/var/spool/picorelay': { ...folder, uid: 33 }, '/etc/cron.d': folder } },
    problem: /belongs to user id 33/,
  },
  {
    title: 'a file where the queue should be',
    host: { at: { '/var/spool/picorelay': { kind: 'other' }, '/etc/cron.d': folder } },
    problem: /is no folder/,
  },
  {
    title: 'cron where there is none',
    host: { at: {} },
    problem: /no \/etc\/cron.d/,
  },
] satisfies readonly {
  title: string;
  host: FakeHost;
  changed?: Partial<Wish>;
  problem: RegExp;
}[]) {
  test(`${title} is a problem that is told before anything is done`, () => {
    const { problems } = plan({ ...debian, ...(host as FakeHost) }, changed);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', problem);
  });
}

test('programs of a package bring their own user, links and schedule', () => {
  const made = plan({ ...debian, packages: { '/opt/picorelay/bin': 'picorelay' } });
  assert.deepEqual(stepsOf(made, 'user'), []);
  assert.deepEqual(stepsOf(made, 'link'), []);
  assert.deepEqual(stepsOf(made, 'spool').length, 1);
  assert.match(made.warnings.join(), /of the package picorelay/);
});

test('programs that look for node in PATH are started by its absolute path', () => {
  const programs = { kind: 'by-node', bin: '/usr/lib/n/bin', node: '/usr/local/bin/node' } as const;
  const made = plan(debian, { programs });
  const file = (path: string): string => {
    const found = made.items.find(({ step }) => step.kind === 'file' && step.path === path)?.step;
    return found?.kind === 'file' ? found.text : '';
  };
  assert.match(file('/usr/sbin/sendmail'), /^#!\/usr\/local\/bin\/node\n/);
  assert.match(file('/usr/sbin/sendmail'), /^require\("\/usr\/lib\/n\/bin\/sendmail"\);$/m);
  assert.match(
    file('/etc/cron.d/picorelay'),
    /^\* \* \* \* \* relay \/usr\/local\/bin\/node \/usr\/lib\/n\/bin\/picorelay-cron$/m,
  );
});

test('one executable is all programs by its links', () => {
  const programs = {
    kind: 'standalone',
    executable: '/usr/local/bin/picorelay-standalone',
  } as const;
  const made = plan(debian, { programs });
  assert.ok(toDo(made).includes('/usr/bin/mailq -> /usr/local/bin/picorelay-standalone'));
  const cron = made.items.find(({ step }) => 'path' in step && /cron/.test(step.path))?.step;
  assert.match(
    cron?.kind === 'file' ? cron.text : '',
    / relay \/usr\/local\/bin\/picorelay-standalone picorelay-cron$/m,
  );
});

test('an alternative is chosen where names are kept by update-alternatives', () => {
  const made = plan(
    {
      ...debian,
      alternatives: {
        '/usr/sbin/sendmail': {
          group: 'mta',
          current: '/usr/sbin/sendmail.exim',
          manual: true,
          slaves: new Map([
            ['mta-mailq', '/usr/bin/mailq'],
            ['mta-man', '/usr/share/man/man8/sendmail.8.gz'],
          ]),
        },
      },
    },
    { replace: true },
  );
  const found = made.items.find(({ step }) => step.kind === 'alternative')?.step;
  assert.ok(found?.kind === 'alternative');
  assert.deepEqual(found.slaves, [{ name: 'mta-mailq', path: '/usr/bin/mailq' }]);
  assert.equal(found.chosen, '/usr/sbin/sendmail.exim');
  assert.deepEqual(
    stepsOf(made, 'link').filter((each) => /sbin\/sendmail|mailq/.test(each.split(' ')[0] ?? '')),
    [],
  );
});

test('another qmail keeps its folder', () => {
  const made = plan({ ...debian, at: { ...debian.at, '/var/qmail': folder } });
  assert.deepEqual(
    made.items.filter(({ step }) => 'path' in step && step.path.startsWith('/var/qmail')),
    [],
  );
  assert.match(made.warnings.join(), /another program/);
});

test('busybox makes users its own way, and has crontabs of users', () => {
  const made = plan({ at: { '/etc/crontabs': folder } });
  const user = made.items.find(({ step }) => step.kind === 'user')?.step;
  assert.ok(user?.kind === 'user');
  assert.deepEqual(user.command.slice(0, 2), ['adduser', '-S']);
  const cron = made.items.find(({ step }) => 'path' in step && step.path === '/etc/crontabs/relay');
  assert.match(
    cron?.step.kind === 'file' ? cron.step.text : '',
    /^\* \* \* \* \* \/opt\/picorelay\/bin\/picorelay-cron$/m,
  );
});

test('systemd is asked for a timer and for a look at incoming mail', () => {
  const host: FakeHost = { ...debian, systemd: true, tools: ['useradd', 'systemctl'] };
  const made = plan(host, { schedule: 'systemd' });
  assert.deepEqual(stepsOf(made, 'units'), ['picorelay.timer, picorelay.path enabled and started']);
  assert.equal(usualSchedule(fakeHost(host)), 'systemd');
  assert.equal(usualSchedule(fakeHost(debian)), 'cron');
  assert.equal(usualSchedule(fakeHost({})), 'none');
});

test('a log that is a file is made and rotated', () => {
  const host: FakeHost = { ...debian, at: { ...debian.at, '/etc/logrotate.d': folder } };
  const made = plan(host, { log: '/var/log/picorelay.log' });
  assert.ok(toDo(made).includes('/var/log/picorelay.log (640 relay:relay)'));
  assert.ok(toDo(made).includes('/etc/logrotate.d/picorelay'));
  assert.deepEqual(
    stepsOf(plan(host), 'file').filter((each) => /logrotate/.test(each)),
    [],
  );
});
