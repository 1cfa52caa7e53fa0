// The programs that call sendmail on real hosts: what they pass, what they write, and what has to come of
// it. docs/callers.md is made from this table, callers.test.ts runs each row through the built program.

/** One program and one of its ways to call. */
export interface Caller {
  readonly name: string;
  /** The words behind the program's name, as the caller passes them. */
  readonly args: readonly string[];
  /** What it writes, in few words. */
  readonly writes: string;
  readonly input: string;
  /** The envelope that has to reach the relay. */
  readonly from: string;
  readonly to: readonly string[];
  /** Lines that the header has to have, and must not have. */
  readonly has?: readonly RegExp[];
  readonly hasNot?: readonly RegExp[];
  /** The interop test that runs the real program, by its title; undefined where only this row proves it. */
  readonly real?: string;
}

/** The caller's own address where it names none, and that of the local user root. */
const ROOT = 'root@client.test';

const JOB = 'MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\noutput\n.hidden\n';

const CRON = `From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@client> job\n${JOB}`;
const PLAIN = 'To: bob@x.test\nSubject: hello\n\nbody\n';

const SYMFONY =
  'HELO [127.0.0.1]\r\nMAIL FROM:<web@y.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n' +
  'From: web@y.test\r\nTo: bob@x.test\r\nSubject: hello\r\n\r\nbody\r\n..dot\r\n.\r\nQUIT\r\n';

const ALPINE =
  'EHLO client.test\r\nMAIL FROM:<jo@y.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n' +
  'From: jo@y.test\r\nTo: bob@x.test\r\nSubject: hello\r\n\r\nbody\r\n.\r\nQUIT\r\n';

export const CALLERS: readonly Caller[] = [
  {
    name: 'Debian cron',
    args: ['-i', '-FCronDaemon', '-B8BITMIME', '-oem', 'root'],
    writes: 'header and output, a lone dot among it',
    input: CRON,
    from: ROOT,
    to: [ROOT],
    has: [/^From: .*root@client\.test/m, /^Subject: Cron <root@client> job$/m],
    real: 'cron mails what a job prints',
  },
  {
    name: 'cronie',
    args: ['-FCronDaemon', '-i', '-odi', '-oem', '-oi', '-t', '-f', 'root'],
    writes: 'header and output; the recipient is in To',
    input: CRON,
    from: ROOT,
    to: [ROOT],
  },
  {
    name: 'systemd-cron',
    args: ['-i', '-B', '8BITMIME', 'root'],
    writes: 'header and output',
    input: CRON,
    from: ROOT,
    to: [ROOT],
  },
  {
    name: 'anacron',
    args: ['-FAnacron', '-odi', 'root'],
    writes: 'header and output, without -i',
    input: 'Subject: Anacron job\nTo: root\n\noutput\n',
    from: ROOT,
    to: [ROOT],
    has: [/^From: "?Anacron"? <root@client\.test>$/m],
  },
  {
    name: 'at',
    args: ['-i', 'root'],
    writes: 'header and output',
    input: 'Subject: Output from your job 1\nTo: root\n\noutput\n',
    from: ROOT,
    to: [ROOT],
    real: 'at mails what a job prints',
  },
  {
    name: 'busybox crond',
    args: ['-ti'],
    writes: 'header and output; the recipient is in To',
    input: 'To: root\nSubject: cron: job\n\noutput\n',
    from: ROOT,
    to: [ROOT],
  },
  {
    name: 'busybox crond 1.19',
    args: ['-ti', 'oem'],
    writes: 'the same, and a stray operand that becomes a recipient',
    input: 'To: root\nSubject: cron: job\n\noutput\n',
    from: ROOT,
    to: [ROOT, 'oem@client.test'],
  },
  {
    name: 'mdadm',
    args: ['-t', '-fraid@client.test'],
    writes: 'header and text',
    input: 'From: mdadm monitoring <root>\nTo: root\nSubject: Fail event on /dev/md0\n\ntext\n',
    from: 'raid@client.test',
    to: [ROOT],
  },
  {
    name: 'smartd',
    args: ['-t'],
    writes: 'header and text, by its mail script',
    input: 'To: root\nSubject: SMART error (Health) detected on host: client\n\ntext\n',
    from: ROOT,
    to: [ROOT],
  },
  {
    name: 'GNU mailutils',
    args: ['-oi', '-f', 'jo@y.test', '-t'],
    writes: 'header and text; the recipients are in To, Cc and Bcc',
    input: 'To: bob@x.test\nCc: ann@x.test\nBcc: eve@x.test\nSubject: hello\n\nbody\n',
    from: 'jo@y.test',
    to: ['bob@x.test', 'ann@x.test', 'eve@x.test'],
    hasNot: [/bcc/i, /eve@/],
    real: 'GNU mailutils submits one message',
  },
  {
    name: 'bsd-mailx',
    args: ['-i', 'bob@x.test', 'ann@x.test'],
    writes: 'header and text',
    input: 'To: bob@x.test, ann@x.test\nSubject: hello\n\nbody\n',
    from: ROOT,
    to: ['bob@x.test', 'ann@x.test'],
    real: 'bsd-mailx submits one message',
  },
  {
    name: 's-nail',
    args: ['-i', '-r', 'jo@y.test', '--', 'bob@x.test'],
    writes: 'header and text',
    input: PLAIN,
    from: 'jo@y.test',
    to: ['bob@x.test'],
    real: 's-nail submits one message',
  },
  {
    name: 'mutt, neomutt',
    args: [
      '-oem',
      '-oi',
      '-f',
      'jo@y.test',
      '-N',
      'success,failure',
      '-R',
      'hdrs',
      '-B8BITMIME',
      '--',
      'bob@x.test',
    ],
    writes: 'header and text',
    input: PLAIN,
    from: 'jo@y.test',
    to: ['bob@x.test'],
    real: 'mutt submits one message',
  },
  {
    name: 'PHP mail()',
    args: ['-t', '-i', '-fwww@y.test'],
    writes: 'header and text; the last argument is what the application adds',
    input: 'To: bob@x.test\nSubject: hello\nX-PHP-Originating-Script: 0:a.php\n\nbody\n',
    from: 'www@y.test',
    to: ['bob@x.test'],
    real: 'PHP mail() submits one message',
  },
  {
    name: 'PHPMailer',
    args: ['-oi', '-fwww@y.test', '-t'],
    writes: 'header and text with CRLF line ends',
    input: 'To: bob@x.test\r\nFrom: www@y.test\r\nSubject: hello\r\n\r\nbody\r\n',
    from: 'www@y.test',
    to: ['bob@x.test'],
  },
  {
    name: 'git send-email',
    args: ['-i', '-f', 'dev@y.test', 'list@x.test', 'ann@x.test'],
    writes: 'header and patch',
    input:
      'From: Dev <dev@y.test>\nTo: list@x.test\nCc: ann@x.test\nSubject: [PATCH] x\n\n--- a\n+++ b\n',
    from: 'dev@y.test',
    to: ['list@x.test', 'ann@x.test'],
    real: 'git send-email submits one message',
  },
  {
    name: "Nodemailer's sendmail transport",
    args: ['-i', '-f', 'app@y.test', 'bob@x.test', 'eve@x.test'],
    writes: 'header and text; leaves Bcc in the header',
    input: 'From: app@y.test\nTo: bob@x.test\nBcc: eve@x.test\nSubject: hello\n\nbody\n',
    from: 'app@y.test',
    to: ['bob@x.test', 'eve@x.test'],
    hasNot: [/bcc/i],
    real: "Nodemailer's sendmail transport submits one message",
  },
  {
    name: 'Symfony Mailer, SwiftMailer',
    args: ['-bs'],
    writes: 'an SMTP dialogue with CRLF',
    input: SYMFONY,
    from: 'web@y.test',
    to: ['bob@x.test'],
    real: 'the -bs dialogue of Symfony Mailer, answer by answer',
  },
  {
    name: 'Symfony Mailer with -t',
    args: ['-t', '-i'],
    writes: 'header and text',
    input: PLAIN,
    from: ROOT,
    to: ['bob@x.test'],
  },
  {
    name: 'Alpine',
    args: ['-bs', '-odb', '-oem'],
    writes: 'an SMTP dialogue with CRLF',
    input: ALPINE,
    from: 'jo@y.test',
    to: ['bob@x.test'],
  },
  {
    name: 'swaks --pipe',
    args: ['-bs'],
    writes: 'an SMTP dialogue',
    input: ALPINE,
    from: 'jo@y.test',
    to: ['bob@x.test'],
    real: 'swaks speaks SMTP through a pipe',
  },
  {
    name: 'Django, Python scripts',
    args: ['-t', '-oi'],
    writes: 'header and text, 8-bit without a word about it',
    input: 'To: bob@x.test\nSubject: hello\n\nb\u00f6dy\n',
    from: ROOT,
    to: ['bob@x.test'],
    has: [/^Content-Type: text\/plain; charset=utf-8$/im],
    real: 'Python submits one message',
  },
  {
    name: 'logwatch',
    args: ['-t'],
    writes: 'header and report',
    input:
      'To: root\nFrom: Logwatch\nSubject: Logwatch for client\nMIME-Version: 1.0\nContent-Type: text/plain; charset="UTF-8"\n\n### report ###\n',
    from: ROOT,
    to: [ROOT],
    has: [/^From: Logwatch@client\.test$/m],
    real: 'logwatch mails its report',
  },
  {
    name: 'fail2ban',
    args: ['-f', 'fail2ban@y.test', 'admin@x.test'],
    writes: 'header and text',
    input:
      'Subject: [Fail2Ban] sshd: banned\nFrom: Fail2Ban <fail2ban@y.test>\nTo: admin@x.test\n\nbody\n',
    from: 'fail2ban@y.test',
    to: ['admin@x.test'],
  },
  {
    name: 'unattended-upgrades',
    args: ['-oi', '-t'],
    writes: 'header and report',
    input: 'To: root\nSubject: unattended-upgrades result\n\nreport\n',
    from: ROOT,
    to: [ROOT],
  },
];

/** The text of docs/callers.md. */
export function callersManual(): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const rows = CALLERS.map(({ name, args, writes, real }) =>
    cell(`| ${name} | \`${args.join(' ')}\` | ${writes} | ${real ?? '–'} |`).replaceAll('\\|', '|'),
  );
  return `# Callers

What programs pass to sendmail, and what proves that it works. Each row is run through the built program by
test/programs/callers.test.ts, with the envelope and the header that have to result; the last column names
the test in test/interop/callers.test.ts that runs the real program from Debian or npm. This file is
generated from test/programs/caller-table.ts.

| caller | arguments | standard input | the real program |
|---|---|---|---|
${rows.join('\n')}
`;
}
