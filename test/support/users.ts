// Other users of this host: their processes, and programs that they may start. For tests that run as root.
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { type Finished, run } from './process.ts';
import type { Site } from './site.ts';

export const NOBODY = 65534;
export const isRoot = process.getuid?.() === 0;

/** Copies of the programs where every user may start them, which go with the test. */
export function programsForAll(t: Pick<TestContext, 'after'>): string {
  const folder = mkdtempSync('/var/tmp/picorelay-programs-');
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  for (const name of ['bin', 'dist', ...packages()])
    cpSync(resolve(name), join(folder, name), { recursive: true, preserveTimestamps: true });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  return join(folder, 'bin');
}

/** The folders of the packages that the programs load. */
function packages(): string[] {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  return Object.entries(lock.packages).flatMap(([path, { dev }]) =>
    /^node_modules\/[^/]+$/.test(path) && dev !== true ? [path] : [],
  );
}

/** Whether node lies where others can go. */
export async function canStartNode(site: Site, uid: number): Promise<boolean> {
  return (await asUser(site, uid, [process.execPath, '--version'])).status === 0;
}

/** Runs a program as another user, without groups but his own and those named. */
export async function asUser(
  site: Site,
  uid: number,
  command: readonly string[],
  input: string | Buffer = '',
  groups: readonly number[] = [],
): Promise<Finished> {
  chmodSync(site.folder, 0o755);
  const more = groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`;
  const drop = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, more, '--'];
  return await run([...drop, ...command], { env: site.env, input, cwd: '/' });
}

/** The command line that gives qmail-queue the message on 0 and the envelope on 1. */
export function queueCommand(program: string, folder: string, message: string): string[] {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'message'), message, { mode: 0o644 });
  writeFileSync(join(folder, 'envelope'), 'Froot@x.test\0Ta@x.test\0\0', { mode: 0o644 });
  const line = 'exec "$0" 0<"$1/message" 1<"$1/envelope"';
  return ['sh', '-c', line, program, folder];
}
