// A relay that takes everything; prints its port, then a line for each connection. It offers PIPELINING,
// and CHUNKING too where it is told so.
//   node bench/relay.mjs [--chunking]
import { createServer } from 'node:net';

const offers = ['bench.example', 'PIPELINING'];
if (process.argv.includes('--chunking')) offers.push('CHUNKING');
const greeting = offers.map((word, n) => `250${n + 1 < offers.length ? '-' : ' '}${word}\r\n`);

const server = createServer({ noDelay: true }, (socket) => {
  console.log('connection');
  let inMessage = false;
  let chunk = 0;
  let rest = '';
  socket.on('error', () => undefined);
  socket.write('220 bench.example\r\n');
  socket.on('data', (bytes) => {
    rest += bytes.toString('latin1');
    let answer = '';
    for (;;) {
      const skipped = Math.min(chunk, rest.length);
      if (skipped > 0) {
        rest = rest.slice(skipped);
        chunk -= skipped;
        if (chunk === 0) answer += '250 ok\r\n';
      }
      const mark = inMessage ? '\r\n.\r\n' : '\r\n';
      const end = chunk > 0 ? -1 : rest.indexOf(mark);
      if (end === -1) break;
      const line = rest.slice(0, end);
      rest = rest.slice(end + mark.length);
      if (inMessage) {
        inMessage = false;
        answer += '250 ok\r\n';
        continue;
      }
      inMessage = line === 'DATA';
      if (line.startsWith('BDAT')) chunk = Number(line.split(' ')[1]);
      else if (inMessage) answer += '354 go on\r\n';
      else if (line.startsWith('EHLO')) answer += greeting.join('');
      else answer += line === 'QUIT' ? '221 bye\r\n' : '250 ok\r\n';
    }
    // Of a message only what may be half of its end is still of interest.
    if (inMessage) rest = rest.slice(-4);
    if (answer !== '') socket.write(answer);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
