/**
 * `npm start`: the main job, on a relay of its own on loopback and a scratch folder. Runs the real
 * programs of bin/ and shows what they do; ends by itself.
 *
 *     npm start                                        a sample message
 *     npm start -- someone@example.org < message       your message, your recipient
 */
import { spawn } from 'node:child_process';
import {
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SMTPServer } from 'smtp-server';

const BIN = join(import.meta.dirname, '..', 'bin');
const PORT = 0;
const SAMPLE = `Subject: The backup of tonight
To: %TO%

Everything was copied.
.
The line above is a lone dot; it arrives like any other.
`;

const folder = mkdtempSync(join(tmpdir(), 'picorelay-demo-'));
const controlFolder = join(folder, 'control');
const spoolFolder = join(folder, 'spool');
const maildir = join(folder, 'Maildir');
const recipient = process.argv[2] ?? 'someone@example.org';

for (const path of [
  controlFolder,
  maildir,
  ...['tmp', 'new', 'cur'].map((name) => join(maildir, name)),
]) {
  mkdirSync(path);
}

const message = (await readStandardInput()) ?? SAMPLE.replace('%TO%', recipient);
let server = await startRelay(PORT);
const port = portOf(server);
control('me', 'demo.example.net');
control('relay', `smtp://127.0.0.1:${port}`);
control('spooldir', spoolFolder);
// The demonstration runs the runner by hand, so that each step can be seen.
control('immediate', 'off');
control('log', join(folder, 'log'));

title('1. A message is accepted: one file in the spool for the recipient');
await show('sendmail', ['-i', '-f', 'root@demo.example.net', recipient], message);
const [entry = ''] = entries();
print(`   spool/${entry}`);

title('2. It is offered to the relay');
await show('picorelay-send', ['-v', entry]);

title('3. The message as it was delivered');
const [delivered = ''] = readdirSync(join(maildir, 'new'));
print(indent(head(readFileSync(join(maildir, 'new', delivered), 'utf8'), 14)));

title('4. The relay is down: mail is accepted all the same, and waits');
await stopRelay(server);
await show('sendmail', ['-t'], `To: ${recipient}\nCc: ann@example.org\nSubject: waits\n\nLater.\n`);
await show('picorelay-cron', []);
await show('picorelay', ['list']);

title('5. The relay is back: cron would find it within a minute, and we do not wait');
server = await startRelay(port);
await show('picorelay', ['retry', '--all']);
await show('picorelay', ['list']);

title('6. One recipient is refused: it lies in Undelivered beside the relay’s words');
await show('sendmail', [recipient, 'nobody@example.org'], 'Subject: one of two\n\nHello.\n');
await show('picorelay-cron', []);
for (const name of readdirSync(join(spoolFolder, 'Undelivered')).sort()) {
  print(`   Undelivered/${name}`);
  if (name.endsWith('.result')) {
    print(indent(readFileSync(join(spoolFolder, 'Undelivered', name), 'utf8').trimEnd(), 6));
  }
}
await stopRelay(server);

title('Where things lie');
print(`   ${folder}
     control/     the settings, one line a file
     spool/       the queue: spool/spool, and Undelivered with the reasons
     log          one line an event
     Maildir/new  what the relay got (${readdirSync(join(maildir, 'new')).length} messages)

   To send through your own relay:
     echo smtp://you@smtp.example.com:587 > ${controlFolder}/relay
     install -m 600 /dev/null ${controlFolder}/authpassword
     cat > ${controlFolder}/authpassword      (type the password, then Ctrl-D)
     PICORELAY_CONTROL=${controlFolder} ${join(BIN, 'sendmail')} -i you@example.com < message
     PICORELAY_CONTROL=${controlFolder} ${join(BIN, 'picorelay')} run --once -v`);

function control(name: string, value: string): void {
  writeFileSync(join(controlFolder, name), `${value}\n`);
}

/** The names of the queue's entries. */
function entries(): string[] {
  return readdirSync(join(spoolFolder, 'spool')).filter((name) => !name.endsWith('.result'));
}

/** Runs one of the programs, showing the command and what it prints. */
async function show(program: string, args: readonly string[], input = ''): Promise<void> {
  const words = args.map((arg) => (/^[\w@.:%=+/-]+$/.test(arg) ? arg : `'${arg}'`));
  print(` $ ${[program, ...words].join(' ')}${input === '' ? '' : ' < message'}`);
  const child = spawn(join(BIN, program), args, {
    env: { PATH: '/usr/bin:/bin', PICORELAY_CONTROL: controlFolder },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.end(input);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (output !== '') print(indent(output.trimEnd()));
  if (status !== 0) print(`   (exit status ${status})`);
}

/** A relay on loopback that keeps what it gets in the Maildir and knows no "nobody". */
async function startRelay(onPort: number): Promise<SMTPServer> {
  const relay = new SMTPServer({
    name: 'relay.demo.example.net',
    banner: 'a demonstration',
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    disableReverseLookup: true,
    logger: false,
    onRcptTo: ({ address }, _session, done) => {
      if (address.startsWith('nobody@')) {
        done(Object.assign(new Error('5.1.1 there is nobody of that name'), { responseCode: 550 }));
      } else {
        done();
      }
    },
    onData: (stream, session, done) => {
      const parts: Buffer[] = [];
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('end', () => {
        const name = `${Date.now()}.${session.id}-${readdirSync(join(maildir, 'new')).length}.demo`;
        writeFileSync(join(maildir, 'tmp', name), Buffer.concat(parts));
        renameSync(join(maildir, 'tmp', name), join(maildir, 'new', name));
        done(null, '2.0.0 kept in the Maildir');
      });
    },
  });
  await new Promise<void>((resolve) => relay.listen(onPort, '127.0.0.1', resolve));
  return relay;
}

async function stopRelay(relay: SMTPServer): Promise<void> {
  await new Promise<void>((resolve) => relay.close(resolve));
}

function portOf(relay: SMTPServer): number {
  const address = relay.server.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  return address.port;
}

/** The message on standard input, if somebody gives one. */
async function readStandardInput(): Promise<string | undefined> {
  const status = fstatSync(0);
  if (process.stdin.isTTY || !(status.isFile() || status.isFIFO() || status.isSocket()))
    return undefined;
  const parts: Buffer[] = [];
  const read = (async () => {
    for await (const part of process.stdin) parts.push(part as Buffer);
    return true;
  })();
  // A pipe that nobody writes to must not hold the demonstration.
  const begun = await Promise.race([read, sleep(1000, false)]);
  if (!begun && parts.length === 0) {
    process.stdin.destroy();
    await read.catch(() => false);
    return undefined;
  }
  await read;
  const text = Buffer.concat(parts).toString('latin1');
  return text === '' ? undefined : Buffer.from(text, 'latin1').toString('utf8');
}

function head(text: string, lines: number): string {
  const all = text.trimEnd().split(/\r?\n/);
  const shown = all.slice(0, lines);
  if (all.length > lines) shown.push(`(and ${all.length - lines} more lines)`);
  return shown.join('\n');
}

function indent(text: string, by = 3): string {
  return text.replace(/^/gm, ' '.repeat(by));
}

function title(text: string): void {
  print(`\n${text}`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
