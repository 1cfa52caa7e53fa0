/**
 * picorelay import: takes over the settings of another relay program and the mail that it has queued. What
 * the settings become is shown line by line before anything is done.
 */
import fs from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import type { ControlName } from '../control/catalogue.ts';
import { openControl, readNamedFile } from '../control/control.ts';
import { originTime } from '../mail/envelope.ts';
import { escapeText } from '../mail/text.ts';
import { type Program, programs, programsFound } from '../migrate/programs.ts';
import type { Queued } from '../migrate/queues.ts';
import type { Files, Line } from '../migrate/translation.ts';
import { submit } from '../sendmail/submit.ts';
import { runningFrom } from '../setup/host.ts';
import { actAsOwner } from '../spool/become.ts';
import { hasCode } from '../spool/disk.ts';
import { Spool } from '../spool/spool.ts';
import { CommandError, EX_NOINPUT, EX_TEMPFAIL, EX_USAGE, type World } from './command.ts';
import { EX_NOPERM, hostName, type Installing, install } from './install.ts';

export interface ImportOptions extends Installing {
  readonly program: string | undefined;
  readonly from: string | undefined;
  readonly queue: string | undefined;
  readonly 'settings-only': boolean;
}

/** @returns the exit status */
export async function importFrom(options: ImportOptions, world: World): Promise<number> {
  const dry = options['dry-run'];
  if (process.geteuid?.() !== 0 && !dry) {
    throw new CommandError(
      EX_NOPERM,
      'import has to be run by root; --dry-run shows what it would do',
    );
  }
  const { program, path } = chosen(options);
  const { settings: found, lines } = program.translate(files, path);
  world.stdout.write(`${program.name}, ${escapeText(path)}\n`);
  for (const line of lines) world.stdout.write(sayLine(line));
  if (!found.has('relay')) {
    throw new CommandError(EX_NOINPUT, `${path} names no relay: nothing was changed`);
  }
  const settings = new Map<ControlName, string | undefined>(found);
  if (!settings.has('me') && !fs.existsSync(`${world.control.folder}/me`)) {
    settings.set('me', hostName());
  }
  // One way to have the password.
  for (const name of ['authpassword', 'authpasswordcommand'] as const) {
    if (found.has('authuser') && !found.has(name)) settings.set(name, undefined);
  }

  const mails = options['settings-only'] ? [] : queueOf(program, path, options.queue);
  const [busy] = mails.length > 0 ? runningFrom(program.daemon?.executables ?? []) : [];
  if (busy !== undefined && !dry) {
    throw new CommandError(
      EX_TEMPFAIL,
      `${program.name} runs (process ${busy}) and could send its queue at the same time: ${program.daemon?.stop}; nothing was changed`,
    );
  }
  world.stdout.write(`${mails.length} of its mails wait\n\n`);
  const { status, done } = await install(settings, options, world);
  if (!done || mails.length === 0) return status;
  return takeOver(mails, program, world);
}

function chosen({ program, from }: ImportOptions): {
  readonly program: Program;
  readonly path: string;
} {
  const wanted = program === 'qmail' ? 'picoqmail' : program;
  const named = programs.find(({ name }) => name === wanted);
  const names = programs.map(({ name }) => name).join(', ');
  if (wanted !== undefined && named === undefined) {
    throw new CommandError(EX_USAGE, `import: ${escapeText(wanted)} is not one of ${names}`);
  }
  if (from !== undefined) {
    if (named === undefined) {
      throw new CommandError(EX_USAGE, `import: name the program that --from is of: ${names}`);
    }
    const given = resolve(from);
    const stats = fs.statSync(given, { throwIfNoEntry: false });
    if (stats === undefined)
      throw new CommandError(EX_NOINPUT, `import: there is no ${escapeText(given)}`);
    if (named.folder) return { program: named, path: stats.isDirectory() ? given : dirname(given) };
    const mark = basename(named.marks[0] ?? '');
    return { program: named, path: stats.isDirectory() ? `${given}/${mark}` : given };
  }
  const all = programsFound(files);
  const found = named === undefined ? all : all.filter(({ program: each }) => each === named);
  const [first, ...others] = found;
  if (first === undefined) {
    throw new CommandError(
      EX_NOINPUT,
      named === undefined
        ? `import: none of ${names} is set up here; --from names its settings`
        : `import: there is no ${named.marks[0]}; --from names another place`,
    );
  }
  if (others.length > 0) {
    const list = found.map(({ program: { name } }) => name).join(', ');
    throw new CommandError(EX_USAGE, `import: there are settings of ${list}: name one of them`);
  }
  return first;
}

/** The files of the host. */
const files: Files = {
  read: (path) => (fs.existsSync(path) ? readNamedFile(path) : undefined),
  names: (folder) => {
    try {
      return fs
        .readdirSync(folder, { withFileTypes: true })
        .filter((each) => each.isFile() && !each.name.startsWith('.'))
        .map(({ name }) => name)
        .sort();
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  },
};

function sayLine({ source, name, text, note }: Line): string {
  const target = name === undefined ? '' : `${name}: ${text ?? 'not shown'}`;
  const behind = name === undefined ? `not taken: ${note}` : `-> ${target}`;
  const more = name !== undefined && note !== undefined ? `\n       (${note})` : '';
  return `${[`  ${source}`, `    ${behind}`].map((each) => escapeText(each)).join('\n')}${more === '' ? '' : `\n       (${escapeText(note ?? '')})`}\n`;
}

function queueOf(program: Program, path: string, named: string | undefined): readonly Queued[] {
  const { queue } = program;
  if (queue === undefined) {
    if (named === undefined) return [];
    throw new CommandError(EX_USAGE, `import: ${program.name} has no queue`);
  }
  return queue.read(named === undefined ? queue.folder(files, path) : resolve(named));
}

/** Submits each mail as its sender did, and lays it aside there once it is on disk here. */
function takeOver(mails: readonly Queued[], program: Program, world: World): number {
  const control = openControl(world.control.folder);
  const folder = control.get('spooldir');
  let taken = 0;
  let last = 0;
  for (const { id, open, settle } of mails) {
    const left = (problem: unknown): void => {
      const why = problem instanceof Error ? problem.message : String(problem);
      world.stderr.write(`picorelay: ${escapeText(id)} stays in its queue: ${escapeText(why)}\n`);
    };
    try {
      const { delivery, pieces, close } = open();
      try {
        // Microseconds that no other mail of this process has.
        last = Math.max(last + 1, originTime(world.now(), process.hrtime()));
        const origin = { uid: world.uid, pid: world.pid, time: last, program: 'import' };
        const caller = {
          ...{ login: world.login(), origin, hostName: hostname },
          zoneMinutes: world.zoneMinutes,
        };
        actAsOwner(folder, () =>
          submit(delivery, pieces, control, (path) => new Spool(path, world.pid), caller),
        );
      } finally {
        close();
      }
    } catch (error) {
      left(error);
      continue;
    }
    taken++;
    try {
      settle();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      world.stderr.write(
        `picorelay: ${escapeText(id)} is queued here, and could not be laid aside there (${escapeText(why)}): remove it there\n`,
      );
    }
  }
  world.stdout.write(
    `${taken} of ${mails.length} mails of ${program.name} are queued here now; what was taken is laid aside there\n`,
  );
  return taken === mails.length ? 0 : EX_TEMPFAIL;
}
