/** picorelay check: this host: its name and clock, who starts the runner, and what /usr/sbin/sendmail is. */
import fs from 'node:fs';
import { join, relative } from 'node:path';
import { type Control, ControlError, controlTimes } from '../control/control.ts';
import { hasCode } from '../spool/disk.ts';
import type { Spool } from '../spool/spool.ts';
import { type Finding, failure, ok, warning } from './finding.ts';
import { showSpan } from './layout.ts';
import { queuedMails } from './mails.ts';

const MINUTE = 60_000;

/** Cron comes by each minute; later than this is late, and later than that is not at all. */
const LATE = 5 * MINUTE;
const NEVER = 60 * MINUTE;

export function checkHost(
  control: Control,
  spool: Spool,
  now: number,
  bin: string,
): readonly Finding[] {
  return [
    ...nameFindings(control),
    ...clockFindings(control, spool, now),
    ...sendmailFindings(bin),
  ];
}

function nameFindings(control: Control): readonly Finding[] {
  let me: string;
  try {
    me = control.get('me');
  } catch (error) {
    // The control folder's own check tells.
    if (error instanceof ControlError) return [];
    throw error;
  }
  if (!me.includes('.') || /^localhost(?:\.|$)/i.test(me)) {
    return [
      warning(
        `control/me says ${me}: relays take a name with a domain, such as host.example.com`,
        `echo host.example.com > ${control.folder}/me`,
      ),
    ];
  }
  return [ok(`this host is ${me}`)];
}

/** A clock that was set back has files from the future beside it. */
function clockFindings(control: Control, spool: Spool, now: number): readonly Finding[] {
  const changed = [...controlTimes(control.folder)];
  const seen = spool.records.runnerSeen();
  const newest = Math.max(0, ...changed.map(([, time]) => time), seen ?? 0);
  if (newest > now + 2 * MINUTE) {
    return [
      failure(
        `the clock is wrong: it says ${isoMinute(now)}, but files here are of ${isoMinute(newest)}`,
        'timedatectl',
      ),
    ];
  }
  return [ok(`the clock says ${isoMinute(now)}, and nothing here contradicts it`)];
}

function sendmailFindings(bin: string): readonly Finding[] {
  const path = '/usr/sbin/sendmail';
  try {
    const real = fs.realpathSync(path);
    const start = fs.readFileSync(real).subarray(0, 64 * 1024);
    if (real.startsWith(`${bin}/`) || start.includes('picorelay')) {
      return [ok(`${path} is picorelay's`)];
    }
    return [
      warning(
        `${path} is another program (${real}): its mail does not come here`,
        'picorelay init',
      ),
    ];
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) return [warning(`${path} cannot be read`, `ls -l ${path}`)];
    return [warning(`there is no ${path}: programs cannot hand mail over`, 'picorelay init')];
  }
}

/** When a runner last came by, and who starts it. */
export function checkRunner(spool: Spool, now: number, root = '/'): readonly Finding[] {
  const findings: Finding[] = [];
  const starters = startersIn(root);
  const active = starters.filter(({ idle }) => idle === undefined);
  const [first] = active;
  if (first !== undefined) {
    findings.push(ok(`it is started by ${active.map(({ where }) => where).join(', ')}`));
  } else if (starters.length > 0) {
    for (const { where, idle } of starters) findings.push(failure(`${where}: ${idle}`));
  }
  const seen = spool.records.runnerSeen();
  const waits = queuedMails(spool).length > 0;
  const age = seen === undefined ? Number.POSITIVE_INFINITY : now - seen;
  const mend = ['picorelay init', 'picorelay run --once'];
  if (age <= LATE) {
    findings.push(ok(`a runner was at work ${showSpan(age)} ago`));
    // Somebody starts it, in a way that is not known here.
    if (starters.length === 0) findings.push(ok('no cron line or timer of this host starts it'));
  } else if (starters.length === 0) {
    findings.push(failure('no cron line, timer or service starts picorelay-cron', ...mend));
  } else if (seen === undefined) {
    findings.push(warning('no runner has been here yet', 'picorelay run --once'));
  } else if (age > NEVER || waits) {
    findings.push(
      failure(`the last runner was here ${showSpan(age)} ago`, 'picorelay run --once -v'),
    );
  } else {
    findings.push(
      warning(`the last runner was here ${showSpan(age)} ago`, 'picorelay run --once -v'),
    );
  }
  return findings;
}

/** What starts a runner, and why it does not at the moment. */
export interface Starter {
  readonly where: string;
  readonly idle: string | undefined;
}

/** Tables of cron that one looks at, folders with one table a file among them. */
const TABLES = [
  'etc/crontab',
  'etc/cron.d',
  'var/spool/cron/crontabs',
  'var/spool/cron',
  'etc/crontabs',
];

/** Folders with units of systemd. */
const UNITS = [
  'etc/systemd/system',
  'usr/local/lib/systemd/system',
  'usr/lib/systemd/system',
  'lib/systemd/system',
];

/** Lines of cron, timers and services under a root that start picorelay-cron or picorelay run. */
export function startersIn(root: string): readonly Starter[] {
  const systemd = fs.existsSync(join(root, 'run/systemd/system'));
  const found: Starter[] = [];
  for (const path of TABLES.flatMap((table) => filesIn(join(root, table)))) {
    for (const line of linesOf(path)) {
      if (line.startsWith('#') || !/\bpicorelay(?:-cron\b| run\b)/.test(line)) continue;
      // Such a line leaves the work to the timer.
      if (systemd && line.includes('/run/systemd/system')) continue;
      const where = `a line of /${relative(root, path)}`;
      found.push({ where, idle: hasCron(root) ? undefined : 'no cron is running' });
      break;
    }
  }
  const seen = new Set<string>();
  for (const folder of UNITS) {
    for (const path of filesIn(join(root, folder))) {
      const unit = path.slice(path.lastIndexOf('/') + 1);
      if (!/\.(?:timer|service)$/.test(unit) || seen.has(unit)) continue;
      const starts = unit.endsWith('.timer')
        ? /^picorelay.*\.timer$/.test(unit)
        : linesOf(path).some((line) => /^ExecStart=.*\bpicorelay run\b/.test(line));
      if (!starts) continue;
      seen.add(unit);
      if (!systemd) continue;
      const enabled = wants(root).has(unit);
      found.push({
        where: unit,
        idle: enabled ? undefined : `not enabled: systemctl enable --now ${unit}`,
      });
    }
  }
  return found;
}

/** Units that something of /etc/systemd/system wants. */
function wants(root: string): ReadonlySet<string> {
  const folder = join(root, 'etc/systemd/system');
  return new Set(
    namesIn(folder)
      .filter((name) => name.endsWith('.wants'))
      .flatMap((name) => namesIn(join(folder, name))),
  );
}

/** Whether a program that reads crontabs runs. */
function hasCron(root: string): boolean {
  return namesIn(join(root, 'proc'))
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      const [name = ''] = linesOf(join(root, 'proc', pid, 'comm'));
      return /^(?:cron|crond|fcron|anacron|systemd-cron|busybox)$/.test(name);
    });
}

function filesIn(path: string): readonly string[] {
  const status = fs.statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return [];
  if (status.isFile()) return [path];
  return namesIn(path)
    .filter((name) => !name.startsWith('.'))
    .map((name) => join(path, name))
    .filter((each) => fs.statSync(each, { throwIfNoEntry: false })?.isFile() === true);
}

function namesIn(path: string): readonly string[] {
  try {
    return fs.readdirSync(path).sort();
  } catch {
    // Missing, or not for us to see: whoever looks from here finds nothing in it.
    return [];
  }
}

function linesOf(path: string): readonly string[] {
  try {
    return fs.readFileSync(path, 'latin1').split('\n');
  } catch {
    // The same for a file.
    return [];
  }
}

function isoMinute(time: number): string {
  return `${new Date(time).toISOString().slice(0, 16)}Z`;
}
