import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Delivery, parseInvocation } from '../../src/sendmail/arguments.ts';
import { fc } from '../support/properties.ts';

const PLAIN: Delivery = {
  mode: 'deliver',
  fromHeader: false,
  sender: undefined,
  fullName: undefined,
  dotEnds: true,
  immediate: undefined,
  verbose: false,
  recipients: [],
  problems: [],
  notify: undefined,
  ret: undefined,
  envid: undefined,
  requireTls: false,
};

/** The fields that a delivery is described by; the parser may carry others along. */
function delivery(argv: readonly string[]): Delivery {
  const parsed = parseInvocation('sendmail', argv);
  assert.equal(parsed.mode, 'deliver', JSON.stringify(parsed));
  const known = Object.keys(PLAIN) as (keyof Delivery)[];
  const given = parsed as Delivery;
  return Object.fromEntries(known.map((key) => [key, given[key]])) as unknown as Delivery;
}

const CALLERS: readonly (readonly [string, string, Partial<Delivery>])[] = [
  [
    'cronie',
    '-FCronDaemon -i -odi -oem -oi -t -f root',
    { fullName: 'CronDaemon', dotEnds: false, immediate: 'wait', fromHeader: true, sender: 'root' },
  ],
  [
    'Debian cron',
    '-i -FCronDaemon -B8BITMIME -oem user',
    { dotEnds: false, fullName: 'CronDaemon', recipients: ['user'] },
  ],
  ['systemd-cron', '-i -B 8BITMIME user', { dotEnds: false, recipients: ['user'] }],
  [
    'anacron',
    '-FAnacron -odi root',
    { fullName: 'Anacron', immediate: 'wait', recipients: ['root'] },
  ],
  ['at', '-i user', { dotEnds: false, recipients: ['user'] }],
  ['busybox crond', '-ti', { fromHeader: true, dotEnds: false }],
  ['busybox crond 1.19', '-ti oem', { fromHeader: true, dotEnds: false, recipients: ['oem'] }],
  ['mdadm', '-t -fraid@x.test', { fromHeader: true, sender: 'raid@x.test' }],
  [
    'GNU mailutils',
    '-oi -f user@host -t',
    { dotEnds: false, sender: 'user@host', fromHeader: true },
  ],
  ['bsd-mailx', '-i a@x.test b@x.test', { dotEnds: false, recipients: ['a@x.test', 'b@x.test'] }],
  [
    'mutt',
    '-oem -oi -f me@x.test -N never -R hdrs -B8BITMIME -- a@x.test -b@x.test',
    {
      dotEnds: false,
      sender: 'me@x.test',
      notify: 'NEVER',
      ret: 'HDRS',
      recipients: ['a@x.test', '-b@x.test'],
    },
  ],
  [
    's-nail',
    '-i -m -v -r me@x.test -- a@x.test',
    { dotEnds: false, verbose: true, sender: 'me@x.test', recipients: ['a@x.test'] },
  ],
  ['PHP mail()', '-t -i -fwww@x.test', { fromHeader: true, dotEnds: false, sender: 'www@x.test' }],
  [
    'PHPMailer',
    '-oi -fsender@x.test -t',
    { dotEnds: false, sender: 'sender@x.test', fromHeader: true },
  ],
  [
    'git send-email',
    '-i -f me@x.test a@x.test',
    { dotEnds: false, sender: 'me@x.test', recipients: ['a@x.test'] },
  ],
];

for (const [caller, line, expected] of CALLERS) {
  test(`The call of ${caller} is understood`, () => {
    assert.deepEqual(delivery(line.split(' ')), { ...PLAIN, ...expected });
  });
}

const ROWS: readonly (readonly [string, readonly string[], Partial<Delivery>])[] = [
  ['nothing', [], {}],
  ['a lone minus', ['-'], { recipients: [], problems: undefined as never }],
  ['null senders', ['-f', ''], { sender: '' }],
  ['a null sender in brackets', ['-f<>'], { sender: '' }],
  ['a sender in brackets', ['-f', '<a@x.test>'], { sender: 'a@x.test' }],
  ['the last of two senders', ['-fa@x.test', '-rb@x.test'], { sender: 'b@x.test' }],
  [
    'a cluster of flags',
    ['-tvi', 'a@x.test'],
    { fromHeader: true, verbose: true, dotEnds: false, recipients: ['a@x.test'] },
  ],
  ['a cluster that ends in a value', ['-tfa@x.test'], { fromHeader: true, sender: 'a@x.test' }],
  ['a bare -e before an option', ['-e', '-t'], { fromHeader: true }],
  ['-em and -oem', ['-em', '-oep', '-ti'], { fromHeader: true, dotEnds: false }],
  ['-odb and -odq', ['-odb', '-odq'], { immediate: 'off' }],
  ['an unknown -od', ['-odx'], {}],
  ['a full name with a comma', ['-F', 'Doe, Jo'], { fullName: 'Doe, Jo' }],
  ['-V in xtext', ['-V', 'a+b=c'], { envid: 'a+2Bb+3Dc' }],
  ['-N with a list', ['-N', 'success,delay'], { notify: 'SUCCESS,DELAY' }],
  ['-R full', ['-Rfull'], { ret: 'FULL' }],
  ['-O requiretls', ['-O', 'RequireTLS=yes'], { requireTls: true }],
  ['-O requiretls, taken back', ['-Orequiretls=yes', '-Orequiretls=no'], {}],
  ['-O requiretls with a strange value', ['-Orequiretls=maybe'], {}],
  ['-bm', ['-bm', '-t'], { fromHeader: true }],
  [
    'options that read files elsewhere',
    [
      '-C',
      '/etc/shadow',
      '-X/tmp/x',
      '-O',
      'QueueDirectory=/',
      '-oQ/tmp',
      '-DX=y',
      '-h',
      '3',
      '-L',
      'tag',
      '-p',
      'x',
      '-G',
      '-U',
      '-n',
      '-m',
      '-d0.1',
    ],
    {},
  ],
  [
    'a comma list with a display name',
    ['Jo <a@x.test>, b@x.test'],
    { recipients: ['a@x.test', 'b@x.test'] },
  ],
  [
    'an operand that is an attack',
    ['a@x.test -X/tmp/x'],
    { recipients: [], problems: undefined as never },
  ],
];

for (const [title, argv, expected] of ROWS) {
  test(`An invocation with ${title} is understood`, () => {
    const got = delivery(argv);
    if ('problems' in expected) {
      // What the address parser makes of it is its own business; it must not become an option.
      assert.deepEqual({ ...got, recipients: [], problems: [] }, PLAIN);
    } else {
      assert.deepEqual(got, { ...PLAIN, ...expected });
    }
  });
}

const MODES: readonly (readonly [string, readonly string[], string])[] = [
  ['mailq', [], 'list'],
  ['sendmail', ['-bp'], 'list'],
  ['newaliases', [], 'nothing'],
  ['hoststat', [], 'nothing'],
  ['purgestat', [], 'nothing'],
  ['sendmail', ['-bi'], 'nothing'],
  ['sendmail', ['-I'], 'nothing'],
  ['sendmail', ['-bs'], 'smtp'],
  ['sendmail', ['-bs', '-odb', '-oem'], 'smtp'],
  ['sendmail', ['-bv', 'a@x.test'], 'verify'],
  ['sendmail', ['-q'], 'run'],
  ['sendmail', ['-q30m'], 'run'],
  ['sendmail', ['-qIabc'], 'run'],
  ['send-mail', ['a@x.test'], 'deliver'],
  ['rmail', ['a@x.test'], 'deliver'],
];

for (const [program, argv, mode] of MODES) {
  test(`${[program, ...argv].join(' ')} means ${mode}`, () => {
    assert.equal(parseInvocation(program, argv).mode, mode);
  });
}

const RUNS: readonly (readonly [readonly string[], object])[] = [
  [['-q'], {}],
  [['-q30m'], {}],
  [['-q1h30m'], {}],
  [['-qf'], {}],
  [['-qp5m'], {}],
  [['-q', '-v'], { verbose: true }],
  [['-qIabc'], { match: { field: 'id', text: 'abc' } }],
  [['-qRBob@X.test'], { match: { field: 'recipient', text: 'bob@x.test' } }],
  [['-qSroot'], { match: { field: 'sender', text: 'root' } }],
  [['-q!Sroot'], { match: { field: 'sender', text: 'root' }, negated: true }],
];

for (const [argv, expected] of RUNS) {
  test(`${argv.join(' ')} runs the queue`, () => {
    const plain = { mode: 'run', verbose: false, match: undefined, negated: false };
    assert.deepEqual(parseInvocation('sendmail', argv), { ...plain, ...expected });
  });
}

const REFUSED: readonly (readonly [readonly string[], RegExp])[] = [
  [['-bd'], /daemon/],
  [['-bt'], /^-bt: /],
  [['-bh'], /^-bh: /],
  [['-bH'], /^-bH: /],
  [['-bD'], /daemon/],
  [['-bz'], /no such mode/],
  [['-Z'], /unknown option "-Z"/],
  [['--help'], /unknown option "--"/],
  [['-f'], /-f needs a value/],
  [['-F'], /-F needs a value/],
  [['-f', 'a@x.test, b@x.test'], /not an address/],
  [['-f', 'a\nb@x.test'], /not an address/],
  [['-N', 'sometimes'], /-N "sometimes"/],
  [['-R', 'half'], /-R "half"/],
  [['-V', 'a b'], /-V "a b"/],
  [['-V', 'x'.repeat(101)], /-V /],
  [['-qI'], /-qI: expected a part of the id/],
  [['-q!S'], /-q!S: expected a part of the sender/],
  [['-qsometimes'], /-q"sometimes": expected/],
  [['-qQx'], /-q"Qx": expected/],
];

for (const [argv, problem] of REFUSED) {
  test(`${JSON.stringify(argv).slice(0, 60)} is refused with a reason on one line`, () => {
    const parsed = parseInvocation('sendmail', argv);
    assert.ok(parsed.mode === 'refuse');
    assert.match(parsed.problem, problem);
    assert.doesNotMatch(parsed.problem, /\n/);
  });
}

test('No words make it throw, and none after -- becomes an option', () => {
  const word = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom(
      '-t',
      '-i',
      '-f',
      '-oi',
      '-bm',
      '-',
      '--',
      '-e',
      '-q',
      '__proto__',
      '-constructor',
    ),
    fc.string({ maxLength: 6 }).map((text) => `-${text}`),
  );
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 6 }),
      fc.array(word, { maxLength: 4 }),
      (before, after) => {
        const parsed = parseInvocation('sendmail', [...before, '--', ...after]);
        // A value may swallow the `--`; then the words behind it are options.
        const alone = parseInvocation('sendmail', ['--', ...after]);
        assert.equal(alone.mode, 'deliver');
        if (parsed.mode === 'refuse') assert.ok(parsed.problem.length > 0);
        assert.deepEqual({ ...alone, recipients: [], problems: [] }, { ...alone, ...PLAIN });
      },
    ),
    { numRuns: 1000 },
  );
});

test('A long interval behind -q that is none is refused at once', () => {
  const parsed = parseInvocation('sendmail', [`-q${'0'.repeat(2000)}=`]);
  assert.equal(parsed.mode, 'refuse');
});
