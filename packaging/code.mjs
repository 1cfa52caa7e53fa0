// Has each program's code kept (packaging/code.cjs), by running it once on a spool of its own beside a
// relay that takes everything. What runs here starts fast later; what does not is compiled when needed.
//   node packaging/code.mjs    does so for the programs beside it: a package calls this where it is installed
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MESSAGE = 'From: a@build.test\nTo: b@build.test\nSubject: build\n\nHello.\n';

/** Writes dist/PROGRAM.code for each dist/PROGRAM that packaging/start.cjs starts. */
export async function keepCode(root) {
  const site = mkdtempSync(join(tmpdir(), 'picorelay-build-'));
  const relay = await startRelay();
  const control = {
    me: 'build.test',
    spooldir: join(site, 'spool'),
    relay: `smtp://127.0.0.1:${relay.address().port}`,
    immediate: 'off',
    log: join(site, 'log'),
  };
  mkdirSync(join(site, 'control'));
  for (const [name, value] of Object.entries(control)) {
    writeFileSync(join(site, 'control', name), `${value}\n`);
  }
  const program = (name, args, input = '', envelope) =>
    run(root, name, args, input, envelope, { PICORELAY_CONTROL: join(site, 'control') });
  try {
    await program('sendmail', ['-t'], MESSAGE);
    await program('qmail-queue', [], MESSAGE, 'Fa@build.test\0Tb@build.test\0\0');
    await program('qmail-inject', [], MESSAGE);
    const [first] = readdirSync(join(site, 'spool', 'spool'));
    await program('picorelay-send', ['--', first]);
    await program('picorelay-cron', []);
  } finally {
    relay.close();
    rmSync(site, { recursive: true, force: true });
  }
}

const self = fileURLToPath(import.meta.url);
if (realpathSync(process.argv[1]) === self) await keepCode(dirname(dirname(self)));

async function run(root, name, args, input, envelope, env) {
  const file = readdirSync(join(root, 'dist')).find((each) => each.startsWith(`${name}-`));
  const paths = [
    join(root, 'packaging', 'code.cjs'),
    join(root, 'dist', file),
    join(root, 'bin', name),
  ];
  const child = spawn(process.execPath, [...paths, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['pipe', envelope === undefined ? 'ignore' : 'pipe', 'inherit'],
  });
  child.stdin.end(input);
  // Descriptor 1 is the child's to read: node makes a socket of it, which takes both directions.
  child.stdio[1]?.end(envelope);
  const [status] = await once(child, 'exit');
  if (status !== 0) throw new Error(`${name} ended with ${status} while its code was to be kept`);
}

async function startRelay() {
  const server = createServer((socket) => {
    let inMessage = false;
    socket.write('220 build.test\r\n');
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
        if (inMessage && line !== '.') continue;
        inMessage = line === 'DATA';
        if (inMessage) socket.write('354 go on\r\n');
        else if (line.startsWith('EHLO')) socket.write('250-build.test\r\n250 PIPELINING\r\n');
        else socket.write(line === 'QUIT' ? '221 bye\r\n' : '250 ok\r\n');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
