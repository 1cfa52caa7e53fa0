/**
 * The spool's fsck, the part that thinks: from what a survey saw (survey.ts) to what is wrong with it and
 * the step that mends it (mend.ts). Pure. What a runner or a submission leaves for a moment is no finding.
 *
 * A step never erases what may be the only copy of a message: in doubt it goes to corrupt/, beside the
 * reason. Hostile input: names, kinds, modes and sizes, as far as somebody else could make them.
 */
import { type EntryState, LAYOUT_VERSION, parseName, REASON, reasonName } from './name.ts';

/** The folders of the spool that hold files of mail. */
export const MAIL_FOLDERS = ['tmp', 'unsplit', 'spool', 'Undelivered', 'corrupt'] as const;

export type MailFolder = (typeof MAIL_FOLDERS)[number];

export type FileKind = 'file' | 'folder' | 'link' | 'fifo' | 'socket' | 'device';

/** What lstat(2) tells. */
export interface Status {
  readonly kind: FileKind;
  /** Permission bits with set-id and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly links: number;
  /** Device and inode, as one word. */
  readonly file: string;
  readonly size: number;
  /** When it was written last, in milliseconds since 1970-01-01 UTC. */
  readonly changed: number;
}

export interface MailFile extends Status {
  readonly folder: MailFolder;
  readonly name: string;
  /** Why its message cannot be read; undefined when it can, and where nothing is to be read. */
  readonly unreadable?: string;
}

/** All that is to be known of a spool. */
export interface Survey {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
  /** Whose the spool is. */
  readonly uid: number;
  /** Whether members of the folder's group may submit straight into it. */
  readonly shared: boolean;
  /** What `version` holds; undefined where there is no such file. */
  readonly version: string | undefined;
  /** Each folder that belongs there with the mode that it should have; what is there is undefined where nothing is. */
  readonly folders: readonly {
    readonly name: string;
    readonly mode: number;
    readonly status: Status | undefined;
  }[];
  readonly wake: Status | undefined;
  readonly files: readonly MailFile[];
  /** Pids with a record in run/ or a claim, that live. */
  readonly alive: ReadonlySet<number>;
  /** Pids with a record in run/. */
  readonly recorded: readonly number[];
}

/** What mends a finding. */
export type Step =
  | { readonly do: 'make folder'; readonly name: string; readonly mode: number }
  | { readonly do: 'write version' }
  /** `was`: what is to get the mode, and nothing else that has its name by then. */
  | {
      readonly do: 'set mode';
      readonly path: string;
      readonly mode: number;
      readonly was: Pick<Status, 'kind' | 'file' | 'uid'>;
    }
  /** To corrupt/, with the reason. */
  | { readonly do: 'set aside'; readonly path: string; readonly reason: string }
  /** Of an entry that must be claimed before, because a runner may have it in mind. */
  | {
      readonly do: 'set entry aside';
      readonly base: string;
      readonly state: EntryState;
      readonly reason: string;
    }
  /** Gives the entry a file of its own. */
  | { readonly do: 'copy entry'; readonly base: string; readonly state: EntryState }
  | { readonly do: 'copy file'; readonly path: string }
  /** Of what is certainly no message's only copy. */
  | { readonly do: 'erase'; readonly path: string }
  | { readonly do: 'write reason'; readonly path: string; readonly base?: string }
  /** A runner's sweep and take-over mend it. */
  | { readonly do: 'sweep' };

export interface Finding {
  /** Relative to the spool, raw. */
  readonly path: string;
  /** What is wrong, without the path. */
  readonly problem: string;
  /** Undefined where this program cannot mend it; then `advice` says who can. */
  readonly step?: Step;
  readonly advice?: string;
}

/** What is younger than this may be somebody's work of this moment (milliseconds). */
const MOMENT = 60_000;

/** As a sweep has them. */
const DRAFT_LIFETIME = 36 * 3_600_000;
const LONE_RESULT_AGE = 3_600_000;

/** Files of a network file system that are erased and still open. */
const STILL_OPEN = /^\.nfs[0-9a-f]{8,}$/;

/** Everything that is wrong, in the order in which it is to be mended. */
export function verifySpool(survey: Survey): readonly Finding[] {
  const layout = judgeLayout(survey);
  // Of a layout that is unknown nothing can be said.
  if (layout.some(({ path, step }) => path === 'version' && step === undefined)) return layout;
  const findings = [...layout];
  const suspects = survey.files.filter(({ name }) => !STILL_OPEN.test(name));
  const outside = namesOutside(suspects);
  for (const file of suspects) {
    const found = judgeFile(file, survey);
    // In a spool of root's such a file may be the host's: only a copy of it gets another mode.
    const foreign = survey.uid === 0 && outside.has(file);
    findings.push(...(foreign ? found.filter(({ step }) => step?.do !== 'set mode') : found));
  }
  findings.push(...judgeStates(suspects, survey));
  findings.push(...judgeCompanions(suspects, survey));
  findings.push(...judgeLinks(outside, new Set(findings.map(({ path }) => path))));
  for (const pid of survey.recorded) {
    if (survey.alive.has(pid)) continue;
    const path = `run/${pid}`;
    const problem = 'the record of a process that has died';
    findings.push({ path, problem, step: { do: 'erase', path } });
  }
  return findings;
}

function judgeLayout(survey: Survey): readonly Finding[] {
  const findings: Finding[] = [];
  for (const { name, mode, status } of survey.folders) {
    if (status === undefined) {
      const step: Step = { do: 'make folder', name, mode };
      findings.push({ path: name, problem: 'the folder is missing', step });
    } else if (status.kind !== 'folder') {
      const reason = `a ${status.kind} in the place of a folder`;
      findings.push({
        path: name,
        problem: reason,
        step: { do: 'set aside', path: name, reason },
      });
    } else {
      findings.push(...judgeMode(name, status, mode, survey));
    }
  }
  const { version, wake } = survey;
  if (version === undefined || version.trim() === '') {
    const problem = version === undefined ? 'the file is missing' : 'the file is empty';
    findings.push({ path: 'version', problem, step: { do: 'write version' } });
  } else if (version !== LAYOUT_VERSION) {
    findings.push({
      path: 'version',
      problem: `the spool is of layout ${JSON.stringify(version.slice(0, 20))}, this program knows 1`,
      advice: 'use the release that made this spool',
    });
  }
  if (wake !== undefined && wake.kind !== 'fifo') {
    const reason = `a ${wake.kind} in the place of the FIFO`;
    findings.push({
      path: 'wake',
      problem: reason,
      step: { do: 'set aside', path: 'wake', reason },
    });
  }
  return findings;
}

function judgeMode(
  path: string,
  { kind, file, uid, mode }: Status,
  wanted: number,
  survey: Survey,
): readonly Finding[] {
  if (uid !== survey.uid) {
    return [
      {
        path,
        problem: `it belongs to uid ${uid}, the spool to uid ${survey.uid}`,
        advice: `chown -h ${survey.uid} it, as root`,
      },
    ];
  }
  // Set-group-id comes from the folder above, and is none of our business.
  if ((mode & ~0o2000) === wanted) return [];
  const problem = `its mode is ${octal(mode & ~0o2000)}, not ${octal(wanted)}`;
  const kept = wanted | (mode & 0o2000);
  return [{ path, problem, step: { do: 'set mode', path, mode: kept, was: { kind, file, uid } } }];
}

/** What one file by itself tells. */
function judgeFile(file: MailFile, survey: Survey): readonly Finding[] {
  const { folder, name, kind } = file;
  const path = `${folder}/${name}`;
  if (folder === 'corrupt') return [];
  if (kind !== 'file') {
    const reason = `a ${kind}, no file`;
    return [{ path, problem: reason, step: asideStep(file, reason) }];
  }
  switch (folder) {
    case 'tmp':
      return judgeDraft(file, survey);
    case 'unsplit':
      return judgeUnsplit(file, survey);
    case 'spool':
    case 'Undelivered':
      return judgeEntry(file, survey);
  }
}

function judgeDraft(file: MailFile, { now }: Survey): readonly Finding[] {
  if (file.changed > now - DRAFT_LIFETIME) return [];
  const path = `tmp/${file.name}`;
  const problem =
    file.links > 1
      ? 'the second name of a mail that is queued'
      : 'a draft that was never accepted, and that nobody works on';
  return [{ path, problem, step: { do: 'erase', path } }];
}

function judgeUnsplit(file: MailFile, survey: Survey): readonly Finding[] {
  const { name, changed, unreadable } = file;
  const path = `unsplit/${name}`;
  // Who submits splits at once; a take-over takes a moment for each file.
  if (changed > survey.now - MOMENT) return [];
  const claim = /\.([1-9]\d{0,9})\.taking$/.exec(name);
  if (claim !== null) {
    if (survey.alive.has(Number(claim[1]))) return [];
    return [{ path, problem: 'a take-over that was cut short', step: { do: 'sweep' } }];
  }
  if (unreadable !== undefined) {
    return [{ path, problem: unreadable, step: { do: 'set aside', path, reason: unreadable } }];
  }
  const problem = 'a submission that nobody has split into its entries';
  return [...judgeFileMode(file, survey), { path, problem, step: { do: 'sweep' } }];
}

function judgeEntry(file: MailFile, survey: Survey): readonly Finding[] {
  const { folder, name, unreadable } = file;
  const path = `${folder}/${name}`;
  const parsed = parseName(name);
  const isEntry = parsed.kind === 'entry' && (folder === 'spool' || parsed.state.kind === 'new');
  if (parsed.kind === 'result') return judgeFileMode(file, survey);
  if (!isEntry) {
    const reason = `its name is none of ${folder}/`;
    return [{ path, problem: reason, step: { do: 'set aside', path, reason } }];
  }
  const { state } = parsed;
  const owned = state.kind === 'sending' && survey.alive.has(state.pid);
  // Its owner finds out.
  if (owned) return [];
  const mode = judgeFileMode(file, survey);
  if (unreadable !== undefined && mode.length === 0) {
    return [{ path, problem: unreadable, step: asideStep(file, unreadable) }];
  }
  if (state.kind !== 'sending') return mode;
  const problem = `claimed by process ${state.pid}, which has died`;
  return [...mode, { path, problem, step: { do: 'sweep' } }];
}

function judgeFileMode(file: MailFile, survey: Survey): readonly Finding[] {
  const { folder, name, uid, mode } = file;
  const path = `${folder}/${name}`;
  // A member of the group that submits stays the owner of the file.
  if (survey.shared && uid !== survey.uid && (mode & 0o040) !== 0) return [];
  const wanted = survey.shared ? 0o640 : 0o600;
  if (uid === survey.uid && (mode & 0o600) === 0o600 && (mode & ~wanted) === 0) return [];
  return judgeMode(path, file, wanted, survey);
}

function asideStep({ folder, name }: MailFile, reason: string): Step {
  const parsed = folder === 'spool' ? parseName(name) : undefined;
  if (parsed?.kind === 'entry' && parsed.state.kind !== 'sending') {
    return { do: 'set entry aside', base: parsed.base, state: parsed.state, reason };
  }
  return { do: 'set aside', path: `${folder}/${name}`, reason };
}

/** One mail that is queued in two states at once. */
function judgeStates(files: readonly MailFile[], survey: Survey): readonly Finding[] {
  const byBase = new Map<string, { file: MailFile; state: EntryState }[]>();
  for (const file of files) {
    const parsed = file.folder === 'spool' ? parseName(file.name) : undefined;
    if (parsed?.kind !== 'entry' || file.kind !== 'file' || file.unreadable !== undefined) continue;
    byBase.set(parsed.base, [...(byBase.get(parsed.base) ?? []), { file, state: parsed.state }]);
  }
  const findings: Finding[] = [];
  for (const [base, all] of byBase) {
    if (all.length < 2) continue;
    const claimed = all.some(
      ({ state }) => state.kind === 'sending' && survey.alive.has(state.pid),
    );
    const [kept, ...others] = all.toSorted((one, other) => rank(other.state) - rank(one.state));
    for (const { file, state } of others) {
      const path = `spool/${file.name}`;
      const problem = `the same mail is queued as ${kept?.file.name.slice(base.length) || 'new'}, too`;
      // While somebody sends it, nothing can be said of its future.
      if (claimed) findings.push({ path, problem, advice: 'look again when it is sent' });
      else if (file.file === kept?.file.file) {
        findings.push({ path, problem, step: { do: 'erase', path } });
      } else {
        const reason = 'it was queued in two states at once';
        findings.push({ path, problem, step: { do: 'set entry aside', base, state, reason } });
      }
    }
  }
  return findings;
}

/** Who knows most of what became of a mail is right: on hold by the admin, sent last, tried more often. */
function rank(state: EntryState): number {
  switch (state.kind) {
    case 'held':
      return 3e11 + state.attempts;
    case 'sending':
      return 2e11;
    case 'waiting':
      return 1e11 + state.attempts;
    case 'new':
      return 0;
  }
}

/** Results without their mail, and mail without its reason. */
function judgeCompanions(files: readonly MailFile[], { now }: Survey): readonly Finding[] {
  const findings: Finding[] = [];
  const there = new Set<string>();
  const mails = new Set<string>();
  for (const { folder, name } of files) {
    there.add(`${folder}/${name}`);
    const parsed = parseName(name);
    if (parsed.kind === 'entry') mails.add(`${folder}/${parsed.base}`);
  }
  for (const { folder, name, kind, changed } of files) {
    const path = `${folder}/${name}`;
    const parsed = parseName(name);
    if (kind !== 'file') continue;
    if (folder === 'corrupt') {
      const stem = name.endsWith(REASON) ? name.slice(0, -REASON.length) : undefined;
      if (stem === undefined && !there.has(`corrupt/${reasonName(name)}`)) {
        const problem = 'nothing says why it is here';
        findings.push({ path, problem, step: { do: 'write reason', path } });
      }
    } else if (parsed.kind === 'result' && !mails.has(`${folder}/${parsed.base}`)) {
      if (changed > now - LONE_RESULT_AGE) continue;
      const problem = 'the history of a mail that is not here any more';
      const kept = folder === 'spool';
      const step: Step = kept ? { do: 'erase', path } : { do: 'set aside', path, reason: problem };
      findings.push({ path, problem, step });
    } else if (
      folder === 'Undelivered' &&
      parsed.kind === 'entry' &&
      parsed.state.kind === 'new' &&
      !there.has(`${path}:.result`)
    ) {
      const problem = 'nothing says why it was not delivered';
      findings.push({ path, problem, step: { do: 'write reason', path, base: parsed.base } });
    }
  }
  return findings;
}

/** Files of which somebody has names outside the spool, each with how many. */
function namesOutside(files: readonly MailFile[]): ReadonlyMap<MailFile, number> {
  const names = new Map<string, MailFile[]>();
  for (const file of files) {
    if (file.kind === 'file') names.set(file.file, [...(names.get(file.file) ?? []), file]);
  }
  return new Map(
    [...names.values()].flatMap((same) => {
      const outside = Math.max(...same.map((file) => file.links)) - same.length;
      return outside <= 0 ? [] : same.map((file) => [file, outside] as const);
    }),
  );
}

function judgeLinks(
  outside: ReadonlyMap<MailFile, number>,
  judged: ReadonlySet<string>,
): readonly Finding[] {
  return [...outside].flatMap(([{ folder, name }, count]): Finding[] => {
    const path = `${folder}/${name}`;
    if (folder === 'tmp' || folder === 'corrupt' || judged.has(path)) return [];
    const problem = `it has ${count === 1 ? 'a name' : `${count} names`} outside the spool, by which somebody may change it`;
    const parsed = folder === 'spool' ? parseName(name) : undefined;
    if (parsed?.kind !== 'entry') return [{ path, problem, step: { do: 'copy file', path } }];
    const { base, state } = parsed;
    if (state.kind === 'sending') return [];
    return [{ path, problem, step: { do: 'copy entry', base, state } }];
  });
}

function octal(mode: number): string {
  return mode.toString(8).padStart(3, '0');
}
