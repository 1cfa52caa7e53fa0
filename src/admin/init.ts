/** picorelay init: from nothing to a host whose mail goes out. The plan is made by setup/plan.ts. */
import fs from 'node:fs';
import type { ControlName } from '../control/catalogue.ts';
import { isDirect, isHostName } from '../control/relay-url.ts';
import { domainOf, isMailbox } from '../mail/address.ts';
import { escapeText } from '../mail/text.ts';
import { announcedRelays, mailHosts } from '../relay/discover.ts';
import {
  accountSettings,
  announcedCandidates,
  type Candidate,
  knownCandidate,
  namedCandidate,
  type Secret,
  usualLogin,
} from '../setup/account.ts';
import { CommandError, EX_USAGE, type World } from './command.ts';
import { answer, checked, EX_NOPERM, hostName, type Installing, install } from './install.ts';

export interface InitOptions extends Installing {
  readonly email: string | undefined;
  readonly relay: string | undefined;
  readonly user: string | undefined;
  readonly 'password-file': string | undefined;
  readonly 'password-command': string | undefined;
  readonly adminaddr: string | undefined;
  readonly me: string | undefined;
}

/** @returns the exit status */
export async function init(options: InitOptions, world: World): Promise<number> {
  if (process.geteuid?.() !== 0 && !options['dry-run']) {
    throw new CommandError(
      EX_NOPERM,
      'init has to be run by root; --dry-run shows what it would do',
    );
  }
  const settings = new Map<ControlName, string | undefined>();
  const { control } = world;
  if (options.me !== undefined || !fs.existsSync(`${control.folder}/me`)) {
    settings.set('me', checked(options.me ?? hostName(), isHostName, '--me', 'a host name'));
  }
  const destination = control.get('relay');
  const configured = isDirect(destination) || destination.length > 0;
  const asked = [options.email, options.relay, options.user].some((each) => each !== undefined);
  if (asked || !configured) {
    for (const [name, text] of await accountOf(options, world)) settings.set(name, text);
  } else {
    const { adminaddr } = options;
    if (adminaddr !== undefined) {
      settings.set('adminaddr', checked(adminaddr, isMailbox, '--adminaddr', 'a mail address'));
    }
    const secret = secretGiven(options);
    if (secret !== undefined) {
      settings.set('authpassword', 'password' in secret ? secret.password : undefined);
      settings.set('authpasswordcommand', 'command' in secret ? secret.command : undefined);
    }
  }
  const { status } = await install(settings, options, world);
  return status;
}

/** The control files of the account, asked for where options do not tell. */
async function accountOf(
  options: InitOptions,
  world: World,
): Promise<ReadonlyMap<ControlName, string | undefined>> {
  const email = await emailOf(options, world);
  const candidate = await candidateOf(options, email, world);
  const { provider, relay } = candidate;
  world.stdout.write(
    `relay: ${relay.scheme}://${relay.host}:${relay.port} (${candidate.source})\n`,
  );
  if (provider?.hint !== undefined) world.stdout.write(`hint: ${provider.hint}\n`);

  const suggested = options.user ?? usualLogin(candidate, email);
  const login =
    options.user !== undefined || world.ask === undefined || options.yes
      ? suggested
      : await answer(world, 'Login name, or - for none', suggested ?? '-');
  const withLogin = login !== undefined && login !== '-' && login !== '';
  const secret = withLogin ? await secretOf(options, world) : undefined;
  const wanted = options.adminaddr ?? email;
  const adminaddr =
    options.adminaddr !== undefined || world.ask === undefined || options.yes
      ? wanted
      : await answer(
          world,
          'Who gets mail for root and the other users of this host',
          wanted ?? '-',
        );
  return accountSettings({
    relay,
    login: withLogin ? login : undefined,
    secret,
    email,
    adminaddr:
      adminaddr === undefined || adminaddr === '-'
        ? undefined
        : checked(adminaddr, isMailbox, '--adminaddr', 'a mail address'),
    ownAddress: provider?.ownAddress ?? false,
  });
}

async function emailOf(
  { email, relay, yes }: InitOptions,
  world: World,
): Promise<string | undefined> {
  let given = email;
  if (given === undefined && relay === undefined) {
    if (world.ask === undefined || yes) {
      throw new CommandError(
        EX_USAGE,
        'init: name the account by --email ADDRESS, or the relay by --relay HOST',
      );
    }
    given = await answer(
      world,
      'Mail address of the account that mail goes out by, or - for none',
      '-',
    );
  }
  return given === undefined || given === '-'
    ? undefined
    : checked(given, isMailbox, '--email', 'a mail address');
}

async function candidateOf(
  options: InitOptions,
  email: string | undefined,
  world: World,
): Promise<Candidate> {
  const { relay } = options;
  const withLogin = options.user !== undefined || email !== undefined;
  const named = (text: string): Candidate => {
    const candidate = namedCandidate(text, withLogin);
    if (typeof candidate !== 'string') return candidate;
    throw new CommandError(EX_USAGE, `init: --relay: ${escapeText(text)}: ${candidate}`);
  };
  if (relay !== undefined) return named(relay);
  const found = email === undefined ? undefined : await findRelay(email);
  if (world.ask !== undefined && !options.yes) {
    const shown = found && `${found.relay.scheme}://${found.relay.host}:${found.relay.port}`;
    const text = await answer(
      world,
      shown === undefined ? 'Relay, as in smtp.example.com' : `Relay (${found?.source})`,
      shown,
    );
    return found !== undefined && text === shown ? found : named(text);
  }
  if (found !== undefined && !found.doubtful) return found;
  const domain = domainOf(email ?? '');
  throw new CommandError(
    EX_USAGE,
    found === undefined
      ? `init: no relay is known for ${domain}: name it by --relay HOST`
      : `init: ${domain} announces ${found.relay.host} as its relay, another domain's host: if that is right, name it by --relay`,
  );
}

async function findRelay(email: string): Promise<Candidate | undefined> {
  const known = knownCandidate(email);
  if (known !== undefined) return known;
  const domain = domainOf(email);
  const [relays, hosts] = await Promise.all([announcedRelays(domain), mailHosts(domain)]);
  return announcedCandidates(email, { relays, hosts })[0];
}

async function secretOf(options: InitOptions, world: World): Promise<Secret | undefined> {
  const given = secretGiven(options);
  if (given !== undefined) return given;
  const { control } = world;
  // A password that is there already stays.
  if (control.get('authpassword') !== undefined)
    return { password: control.get('authpassword') ?? '' };
  const command = control.get('authpasswordcommand');
  if (command !== undefined) return { command };
  if (world.ask === undefined || options.yes) {
    throw new CommandError(
      EX_USAGE,
      'init: the login needs --password-file FILE (- is standard input) or --password-command COMMAND',
    );
  }
  const password = await world.ask('Password (it is not shown): ', { secret: true });
  if (password === undefined || password === '')
    throw new CommandError(EX_USAGE, 'init: no password');
  return { password };
}

function secretGiven(options: InitOptions): Secret | undefined {
  const { 'password-file': file, 'password-command': command } = options;
  if (file !== undefined && command !== undefined) {
    throw new CommandError(
      EX_USAGE,
      'init: --password-file and --password-command exclude each other',
    );
  }
  if (command !== undefined) return { command };
  return file === undefined ? undefined : { password: passwordIn(file) };
}

/** The first line of a file, or of standard input. */
function passwordIn(file: string): string {
  let text: string;
  try {
    text = fs.readFileSync(file === '-' ? 0 : file).toString('utf8');
  } catch (error) {
    throw new CommandError(
      EX_USAGE,
      `init: --password-file: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  const [line = ''] = text.split(/\r?\n/, 1);
  if (line === '')
    throw new CommandError(
      EX_USAGE,
      `init: --password-file: ${escapeText(file)} begins with an empty line`,
    );
  return line;
}
