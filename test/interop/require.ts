// Says whether the Debian roots that roots.sh makes are there. On a developer's machine a missing root
// skips the test with the command that would make it; under CI it is a failure, never a skip.
import { accessSync, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The folder that holds the roots. */
export const rootsFolder = process.env['PICORELAY_INTEROP_ROOTS'] ?? '/var/cache/picorelay-interop';

/**
 * The `skip` option for a test that wants these roots: `false`, or the reason why it cannot run here.
 * Under CI it is always `false`, and requireRoot() then throws in the test itself.
 */
export function skipWithout(...roots: readonly string[]): string | false {
  if (process.env['CI'] !== undefined) return false;
  for (const root of roots) {
    const missing = reason(root);
    if (missing !== undefined) return missing;
  }
  return false;
}

/**
 * The `skip` option for a test that wants a program of this machine, whose Debian package has the same
 * name unless it is given. Under CI it is always `false`: the test fails where the program is missing.
 */
export function skipWithoutProgram(program: string, debian = program): string | false {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return process.env['CI'] !== undefined ||
    folders.some((folder) => existsSync(join(folder, program)))
    ? false
    : `there is no ${program}; as root: apt-get install ${debian}`;
}

/** The path of a root. Throws when it cannot be used, naming what is missing. */
export function requireRoot(root: string): string {
  const missing = reason(root);
  if (missing !== undefined) throw new Error(missing);
  return join(rootsFolder, root);
}

function reason(root: string): string | undefined {
  if (process.getuid?.() !== 0)
    return 'interop tests enter Debian roots by chroot: run them as root';
  try {
    readFileSync(join(rootsFolder, root, '.stamp'));
    accessSync('/usr/sbin/chroot');
    accessSync('/usr/bin/unshare');
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `no usable Debian root "${root}" (${why}); as root: apt-get install mmdebstrap && bash test/interop/roots.sh`;
  }
}
