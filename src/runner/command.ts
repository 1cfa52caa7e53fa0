/**
 * Runs a command of the administrator's by the shell, within bounds: a deadline after which it and all
 * that it started are killed, an output of some kilobytes, an environment of nothing but PATH. Nothing
 * of a mail is ever part of the command's line.
 */
import { spawn } from 'node:child_process';
import { hasCode } from '../spool/disk.ts';

/** Bytes that a command may print. */
const OUTPUT_LIMIT = 64 * 1024;

/**
 * @param input what the command reads on its standard input; nothing when left out
 * @returns what it printed on its standard output
 * @throws Error that says how it failed, as in "ended with exit status 1", without any of the output
 */
export async function runCommand(
  command: string,
  { input, seconds }: { readonly input?: string; readonly seconds: number },
): Promise<string> {
  const child = spawn('/bin/sh', ['-c', command], {
    cwd: '/',
    env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    stdio: ['pipe', 'pipe', 'ignore'],
    // A process group of its own, which can be killed as a whole.
    detached: true,
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let trouble: string | undefined;
  const kill = (reason: string): void => {
    trouble ??= reason;
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
    child.stdout.destroy();
  };
  const timer = setTimeout(() => kill(`has not ended within ${seconds} seconds`), seconds * 1000);
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > OUTPUT_LIMIT) kill('prints too much');
    else chunks.push(chunk);
  });
  // A command need not read what it is given.
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
  const status = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(`cannot be started: ${error.message}`));
    child.on('close', (code, signal) =>
      resolve(code === 0 ? '' : `ended with ${signal ?? `exit status ${code}`}`),
    );
  });
  clearTimeout(timer);
  const reason = trouble ?? status;
  if (reason !== '') throw new Error(reason);
  return Buffer.concat(chunks).toString('utf8');
}
