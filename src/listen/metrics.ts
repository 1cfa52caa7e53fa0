/**
 * Answers GET /metrics over HTTP, on loopback as a rule: figures only, no mail and no address but what the
 * text holds. Hostile input: every request; it is bounded by Node's parser and by short deadlines, and of
 * it only method and path are looked at.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';

export interface MetricsDoor {
  readonly port: number;
  close(): Promise<void>;
}

/** Connections at a time; whoever scrapes has one. */
const CONNECTIONS = 20;

/** Milliseconds that a request may take. */
const DEADLINE = 5000;

/**
 * @param text the metrics as of now
 * @param complain told why a request could not be answered
 * @throws the system call's error when the address cannot be listened at
 */
export async function openMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  text: () => string,
  complain: (reason: string) => void,
): Promise<MetricsDoor> {
  const server = createServer({ maxHeaderSize: 8192 }, ({ method, url }, response) => {
    const say = (status: number, body: string): void => {
      response.writeHead(status, {
        'Content-Type': 'text/plain; version=0.0.4; charset=utf-8',
        'Cache-Control': 'no-store',
        Connection: 'close',
      });
      response.end(method === 'HEAD' ? undefined : body);
    };
    if (url?.split('?', 1)[0] !== '/metrics') {
      say(404, 'only /metrics is here\n');
    } else if (method !== 'GET' && method !== 'HEAD') {
      say(405, 'only GET and HEAD\n');
    } else {
      try {
        say(200, text());
      } catch (error) {
        complain(`metrics: ${error instanceof Error ? error.message : String(error)}`);
        say(500, 'the spool cannot be read; the log has more\n');
      }
    }
  });
  server.maxConnections = CONNECTIONS;
  server.headersTimeout = DEADLINE;
  server.requestTimeout = DEADLINE;
  server.timeout = 2 * DEADLINE;
  server.listen(port, host);
  await once(server, 'listening');
  server.on('error', (error) => complain(`metrics: ${error.message}`));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Reads `[ADDRESS:]PORT`, an IPv6 address in brackets; undefined for any other text. */
export function parseListen(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, plain, digits] =
    /^(?:\[([0-9A-Fa-f:.]{2,45})\]:|([A-Za-z0-9.-]{1,253}):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) return undefined;
  return { host: bracketed ?? plain ?? '127.0.0.1', port };
}
