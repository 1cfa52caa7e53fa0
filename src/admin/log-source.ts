/** Where the log is, and its lines, the oldest first: files with their rotated ones, or the journal. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { hasCode } from '../spool/disk.ts';

/** A place that lines come from; its name is for people. */
export interface LogSource {
  readonly name: string;
  lines(): AsyncIterable<string>;
}

/** Files that syslog daemons write mail's lines to, of which the first that is there counts. */
const SYSLOG_FILES = ['var/log/mail.log', 'var/log/maillog', 'var/log/syslog', 'var/log/messages'];

/**
 * Where lines of this destination (control/log) can be read.
 * @param root where the host's files are
 */
export function logSource(destination: string, root = '/'): LogSource | undefined {
  if (destination.startsWith('/')) return fileSource(destination);
  if (fs.existsSync(join(root, 'run/systemd/journal/socket'))) return JOURNAL;
  // What standard error became is known to whoever started the runner.
  if (destination === 'stderr') return undefined;
  const file = SYSLOG_FILES.map((name) => join(root, name)).find((path) => fs.existsSync(path));
  return file === undefined ? undefined : fileSource(file);
}

/** A file, and before it those that logrotate made of it: FILE.1, FILE.2.gz, FILE-20261120. */
export function fileSource(path: string): LogSource {
  return {
    name: path,
    lines: async function* () {
      for (const each of [...rotated(path), path]) yield* fileLines(each);
    },
  };
}

function rotated(path: string): readonly string[] {
  const folder = dirname(path);
  let names: readonly string[];
  try {
    names = fs.readdirSync(folder);
  } catch {
    // It may be closed to us and the file open all the same.
    return [];
  }
  const suffix = /^(?:\.\d{1,3}|-\d{8}(?:-\d{1,10})?|\.\d{8})(?:\.gz)?$/;
  return names
    .filter(
      (name) => name.startsWith(basename(path)) && suffix.test(name.slice(basename(path).length)),
    )
    .map((name) => join(folder, name))
    .map((file) => ({ file, time: fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((one, other) => one.time - other.time)
    .map(({ file }) => file);
}

async function* fileLines(path: string): AsyncGenerator<string, void, undefined> {
  const file = fs.createReadStream(path);
  try {
    await once(file, 'open');
  } catch (error) {
    // Rotated away since it was listed, or not made yet.
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  // A log that is cut within its packing still has what stands before that.
  const text = path.endsWith('.gz')
    ? file.pipe(createGunzip().on('error', () => file.destroy()))
    : file;
  yield* createInterface({ input: text, crlfDelay: Number.POSITIVE_INFINITY });
}

const JOURNAL: LogSource = {
  name: 'the journal',
  lines: async function* () {
    const words = ['-t', 'picorelay', '-o', 'short-iso', '--no-pager', '--quiet'];
    const child = spawn('journalctl', words, { stdio: ['ignore', 'pipe', 'ignore'] });
    // Without journalctl there are no lines.
    child.on('error', () => child.stdout.destroy());
    yield* createInterface({ input: child.stdout });
  },
};
