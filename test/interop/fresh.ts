// A fresh Debian for one test: what roots.sh made, in a copy that goes with the test. It has this machine's
// network and nothing else of it.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import {
  type Finished,
  must,
  type Running,
  type RunOptions,
  run,
  start,
  waitFor,
} from '../support/process.ts';
import { requireRoot } from './require.ts';

export interface Fresh {
  /** Runs a program inside, as root unless `user` is given, with root's environment at a login. */
  run(command: readonly string[], options?: FreshOptions): Promise<Finished>;
  /** The same, and throws unless it exits 0; returns what it printed. */
  must(command: readonly string[], options?: FreshOptions): Promise<string>;
  start(command: readonly string[]): Promise<Running>;
  /** Where a path of the inside is found from outside. Its links lead astray. */
  at(path: string): string;
  write(path: string, text: string, mode?: number): void;
  read(path: string): string;
  /** The sorted names in a folder inside; none when there is no such folder. */
  names(path: string): string[];
  /** Has nodejs installed, as a package of this name and this machine's version. */
  installNode(): Promise<void>;
}

export type FreshOptions = RunOptions & { readonly user?: string };

/** A copy of the root that this name has in roots.sh. */
export async function freshRoot(t: Pick<TestContext, 'after'>, name = 'fresh'): Promise<Fresh> {
  const root = requireRoot(name);
  const place = mkdtempSync(join(tmpdir(), 'picorelay-fresh-'));
  const keeper = await start([
    ...['unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child'],
    ...['sh', resolve('test/interop/fresh.sh'), root, place],
  ]);
  t.after(async () => {
    await keeper.stop();
    rmdirSync(place);
  });
  await waitFor('a fresh root', () => keeper.ended() || keeper.output().includes('ready'), {
    detail: keeper.output,
  });
  const inner = readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, 'utf8').trim();
  if (inner === '') throw new Error(`no fresh root: ${keeper.output()}`);

  const at = (path: string): string => join(`/proc/${inner}/root`, path);
  const enter = (command: readonly string[], user?: string): string[] => [
    ...['nsenter', `--target=${inner}`, '--mount', '--uts', '--pid', '--root', '--wd'],
    ...(user === undefined
      ? []
      : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--init-groups', '--no-new-privs']),
    ...command,
  ];
  const env = { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const fresh: Fresh = {
    run: (command, { user, ...options } = {}) =>
      run(enter(command, user), { ...options, env: { ...env, ...options.env } }),
    must: (command, { user, ...options } = {}) =>
      must(enter(command, user), { ...options, env: { ...env, ...options.env } }),
    start: (command) => start(enter(command), { env }),
    at,
    write: (path, text, mode = 0o644) => {
      mkdirSync(dirname(at(path)), { recursive: true });
      writeFileSync(at(path), text, { mode });
    },
    read: (path) => readFileSync(at(path), 'utf8'),
    names: (path) => (existsSync(at(path)) ? readdirSync(at(path)).sort() : []),
    installNode: async () => {
      const tree = '/tmp/nodejs';
      fresh.write(
        `${tree}/DEBIAN/control`,
        `Package: nodejs\nVersion: ${process.versions.node}\nArchitecture: all\n` +
          'Maintainer: nobody <nobody@host.test>\nDescription: the node of the tests\n',
      );
      fresh.write(`${tree}/usr/bin/node`, '', 0o755);
      writeFileSync(at(`${tree}/usr/bin/node`), readFileSync(process.execPath));
      await fresh.must(['dpkg-deb', '-Znone', '--build', tree, '/tmp/nodejs.deb']);
      await fresh.must(['dpkg', '-i', '/tmp/nodejs.deb']);
      await fresh.must(['rm', '-r', tree, '/tmp/nodejs.deb']);
    },
  };
  return fresh;
}
