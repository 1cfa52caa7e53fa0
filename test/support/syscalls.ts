// Watches the system calls that the spool makes, and makes one of them fail.
import fs from 'node:fs';
import { relative } from 'node:path';
import { mock } from 'node:test';

const NAMES = [
  'openSync',
  'writeSync',
  'fsyncSync',
  'closeSync',
  'linkSync',
  'unlinkSync',
  'renameSync',
  'copyFileSync',
  'accessSync',
  'mkdirSync',
  'readSync',
  'fstatSync',
  'fchmodSync',
  'lstatSync',
  'opendirSync',
  'rmdirSync',
  'statSync',
  'readdirSync',
  'readFileSync',
] as const;

type Name = (typeof NAMES)[number];

export interface Call {
  readonly index: number;
  readonly name: Name;
  /** Call and paths, below the spool folder: `link tmp/* spool/*`. */
  readonly label: string;
  readonly args: readonly unknown[];
}

/** What an action did: the calls, and what it gave or threw. */
export interface Watched<T> {
  readonly calls: readonly Call[];
  readonly value: T | undefined;
  readonly error: unknown;
}

type Anything = (...args: readonly unknown[]) => unknown;

/**
 * Runs an action while `decide` stands between it and the system: it calls `real` and gives what that
 * gave, or throws, or gives something else.
 */
export function watch<T>(
  folder: string,
  action: () => T,
  decide: (call: Call, real: () => unknown) => unknown = (_, real) => real(),
): Watched<T> {
  const calls: Call[] = [];
  const paths = new Map<unknown, string>();
  const methods = fs as unknown as Record<Name, Anything>;
  const mocked = NAMES.map((name) => {
    // No test cuts the power: waiting for the disk would only make thousands of them slow.
    const real: Anything = name === 'fsyncSync' ? () => undefined : methods[name];
    return mock.method(methods, name, (...args: readonly unknown[]) => {
      const files = args
        .slice(0, name === 'linkSync' || name === 'renameSync' || name === 'copyFileSync' ? 2 : 1)
        .map((arg) => shorten(folder, paths.get(arg) ?? String(arg)));
      const label = [name.replace('Sync', ''), ...files].join(' ');
      const call: Call = { index: calls.length, name, label, args };
      calls.push(call);
      const result = decide(call, () => real(...args));
      if (name === 'openSync') paths.set(result, String(args[0]));
      return result;
    });
  });
  try {
    return { calls, value: action(), error: undefined };
  } catch (error) {
    return { calls, value: undefined, error };
  } finally {
    for (const method of mocked) method.mock.restore();
  }
}

/** An error as a system call throws it. */
export function failure(code: string): Error {
  return Object.assign(new Error(`${code}: made by the test`), { code, syscall: 'test' });
}

/** Fails with `code`; a descriptor is gone all the same, as after a failed close(2). */
export function fail(call: Call, real: () => unknown, code: string): never {
  if (call.name === 'closeSync') real();
  throw failure(code);
}

/** From the call of this index on nothing happens any more, as if the process had been killed. */
export function dieAt(index: number): (call: Call, real: () => unknown) => unknown {
  return (call, real) => (call.index < index ? real() : fail(call, real, 'KILLED'));
}

function shorten(folder: string, path: string): string {
  const parts = relative(folder, path).split('/');
  return parts.length === 1 ? (parts[0] ?? '') : `${parts[0]}/*`;
}
