/**
 * Who a running process is, so that a claim or a lock of a process that is gone can be told from one
 * of a process that lives: a pid alone comes back after a reboot or a few thousand forks.
 */
import { readFileSync, readlinkSync } from 'node:fs';

export interface Owner {
  readonly pid: number;
  /** The process's start in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)). */
  readonly start: string;
  /** The kernel's boot id: pids of an earlier boot mean nothing. */
  readonly boot: string;
  /** The pid name space: containers that share a spool have pids of their own. */
  readonly space: string;
}

/** One line: `pid start boot space`. */
export function formatOwner(owner: Owner): string {
  return `${owner.pid} ${owner.start} ${owner.boot} ${owner.space}\n`;
}

/** The owner that formatOwner wrote, or undefined for any other text. */
export function parseOwner(text: string): Owner | undefined {
  const match = /^([1-9]\d{0,9}) (\d{1,20}) ([0-9a-f-]{1,64}) (\S{1,64})\n$/.exec(text);
  if (match === null) return undefined;
  const [, pid = '', start = '', boot = '', space = ''] = match;
  return { pid: Number(pid), start, boot, space };
}

/** This process, or another one of the same pid name space; undefined when there is none of that pid. */
export function ownerOf(pid: number): Owner | undefined {
  const start = startOf(pid);
  if (start === undefined) return undefined;
  return {
    pid,
    start,
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
    space: readlinkSync('/proc/self/ns/pid'),
  };
}

/**
 * Whether the process behind an owner record lives. `unknown`: it belongs to another pid name space
 * of this boot, where its pid cannot be looked up.
 */
export function judgeOwner(owner: Owner, self: Owner): 'alive' | 'dead' | 'unknown' {
  if (owner.boot !== self.boot) return 'dead';
  if (owner.space !== self.space) return 'unknown';
  return startOf(owner.pid) === owner.start ? 'alive' : 'dead';
}

function startOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    // No such process (ENOENT, or ESRCH when it goes while being read).
    return undefined;
  }
  // The second field is the command's name in parentheses and may hold anything, also a `)`.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A zombie holds nothing any more: its files are closed and it will never settle a claim.
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}
