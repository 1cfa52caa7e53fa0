// Runs a program on a terminal of its own, which script(1) makes: what it asks there can be answered, and
// what it draws there can be read.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { waitFor } from './process.ts';

export interface Terminal {
  /** Everything that was shown so far, with its control sequences. */
  shown(): string;
  /** Waits until this was shown, counted from what the last wait ended with. */
  expect(pattern: RegExp): Promise<void>;
  type(text: string): void;
  /** Waits for the end; the exit status. */
  end(): Promise<number | null>;
}

/** @param command words without quotes or spaces */
export function onTerminal(
  t: Pick<TestContext, 'after'>,
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  { columns = 80, rows = 24 } = {},
): Terminal {
  const quoted = command.map((word) => `'${word}'`).join(' ');
  const line = `stty cols ${columns} rows ${rows}; exec ${quoted}`;
  const child = spawn(
    'script',
    ['--quiet', '--return', '--echo', 'never', '--command', line, '/dev/null'],
    {
      env: { TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const ended = once(child, 'close');
  t.after(() => child.kill('SIGKILL'));
  let shown = '';
  let seen = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    shown += chunk.toString();
  });
  child.stdin.on('error', () => undefined);
  return {
    shown: () => shown,
    expect: async (pattern) => {
      const found = await waitFor(
        `${pattern} on the terminal`,
        () => pattern.exec(shown.slice(seen)) ?? undefined,
        { detail: () => shown },
      );
      seen += found.index + found[0].length;
    },
    type: (text) => {
      child.stdin.write(text);
    },
    end: async () => {
      let over: number | null | undefined;
      ended.then(
        ([status]) => {
          over = status as number | null;
        },
        () => undefined,
      );
      await waitFor('the end of the program', () => over !== undefined, { detail: () => shown });
      return over ?? null;
    },
  };
}
