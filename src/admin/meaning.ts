/**
 * What an attempt's answer means, in plain words, and what mends it: one table by stage and words, the
 * first line that fits counts. Pure. Hostile input: the relay's words, which are only looked at.
 */
import type { Stage } from '../mail/outcome.ts';

export interface Meaning {
  /** A sentence or two for somebody who never heard of SMTP. */
  readonly means: string;
  /** What to do, a line each; a command stands on a line of its own behind four spaces. */
  readonly mend: readonly string[];
}

export interface Heard {
  readonly stage: Stage | 'claim';
  /** The relay's URL, or `none`. */
  readonly relay: string;
  readonly lines: readonly string[];
}

/** Where and how things are called here. */
export interface Names {
  /** The control folder. */
  readonly folder: string;
  /** The relay's host and port; empty where there is none. */
  readonly host: string;
  readonly port: string;
  /** How the mail is called on a command line. */
  readonly id: string;
}

interface Rule {
  /** Absent: any. */
  readonly stages?: readonly (Stage | 'claim')[];
  readonly words?: RegExp;
  readonly means: string;
  readonly mend: (names: Names) => readonly string[];
}

const BEFORE_MAIL: readonly Stage[] = [
  'resolve',
  'connect',
  'tls',
  'greeting',
  'ehlo',
  'starttls',
  'auth',
];

const NOTHING = (): readonly string[] => ['Nothing: it is tried again by itself.'];
const CHECK = (): readonly string[] => ['See what else is wrong:', '    picorelay check'];

const RULES: readonly Rule[] = [
  {
    stages: ['claim'],
    means:
      'The process that was sending it was killed, or the machine went down. The relay may have taken the mail already: the recipient may get it twice.',
    mend: NOTHING,
  },
  {
    stages: ['config'],
    means:
      'A control file cannot be used, so nothing can be sent. Mail is kept until it is mended.',
    mend: CHECK,
  },
  {
    stages: ['resolve'],
    words: /MTA-STS policy/,
    means:
      'The domain demands that only certain hosts get its mail (MTA-STS), and the DNS names others now. Somebody may be redirecting it, or the domain has not brought its policy up to date.',
    mend: NOTHING,
  },
  {
    stages: ['resolve'],
    words: /(?:mail exchangers?|address) of .* (?:not known|no valid name)/,
    means: "The DNS cannot say now who takes the mail of the recipient's domain.",
    mend: ({ folder }) => [
      'Where this goes for every domain, look at the name servers of this host:',
      '    cat /etc/resolv.conf',
      `    ${folder}/nameservers`,
    ],
  },
  {
    stages: ['resolve'],
    words: /EAI_AGAIN/,
    means: 'The name server of this host does not answer.',
    mend: ({ host }) => [
      'Look at the network and at /etc/resolv.conf:',
      `    getent hosts ${host}`,
    ],
  },
  {
    stages: ['resolve'],
    means: 'The name of the relay is not known to the name server: misspelt, or DNS is wrong here.',
    mend: ({ host, folder }) => [
      'Look whether the name is right, and mend it:',
      `    getent hosts ${host}`,
      `    cat ${folder}/relay`,
    ],
  },
  {
    stages: ['connect'],
    words: /ECONNREFUSED/,
    means: 'Nothing listens on that port of the relay: the port is wrong, or the relay is down.',
    mend: ({ folder }) => [
      'Ask the provider for the port (587 or 465 as a rule) and write it into:',
      `    ${folder}/relay`,
    ],
  },
  {
    stages: ['connect'],
    words: /ETIMEDOUT|no answer within/,
    means:
      'The relay does not answer at all. A firewall on the way drops the packets (many networks close port 25), or the relay is down.',
    mend: ({ folder, port }) => [
      port === '25'
        ? 'Use port 587 or 465 of the provider instead of 25, in:'
        : 'Open the port in the firewall, or use another one of the provider, in:',
      `    ${folder}/relay`,
    ],
  },
  {
    stages: ['connect'],
    words: /ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|ENETDOWN/,
    means: 'This host has no way to the relay: its network is down or has no route there.',
    mend: ({ host }) => ['Look at the network:', `    ip route get ${host}`],
  },
  {
    stages: ['tls', 'starttls'],
    words: /fingerprints? of control\/tlspin/,
    means: 'The relay shows another certificate than the one that control/tlspin names.',
    mend: ({ folder }) => [
      'If the provider has changed it, write the new fingerprint into:',
      `    ${folder}/tlspin`,
    ],
  },
  {
    stages: ['tls', 'starttls'],
    words: /expired|not yet valid/i,
    means: "The relay's certificate is out of date, or this host's clock is wrong.",
    mend: () => ['Look at the clock; if it is right, the relay has to be mended:', '    date'],
  },
  {
    stages: ['tls', 'starttls'],
    words: /altnames|does not match|Hostname/i,
    means: "The relay's certificate is for another name than the one in control/relay.",
    mend: ({ folder }) => ['Use the name that the provider gives, in:', `    ${folder}/relay`],
  },
  {
    stages: ['tls', 'starttls'],
    words: /self.signed|unable to (?:verify|get)|issuer|certificate/i,
    means:
      "The relay's certificate is signed by nobody whom this host trusts. Mail and password are kept back, because anybody could be at the other end.",
    mend: ({ folder }) => [
      'Put the path of the authority that signed it into tlscafile, or a',
      "certificate's fingerprint into tlspin:",
      `    ${folder}/tlscafile`,
    ],
  },
  {
    stages: ['tls', 'starttls'],
    words: /wrong version|packet length|unknown protocol|EPROTO|ECONNRESET|closed/i,
    means:
      'The relay does not speak TLS in this way on this port. Port 465 speaks TLS from the first byte (smtps://), the others after STARTTLS (smtp://).',
    mend: ({ folder }) => ['Write the scheme that fits the port into:', `    ${folder}/relay`],
  },
  {
    stages: ['starttls'],
    means:
      'The relay offers no encryption on this port. Mail and password are kept back, because anybody on the way could read them.',
    mend: ({ folder }) => [
      'Use smtps:// and port 465 if the provider has it. Where the way to the',
      'relay is safe, encryption can be given up:',
      `    echo opportunistic > ${folder}/tls`,
    ],
  },
  {
    stages: ['auth'],
    words: /\b535\b|\b5\.7\.8\b|invalid (?:login|credentials)|authentication failed/i,
    means:
      'The relay does not know this name and password. Some providers want a password made for programs (app password), not the one of the web page.',
    mend: ({ folder }) => [
      'Write the password anew, then try:',
      `    ${folder}/authpassword`,
      '    picorelay retry --all',
    ],
  },
  {
    stages: ['auth'],
    words: /\b534\b|\b538\b|\b504\b|mechanism/i,
    means: 'The relay and this host have no way to log in that both know.',
    mend: ({ folder }) => [
      'See what the relay offers, and what is allowed here:',
      '    picorelay check',
      `    ${folder}/authmechanisms`,
    ],
  },
  {
    stages: ['auth'],
    words: /offers no AUTH/,
    means: 'There is a login name, but the relay takes no login here.',
    mend: ({ folder }) => [
      'Use the port for submission (587 or 465), or remove the login name:',
      `    ${folder}/relay`,
      `    ${folder}/authuser`,
    ],
  },
  {
    stages: ['auth'],
    words: /kept back/,
    means: 'The password was not sent, because somebody could have read it.',
    mend: ({ folder }) => ['Use TLS with a certificate that can be verified:', `    ${folder}/tls`],
  },
  {
    stages: ['auth'],
    words: /^4\d\d|temporar/i,
    means: 'The relay cannot look at logins just now.',
    mend: NOTHING,
  },
  {
    stages: ['greeting', 'ehlo'],
    words: /^5\d\d/,
    means:
      'The relay turns this host away before any mail was named: its address is on a block list, or the relay is not for it.',
    mend: () => [
      'Show the words to whoever runs the relay. If it is the port for other',
      'mail servers (25), use 587 or 465.',
    ],
  },
  {
    stages: ['greeting', 'ehlo'],
    words: /^4\d\d/,
    means: 'The relay is too busy, or being looked after.',
    mend: NOTHING,
  },
  {
    words: /\b530\b|authentication (?:is )?required|must (?:issue|authenticate)/i,
    means: 'The relay takes mail only after a login, and none is set up here.',
    mend: ({ folder }) => [
      'Name user and password:',
      `    ${folder}/authuser`,
      `    ${folder}/authpassword`,
    ],
  },
  {
    words: /grey|gray|try (?:again|later)|\b4\.7\.1\b|\b451 4\.7\.\d/i,
    stages: ['mail', 'rcpt', 'data', 'dot'],
    means:
      'The relay puts off what it does not know yet (greylisting), or this host sends too much at once. That passes by itself.',
    mend: NOTHING,
  },
  {
    words: /^550 5\.1\.2 picorelay: /,
    means: "The recipient's domain does not exist, or has no mail server, says the DNS.",
    mend: ({ id }) => [
      'Is the address right? To send it to another one:',
      `    picorelay resend ${id} --to ADDRESS`,
    ],
  },
  {
    words:
      /^5\d\d[ -].*?(?:\b5\.1\.[123]\b|user (?:unknown|not found)|no such (?:user|mailbox|recipient)|unknown (?:user|recipient|mailbox))/i,
    stages: ['rcpt', 'data', 'dot'],
    means: 'There is no such recipient, says the relay.',
    mend: ({ id }) => [
      'Is the address right? To send it to another one:',
      `    picorelay resend ${id} --to ADDRESS`,
    ],
  },
  {
    words: /^5\d\d[ -].*?(?:\b5\.1\.10\b|null MX)/i,
    means: "The recipient's domain takes no mail at all.",
    mend: ({ id }) => [
      'Is the address right? To send it to another one:',
      `    picorelay resend ${id} --to ADDRESS`,
    ],
  },
  {
    words: /^5\d\d[ -].*?\b5\.4\.6\b/,
    means:
      "Mail for the domain would go round in a circle: by the DNS, this host itself is the recipient's mail server.",
    mend: ({ folder }) => [
      'Name the host that takes it as a relay for the domain, in:',
      `    ${folder}/smtproutes`,
    ],
  },
  {
    words: /\b5\.7\.30\b/,
    means:
      'The mail may travel over verified TLS only (REQUIRETLS), and the relay cannot promise that for the rest of its way.',
    mend: () => ['Send it without REQUIRETLS, or by a relay that offers it.'],
  },
  {
    words: /\b4\.2\.2\b|\b5\.2\.2\b|quota|mailbox (?:is )?full|over ?quota/i,
    means: "The recipient's mailbox is full.",
    mend: () => ['Tell the recipient in another way.'],
  },
  {
    words: /\b4\.2\.\d\b|mailbox (?:is )?(?:busy|locked|unavailable)/i,
    stages: ['rcpt', 'data', 'dot'],
    means: "The recipient's mailbox cannot take mail just now.",
    mend: NOTHING,
  },
  {
    words: /\b5\.2\.1\b|disabled|inactive/i,
    stages: ['rcpt', 'dot'],
    means: "The recipient's mailbox is closed.",
    mend: () => ['Reach the recipient in another way.'],
  },
  {
    words: /\b5\.3\.4\b|\b5\.2\.3\b|\b552\b|too (?:large|big)|size (?:limit|exceed)/i,
    means: 'The mail is larger than the relay or the recipient takes.',
    mend: () => ['Send less of it, or a link to it.'],
  },
  {
    words: /\b4\.3\.1\b|\b452\b|insufficient|no space|storage/i,
    means: 'The relay has no room just now.',
    mend: NOTHING,
  },
  {
    words: /\bSPF\b|\bDKIM\b|\bDMARC\b|\b5\.7\.2[0-9]\b/i,
    means:
      'The mail fails a check of its sender (SPF, DKIM, DMARC): the relay may not send for that domain, or does not sign for it.',
    mend: ({ folder }) => [
      'Send from an address of your own account, or have the domain say that',
      'this relay may send for it:',
      `    ${folder}/masquerade`,
      `    ${folder}/sendermap`,
    ],
  },
  {
    words: /sender|\b5\.1\.[78]\b|not (?:owned|allowed to send)|send as/i,
    stages: ['mail', 'rcpt', 'data', 'dot'],
    means:
      'The relay does not let this account send in the name of that sender; it takes only addresses that belong to the account.',
    mend: ({ folder }) => [
      'Rewrite local senders to the address of the account:',
      `    ${folder}/masquerade`,
      `    ${folder}/sendermap`,
    ],
  },
  {
    words: /relay(?:ing)? (?:access )?denied|not permitted to relay|unable to relay|\brelaying\b/i,
    means: 'The relay passes no mail on for this host: it wants a login, or it is the wrong relay.',
    mend: ({ folder }) => [
      'Name user and password, or another relay:',
      `    ${folder}/authuser`,
      `    ${folder}/relay`,
    ],
  },
  {
    words: /spam|content|virus|blocked|block ?list|blacklist|reputation|policy|\b5\.7\.1\b/i,
    means:
      'A rule of the relay forbids this mail: it looks like spam, or this host has a bad name.',
    mend: () => ['Show the words to whoever runs the relay.'],
  },
  {
    words: /\b[45]\.6\.\d\b|8BITMIME|SMTPUTF8|non-ASCII/i,
    means: 'The mail has a form that is not taken on its way.',
    mend: () => ['Send it in a simpler form.'],
  },
  {
    stages: ['dot'],
    words: /no answer within|closed|ECONNRESET|EPIPE/,
    means:
      'The connection broke just when the relay was to say whether it has the mail. It may have it: the recipient may get it twice.',
    mend: NOTHING,
  },
  {
    words: /no answer within|closed|ECONNRESET|EPIPE|ETIMEDOUT/,
    means: 'The connection to the relay broke.',
    mend: NOTHING,
  },
  {
    words: /^4\d\d/,
    means: 'The relay puts the mail off for now.',
    mend: NOTHING,
  },
  {
    words: /^5\d\d/,
    means: 'The relay refuses the mail for good.',
    mend: () => ['Read its words; where they do not help, show them to whoever runs the relay.'],
  },
  {
    stages: BEFORE_MAIL,
    means: 'The relay could not be used; nothing is wrong with the mail.',
    mend: CHECK,
  },
];

/** The meaning of what was heard last. */
export function meaningOf({ stage, relay, lines }: Heard, folder: string, id: string): Meaning {
  const text = lines.join(' ');
  const rule = RULES.find(
    ({ stages, words }) =>
      (stages === undefined || stages.includes(stage)) && (words === undefined || words.test(text)),
  );
  const names = { folder, id, ...placeOf(relay) };
  return rule === undefined
    ? { means: 'The relay answered what it should not have.', mend: NOTHING() }
    : { means: rule.means, mend: rule.mend(names) };
}

/** The commands among what mends something, a file to be changed as the editor's; none that only looks. */
export function commandsOf(mend: readonly string[], folder: string): readonly string[] {
  return mend
    .filter((line) => line.startsWith('    '))
    .map((line) => line.trim())
    .filter((line) => !/^picorelay (?:check|retry|resend)/.test(line))
    .map((line) => (line.startsWith(`${folder}/`) ? `editor ${line}` : line));
}

/** Host and port of a relay's URL. */
function placeOf(relay: string): { readonly host: string; readonly port: string } {
  const [, host = '', port = ''] =
    /^[a-z]+:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/]*)(?::(\d+))?/.exec(relay) ?? [];
  return { host: host.replace(/^\[|\]$/g, ''), port };
}
