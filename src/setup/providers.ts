/**
 * How the relays of well-known providers are reached, as autoconfig's files tell mail programs: by mail
 * domain, by the host that takes a domain's mail (MX), by the relay's own name, or by the provider's.
 * Pure; the texts that are looked up are bounded by their caller.
 */

export interface Provider {
  readonly name: string;
  /** As control/relay has it, without a login name. */
  readonly relay: string;
  /** Domains of mail addresses that the provider gives out. */
  readonly domains: readonly string[];
  /** Ends of the names of hosts that take mail for customers' own domains. */
  readonly mx: readonly string[];
  /** What to log in with; the mail address where this is missing. */
  readonly login?: string;
  /** Whether mail has to come from the address of the account. */
  readonly ownAddress: boolean;
  /** What people stumble over. */
  readonly hint?: string;
}

const APP_PASSWORD = 'make an app password in the account: the usual password is refused';
const SMTP_ACCESS = 'SMTP has to be allowed in the settings of the mailbox first';

export const providers: readonly Provider[] = [
  mailbox('Gmail', 'smtps://smtp.gmail.com', 'gmail.com googlemail.com', {
    mx: 'google.com googlemail.com',
    hint: APP_PASSWORD,
  }),
  mailbox(
    'Outlook.com',
    'smtp://smtp-mail.outlook.com:587',
    'outlook.com outlook.de outlook.fr outlook.at hotmail.com hotmail.de hotmail.fr hotmail.co.uk live.com live.de live.fr msn.com',
    { hint: 'passwords are refused, it wants OAuth 2: see oauthtokenurl in docs/control.md' },
  ),
  mailbox('Microsoft 365', 'smtp://smtp.office365.com:587', '', {
    mx: 'mail.protection.outlook.com mx.microsoft',
    hint: 'SMTP AUTH has to be switched on for the mailbox, or OAuth 2 used (oauthtokenurl)',
  }),
  mailbox('Fastmail', 'smtps://smtp.fastmail.com', 'fastmail.com fastmail.fm', {
    mx: 'messagingengine.com',
    hint: APP_PASSWORD,
  }),
  mailbox('iCloud', 'smtp://smtp.mail.me.com:587', 'icloud.com me.com mac.com', {
    mx: 'mail.icloud.com',
    hint: 'make an app-specific password at account.apple.com',
  }),
  mailbox(
    'Yahoo',
    'smtps://smtp.mail.yahoo.com',
    'yahoo.com yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.co.uk yahoo.ca yahoo.com.br yahoo.co.in ymail.com rocketmail.com',
    { mx: 'yahoodns.net', hint: APP_PASSWORD },
  ),
  mailbox('AOL', 'smtps://smtp.aol.com', 'aol.com', { hint: APP_PASSWORD }),
  mailbox('GMX', 'smtps://mail.gmx.net', 'gmx.net gmx.de gmx.at gmx.ch gmx.eu', {
    hint: SMTP_ACCESS,
  }),
  mailbox('GMX.com', 'smtps://mail.gmx.com', 'gmx.com gmx.us gmx.co.uk gmx.fr gmx.es', {
    hint: SMTP_ACCESS,
  }),
  mailbox('WEB.DE', 'smtps://smtp.web.de', 'web.de', { hint: SMTP_ACCESS }),
  mailbox('mail.com', 'smtps://smtp.mail.com', 'mail.com email.com', { hint: SMTP_ACCESS }),
  mailbox('T-Online', 'smtps://securesmtp.t-online.de', 't-online.de magenta.de', {
    hint: 'make a password for mail programs in the customer centre',
  }),
  mailbox('freenet', 'smtps://mx.freenet.de', 'freenet.de', { hint: SMTP_ACCESS }),
  mailbox('mailbox.org', 'smtps://smtp.mailbox.org', 'mailbox.org', { mx: 'mailbox.org' }),
  mailbox('Posteo', 'smtps://posteo.de', 'posteo.de posteo.net posteo.eu posteo.at posteo.ch', {}),
  mailbox('Proton', 'smtp://smtp.protonmail.ch:587', 'proton.me protonmail.com pm.me', {
    mx: 'protonmail.ch',
    hint: 'make an SMTP token (paid plans with a domain of your own), or use the Bridge',
  }),
  mailbox('Zoho', 'smtps://smtp.zoho.com', 'zohomail.com', {
    mx: 'zoho.com',
    hint: 'with two-factor login make an app password; paid plans use smtppro.zoho.com',
  }),
  mailbox('Zoho Europe', 'smtps://smtp.zoho.eu', 'zohomail.eu', {
    mx: 'zoho.eu',
    hint: 'with two-factor login make an app password; paid plans use smtppro.zoho.eu',
  }),
  mailbox('Yandex', 'smtps://smtp.yandex.com', 'yandex.com yandex.ru ya.ru', {
    mx: 'yandex.net',
    hint: APP_PASSWORD,
  }),
  mailbox('Mail.ru', 'smtps://smtp.mail.ru', 'mail.ru inbox.ru list.ru bk.ru', {
    hint: APP_PASSWORD,
  }),
  mailbox('Orange', 'smtps://smtp.orange.fr', 'orange.fr wanadoo.fr', { hint: SMTP_ACCESS }),
  mailbox('La Poste', 'smtps://smtp.laposte.net', 'laposte.net', {}),
  mailbox('Runbox', 'smtps://mail.runbox.com', 'runbox.com', { mx: 'runbox.com' }),

  hosting('OVH', 'smtps://ssl0.ovh.net', 'ovh.net'),
  hosting('IONOS Germany', 'smtps://smtp.ionos.de', 'ionos.de kundenserver.de'),
  hosting('IONOS', 'smtps://smtp.ionos.com', 'ionos.com 1and1.com'),
  hosting('Hetzner', 'smtps://mail.your-server.de', 'your-server.de'),
  hosting('Strato', 'smtps://smtp.strato.de', 'rzone.de strato.de'),
  hosting('Gandi', 'smtps://mail.gandi.net', 'gandi.net'),
  hosting('Infomaniak', 'smtps://mail.infomaniak.com', 'infomaniak.ch infomaniak.com'),
  hosting('Migadu', 'smtps://smtp.migadu.com', 'migadu.com'),
  hosting('Purelymail', 'smtps://smtp.purelymail.com', 'purelymail.com'),
  hosting('Namecheap Private Email', 'smtps://mail.privateemail.com', 'privateemail.com'),
  hosting('DreamHost', 'smtps://smtp.dreamhost.com', 'dreamhost.com'),

  service('SendGrid', 'smtps://smtp.sendgrid.net', {
    login: 'apikey',
    hint: 'the login name is the word apikey, the password an API key',
  }),
  service('Mailgun', 'smtps://smtp.mailgun.org', {
    hint: 'the login name is an SMTP user of your domain, such as postmaster@mg.example.com',
  }),
  service('Mailgun Europe', 'smtps://smtp.eu.mailgun.org', {
    hint: 'the login name is an SMTP user of your domain, such as postmaster@mg.example.com',
  }),
  service('Postmark', 'smtp://smtp.postmarkapp.com:587', {
    hint: 'login name and password are both the server token',
  }),
  service('Mailjet', 'smtps://in-v3.mailjet.com', {
    hint: 'the login name is the API key, the password its secret key',
  }),
  service('Brevo', 'smtp://smtp-relay.brevo.com:587', {
    hint: 'the password is an SMTP key, not that of the account',
  }),
  service('SparkPost', 'smtp://smtp.sparkpostmail.com:587', {
    login: 'SMTP_Injection',
    hint: 'the login name is SMTP_Injection, the password an API key',
  }),
  service('SMTP2GO', 'smtps://mail.smtp2go.com', {}),
  service('Resend', 'smtps://smtp.resend.com', {
    login: 'resend',
    hint: 'the login name is the word resend, the password an API key',
  }),
  service('MailerSend', 'smtp://smtp.mailersend.net:587', {}),
];

const SES_HINT = 'login name and password are the SMTP credentials of SES, not an access key';

/**
 * The provider that a domain of mail addresses, a relay's host name, or the provider's own name belongs
 * to; `ses:eu-west-1` is Amazon SES in a region. Capitals do not matter.
 */
export function findProvider(text: string): Provider | undefined {
  const wanted = text.toLowerCase().replace(/\.$/, '');
  const [, region] =
    /^(?:ses:|email-smtp\.)([a-z]{2}(?:-[a-z]+)+-\d)(?:\.amazonaws\.com)?$/.exec(wanted) ?? [];
  if (region !== undefined) {
    const host = `email-smtp.${region}.amazonaws.com`;
    return service(`Amazon SES ${region}`, `smtps://${host}`, { hint: SES_HINT });
  }
  return providers.find(
    ({ name, relay, domains }) =>
      name.toLowerCase() === wanted || hostOf(relay) === wanted || domains.includes(wanted),
  );
}

/** The provider that runs a host which takes mail for a domain. */
export function providerOfMx(host: string): Provider | undefined {
  const wanted = `.${host.toLowerCase().replace(/\.$/, '')}`;
  return providers.find(({ mx }) => mx.some((end) => wanted.endsWith(`.${end}`)));
}

/** The host in a relay of the table. */
function hostOf(relay: string): string {
  return relay.replace(/^smtps?:\/\//, '').replace(/:\d+$/, '');
}

interface More {
  readonly mx?: string;
  readonly login?: string;
  readonly hint?: string;
}

/** Gives out addresses of its own, and takes mail from these only. */
function mailbox(name: string, relay: string, domains: string, more: More): Provider {
  return { ...provider(name, relay, more), domains: words(domains), ownAddress: true };
}

/** Has mailboxes at customers' domains. */
function hosting(name: string, relay: string, mx: string): Provider {
  const hint = 'the login name is the whole mail address';
  return { ...provider(name, relay, { mx, hint }), ownAddress: true };
}

/** Sends for customers' domains and has no mailboxes. */
function service(name: string, relay: string, more: More): Provider {
  return provider(name, relay, more);
}

function provider(name: string, relay: string, { mx = '', login, hint }: More): Provider {
  return {
    name,
    relay,
    domains: [],
    mx: words(mx),
    ownAddress: false,
    ...(login === undefined ? {} : { login }),
    ...(hint === undefined ? {} : { hint }),
  };
}

function words(text: string): readonly string[] {
  return text === '' ? [] : text.split(' ');
}
