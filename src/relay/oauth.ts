/**
 * Fetches an OAuth 2 access token with a refresh token (RFC 6749 section 6), over the same way as
 * connections to relays. Keeps nothing. Hostile input: the answer, which is bounded and has a deadline.
 */
import type { Way } from './connect.ts';
import { type Answer, post } from './http.ts';

export interface TokenRequest {
  /** https, or http to this machine. */
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
  readonly refreshToken: string;
}

export interface TokenAnswer {
  readonly accessToken: string;
  /** Seconds that it is good for. */
  readonly lifetime: number;
  /** What to ask with from now on, where it is another one. */
  readonly refreshToken: string | undefined;
  /** Seconds that the refresh token is good for, where the server says so. */
  readonly refreshLifetime: number | undefined;
}

/** RFC 6749 section 5.1 leaves the lifetime to the server; an hour is what they all say. */
const USUAL_LIFETIME = 3600;

/**
 * @throws Error with the reason, not escaped, without a secret
 */
export async function fetchToken(request: TokenRequest, way: Way): Promise<TokenAnswer> {
  const url = new URL(request.url);
  let answer: Answer;
  try {
    answer = await post(url, 'application/x-www-form-urlencoded', formOf(request), way);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`no access token from ${url.host}: ${reason}`);
  }
  return readAnswer(url.host, answer);
}

function formOf({ clientId, clientSecret, refreshToken }: TokenRequest): string {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: clientId,
    refresh_token: refreshToken,
  });
  if (clientSecret !== undefined) form.set('client_secret', clientSecret);
  return form.toString();
}

function readAnswer(host: string, { status, text }: Answer): TokenAnswer {
  const fields = parseFields(text);
  const { access_token: accessToken, error, error_description: more } = fields;
  if (error === 'invalid_grant') {
    throw new Error(
      `${host} refuses the refresh token (invalid_grant${said(more)}): write a new one into control/oauthrefreshtoken`,
    );
  }
  if (status !== 200 || typeof accessToken !== 'string') {
    throw new Error(
      `no access token from ${host}: HTTP status ${status}${said(error)}${said(more)}`,
    );
  }
  // RFC 6750 section 2.1: what a token may be made of; anything else could add to the AUTH command.
  if (!/^[\x21-\x7e]{1,10000}$/.test(accessToken)) {
    throw new Error(`no access token from ${host}: what it sent is none`);
  }
  const { expires_in: lifetime, refresh_token: refreshToken } = fields;
  // No standard names it; these are what servers say.
  const { refresh_token_expires_in: end = fields['refresh_expires_in'] } = fields;
  return {
    accessToken,
    lifetime: secondsOf(lifetime) ?? USUAL_LIFETIME,
    refreshLifetime: secondsOf(end),
    refreshToken:
      typeof refreshToken === 'string' && /^[\x20-\x7e]{1,10000}$/.test(refreshToken)
        ? refreshToken
        : undefined,
  };
}

function secondsOf(value: unknown): number | undefined {
  const seconds = Number(value ?? 0);
  return seconds > 0 && seconds < 1e9 ? seconds : undefined;
}

function parseFields(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function said(text: unknown): string {
  return typeof text === 'string' && text !== '' ? `, ${text.slice(0, 200)}` : '';
}
