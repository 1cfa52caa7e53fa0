/**
 * Reads the control folder: one small file per setting, each read when it is first asked for.
 *
 * What a file holds may be anything, and the file may be a pipe, a folder, a device or endless:
 * every such case is a ControlError that names the file and the way to mend it, and nothing blocks.
 * A secret is never part of an error. Nothing is written here. The folder is listed once, because most
 * files are not there and one listing costs less than looking for four of them; of the others a program
 * opens only those whose values it needs.
 */
import { isUtf8 } from 'node:buffer';
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ControlFile, type ControlName, type ControlValues, catalogue } from './catalogue.ts';
import { groupName } from './host.ts';
import type { Line } from './retry.ts';
import { type Access, exposureOf, openLine, type Reader } from './secret.ts';

/** The values of one control folder. */
export interface Control {
  readonly folder: string;
  /**
   * The value of one control file, or its default when the file is not there. The file is read
   * once. Throws ControlError and nothing else.
   */
  get<N extends ControlName>(name: N): ControlValues[N];
}

/**
 * Opens a control folder. Nothing is read before the first `get`.
 * @param instead texts that count in the place of files, and of files that count as missing
 */
export function openControl(
  folder: string,
  instead: ReadonlyMap<string, string | undefined> = new Map(),
): Control {
  const texts = new Map<string, string | undefined>(instead);
  let names: ReadonlySet<string> | 'any' | undefined;

  function textOf(file: ControlFile<unknown>, path: string): string | undefined {
    if (texts.has(file.name)) return texts.get(file.name);
    names ??= namesIn(folder);
    if (names !== 'any' && !names.has(file.name)) return undefined;
    texts.set(file.name, readText(path, file.kind, reader));
    return texts.get(file.name);
  }

  function reader(): Reader {
    try {
      return readerFor(load(catalogue.spooldir));
    } catch (error) {
      // Whoever asks for the spool hears of it.
      if (error instanceof ControlError) return readerFor('');
      throw error;
    }
  }

  function load<T>(file: ControlFile<T>): T {
    const path = join(folder, file.name);
    const { absent } = file;
    const text = textOf(file, path);
    if (text !== undefined) return parseText(file, path, text);
    if ('text' in absent) return parseText(file, path, absent.text);
    if ('file' in absent) return load(absent.file);
    if ('value' in absent) return absent.value;
    throw new ControlError({
      file: path,
      expected: `${file.takes}, but the file is missing`,
      hint: `Make it: ${absent.make(shellWord(path))}`,
    });
  }

  return { folder, get: (name) => load<ControlValues[typeof name]>(catalogue[name]) };
}

/**
 * The text of a file that a control file names by its path, and that is the host's own and not
 * picorelay's, so that octets which are no UTF-8 are its business.
 * @throws ControlError
 */
export function readNamedFile(path: string): string {
  const bytes = guardedBytes(path, 'list', () => readerFor(''));
  if (bytes === undefined) {
    throw new ControlError({
      file: path,
      expected: 'a file, but it is missing',
      hint: 'Make it, or remove what names it.',
    });
  }
  return new TextDecoder().decode(bytes);
}

/**
 * When each control file that is there was changed, in milliseconds since 1970-01-01 UTC. Never
 * throws.
 */
export function controlTimes(folder: string): ReadonlyMap<ControlName, number> {
  const times = new Map<ControlName, number>();
  for (const name of Object.keys(catalogue) as ControlName[]) {
    try {
      // A file that was copied or moved here keeps its old mtime.
      times.set(name, statSync(join(folder, name)).ctimeMs);
    } catch {
      // Missing or out of reach: whoever reads it says so.
    }
  }
  return times;
}

/** A control file that cannot be used. The message is one clear line and says how to mend it. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  /** The path of the file. */
  readonly file: string;
  /** Counted from 1; undefined when it is not one line's fault. */
  readonly line: number | undefined;
  /** What stands there, escaped and cut; always undefined for a secret. */
  readonly found: string | undefined;
  readonly expected: string;

  /** `found` is taken raw and escaped here; `hint` is a sentence that says what to do. */
  constructor(fault: {
    readonly file: string;
    readonly line?: number | undefined;
    readonly found?: string | undefined;
    readonly expected: string;
    readonly hint: string;
    readonly cause?: unknown;
  }) {
    const found = fault.found === undefined ? undefined : cut(fault.found);
    const place = fault.line === undefined ? '' : ` line ${fault.line}`;
    const seen = found === undefined ? '' : found === '' ? 'found nothing, ' : `found "${found}", `;
    super(visible(`${fault.file}${place}: ${seen}expected ${fault.expected}. ${fault.hint}`), {
      cause: fault.cause,
    });
    this.file = fault.file;
    this.line = fault.line;
    this.found = found;
    this.expected = fault.expected;
  }
}

/** The most characters of a file's text that an error shows. */
const SHOWN = 80;

/** The most bytes that are read of a file. */
const LIMIT = { value: 65_536, secret: 65_536, list: 1_048_576, secrets: 1_048_576 } as const;

/** The names in a control folder; `any` where it cannot be listed, though its files may be in reach. */
function namesIn(folder: string): ReadonlySet<string> | 'any' {
  try {
    return new Set(readdirSync(folder));
  } catch {
    // Whoever opens a file in it learns what is wrong.
    return 'any';
  }
}

/** The text of a control file, undefined when it is not there. */
function readText(
  path: string,
  kind: keyof typeof LIMIT,
  reader: () => Reader,
): string | undefined {
  const bytes = guardedBytes(path, kind, reader);
  if (bytes === undefined) return undefined;
  if (!isUtf8(bytes)) {
    throw new ControlError({
      file: path,
      expected: 'text in UTF-8',
      hint: 'Write the file again with an editor that saves UTF-8.',
    });
  }
  // Editors of another system may begin with a byte order mark.
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}

/** The octets of a file, undefined when it is not there; every failure is a ControlError. */
function guardedBytes(
  path: string,
  kind: keyof typeof LIMIT,
  reader: () => Reader,
): Buffer | undefined {
  try {
    return readBytes(path, kind, reader);
  } catch (error) {
    if (error instanceof ControlError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const line =
      isSecret(kind) && code === 'EACCES'
        ? `: ${openLine(shellWord(path), reader(), groupName)}`
        : ' read the file and enter the folders above it.';
    throw new ControlError({
      file: path,
      expected: `a file that can be read, but reading it failed with ${code}`,
      hint: `Let the user that runs this program${line}`,
      cause: error,
    });
  }
}

function isSecret(kind: keyof typeof LIMIT): boolean {
  return kind === 'secret' || kind === 'secrets';
}

/** Who this process is to a secret. */
export function readerFor(spool: string): Reader {
  const uid = process.geteuid?.() ?? 0;
  const gid = process.getegid?.() ?? 0;
  let queue = gid;
  try {
    queue = statSync(spool).gid;
  } catch {
    // No spool yet, or out of reach: who runs this program is who runs the queue.
  }
  return { uid, gid, queue };
}

/**
 * @param named where it stands, when a control file names it
 * @throws ControlError when others can reach the file of a secret
 */
export function checkSecret(
  path: string,
  access: Access,
  reader: Reader,
  named: { readonly file: string; readonly line?: number | undefined } = { file: path },
): void {
  const exposure = exposureOf(shellWord(path), access, reader, groupName);
  if (exposure === undefined) return;
  const hint = `Close it: ${exposure.mend}`;
  throw new ControlError({ ...named, expected: exposure.expected, hint });
}

function readBytes(
  path: string,
  kind: keyof typeof LIMIT,
  reader: () => Reader,
): Buffer | undefined {
  let descriptor: number;
  try {
    // Without O_NONBLOCK the open of a pipe waits for a writer.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { size } = checkDescriptor(path, kind, descriptor, reader);
    const chunks: Buffer[] = [];
    let total = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(4096);
      const count = readSync(descriptor, chunk);
      total += count;
      if (total > LIMIT[kind]) {
        throw new ControlError({
          file: path,
          expected: `at most ${LIMIT[kind]} bytes`,
          hint: 'Look whether another file was put in its place.',
        });
      }
      chunks.push(chunk.subarray(0, count));
      // A file of the kernel's has no size and ends where nothing more is read.
      if (count === 0 || total === size) return Buffer.concat(chunks, total);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Looks at the open file and not at its path, which could lead elsewhere by now. */
function checkDescriptor(
  path: string,
  kind: keyof typeof LIMIT,
  descriptor: number,
  reader: () => Reader,
): Stats {
  const stats = fstatSync(descriptor);
  if (!stats.isFile()) {
    throw new ControlError({
      file: path,
      expected: 'a regular file or a link to one',
      hint: 'Remove what is there and write the value into a file.',
    });
  }
  if (isSecret(kind)) checkSecret(path, stats, reader());
  return stats;
}

function parseText<T>(file: ControlFile<T>, path: string, text: string): T {
  const parsed = file.parse(
    file.kind === 'list' || file.kind === 'secrets' ? itemsOf(text) : [firstLineOf(text)],
  );
  if ('value' in parsed) return parsed.value;
  const { line, found, expected = file.takes } = parsed.problem;
  throw new ControlError({
    file: path,
    line,
    found: isSecret(file.kind) ? undefined : found,
    expected,
    hint: `Mend it${withoutIt(file)}.`,
  });
}

/** qmail's rule for a value: the first line, without the white space at its end. */
function firstLineOf(text: string): Line {
  const end = text.indexOf('\n');
  return { number: 1, text: (end < 0 ? text : text.slice(0, end)).trimEnd() };
}

/** qmail's rule for a list: one item a line, but no comments and no blank lines. */
function itemsOf(text: string): readonly Line[] {
  return text
    .split('\n')
    .map((line, index) => ({ number: index + 1, text: line.trim() }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
}

function withoutIt<T>({ absent }: ControlFile<T>): string {
  if ('text' in absent) return `, or remove the file to have the default (${absent.text})`;
  if ('file' in absent) return `, or remove the file to have the value of ${absent.file.name}`;
  return 'value' in absent ? `, or remove the file (${absent.means})` : '';
}

/** Quotes a path for a line that the admin may copy into a shell. */
function shellWord(path: string): string {
  return /^[\w./@+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** The text with everything that a terminal or a log would obey made visible. */
function visible(text: string): string {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

function cut(text: string): string {
  let shown = '';
  for (const character of text) {
    const piece = visible(character);
    if (shown.length + piece.length >= SHOWN) return `${shown}…`;
    shown += piece;
  }
  return shown;
}
