/** Tables of mail providers for README.md and docs/providers.md, from the table that picorelay init has. */
import { findProvider, type Provider, providers } from '../../src/setup/providers.ts';

/** Those that most hosts send by. */
const COMMON = [
  ...['Gmail', 'Outlook.com', 'Microsoft 365', 'iCloud', 'Yahoo', 'Fastmail', 'GMX', 'mailbox.org'],
  ...['OVH', 'IONOS', 'ses:eu-west-1', 'SendGrid', 'Mailgun', 'Postmark', 'Brevo'],
];

const HEAD = '| provider | relay | what to enter |\n|---|---|---|\n';

export function commonProviders(): string {
  const found = COMMON.map((name) => findProvider(name)).filter((each) => each !== undefined);
  return `${HEAD}${found.map(row).join('')}`;
}

export function providersManual(): string {
  return `# Providers

<!-- Generated from src/setup/providers.ts by npm run docs. -->

What \`picorelay init\` knows: by the mail address, by the host that takes a domain's mail, or by the name, as
in \`picorelay init --relay gmail\`. By hand, the relay and the login name go into \`/etc/picorelay/relay\` as
\`smtps://LOGIN@HOST\`, with \`%40\` for the @ of a login name, and the password into
\`/etc/picorelay/authpassword\`. smtps:// is port 465, where nothing else is said.

${HEAD}${providers.map(row).join('')}`;
}

function row({ name, relay, hint, ownAddress }: Provider): string {
  return `| ${name} | \`${relay}\` | ${whatToEnter(ownAddress, hint)} |\n`;
}

function whatToEnter(ownAddress: boolean, hint: string | undefined): string {
  if (!ownAddress) return hint ?? 'the SMTP login that the provider gives you';
  if (hint === undefined) return 'your mail address and its password';
  return hint.startsWith('the login name') ? hint : `your mail address; ${hint}`;
}
