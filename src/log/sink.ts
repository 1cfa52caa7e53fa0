/**
 * Where log lines go: the system's log through logger(1), standard error, or a file. Node has no
 * datagram sockets of the local kind, so syslog is a child process, one for a whole run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Sink {
  write(line: string): void;
  /** Waits until what was written has left this process. Never rejects. */
  close(): Promise<void>;
}

/**
 * @param destination `syslog`, `stderr` or a path
 * @param outlets how to reach standard error and files, and the time for lines that carry one
 */
export function openSink(
  destination: string,
  outlets: {
    readonly stderr: (text: string) => void;
    readonly append: (path: string, text: string) => void;
    readonly now: () => number;
  },
): Sink {
  const stamped = (line: string): string => `${new Date(outlets.now()).toISOString()} ${line}\n`;
  const stderr: Sink = {
    write: (line) => outlets.stderr(`picorelay: ${line}\n`),
    close: () => Promise.resolve(),
  };
  if (destination === 'stderr') return stderr;
  if (destination === 'syslog') return syslog(stderr);
  return {
    write: (line) => {
      try {
        outlets.append(
          destination,
          line.startsWith('{') ? stampJson(line, outlets.now()) : stamped(line),
        );
      } catch (error) {
        // A log that cannot be written must not stop the mail.
        stderr.write(
          `${line} (log file: ${error instanceof Error ? error.message : String(error)})`,
        );
      }
    },
    close: () => Promise.resolve(),
  };
}

function stampJson(line: string, now: number): string {
  return `{"time":"${new Date(now).toISOString()}",${line.slice(1)}\n`;
}

function syslog(fallback: Sink): Sink {
  const child = spawn('logger', ['-t', 'picorelay', '-p', 'mail.info'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  let failed = false;
  const ended = once(child, 'close').catch(() => undefined);
  const fail = (error: Error): void => {
    if (!failed) fallback.write(`no syslog: logger: ${error.message}`);
    failed = true;
  };
  child.on('error', fail);
  child.stdin.on('error', fail);
  return {
    write: (line) => {
      if (failed) fallback.write(line);
      else child.stdin.write(`${line}\n`);
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
