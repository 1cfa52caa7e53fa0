// The root with the programs that call sendmail: /usr/sbin/sendmail and qmail's queue program are this
// checkout's there, /etc/picorelay names a relay of the test, and the spool is in its default place.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Finished, type Running, type RunOptions, run, start } from '../support/process.ts';
import { occupy } from './relay-server.ts';

/** The callers' root, held for one test file. */
export interface Callers {
  /** Runs a program inside the root, as root unless `user` is given. */
  run(
    command: readonly string[],
    options?: RunOptions & { readonly user?: string },
  ): Promise<Finished>;
  start(command: readonly string[]): Promise<Running>;
  /** Writes a file inside the root. */
  write(path: string, text: string, mode?: number): void;
  erase(path: string): void;
  /** The names in a folder inside the root; none when there is no such folder. */
  names(path: string): string[];
  /** What the programs under test have logged. */
  log(): string;
  release(): Promise<void>;
}

const control = '/etc/picorelay';
const logFile = '/var/log/picorelay';

/** The spool inside the root. */
export const spoolFolder = '/var/spool/picorelay';

/** Takes the root, with an empty spool, for a relay on this port of the loopback. */
export async function occupyCallers(port: number): Promise<Callers> {
  const place = await occupy('callers');
  const at = (path: string): string => join(place.root, path);
  const enter = (command: readonly string[]): string[] => [
    ...['unshare', '--mount', 'sh', resolve('test/interop/enter.sh')],
    ...[place.root, process.cwd(), process.execPath, ...command],
  ];
  const callers: Callers = {
    run: (command, { user, ...options } = {}) => {
      const as =
        user === undefined
          ? []
          : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--init-groups'];
      return run(enter([...as, ...command]), options);
    },
    start: (command) => start(enter(command)),
    write: (path, text, mode = 0o644) => {
      mkdirSync(dirname(at(path)), { recursive: true });
      rmSync(at(path), { force: true });
      writeFileSync(at(path), text, { mode });
    },
    erase: (path) => rmSync(at(path), { recursive: true, force: true }),
    names: (path) => (existsSync(at(path)) ? readdirSync(at(path)) : []),
    log: () => (existsSync(at(logFile)) ? readFileSync(at(logFile), 'utf8') : ''),
    release: place.release,
  };
  for (const path of [control, spoolFolder, logFile]) callers.erase(path);
  const files = {
    me: 'host.test',
    relay: `smtp://127.0.0.1:${port}`,
    immediate: 'off',
    linger: '0s',
    log: logFile,
  };
  for (const [name, text] of Object.entries(files)) callers.write(join(control, name), `${text}\n`);
  for (const [link, program] of [
    ['/usr/sbin/sendmail', 'sendmail'],
    ['/usr/bin/mailq', 'sendmail'],
    ['/var/lib/qmail/bin/qmail-queue', 'qmail-queue'],
  ] as const) {
    callers.erase(link);
    symlinkSync(`/opt/picorelay/bin/${program}`, at(link));
  }
  return callers;
}
