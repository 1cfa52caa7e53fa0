/**
 * The steps of an installation: what each does to the host, what is kept of it so that it can be taken
 * back, and how both are said. Pure. The record is a file that only root writes; what is not understood
 * in it is refused as a whole, because taking back half of an installation is worse than none.
 */
import { escapeText } from '../mail/text.ts';

/** One change to the host. */
export type Step =
  | { readonly kind: 'group'; readonly name: string; readonly command: Words }
  | { readonly kind: 'user'; readonly name: string; readonly command: Words }
  /** `group`: what is made in it belongs to that group. */
  | { readonly kind: 'folder'; readonly path: string; readonly group?: string }
  | FileStep
  /** Closes a file of a secret that is there already, and lets the group read it. */
  | {
      readonly kind: 'rights';
      readonly path: string;
      readonly mode: number;
      readonly group: string;
    }
  /** A control file that contradicts another one goes. */
  | { readonly kind: 'erase'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** Has dpkg put a package's file, also one that comes later, under another name. */
  | {
      readonly kind: 'divert';
      readonly path: string;
      readonly to: string;
      /** Whether what is there now is a package's. */
      readonly rename: boolean;
    }
  /** Renames what is no package's. */
  | { readonly kind: 'aside'; readonly path: string; readonly to: string }
  | {
      readonly kind: 'alternative';
      readonly group: string;
      readonly path: string;
      readonly target: string;
      readonly slaves: readonly Slave[];
      /** What the admin had chosen before; undefined where the priority decided. */
      readonly chosen: string | undefined;
    }
  | { readonly kind: 'spool'; readonly path: string; readonly user: string }
  | { readonly kind: 'units'; readonly names: Words };

export interface FileStep {
  readonly kind: 'file';
  readonly path: string;
  /** `control`: a setting. `starter`: a name that other programs have, too. `own`: nobody else's. */
  readonly role: 'control' | 'starter' | 'own' | 'log';
  readonly text: string;
  readonly mode: number;
  /** Whose it is; root where undefined. */
  readonly user?: string;
  readonly group?: string;
  /** Whether its text is never shown. */
  readonly secret?: boolean;
}

/** A link that goes with an alternative. */
export interface Slave {
  readonly name: string;
  readonly path: string;
}

export type Words = readonly string[];

/** What is kept of a step. */
export type Made =
  | { readonly kind: 'group' | 'user'; readonly name: string }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly role: FileStep['role'] }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'divert' | 'aside'; readonly path: string; readonly to: string }
  | {
      readonly kind: 'alternative';
      readonly group: string;
      readonly target: string;
      readonly chosen?: string;
    }
  | { readonly kind: 'spool'; readonly path: string; readonly user: string }
  | { readonly kind: 'units'; readonly names: Words };

/** What has to be remembered of a step; undefined where nothing is taken back. */
export function madeBy(step: Step): Made | undefined {
  switch (step.kind) {
    case 'group':
    case 'user':
      return { kind: step.kind, name: step.name };
    case 'folder':
      return { kind: 'folder', path: step.path };
    case 'file':
      return { kind: 'file', path: step.path, role: step.role };
    case 'rights':
    case 'erase':
      return undefined;
    case 'link':
      return { kind: 'link', path: step.path, target: step.target };
    case 'divert':
    case 'aside':
      return { kind: step.kind, path: step.path, to: step.to };
    case 'alternative': {
      const { group, target, chosen } = step;
      return { kind: 'alternative', group, target, ...(chosen === undefined ? {} : { chosen }) };
    }
    case 'spool':
      return { kind: 'spool', path: step.path, user: step.user };
    case 'units':
      return { kind: 'units', names: step.names };
  }
}

/** Whether a step makes the log file, which may lie in a folder of the user who writes it. */
export function isOfLog(step: Step): boolean {
  return step.kind === 'file' && step.role === 'log';
}

/** What a step does, in words that stand behind "made:" or "to do:". */
export function sayStep(step: Step): string {
  switch (step.kind) {
    case 'group':
      return `system group ${step.name}`;
    case 'user':
      return `system user ${step.name}, who looks after the queue and cannot log in`;
    case 'folder':
      return `folder ${step.path}${step.group === undefined ? '' : ` (2755 root:${step.group})`}`;
    case 'file':
      return `${step.path}${ofMode(step)}${shownText(step)}`;
    case 'rights':
      return `${step.path} (${step.mode.toString(8)} root:${step.group})`;
    case 'erase':
      return `${step.path} removed, another file takes its place`;
    case 'link':
      return `${step.path} -> ${step.target}`;
    case 'divert':
      return `${step.path} of other packages will be ${step.to} (dpkg-divert)`;
    case 'aside':
      return `${step.path} renamed to ${step.to}`;
    case 'alternative':
      return `${step.path} -> ${step.target} (update-alternatives, ${step.group})`;
    case 'spool':
      return `queue in ${step.path}, of ${step.user}`;
    case 'units':
      return `${step.names.join(', ')} enabled and started`;
  }
}

function ofMode({ mode, user = 'root', group = 'root' }: FileStep): string {
  return mode === 0o644 || mode === 0o755 ? '' : ` (${mode.toString(8)} ${user}:${group})`;
}

function shownText({ role, text, secret }: FileStep): string {
  if (role !== 'control') return '';
  if (secret === true) return ': not shown';
  const lines = text.trimEnd().split('\n');
  return `: ${escapeText(lines[0] ?? '')}${lines.length > 1 ? ` and ${lines.length - 1} more` : ''}`;
}

/** The first line of the record. */
const HEAD = 'picorelay 1: what picorelay init made; picorelay uninstall takes it back';

/** The record's text: one step a line, as JSON, in the order in which they were made. */
export function formatRecord(made: readonly Made[]): string {
  return [HEAD, ...made.map((each) => JSON.stringify(each))].map((line) => `${line}\n`).join('');
}

/** @throws Error that names the line which is no step */
export function parseRecord(text: string): readonly Made[] {
  const [head, ...lines] = text.split('\n');
  if (head !== HEAD) throw new Error('line 1: not a record of this release');
  return lines.flatMap((line, index) => {
    if (line === '') return [];
    const made = readMade(line);
    if (made === undefined) throw new Error(`line ${index + 2}: no step of an installation`);
    return [made];
  });
}

function readMade(line: string): Made | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = { ...value } as Readonly<Record<string, unknown>>;
  const path = pathIn(fields['path']);
  const name = wordIn(fields['name']);
  switch (fields['kind']) {
    case 'group':
    case 'user':
      return name === undefined ? undefined : { kind: fields['kind'], name };
    case 'folder':
      return path === undefined ? undefined : { kind: 'folder', path };
    case 'file': {
      const role = (['control', 'starter', 'own', 'log'] as const).find(
        (each) => each === fields['role'],
      );
      return path === undefined || role === undefined ? undefined : { kind: 'file', path, role };
    }
    case 'link': {
      const target = pathIn(fields['target']);
      return path === undefined || target === undefined
        ? undefined
        : { kind: 'link', path, target };
    }
    case 'divert':
    case 'aside': {
      const to = pathIn(fields['to']);
      return path === undefined || to === undefined
        ? undefined
        : { kind: fields['kind'], path, to };
    }
    case 'alternative': {
      const group = wordIn(fields['group']);
      const target = pathIn(fields['target']);
      const chosen = pathIn(fields['chosen']);
      if (group === undefined || target === undefined) return undefined;
      return { kind: 'alternative', group, target, ...(chosen === undefined ? {} : { chosen }) };
    }
    case 'spool': {
      const user = wordIn(fields['user']);
      return path === undefined || user === undefined ? undefined : { kind: 'spool', path, user };
    }
    case 'units': {
      const names = Array.isArray(fields['names']) ? fields['names'].map(wordIn) : [undefined];
      const known = names.flatMap((each) => each ?? []);
      return known.length === names.length ? { kind: 'units', names: known } : undefined;
    }
    default:
      return undefined;
  }
}

function pathIn(value: unknown): string | undefined {
  return typeof value === 'string' && value.startsWith('/') && !value.includes('\0')
    ? value
    : undefined;
}

/** A name that can be a word of a command, and never an option of it. */
function wordIn(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\w@][\w.@+-]*$/.test(value) ? value : undefined;
}
