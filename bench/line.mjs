// A line with a round trip: hands on what it gets after half of it, in each direction, and the greeting of a
// connection after one and a half, as TCP's own would take. Prints its port, and on SIGTERM the bytes that
// went to the relay.
//   node bench/line.mjs PORT MILLISECONDS
import { createConnection, createServer } from 'node:net';

const [port, roundTrip] = process.argv.slice(2).map(Number);
let bytes = 0;

const server = createServer({ noDelay: true }, (client) => {
  setTimeout(() => {
    const relay = createConnection({ host: '127.0.0.1', port, noDelay: true });
    client.on('data', (chunk) => {
      bytes += chunk.length;
    });
    join(client, relay);
    join(relay, client);
  }, roundTrip);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.on('SIGTERM', () => {
  process.stdout.write(`${bytes}\n`, () => process.exit());
});

function join(from, to) {
  const later = (action) => (roundTrip === 0 ? action() : setTimeout(action, roundTrip / 2));
  from.on('data', (chunk) => later(() => to.write(chunk)));
  from.on('end', () => later(() => to.end()));
  from.on('error', () => to.destroy());
}
