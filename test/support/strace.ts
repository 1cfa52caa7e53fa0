// Runs a program under strace: records its system calls, kills it at one of them or makes one fail.
// Which call is meant is said by its name and its number among the calls of that name of one thread,
// because that is how strace counts.
import { readFileSync } from 'node:fs';
import { type Finished, type RunOptions, run } from './process.ts';

/** One system call as strace shows it, `-y` naming the file behind each descriptor. */
export interface SystemCall {
  readonly thread: number;
  readonly name: string;
  /** Its number among the calls of this name that the thread made, from 1. */
  readonly nth: number;
  readonly args: string;
  /** What it returned; `?` where the process died at it. */
  readonly result: string;
}

/** The system calls that read or change files and what lies behind descriptors. */
const FILE_CALLS = [
  'open openat openat2 creat mkdir mkdirat mknod mknodat rmdir link linkat symlink symlinkat',
  'unlink unlinkat rename renameat renameat2 read readv pread64 preadv write writev pwrite64 pwritev',
  'sendfile copy_file_range fallocate ftruncate truncate fsync fdatasync sync_file_range close',
  'access faccessat faccessat2 stat lstat fstat newfstatat statx getdents64 readlink readlinkat',
  'chmod fchmod fchmodat chown fchown fchownat utimensat',
].flatMap((line) => line.split(' '));

/**
 * What keeps the calls of node's own threads from shifting the count: one thread that works off
 * asynchronous file calls, none that compiles or collects garbage.
 */
const STEADY = { UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '--v8-pool-size=0' };

export interface Traced extends Finished {
  readonly calls: readonly SystemCall[];
}

/** What is to happen at a call, before it takes effect. */
export type Fault = 'KILL' | 'ENOSPC' | 'EIO';

/**
 * @param log where strace writes; replaced
 * @param inject the call at which something happens, by name and number in its thread
 * @param octets how much of what is written the record keeps, as hexadecimal escapes; none when 0
 */
export async function trace(
  command: readonly string[],
  options: RunOptions & { readonly log: string; readonly octets?: number },
  inject?: { readonly call: Pick<SystemCall, 'name' | 'nth'>; readonly fault: Fault },
): Promise<Traced> {
  const { log, octets = 0, ...rest } = options;
  const strace = ['strace', '-f', '-y', '-qq', '-e', `trace=?${FILE_CALLS.join(',?')}`, '-o', log];
  strace.push('-s', String(octets), ...(octets > 0 ? ['-xx'] : []));
  if (inject !== undefined) {
    const { call, fault } = inject;
    const what = fault === 'KILL' ? 'signal=KILL' : `error=${fault}`;
    strace.push('-e', `inject=${call.name}:${what}:when=${call.nth}`);
  }
  const finished = await run([...strace, ...command], {
    ...rest,
    env: { ...rest.env, ...STEADY },
  });
  return { ...finished, calls: parseTrace(readFileSync(log, 'latin1')) };
}

/** The calls of a record in the order in which they began. */
export function parseTrace(text: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const counts = new Map<string, number>();
  /** Where in `calls` each thread's unfinished call stands. */
  const unfinished = new Map<number, number>();
  for (const line of text.split('\n')) {
    const [, id = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const thread = Number(id);
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (resumed !== null) {
      const at = unfinished.get(thread) ?? -1;
      const begun = calls[at];
      if (begun === undefined) continue;
      const { args, result } = parseEnd(`${begun.args}${resumed[1]}`);
      calls[at] = { ...begun, args, result };
      unfinished.delete(thread);
      continue;
    }
    const [, name, call] = /^(\w+)\((.*)$/.exec(rest) ?? [];
    if (name === undefined || call === undefined) continue;
    const key = `${thread} ${name}`;
    const nth = (counts.get(key) ?? 0) + 1;
    counts.set(key, nth);
    const open = / *<unfinished \.\.\.>$/.exec(call);
    if (open !== null) unfinished.set(thread, calls.length);
    const { args, result } =
      open === null ? parseEnd(call) : { args: call.slice(0, open.index), result: '?' };
    calls.push({ thread, name, nth, args, result });
  }
  return calls;
}

function parseEnd(call: string): { args: string; result: string } {
  const [, known = call, result = '?'] = /^(.*)\) += (.*)$/.exec(call) ?? [];
  // A thread that is killed leaves the mark behind what was known of its call.
  return { args: known.replace(/ *<unfinished \.\.\.>$/, ''), result };
}
