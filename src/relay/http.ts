/**
 * One HTTP request with a body, over the same way as connections to relays. Follows no redirection.
 * Hostile input: the answer, which is bounded and has a deadline.
 */
import http from 'node:http';
import { openSocket, reasonOf, SessionError, type Trust, type Way } from './connect.ts';

/** How long it may take, in seconds. */
const DEADLINE = 30;
/** Octets that the answer may have. */
const ANSWER_LIMIT = 64 * 1024;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * @param url https, or http to this machine
 * @throws Error with the reason in a few words, not escaped
 */
export async function post(url: URL, type: string, body: string, way: Way): Promise<Answer> {
  try {
    return await exchange(url, type, body, way);
  } catch (error) {
    const event = error instanceof SessionError ? error.event : undefined;
    throw new Error(
      event?.kind === 'closed'
        ? event.reason
        : event?.kind === 'timeout'
          ? `no answer within ${event.seconds} seconds`
          : reasonOf(error),
    );
  }
}

async function exchange(url: URL, type: string, body: string, way: Way): Promise<Answer> {
  const secured = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (secured ? 443 : 80);
  const trust: Trust = { verify: true, authorities: undefined };
  const socket = await openSocket({ host, port }, secured ? trust : undefined, DEADLINE, way);
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no answer within ${DEADLINE} seconds`));
      socket.destroy();
    }, DEADLINE * 1000);
    const request = http.request(url, {
      method: 'POST',
      // The URL's scheme has been seen to above: the socket speaks TLS already.
      protocol: 'http:',
      createConnection: () => socket,
      headers: { 'Content-Type': type, Accept: 'application/json', Connection: 'close' },
    });
    request.on('error', reject);
    request.on('close', () => {
      clearTimeout(timer);
      socket.destroy();
      reject(new Error('the connection was closed'));
    });
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > ANSWER_LIMIT) response.destroy(new Error('the answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.end(body);
  });
}
