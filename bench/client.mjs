// Sends messages from memory to a relay, for the part `relay` of bench.mjs:
//   client.mjs picorelay|nodemailer PORT CONNECTIONS MESSAGES OCTETS
// Each connection is kept; as many messages are under way on it as the program would have.
import { once } from 'node:events';

const [who, port, connections, messages, octets] = process.argv.slice(2);
const head = 'From: Bench <bench@bench.example>\r\nTo: user@dest.example\r\nSubject: bench\r\n\r\n';
const line = `${'all work and no play makes jack a dull boy. '.repeat(2).slice(0, 71)}\r\n`;
const message = Buffer.from(head + line.repeat(Math.ceil((octets - head.length) / line.length)));
const envelope = { from: 'bench@bench.example', to: ['user@dest.example'] };
let left = Number(messages);

const opened = { picorelay, nodemailer };
await Promise.all(Array.from({ length: Number(connections) }, () => opened[who]()));

async function picorelay() {
  const { Session } = await import('../build/src/relay/session.js');
  const seconds = 300;
  const session = await Session.open({
    relay: { scheme: 'smtp', host: '127.0.0.1', port: Number(port), user: undefined },
    helo: 'bench.example',
    tls: 'off',
    authorities: undefined,
    login: undefined,
    cleartextLogin: false,
    timeouts: Object.fromEntries(
      'connect greeting helo mail rcpt data block dot quit session'
        .split(' ')
        .map((name) => [name, seconds]),
    ),
  });
  const transaction = {
    sender: envelope.from,
    recipients: envelope.to.map((address) => ({ address })),
    size: message.length,
    eightBit: false,
    *pieces() {
      for (let at = 0; at < message.length; at += 1 << 16) {
        yield message.subarray(at, at + (1 << 16));
      }
    },
  };
  const flight = new Set();
  while (left > 0) {
    left -= 1;
    const sent = session.send(transaction).then(([answer]) => {
      flight.delete(sent);
      if (answer.stage !== 'dot' || answer.event.reply?.code !== 250) throw new Error('not taken');
    });
    flight.add(sent);
    if (flight.size >= session.depth(8)) await Promise.race(flight);
  }
  await Promise.all(flight);
  await session.close();
}

async function nodemailer() {
  const { default: SMTPConnection } = await import('nodemailer/lib/smtp-connection');
  const connection = new SMTPConnection({ host: '127.0.0.1', port: Number(port), ignoreTLS: true });
  await new Promise((done, fail) => {
    connection.once('error', fail);
    connection.connect(done);
  });
  while (left > 0) {
    left -= 1;
    await new Promise((done, fail) => {
      connection.send({ ...envelope }, message, (error) => (error ? fail(error) : done()));
    });
  }
  connection.quit();
  await once(connection, 'end');
}
