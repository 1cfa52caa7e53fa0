/**
 * One HTTP request, over the same way as connections to relays. Follows no redirection.
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
  /** Content-Type; empty where there is none. */
  readonly type: string;
  readonly text: string;
}

interface Question {
  readonly url: URL;
  readonly headers: http.OutgoingHttpHeaders;
  /** Undefined for a GET. */
  readonly body?: string;
  /** PEM texts of certification authorities; undefined: Node's own list. */
  readonly authorities?: Trust['authorities'];
  readonly seconds: number;
}

/**
 * @param url https, or http to this machine
 * @throws Error with the reason in a few words, not escaped
 */
export async function post(url: URL, type: string, body: string, way: Way): Promise<Answer> {
  const headers = { 'Content-Type': type, Accept: 'application/json' };
  return await ask({ url, headers, body, seconds: DEADLINE }, way);
}

/**
 * @param url https
 * @throws as post does
 */
export async function get(
  url: URL,
  way: Way,
  { authorities, seconds }: Pick<Question, 'authorities' | 'seconds'>,
): Promise<Answer> {
  return await ask({ url, headers: {}, authorities, seconds }, way);
}

async function ask(question: Question, way: Way): Promise<Answer> {
  try {
    return await exchange(question, way);
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

async function exchange(
  { url, headers, body, authorities, seconds }: Question,
  way: Way,
): Promise<Answer> {
  const secured = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (secured ? 443 : 80);
  const trust: Trust = { verify: true, authorities };
  const socket = await openSocket({ host, port }, secured ? trust : undefined, seconds, way);
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no answer within ${seconds} seconds`));
      socket.destroy();
    }, seconds * 1000);
    const request = http.request(url, {
      method: body === undefined ? 'GET' : 'POST',
      // The URL's scheme has been seen to above: the socket speaks TLS already.
      protocol: 'http:',
      createConnection: () => socket,
      headers: { ...headers, Connection: 'close' },
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
      const { statusCode: status = 0, headers: told } = response;
      response.on('end', () => resolve({ status, type: told['content-type'] ?? '', text }));
    });
    request.end(body);
  });
}
