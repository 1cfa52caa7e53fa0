// A relay inside the test process, for tests that look at what arrives rather than at who takes it.
import { once } from 'node:events';
import { SMTPServer } from 'smtp-server';
import { freePort } from './process.ts';

/** One accepted transaction. */
export interface Received {
  readonly from: string;
  readonly to: readonly string[];
  /** The message as it came over the wire, dots taken off, with LF line ends. */
  readonly message: string;
}

/** A relay that accepts everything on a port of the loopback, on a free one unless it is given. */
export interface Sink {
  readonly port: number;
  /** All transactions so far. */
  readonly received: readonly Received[];
  stop(): Promise<void>;
}

export async function startSink(at?: number): Promise<Sink> {
  const received: Received[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    disableReverseLookup: true,
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        received.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          message: Buffer.concat(chunks).toString().replaceAll('\r\n', '\n'),
        });
        done();
      });
    },
  });
  const port = at ?? (await freePort());
  const listener = server.listen(port, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port,
    received,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
