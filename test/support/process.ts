// Starts programs for the tests, on this machine or inside a root, and waits for conditions.
// Every wait has a bound; whatever was started is ended by its own process group.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What a program that has ended left behind. */
export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is run; no environment of the test runner reaches it beyond `env`. */
export interface RunOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Milliseconds after which the program is killed and all that it started; two minutes when not given. */
  readonly limit?: number;
}

/** A program that runs until it is stopped. */
export interface Running {
  readonly pid: number;
  /** Everything it has printed so far, on both streams. */
  output(): string;
  /** True once it has ended by itself or was stopped. */
  ended(): boolean;
  /** How it ended: its exit status, or the signal; undefined while it runs. */
  status(): number | string | undefined;
  /** Ends the program and the rest of its process group, and waits until it is gone. */
  stop(): Promise<void>;
}

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Runs a program to its end. Never throws for a bad exit status: the caller looks at it. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, {
    env: { PATH: path, HOME: '/root', ...options.env },
    cwd: options.cwd,
    // A group of its own: what a tracer leaves behind would hold the pipes open for ever.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const { pid } = child;
  const limit = options.limit ?? 120_000;
  const timer = setTimeout(() => pid !== undefined && signalGroup(pid, 'SIGKILL'), limit);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A program that does not read its input to the end is judged by its exit status.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const [status] = (await once(child, 'close').finally(() => clearTimeout(timer))) as [
    number | null,
  ];
  return {
    status,
    stdout: Buffer.concat(stdout).toString(),
    stderr: Buffer.concat(stderr).toString(),
  };
}

/** Runs a program to its end and returns its standard output. Throws unless it exits 0. */
export async function must(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(command, options);
  if (status !== 0) {
    throw new Error(`${command.join(' ')}: exit status ${status}\n${stdout}${stderr}`);
  }
  return stdout;
}

/**
 * Starts a program that stays, as the leader of a process group of its own. The group ends with the
 * test process, however that ends.
 */
export async function start(
  command: readonly string[],
  { env = {} }: Pick<RunOptions, 'env'> = {},
): Promise<Running> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, {
    env: { PATH: path, HOME: '/root', ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  await once(child, 'spawn');
  const { pid } = child;
  if (pid === undefined) throw new Error(`${file} has no process id`);
  let output = '';
  const collect = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  // Its standard input closes when this process is gone, even by SIGKILL.
  const guard = spawn('sh', ['-c', 'cat; kill -s KILL -- "-$0"', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await once(guard, 'spawn');
  return {
    pid,
    output: () => output,
    ended: () => hasEnded(child),
    status: () => child.exitCode ?? child.signalCode ?? undefined,
    stop: async () => {
      if (!hasEnded(child)) {
        const gone = once(child, 'exit');
        child.kill('SIGTERM');
        await Promise.race([gone, delay(10_000, undefined, { ref: false })]);
      }
      signalGroup(pid, 'SIGKILL');
      await waitFor(`the end of ${file}`, () => hasEnded(child));
      guard.kill('SIGKILL');
      guard.stdin.destroy();
    },
  };
}

/**
 * Waits until the condition holds and returns its value (anything but `undefined` and `false`).
 * Throws after `limit` milliseconds, with what `detail` says.
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  { limit = 30_000, detail = () => '' }: { limit?: number; detail?: () => string } = {},
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) {
      throw new Error(`waited ${limit} ms in vain for ${what}\n${detail()}`);
    }
    await delay(25);
  }
}

/** Waits until a server on the loopback greets with 220. */
export async function waitForGreeting(port: number, server: Running): Promise<void> {
  await waitFor(
    `a 220 greeting on port ${port}`,
    () => {
      if (server.ended()) throw new Error(`the server has ended:\n${server.output()}`);
      return greets(port);
    },
    { detail: server.output },
  );
}

/** Waits until somebody takes connections on a port of the loopback. */
export async function waitForPort(port: number): Promise<void> {
  await waitFor(`a listener on port ${port}`, () => connects(port));
}

/** A TCP port of the loopback that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port was assigned');
  return address.port;
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port, timeout: 2000 });
    const done = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('data', (chunk) => {
      // A client that leaves without QUIT would count as a fault with some servers.
      if (chunk.toString().startsWith('220')) socket.end('QUIT\r\n', done(true));
      else done(false)();
    });
    socket.once('error', done(false));
    socket.once('timeout', done(false));
    socket.once('end', done(false));
  });
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: everything in the group has ended already, which is what is wanted.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
