// A relay that takes everything; prints its port, then a line for each connection. Its messages end with
// a dot only: it offers PIPELINING and no CHUNKING.
import { createServer } from 'node:net';

const server = createServer({ noDelay: true }, (socket) => {
  console.log('connection');
  let inMessage = false;
  let rest = '';
  socket.on('error', () => undefined);
  socket.write('220 bench.example\r\n');
  socket.on('data', (chunk) => {
    const lines = (rest + chunk.toString('latin1')).split('\r\n');
    rest = lines.pop() ?? '';
    let answer = '';
    for (const line of lines) {
      if (inMessage && line !== '.') continue;
      inMessage = line === 'DATA';
      if (inMessage) answer += '354 go on\r\n';
      else if (line.startsWith('EHLO')) answer += '250-bench.example\r\n250 PIPELINING\r\n';
      else answer += line === 'QUIT' ? '221 bye\r\n' : '250 ok\r\n';
    }
    if (answer !== '') socket.write(answer);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
