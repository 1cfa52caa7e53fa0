import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connectRelay, SessionError } from '../../src/relay/connect.ts';
import { Session } from '../../src/relay/session.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { sessionOptions, startScripted } from '../support/scripted.ts';

const TRUST = { verify: true, authorities: undefined };

async function listen(t: TestContext, serve: (socket: net.Socket) => unknown): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    void serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

/** Reads what a client sends until it is complete, then goes on. */
async function take(socket: net.Socket, complete: (bytes: Buffer) => boolean): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  while (!complete(bytes)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  return bytes;
}

/** Joins the client to a port of this machine; the first octets go out with the proxy's own answer. */
function joinTo(socket: net.Socket, port: number, answer: Buffer): void {
  const other = net.connect(port, '127.0.0.1');
  other.on('error', () => socket.destroy());
  other.once('data', (greeting: Buffer) => {
    socket.write(Buffer.concat([answer, greeting]));
    socket.pipe(other).pipe(socket);
  });
}

interface Asked {
  name?: string;
  login?: string;
}

async function startSocks(
  t: TestContext,
  target: number,
  asked: Asked,
  login = false,
): Promise<number> {
  return await listen(t, async (socket) => {
    await take(socket, (bytes) => bytes.length >= 2 + (bytes[1] ?? 0));
    socket.write(Buffer.from([5, login ? 2 : 0]));
    if (login) {
      const said = await take(socket, (bytes) => {
        const user = bytes[1] ?? 255;
        return bytes.length >= 3 + user + (bytes[2 + user] ?? 255);
      });
      asked.login = said.toString('latin1');
      socket.write(Buffer.from([1, 0]));
    }
    const request = await take(socket, (bytes) => {
      const length = bytes[3] === 1 ? 4 : bytes[3] === 4 ? 16 : 1 + (bytes[4] ?? 255);
      return bytes.length >= 4 + length + 2;
    });
    asked.name = request.subarray(3).toString('latin1');
    joinTo(socket, target, Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 25]));
  });
}

async function startConnect(t: TestContext, target: number, asked: Asked): Promise<number> {
  return await listen(t, async (socket) => {
    const head = (await take(socket, (bytes) => bytes.includes('\r\n\r\n'))).toString();
    asked.name = head.split('\r\n', 1)[0] ?? '';
    asked.login = /^Proxy-Authorization: (.*)$/m.exec(head)?.[1] ?? '';
    joinTo(socket, target, Buffer.from('HTTP/1.1 200 fine\r\nVia: test\r\n\r\n'));
  });
}

function refusal(pattern: RegExp, stage = 'connect') {
  return (error: unknown): boolean => {
    assert.ok(error instanceof SessionError, String(error));
    assert.equal(error.stage, stage);
    assert.match(JSON.stringify(error.event), pattern);
    return true;
  };
}

test('A relay is reached on a Unix socket, without TLS and whatever the proxy.', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-socket-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'smtp');
  const scripted = await startScripted(t, { path, offers: ['STARTTLS'] });
  const relay = { scheme: 'smtp', host: 'localhost', port: 0, user: undefined, path } as const;
  const proxy = {
    scheme: 'http',
    host: '127.0.0.1',
    port: 1,
    user: undefined,
    password: undefined,
  } as const;
  const session = await Session.open(sessionOptions({ relay, way: { proxy } }));
  await session.close();
  assert.deepEqual(scripted.lines, ['EHLO client.test', 'QUIT']);
  const missing = connectRelay({ ...relay, path: join(folder, 'none') }, TRUST, 5);
  await assert.rejects(missing, refusal(/ENOENT/));
});

test('Connections come from the source address of their family.', async (t) => {
  const scripted = await startScripted(t);
  const relay = {
    scheme: 'smtp',
    host: '127.0.0.1',
    port: scripted.port,
    user: undefined,
  } as const;
  const source = { ipv4: '127.0.0.5', ipv6: '::1' };
  const session = await Session.open(sessionOptions({ relay, way: { source } }));
  assert.equal(scripted.sockets[0]?.remoteAddress, '127.0.0.5');
  await session.close();
  const wrong = connectRelay(relay, TRUST, 5, { source: { ipv6: '::1' } });
  await assert.rejects(wrong, refusal(/sourceaddress has no IPv4 address/));
  const foreign = connectRelay(relay, TRUST, 5, { source: { ipv4: '192.0.2.1' } });
  await assert.rejects(foreign, refusal(/EADDRNOTAVAIL|EINVAL/));
  // By name, the family that does not work costs nothing.
  const named = await connectRelay({ ...relay, host: 'localhost' }, TRUST, 5, { source });
  assert.equal(named.localAddress, '127.0.0.5');
  named.destroy();
});

test('A SOCKS 5 proxy gets the name of the relay, and the login where one is named.', async (t) => {
  const scripted = await startScripted(t);
  for (const [host, kind] of [
    ['relay.invalid', `\x03\x0drelay.invalid`],
    ['192.0.2.1', '\x01\xc0\x00\x02\x01'],
    ['2001:db8::1', `\x04\x20\x01\x0d\xb8${'\0'.repeat(11)}\x01`],
  ] as const) {
    for (const user of [undefined, 'me']) {
      const asked: Asked = {};
      const port = await startSocks(t, scripted.port, asked, user !== undefined);
      const proxy = {
        scheme: 'socks5',
        host: '127.0.0.1',
        port,
        user,
        password: 'secret',
      } as const;
      const relay = { scheme: 'smtp', host, port: 587, user: undefined } as const;
      const session = await Session.open(sessionOptions({ relay, tls: 'off', way: { proxy } }));
      await session.close();
      assert.equal(asked.name, `${kind}\x02\x4b`);
      assert.equal(asked.login, user === undefined ? undefined : '\x01\x02me\x06secret');
    }
  }
});

test('An HTTP proxy is asked to CONNECT, also for TLS from the first byte.', {
  skip: noOpenssl,
}, async (t) => {
  const certificate = makeCertificate(['DNS:relay.invalid']);
  const clear = await startScripted(t);
  const asked: Asked = {};
  const way = (port: number) => ({
    proxy: { scheme: 'http', host: '127.0.0.1', port, user: 'me', password: 'secret' } as const,
  });
  const relay = { scheme: 'smtp', host: 'relay.invalid', port: 25, user: undefined } as const;
  const first = way(await startConnect(t, clear.port, asked));
  await (await Session.open(sessionOptions({ relay, tls: 'off', way: first }))).close();
  assert.equal(asked.name, 'CONNECT relay.invalid:25 HTTP/1.1');
  assert.equal(asked.login, `Basic ${Buffer.from('me:secret').toString('base64')}`);

  const speaker = (line: string) => (line === 'STARTTLS' ? 'STARTTLS' : undefined);
  const upgraded = await startScripted(t, { certificate, offers: ['STARTTLS'], speaker });
  const second = way(await startConnect(t, upgraded.port, asked));
  const options = { authorities: certificate.cert, way: second };
  await (await Session.open(sessionOptions({ relay, ...options }))).close();
  assert.deepEqual(upgraded.lines, ['EHLO client.test', 'STARTTLS', 'EHLO client.test', 'QUIT']);
});

test('A proxy that refuses or makes no sense is named with its reason.', async (t) => {
  const table: ['socks5' | 'http', Buffer | undefined, RegExp][] = [
    ['socks5', Buffer.from([4, 0]), /no SOCKS 5 server/],
    ['socks5', Buffer.from([5, 255]), /asks for a login/],
    ['socks5', Buffer.from([5, 0, 5, 5, 0, 1]), /connection was refused/],
    ['socks5', Buffer.from([5, 0, 5, 99, 0, 1]), /code 99/],
    ['socks5', Buffer.from([5, 0, 5, 0, 0, 9]), /no SOCKS 5 server/],
    ['socks5', undefined, /closed the connection/],
    ['http', Buffer.from('HTTP/1.1 407 who are \x1b you\r\n\r\n'), /407 who are \\\\x1b you/],
    ['http', Buffer.from('220 mail\r\n\r\n'), /no HTTP proxy/],
    ['http', Buffer.alloc(40_000, 'x'), /too long/],
    ['http', undefined, /closed the connection/],
  ];
  for (const [scheme, answer, reason] of table) {
    const port = await listen(t, (socket) => {
      socket.once('data', () => (answer === undefined ? socket.destroy() : socket.write(answer)));
    });
    const proxy = { scheme, host: '127.0.0.1', port, user: undefined, password: undefined };
    const relay = { scheme: 'smtp', host: 'relay.invalid', port: 25, user: undefined } as const;
    await assert.rejects(connectRelay(relay, TRUST, 5, { proxy }), refusal(reason));
  }
});

test('A proxy that says nothing is given up at the deadline, and its connection closed.', async (t) => {
  let closed = false;
  const port = await listen(t, (socket) => {
    socket.resume();
    socket.on('close', () => {
      closed = true;
    });
  });
  const proxy = {
    scheme: 'socks5',
    host: '127.0.0.1',
    port,
    user: undefined,
    password: undefined,
  } as const;
  const relay = { scheme: 'smtp', host: 'relay.invalid', port: 25, user: undefined } as const;
  await assert.rejects(connectRelay(relay, TRUST, 0.2, { proxy }), refusal(/timeout/));
  while (!closed) await new Promise((resolve) => setImmediate(resolve));
});

for (const chunking of [false, true]) {
  test(`LMTP answers for each recipient${chunking ? ', with CHUNKING too' : ''}.`, async (t) => {
    const extensions = ['PIPELINING', ...(chunking ? ['CHUNKING'] : [])];
    let text = '';
    const folder = mkdtempSync(join(tmpdir(), 'picorelay-lmtp-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'lmtp');
    const speaker = (line: string): string | undefined => {
      text += `${line}\n`;
      if (line.includes('<b@')) return '550 5.1.1 no b';
      if (line === '.' || line === 'message')
        return '250 2.0.0 a\n452 4.2.2 c is full\n250 2.0.0 d';
      if (line.startsWith('BDAT')) return '';
      return undefined;
    };
    await startScripted(t, { path, offers: extensions, speaker });
    const relay = { scheme: 'lmtp', host: 'localhost', port: 0, user: undefined, path } as const;
    const session = await Session.open(sessionOptions({ relay }));
    for (let round = 0; round < 2; round++) {
      const answers = await session.send({
        sender: 's@x.test',
        recipients: ['a', 'b', 'c', 'd'].map((name) => ({ address: `${name}@x.test` })),
        size: 9,
        eightBit: false,
        pieces: () => [Buffer.from('message\r\n')],
      });
      assert.deepEqual(
        answers.map(({ stage, event }) => [stage, event.kind === 'reply' && event.reply.lines[0]]),
        [
          ['dot', '2.0.0 a'],
          ['rcpt', '5.1.1 no b'],
          ['dot', '4.2.2 c is full'],
          ['dot', '2.0.0 d'],
        ],
      );
    }
    await session.close();
    assert.match(text, /^LHLO client\.test\n/);
    assert.equal(/BDAT/.test(text), chunking);
  });
}

test('What OpenSSL says is told without its numbers and source files.', async (t) => {
  const port = await listen(t, (socket) => socket.end('220 relay.test\r\n'));
  const relay = { scheme: 'smtps', host: '127.0.0.1', port, user: undefined } as const;
  await assert.rejects(connectRelay(relay, TRUST, 10), (error) => {
    assert.ok(error instanceof SessionError && error.event.kind === 'closed');
    assert.equal(error.event.reason, 'TLS: wrong version number');
    return true;
  });
});
