/**
 * Where passwords and access tokens come from when no file holds them: a command, or an OAuth 2 server with
 * a cache in the spool. Only a runner loads this. Nothing of a secret is ever logged or part of an error.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import type { Way } from '../relay/connect.ts';
import type { TokenRequest } from '../relay/oauth.ts';
import { closeFile, createFile, eraseFile, hasCode, moveFile, writeAll } from '../spool/disk.ts';
import { runCommand } from './command.ts';

/** An access token is used up to so many milliseconds before its end. */
const MARGIN = 60_000;

/**
 * The first line that a shell command prints.
 * @param seconds after which the command and all that it started are killed
 * @throws Error with one line for people, without any of the output
 */
export async function passwordOf(command: string, seconds: number): Promise<string> {
  const output = await runCommand(command, { seconds }).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the command of control/authpasswordcommand ${reason}`);
  });
  const [line = ''] = output.split(/\r?\n/, 1);
  if (line === '' || /\p{Cc}/u.test(line)) {
    throw new Error('the command of control/authpasswordcommand printed no password');
  }
  return line;
}

/** What is kept of the last answer; `of` says which control files it was made from. */
interface Kept {
  readonly of: string;
  readonly accessToken: string;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly expires: number;
  readonly refreshToken: string;
}

/**
 * An access token: the one in the file while it is good, else a new one, which is put into the file. When
 * the server replaces the refresh token, the new one is kept there too.
 * @param fresh whether the one in the file was refused
 * @throws Error with one line for people, without a secret
 */
export async function accessToken(
  request: TokenRequest,
  way: Way,
  file: string,
  now: () => number,
  fresh: boolean,
): Promise<string> {
  const of = createHash('sha256').update(JSON.stringify(request)).digest('hex');
  const before = readKept(file);
  const kept = before?.of === of ? before : undefined;
  if (kept !== undefined && !fresh && kept.expires - MARGIN > now()) return kept.accessToken;
  // Loaded only here: it brings node's HTTP client.
  const { fetchToken } = await import('../relay/oauth.ts');
  const refreshToken = kept?.refreshToken ?? request.refreshToken;
  const answer = await fetchToken({ ...request, refreshToken }, way);
  writeKept(file, {
    of,
    accessToken: answer.accessToken,
    expires: now() + answer.lifetime * 1000,
    refreshToken: answer.refreshToken ?? refreshToken,
  });
  return answer.accessToken;
}

function readKept(file: string): Kept | undefined {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file, 'utf8'));
    return isKept(value) ? value : undefined;
  } catch (error) {
    // A file that is cut short is as good as none.
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function isKept(value: unknown): value is Kept {
  if (typeof value !== 'object' || value === null) return false;
  const {
    of,
    accessToken: token,
    expires,
    refreshToken,
  } = { ...value } as Partial<Record<keyof Kept, unknown>>;
  return (
    typeof of === 'string' &&
    typeof token === 'string' &&
    typeof expires === 'number' &&
    typeof refreshToken === 'string'
  );
}

function writeKept(file: string, kept: Kept): void {
  const scratch = `${file}.new`;
  // Left by a process that was killed here.
  eraseFile(scratch);
  const fd = createFile(scratch, 0o600);
  try {
    writeAll(fd, Buffer.from(JSON.stringify(kept)));
  } finally {
    closeFile(fd);
  }
  moveFile(scratch, file);
}
