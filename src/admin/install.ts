/** What init and import have in common: the trial, the plan, the question, the steps. */
import fs from 'node:fs';
import { hostname } from 'node:os';
import type { ControlName } from '../control/catalogue.ts';
import { openControl } from '../control/control.ts';
import { isHostName } from '../control/relay-url.ts';
import { escapeText } from '../mail/text.ts';
import { admissionOf } from '../runner/admission.ts';
import { type Host, thisHost } from '../setup/host.ts';
import { readRecord, remember, take, writeRecord } from '../setup/perform.ts';
import { type Plan, planInstallation, type Schedule, usualSchedule } from '../setup/plan.ts';
import { type Programs, programsAt } from '../setup/programs.ts';
import { sayStep } from '../setup/steps.ts';
import { tryAccount } from '../setup/trial.ts';
import { hasCode } from '../spool/disk.ts';
import { CommandError, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, type World } from './command.ts';

/** Options of both commands. */
export interface Installing {
  readonly 'user-name': string | undefined;
  readonly schedule: Schedule | undefined;
  readonly replace: boolean;
  readonly 'skip-test': boolean;
  readonly 'dry-run': boolean;
  readonly yes: boolean;
}

export interface Installed {
  /** The exit status. */
  readonly status: number;
  /** Whether the host is set up now. */
  readonly done: boolean;
}

export const EX_NOPERM = 77;
export const EX_CONFIG = 78;

/**
 * Tries the settings, shows what is to be done, asks, and does it.
 */
export async function install(
  settings: ReadonlyMap<ControlName, string | undefined>,
  options: Installing,
  world: World,
): Promise<Installed> {
  const { stdout } = world;
  const host = thisHost();
  const control = openControl(world.control.folder, settings);
  const log = control.get('log');
  const spool = control.get('spooldir');
  const wish = {
    control: world.control.folder,
    settings,
    spool,
    log: log.startsWith('/') ? log : undefined,
    user: options['user-name'] ?? ownerOf(spool, host) ?? usualUser(host),
    schedule: options.schedule ?? usualSchedule(host),
    replace: options.replace,
    programs: programsOf(world),
    node: world.node,
  };
  let plan = planInstallation(wish, host);
  if (!wish.replace && plan.replaced.length > 0 && canAsk(world, options)) {
    const names = plan.replaced.join(', ');
    if (await agreed(world, `Put aside ${names}? uninstall puts it back`)) {
      plan = planInstallation({ ...wish, replace: true }, host);
    }
  }
  for (const problem of plan.problems) world.stderr.write(`picorelay: ${escapeText(problem)}\n`);
  if (plan.problems.length > 0) {
    world.stderr.write('picorelay: nothing was changed\n');
    return { status: EX_CONFIG, done: false };
  }
  if (!options['skip-test'] && !(await tested(world, settings))) {
    world.stderr.write('picorelay: nothing was changed; --skip-test installs all the same\n');
    return { status: EX_UNAVAILABLE, done: false };
  }
  if (options['dry-run']) {
    show(plan, 'to do', world);
    return { status: 0, done: false };
  }
  if (plan.items.some(({ done }) => !done) && !options.yes) {
    show(plan, 'to do', world);
    if (world.ask === undefined) {
      throw new CommandError(EX_USAGE, 'nobody to ask whether this is right: --yes does it');
    }
    if (!(await agreed(world, 'Do it?'))) {
      stdout.write('nothing was changed\n');
      return { status: 0, done: false };
    }
  }
  await perform(plan, host, world);
  stdout.write(
    `\nIt is set up. Try it:\n    echo 'Subject: it works' | sendmail -v ${escapeText(control.get('adminaddr') ?? 'you@example.com')}\n`,
  );
  return { status: 0, done: true };
}

/** Who looks after the queue by now, unless that is root. */
function ownerOf(spool: string, host: Host): string | undefined {
  const found = host.at(spool);
  return found.kind === 'folder' && found.uid !== 0 ? host.userName(found.uid) : undefined;
}

/** The user of the Debian package where that made one. */
function usualUser(host: Host): string {
  return host.user('picorelay') === undefined ? 'relay' : 'picorelay';
}

/** An answer; the suggestion where nothing but Return was typed. */
export async function answer(world: World, question: string, usual?: string): Promise<string> {
  for (;;) {
    const shown = usual === undefined || usual === '-' ? '' : ` [${usual}]`;
    const text = await world.ask?.(`${question}${shown}: `);
    if (text === undefined) throw new CommandError(EX_USAGE, 'no answer, nothing was changed');
    if (text.trim() !== '') return text.trim();
    if (usual !== undefined) return usual;
  }
}

/** @throws CommandError when a text is not what an option takes */
export function checked(
  text: string,
  fits: (text: string) => boolean,
  option: string,
  what: string,
): string {
  if (fits(text)) return text;
  throw new CommandError(EX_USAGE, `${option}: ${escapeText(text)}: expected ${what}`);
}

/** A question that Return agrees to. */
export async function agreed(world: World, question: string): Promise<boolean> {
  const text = await world.ask?.(`${question} [Y/n] `);
  return text !== undefined && /^(?:y|yes)?$/i.test(text.trim());
}

function canAsk(world: World, { yes, 'dry-run': dry }: Installing): boolean {
  return world.ask !== undefined && !yes && !dry;
}

async function tested(
  world: World,
  settings: ReadonlyMap<ControlName, string | undefined>,
): Promise<boolean> {
  const trials = await tryAccount(world.control.folder, settings, world.now);
  for (const { relay, login, problem } of trials) {
    const well = `tested: ${relay} ${login ? 'takes this login' : 'answers as a relay'}\n`;
    if (problem === undefined) world.stdout.write(well);
    else world.stderr.write(`picorelay: ${relay}: ${problem}\n`);
  }
  return trials.every(({ problem }) => problem === undefined);
}

function show({ items, warnings }: Plan, pending: string, world: World): void {
  for (const { step, done } of items) line(world, done ? 'as is' : pending, sayStep(step));
  for (const warning of warnings) line(world, 'note', warning);
}

async function perform({ items, warnings }: Plan, host: Host, world: World): Promise<void> {
  let made = readRecord();
  const notes = [...warnings];
  const { pid, now } = world;
  const admission = () => admissionOf(openControl(world.control.folder));
  for (const { step, done } of items) {
    if (!done) {
      made = remember(made, step);
      writeRecord(made);
      try {
        notes.push(...(await take(step, host, { pid, now, admission })));
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new CommandError(
          EX_TEMPFAIL,
          `${sayStep(step)}: ${why}; mend it and run this again, or picorelay uninstall --purge`,
        );
      }
    }
    line(world, done ? 'as is' : 'done', sayStep(step));
  }
  for (const note of notes) line(world, 'note', note);
}

function line(world: World, word: string, text: string): void {
  world.stdout.write(`${word.padEnd(6)} ${escapeText(text)}\n`);
}

function programsOf({ bin, node }: World): Programs {
  const standalone = process.versions['bun'] !== undefined;
  const [first = ''] = standalone
    ? []
    : fs.readFileSync(`${bin}/sendmail`).toString('utf8').split('\n', 1);
  return programsAt(bin, first, node, standalone);
}

/** The name of this host as it is known without asking a name server. */
export function hostName(): string {
  const name = hostname();
  const aliases = textOf('/etc/hosts')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/).slice(1));
  const [canonical] = aliases.find((names) => names.includes(name)) ?? [];
  const [mailname] = textOf('/etc/mailname').split('\n', 1);
  const known = [name, canonical, mailname?.trim()].flatMap((each) => each ?? []);
  const full = known.find((each) => each.includes('.') && isHostName(each));
  return full ?? (isHostName(name) ? name : 'localhost');
}

function textOf(path: string): string {
  try {
    return fs.readFileSync(path).toString('utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}
