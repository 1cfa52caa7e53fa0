// A picorelay of its own for one test: a control folder, a spool and the built programs. Nothing is
// sent before the test runs picorelay-cron, because immediate is off.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { type Finished, type RunOptions, run, waitFor } from './process.ts';

/** The names of the programs that the build puts into bin/. */
export type Program =
  | 'sendmail'
  | 'qmail-queue'
  | 'qmail-inject'
  | 'picorelay-send'
  | 'picorelay-cron'
  | 'picorelay';

/** The path of a built program; PICORELAY_BIN names the folder of other builds. */
export function programPath(program: string): string {
  return resolve(process.env['PICORELAY_BIN'] ?? 'bin', program);
}

/** One installation, separate from this machine's. */
export interface Site {
  /** Holds control/, spool/ and the log. */
  readonly folder: string;
  readonly spool: string;
  /** All that the programs get of an environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Writes a control file; `authpassword` is readable by its owner alone. Undefined erases it. */
  control(name: string, text: string | undefined): void;
  /** Names the relays: ports of the loopback. */
  relays(...ports: readonly number[]): void;
  run(
    program: Program,
    args?: readonly string[],
    input?: string | Buffer,
    options?: Pick<RunOptions, 'cwd' | 'limit' | 'env'>,
  ): Promise<Finished>;
  /** The sorted names in a folder of the spool; none when there is no such folder. */
  names(folder: string): string[];
  /** The names in the spool's queue, results of earlier attempts left out. */
  queued(): string[];
  /** Everything in Undelivered: name to content. */
  undelivered(): ReadonlyMap<string, string>;
  /** The text of the only result file in a folder of the spool. */
  result(folder: 'spool' | 'Undelivered'): string;
  /** What the programs have logged. */
  log(): string;
  /** Waits until no runner has the spool. */
  atRest(): Promise<void>;
  remove(): void;
}

/** Makes a site in a temporary folder, with `me`, `spooldir`, `immediate`, `linger` and `log` set. */
export function makeSite(): Site {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-test-'));
  const spool = join(folder, 'spool');
  const logFile = join(folder, 'log');
  mkdirSync(join(folder, 'control'));
  writeFileSync(logFile, '');
  const env = { PATH: '/usr/bin:/bin', PICORELAY_CONTROL: join(folder, 'control') };
  const names = (name: string): string[] =>
    existsSync(join(spool, name)) ? readdirSync(join(spool, name)).sort() : [];
  const site: Site = {
    folder,
    spool,
    env,
    control: (name, text) => {
      const path = join(folder, 'control', name);
      if (text === undefined) rmSync(path, { force: true });
      else
        writeFileSync(path, `${text}\n`, { mode: name.startsWith('authpassword') ? 0o600 : 0o644 });
    },
    relays: (...ports) =>
      site.control('relay', ports.map((port) => `smtp://127.0.0.1:${port}`).join('\n')),
    run: (program, args = [], input = '', options = {}) =>
      run([programPath(program), ...args], {
        limit: 30_000,
        ...options,
        input,
        env: { ...env, ...options.env },
      }),
    names,
    queued: () => names('spool').filter((name) => !name.endsWith(':.result')),
    undelivered: () =>
      new Map(
        names('Undelivered').map((name) => [
          name,
          readFileSync(join(spool, 'Undelivered', name), 'utf8'),
        ]),
      ),
    result: (where) => {
      const [name, ...others] = names(where).filter((each) => each.endsWith(':.result'));
      if (name === undefined || others.length > 0) {
        throw new Error(`${others.length + (name === undefined ? 0 : 1)} results in ${where}`);
      }
      return readFileSync(join(spool, where, name), 'utf8');
    },
    log: () => readFileSync(logFile, 'utf8'),
    atRest: async () => {
      await waitFor('the end of the runner', () => !names('run').includes('runner.lock'), {
        detail: () => names('run').join(' '),
      });
    },
    remove: () => removeAll(folder),
  };
  site.control('me', 'client.test');
  site.control('spooldir', spool);
  site.control('immediate', 'off');
  site.control('linger', '0s');
  site.control('log', logFile);
  // A report would be one more mail for each test that refuses one.
  site.control('bounce', 'off');
  return site;
}

/** Removes a folder, also while a service that is about to end makes folders in it. */
function removeAll(folder: string): void {
  for (let tries = 1; ; tries++) {
    try {
      rmSync(folder, { recursive: true, force: true });
      return;
    } catch (error) {
      const again = error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY';
      if (!again || tries === 20) throw error;
    }
  }
}

/** A site that goes with its test. */
export function siteFor(t: Pick<TestContext, 'after'>): Site {
  const site = makeSite();
  t.after(site.remove);
  return site;
}
