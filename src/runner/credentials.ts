/**
 * Where passwords and access tokens come from when no file holds them: a command, or an OAuth 2 server with
 * a cache in the spool. Only a runner loads this. Nothing of a secret is ever logged or part of an error.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Way } from '../relay/connect.ts';
import type { TokenAnswer, TokenRequest } from '../relay/oauth.ts';
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
export interface Kept {
  readonly of: string;
  readonly accessToken: string;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly expires: number;
  readonly refreshToken: string;
  /** When that ends, and how long it was good for at first, in milliseconds, where the server says so. */
  readonly refreshUntil?: number | undefined;
  readonly refreshLifetime?: number | undefined;
}

/** The last answer, if it was made from these control files. */
export function keptToken(request: TokenRequest, spool: string): Kept | undefined {
  const kept = readKept(fileIn(spool));
  return kept?.of === digestOf(request) ? kept : undefined;
}

/**
 * An access token: the one in the spool while it is good, else a new one, which is put there. When
 * the server replaces the refresh token, the new one is kept there too.
 * @param spool the spool folder
 * @param fresh whether the one in the spool was refused
 * @throws Error with one line for people, without a secret
 */
export async function accessToken(
  request: TokenRequest,
  way: Way,
  spool: string,
  now: () => number,
  fresh: boolean,
): Promise<string> {
  const kept = keptToken(request, spool);
  if (kept !== undefined && !fresh && kept.expires - MARGIN > now()) return kept.accessToken;
  // Loaded only here: it brings node's HTTP client.
  const { fetchToken } = await import('../relay/oauth.ts');
  const refreshToken = kept?.refreshToken ?? request.refreshToken;
  const answer = await fetchToken({ ...request, refreshToken }, way);
  const next = answer.refreshToken ?? refreshToken;
  writeKept(fileIn(spool), {
    of: digestOf(request),
    accessToken: answer.accessToken,
    expires: now() + answer.lifetime * 1000,
    refreshToken: next,
    ...refreshEnd(answer, next === kept?.refreshToken ? kept : undefined, now()),
  });
  return answer.accessToken;
}

/** @param before what is known of the same token */
function refreshEnd(
  { refreshLifetime }: TokenAnswer,
  before: Kept | undefined,
  now: number,
): Pick<Kept, 'refreshUntil' | 'refreshLifetime'> {
  if (refreshLifetime === undefined) {
    return { refreshUntil: before?.refreshUntil, refreshLifetime: before?.refreshLifetime };
  }
  const lifetime = refreshLifetime * 1000;
  return {
    refreshUntil: now + lifetime,
    refreshLifetime: Math.max(lifetime, before?.refreshLifetime ?? 0),
  };
}

function digestOf(request: TokenRequest): string {
  return createHash('sha256').update(JSON.stringify(request)).digest('hex');
}

function fileIn(spool: string): string {
  return join(spool, 'run', 'oauth');
}

function readKept(file: string): Kept | undefined {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file).toString('utf8'));
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
    refreshUntil,
    refreshLifetime,
  } = { ...value } as Partial<Record<keyof Kept, unknown>>;
  return (
    typeof of === 'string' &&
    typeof token === 'string' &&
    typeof expires === 'number' &&
    typeof refreshToken === 'string' &&
    [refreshUntil, refreshLifetime].every((each) => each === undefined || typeof each === 'number')
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
