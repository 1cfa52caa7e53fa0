/**
 * From what an admin wants and what the host is: the steps that make it so, each with whether it is so
 * already, and what speaks against it. The host is only asked, through an interface; nothing is changed
 * here. src/setup/perform.ts takes the steps.
 */
import { dirname } from 'node:path';
import { type ControlName, catalogue } from '../control/catalogue.ts';
import { FOLDERS } from '../spool/layout.ts';
import type { Found, Host } from './host.ts';
import {
  commandOf,
  isStarter,
  neededBy,
  type ProgramName,
  type Programs,
  starterOf,
} from './programs.ts';
import { type FileStep, isOfLog, type Step } from './steps.ts';
import { cronFile, logrotateFile, type Service, systemdUnits, userCrontab } from './units.ts';

/** What an installation is to be. */
export interface Wish {
  readonly control: string;
  /** What control files are to hold; undefined for one that is to go. Others stay as they are. */
  readonly settings: ReadonlyMap<ControlName, string | undefined>;
  readonly spool: string;
  /** The file of control/log, if it is one. */
  readonly log: string | undefined;
  readonly user: string;
  readonly schedule: Schedule;
  /** Whether another program's sendmail may be put aside. */
  readonly replace: boolean;
  readonly programs: Programs;
  /** What runs this process. */
  readonly node: string;
}

export type Schedule = 'cron' | 'systemd' | 'none';

export interface Item {
  readonly step: Step;
  readonly done: boolean;
}

export interface Plan {
  readonly items: readonly Item[];
  /** What has to be mended first; nothing is done then. */
  readonly problems: readonly string[];
  /** What the admin should know. */
  readonly warnings: readonly string[];
  /** Other programs' names that are put aside. */
  readonly replaced: readonly string[];
}

/** Where a control folder is by default; elsewhere the schedule has to name it. */
export const USUAL_CONTROL = '/etc/picorelay';

/** The names by which other programs look for sendmail. */
const SENDMAIL_NAMES = [
  '/usr/sbin/sendmail',
  '/usr/lib/sendmail',
  '/usr/bin/mailq',
  '/usr/bin/newaliases',
];

/** The names of qmail's programs, and the folders above them that a host without qmail has not. */
const QMAIL_FOLDERS = ['/var/qmail', '/var/qmail/bin'];
const QMAIL_NAMES: readonly (readonly [string, ProgramName])[] = [
  ['/var/qmail/bin/qmail-queue', 'qmail-queue'],
  ['/var/qmail/bin/qmail-inject', 'qmail-inject'],
];

/** User ids from here on are people's. */
const FIRST_PERSON = 1000;

export function planInstallation(wish: Wish, host: Host): Plan {
  const planner = new Planner(wish, host);
  const { programs } = wish;
  const place = programs.kind === 'standalone' ? programs.executable : programs.bin;
  const packaged = host.packageOf(place);
  if (packaged === undefined) {
    planner.programs();
    planner.account();
  } else {
    planner.note(`users, links and schedule are those of the package ${packaged}`);
  }
  planner.control();
  planner.log();
  planner.spool();
  if (packaged === undefined) {
    planner.names();
    planner.schedule();
  }
  return planner.plan;
}

/** What `--schedule` is when nobody says. */
export function usualSchedule(host: Host): Schedule {
  if (host.systemd && host.hasTool('systemctl')) return 'systemd';
  return cronPlace(host) === undefined ? 'none' : 'cron';
}

function cronPlace(host: Host): '/etc/cron.d' | '/etc/crontabs' | undefined {
  return (['/etc/cron.d', '/etc/crontabs'] as const).find(
    (folder) => host.at(folder).kind === 'folder',
  );
}

class Planner {
  readonly #wish: Wish;
  readonly #host: Host;
  readonly #items: Item[] = [];
  readonly #problems: string[] = [];
  readonly #warnings: string[] = [];
  readonly #replaced: string[] = [];
  /** Folders of which a problem is told. */
  readonly #checked = new Set<string>();

  constructor(wish: Wish, host: Host) {
    this.#wish = wish;
    this.#host = host;
  }

  get plan(): Plan {
    return {
      items: this.#items,
      problems: this.#problems,
      warnings: this.#warnings,
      replaced: this.#replaced,
    };
  }

  note(text: string): void {
    this.#warnings.push(text);
  }

  /** Everybody's mail goes through these programs. */
  programs(): void {
    for (const path of neededBy(this.#wish.programs, this.#wish.node)) {
      const closed = this.#closedFolder(path);
      if (closed === undefined) continue;
      this.#problems.push(
        `${path} is out of reach for other users, whose mail would be lost: ${closed} is closed to them; put it elsewhere, as in /opt or /usr`,
      );
    }
  }

  /** The topmost folder above a path that others may not enter. */
  #closedFolder(path: string): string | undefined {
    const names = path.split('/').slice(1, -1);
    return names
      .map((_, index) => `/${names.slice(0, index + 1).join('/')}`)
      .find((folder) => {
        const found = this.#host.at(folder);
        return found.kind === 'folder' && (found.mode & 0o001) === 0;
      });
  }

  account(): void {
    const { user } = this.#wish;
    const group = this.#host.group(user);
    const account = this.#host.user(user);
    if (!/^[a-z_][a-z0-9_-]{0,30}$/.test(user)) {
      this.#problems.push('--user-name takes small letters, digits, _ and -, up to 31 of them');
      return;
    }
    if (account !== undefined && (account.uid === 0 || account.uid >= FIRST_PERSON)) {
      this.#problems.push(
        `there is a user ${user} already, uid ${account.uid}, who is no system user: name another one by --user-name`,
      );
      return;
    }
    const [groupCommand, userCommand] = this.#host.hasTool('useradd')
      ? [
          ['groupadd', '--system', user],
          [
            ...['useradd', '--system', '--gid', user, '--home-dir', '/nonexistent'],
            ...['--no-create-home', '--shell', '/usr/sbin/nologin', user],
          ],
        ]
      : [
          ['addgroup', '-S', user],
          [
            'adduser',
            '-S',
            '-D',
            '-H',
            '-h',
            '/nonexistent',
            '-s',
            '/sbin/nologin',
            '-G',
            user,
            user,
          ],
        ];
    this.#add({ kind: 'group', name: user, command: groupCommand }, group !== undefined);
    this.#add({ kind: 'user', name: user, command: userCommand }, account !== undefined);
  }

  control(): void {
    const { control, settings, user } = this.#wish;
    // Passwords that are written by hand later have to be readable to it, too.
    this.#folder(control, user);
    for (const [name, text] of settings) {
      const path = `${control}/${name}`;
      if (text === undefined) {
        if (this.#host.at(path).kind !== 'nothing') this.#add({ kind: 'erase', path }, false);
        continue;
      }
      const { kind } = catalogue[name];
      const secret = kind === 'secret' || kind === 'secrets';
      this.#file({
        kind: 'file',
        role: 'control',
        path,
        text: text.endsWith('\n') ? text : `${text}\n`,
        mode: secret ? 0o640 : 0o644,
        ...(secret ? { group: user, secret } : {}),
      });
    }
    this.#secretsThatAreThere();
  }

  /** Secrets that somebody wrote before there was the user that has to read them. */
  #secretsThatAreThere(): void {
    const { control, settings, user } = this.#wish;
    for (const { name, kind } of Object.values(catalogue)) {
      if ((kind !== 'secret' && kind !== 'secrets') || settings.has(name as ControlName)) continue;
      const path = `${control}/${name}`;
      const found = this.#host.at(path);
      if (found.kind !== 'file') continue;
      const done = found.mode === 0o640 && found.uid === 0 && found.gid === this.#host.group(user);
      this.#add({ kind: 'rights', path, mode: 0o640, group: user }, done);
    }
  }

  log(): void {
    const { log, user } = this.#wish;
    if (log === undefined || log.startsWith('/dev/')) return;
    const found = this.#host.at(log);
    if (found.kind === 'nothing' || found.kind === 'file') {
      const text = found.kind === 'file' ? found.text : '';
      // A long log is not read whole, and must not be cut: only one that is missing is made.
      if (found.kind === 'nothing') {
        this.#file({ kind: 'file', role: 'log', path: log, text, mode: 0o640, user, group: user });
      } else if (found.uid !== this.#host.user(user)?.uid) {
        this.note(`${log} is not ${user}'s: chown ${user} ${log}`);
      }
    }
    const folder = '/etc/logrotate.d';
    if (this.#host.at(folder).kind !== 'folder') return;
    this.#own(
      `${folder}/picorelay`,
      logrotateFile(this.#service(), this.#host.pathOwner(log) !== 0),
    );
  }

  spool(): void {
    const { spool, user } = this.#wish;
    const found = this.#host.at(spool);
    const account = this.#host.user(user);
    if (found.kind !== 'nothing' && found.kind !== 'folder') {
      this.#problems.push(`${spool} is no folder: the queue has to be one`);
      return;
    }
    if (found.kind === 'folder' && found.uid !== 0 && found.uid !== account?.uid) {
      this.#problems.push(
        `${spool} belongs to user id ${found.uid}: name that user by --user-name, or chown -R ${user} ${spool}`,
      );
      return;
    }
    const own = (name: string): boolean => {
      const inner = this.#host.at(`${spool}/${name}`);
      return inner.kind === 'folder' && inner.uid === account?.uid;
    };
    const done =
      found.kind === 'folder' &&
      found.uid === account?.uid &&
      this.#host.at(`${spool}/version`).kind === 'file' &&
      FOLDERS.every(([name]) => own(name));
    this.#add({ kind: 'spool', path: spool, user }, done);
  }

  names(): void {
    const alternative = this.#host.alternativeAt('/usr/sbin/sendmail');
    if (alternative !== undefined) this.#alternative(alternative);
    const taken = new Set(
      alternative === undefined ? [] : ['/usr/sbin/sendmail', ...alternative.slaves.values()],
    );
    for (const path of SENDMAIL_NAMES) if (!taken.has(path)) this.#sendmailName(path);

    const there = this.#host.at('/var/qmail').kind !== 'nothing';
    if (!there || QMAIL_NAMES.some(([path]) => this.#isOurs(this.#host.at(path)))) {
      for (const folder of QMAIL_FOLDERS) this.#folder(folder);
      for (const [path, program] of QMAIL_NAMES) this.#starter(path, program);
    } else {
      this.note('/var/qmail is another program’s: qmail-queue and qmail-inject get no link there');
    }

    const command = '/usr/local/bin/picorelay';
    const found =
      this.#host.at('/usr/bin/picorelay').kind === 'nothing' ? this.#host.at(command) : undefined;
    if (found !== undefined && (found.kind === 'nothing' || this.#isOurs(found))) {
      this.#starter(command, 'picorelay');
    }
  }

  #alternative(alternative: NonNullable<ReturnType<Host['alternativeAt']>>): void {
    const { group, current, manual, slaves } = alternative;
    const { programs } = this.#wish;
    let target: string;
    if (programs.kind === 'by-node') {
      this.#folder('/usr/local/lib/picorelay');
      target = '/usr/local/lib/picorelay/sendmail';
      this.#starter(target, 'sendmail');
    } else {
      target = programs.kind === 'direct' ? `${programs.bin}/sendmail` : programs.executable;
    }
    const done = current === target;
    if (!done) this.#replaces('/usr/sbin/sendmail', current);
    this.#add(
      {
        kind: 'alternative',
        group,
        path: '/usr/sbin/sendmail',
        target,
        slaves: [...slaves]
          .filter(([, path]) => SENDMAIL_NAMES.includes(path))
          .map(([name, path]) => ({ name, path })),
        chosen: manual ? current : undefined,
      },
      done,
    );
  }

  /** A name that packages fight for. */
  #sendmailName(path: string): void {
    const found = this.#host.at(path);
    const ours = this.#isOurs(found);
    const diversion = this.#host.diversionOf(path);
    if (diversion !== undefined && diversion.by !== 'LOCAL') {
      this.#problems.push(
        `${path} is diverted by the package ${diversion.by}: remove that package first`,
      );
      return;
    }
    if (!ours && found.kind !== 'nothing' && diversion === undefined) {
      this.#replaces(path, this.#host.packageOf(path));
    }
    if (this.#host.hasTool('dpkg-divert')) {
      const to = diversion?.to ?? `${path}.distrib`;
      this.#add({ kind: 'divert', path, to, rename: !ours }, diversion !== undefined);
    } else if (!ours && found.kind !== 'nothing') {
      this.#add({ kind: 'aside', path, to: `${path}.before-picorelay` }, false);
    }
    if (!ours && found.kind !== 'nothing' && diversion !== undefined) {
      this.#problems.push(`${path} is neither of a package nor picorelay's: remove it first`);
      return;
    }
    this.#starter(path, 'sendmail');
  }

  #replaces(path: string, whose: string | undefined): void {
    const words = whose === undefined ? path : `${path} of ${whose}`;
    this.#replaced.push(words);
    if (!this.#wish.replace) {
      this.#problems.push(`there is ${words} already: --replace puts it aside, and uninstall back`);
    }
  }

  #starter(path: string, program: ProgramName): void {
    const starter = starterOf(this.#wish.programs, program);
    if (starter.kind === 'link') {
      const found = this.#host.at(path);
      const done = found.kind === 'link' && found.target === starter.target;
      this.#add({ kind: 'link', path, target: starter.target }, done);
    } else {
      this.#file({ kind: 'file', role: 'starter', path, text: starter.text, mode: 0o755 });
    }
  }

  /** Whether a name starts a program of picorelay, be it of another build. */
  #isOurs(found: Found): boolean {
    if (found.kind === 'file') return isStarter(found.text);
    if (found.kind !== 'link') return false;
    const { programs } = this.#wish;
    const here = programs.kind === 'standalone' ? programs.executable : `${programs.bin}/`;
    return [found.target, found.real ?? ''].some(
      (path) => path.startsWith(here) || isOurProgram(path),
    );
  }

  schedule(): void {
    const { schedule, user } = this.#wish;
    const service = this.#service();
    const place = cronPlace(this.#host);
    if (schedule === 'none') {
      this.note(
        'nothing tries mail again that the relay puts off: run picorelay-cron each minute, or picorelay run as a service',
      );
    } else if (schedule === 'systemd') {
      const units = systemdUnits(service);
      for (const [name, text] of units) this.#own(`/etc/systemd/system/${name}`, text);
      const names = [...units.keys()].filter((name) => !name.endsWith('.service'));
      const enabled = names.every((name) => this.#host.unitEnabled(name));
      if (this.#host.systemd) this.#add({ kind: 'units', names }, enabled);
      else this.note(`systemd does not run: systemctl enable ${names.join(' ')} when it does`);
    } else if (place === undefined) {
      this.#problems.push('there is no /etc/cron.d: install cron, or take another --schedule');
    } else if (place === '/etc/cron.d') {
      if (!this.#host.hasTool('cron') && !this.#host.hasTool('crond')) {
        this.note('there is no cron daemon: install one, or take another --schedule');
      }
      this.#own(`${place}/picorelay`, cronFile(service));
    } else {
      this.#file({
        kind: 'file',
        role: 'own',
        path: `${place}/${user}`,
        text: userCrontab(service),
        mode: 0o600,
      });
    }
  }

  #service(): Service {
    const { user, spool, log, control, programs } = this.#wish;
    return {
      user,
      spool,
      log,
      command: commandOf(programs, 'picorelay-cron'),
      control: control === USUAL_CONTROL ? undefined : control,
    };
  }

  #own(path: string, text: string): void {
    this.#file({ kind: 'file', role: 'own', path, text, mode: 0o644 });
  }

  #folder(path: string, group?: string): void {
    const found = this.#host.at(path);
    const step: Step = { kind: 'folder', path, ...(group === undefined ? {} : { group }) };
    this.#add(step, found.kind === 'folder' || found.kind === 'link');
  }

  #file(step: FileStep): void {
    const found = this.#host.at(step.path);
    const done =
      found.kind === 'file' &&
      found.text === step.text &&
      found.mode === step.mode &&
      found.uid === (step.user === undefined ? 0 : this.#host.user(step.user)?.uid) &&
      found.gid === (step.group === undefined ? 0 : this.#host.group(step.group));
    this.#add(step, done);
  }

  #add(step: Step, done: boolean): void {
    if (!done && 'path' in step) this.#checkPath(step.path, step);
    this.#items.push({ step, done });
  }

  /** Root goes only where nobody else can put a link or a folder in its way. */
  #checkPath(path: string, step: Step): void {
    const folder = dirname(path);
    if (this.#checked.has(folder)) return;
    const owner = this.#host.pathOwner(path);
    if (owner === 0) return;
    if (isOfLog(step) && owner === this.#host.user(this.#wish.user)?.uid) return;
    this.#checked.add(folder);
    this.#problems.push(
      typeof owner === 'string'
        ? owner
        : `${path}: user id ${owner} can change where this path leads, so root does not write there: choose a folder that only root can change, or chown root ${folder}`,
    );
  }
}

/** What a link of an earlier build leads to, which may be gone by now. */
function isOurProgram(path: string): boolean {
  return /\/picorelay(?:-standalone)?(?:\/bin\/(?:sendmail|qmail-queue|qmail-inject|picorelay))?$/.test(
    path,
  );
}
