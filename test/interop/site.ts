// A picorelay of its own for one test: a control folder, a spool and the built programs. Nothing is
// sent before the test runs picorelay-cron, because immediate is off.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Finished, run } from './process.ts';

/** The names of the programs that the build puts into bin/. */
export type Program = 'sendmail' | 'picorelay-cron';

/** One installation, separate from this machine's. */
export interface Site {
  /** Writes a control file; `authpassword` is readable by its owner alone. */
  control(name: string, text: string): void;
  run(program: Program, args?: readonly string[], input?: string): Promise<Finished>;
  /** The names in the spool's queue, results of earlier attempts left out. */
  queued(): string[];
  /** Everything in Undelivered: name to content. */
  undelivered(): ReadonlyMap<string, string>;
  /** What the programs have logged. */
  log(): string;
  remove(): void;
}

/** Makes a site in a temporary folder, with `me`, `spooldir`, `immediate` and `log` set. */
export function makeSite(): Site {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-interop-'));
  const spool = join(folder, 'spool');
  const logFile = join(folder, 'log');
  mkdirSync(join(folder, 'control'));
  writeFileSync(logFile, '');
  const site: Site = {
    control: (name, text) => {
      const mode = name === 'authpassword' ? 0o600 : 0o644;
      writeFileSync(join(folder, 'control', name), `${text}\n`, { mode });
    },
    run: (program, args = [], input = '') =>
      run([resolve('bin', program), ...args], {
        input,
        env: { PICORELAY_CONTROL: join(folder, 'control') },
      }),
    queued: () => readdirSync(join(spool, 'spool')).filter((name) => !name.endsWith(':.result')),
    undelivered: () => {
      const refused = join(spool, 'Undelivered');
      return new Map(
        readdirSync(refused).map((name) => [name, readFileSync(join(refused, name), 'utf8')]),
      );
    },
    log: () => readFileSync(logFile, 'utf8'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  site.control('me', 'client.test');
  site.control('spooldir', spool);
  site.control('immediate', 'off');
  site.control('linger', '0s');
  site.control('log', logFile);
  return site;
}
