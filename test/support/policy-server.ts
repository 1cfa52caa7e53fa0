// Serves an MTA-STS policy (RFC 8461) over HTTPS on an address of the loopback, at the one port that
// there is for it.
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { TestContext } from 'node:test';
import type { Certificate } from './certificates.ts';

/** Why tests that need port 443 are skipped, or false. */
export const notRoot: string | false = process.getuid?.() === 0 ? false : 'port 443 needs root';

export interface PolicyServer {
  text: string;
  status: number;
  type: string;
  readonly requests: number;
}

/** Starts a server that ends with the test. */
export async function startPolicyServer(
  t: Pick<TestContext, 'after'>,
  host: string,
  certificate: Certificate,
): Promise<PolicyServer> {
  let requests = 0;
  const state = {
    text: '',
    status: 200,
    type: 'text/plain',
    get requests() {
      return requests;
    },
  };
  const server = createServer({ ...certificate }, (request, response) => {
    requests++;
    const known = request.url === '/.well-known/mta-sts.txt';
    response.writeHead(known ? state.status : 404, { 'Content-Type': state.type });
    response.end(state.text);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(443, host);
  await once(server, 'listening');
  t.after(() => server.close());
  return state;
}
