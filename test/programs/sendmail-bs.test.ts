// sendmail -bs as its callers start it: the dialogues of test/dialogues/server over two pipes, swaks,
// and input that ends too early.
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { answers, readDialogue } from '../support/dialogue.ts';
import { run, waitFor } from '../support/process.ts';
import { EXTENSIONS, startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const START = 'MAIL FROM:<a@site.test>\r\nRCPT TO:<b@relayed.test>\r\nDATA\r\n';

function hostSite(t: TestContext): Site {
  const site = siteFor(t);
  site.control('me', 'host.test');
  return site;
}

const dialogues: readonly [name: string, args: readonly string[]][] = [
  ['symfony.txt', ['-bs']],
  ['alpine.txt', ['-bs', '-odq', '-oem']],
  ['pipelining.txt', ['-bs']],
  ['script.txt', ['-bs']],
  ['order.txt', ['-i', '-bs']],
];

for (const [name, args] of dialogues) {
  test(`a client gets the answers of the dialogue ${name}`, async (t) => {
    const site = hostSite(t);
    const dialogue = readDialogue(name);
    const client = start(site, args);
    t.after(() => client.child.kill('SIGKILL'));
    for (const { send, answer } of dialogue.steps) {
      if (send.length > 0) client.child.stdin.write(send);
      const lines = await client.hear(answer.length);
      assert.ok(answers(answer, lines), `${send}\n${lines.join('\n')}`);
    }
    await client.end();
    assert.deepEqual(
      { status: client.child.exitCode, rest: client.unheard(), errors: client.errors() },
      { status: 0, rest: '', errors: '' },
    );
    assert.deepEqual(
      envelopes(site).sort(),
      dialogue.queued.map((each) => each.replace('daemon', 'daemon@host.test')).sort(),
    );
  });
}

test('a relay is told of SMTPUTF8 where the client asked for it, though no address needs it', async (t) => {
  const site = hostSite(t);
  const relay = await startRelay(t, { extensions: [...EXTENSIONS, 'SMTPUTF8'] });
  site.relays(relay.port);
  const message = 'From: Jörg <j@site.test>\r\n\r\nx\r\n.\r\n';
  const asked = START.replace('\r\n', ' BODY=8BITMIME SMTPUTF8\r\n') + message;
  await site.run('sendmail', ['-bs'], `${asked}${START}${message}QUIT\r\n`);
  await site.run('picorelay-cron');
  // The sizes differ by the digits of a microsecond.
  const parameters = relay.received
    .map((each) => each.parameters.replace(/SIZE=\d+ /, ''))
    .toSorted();
  assert.equal(parameters.length, 2);
  assert.match(parameters[0] ?? '', /\bBODY=8BITMIME$/);
  assert.match(parameters[1] ?? '', /\bBODY=8BITMIME SMTPUTF8$/);
});

test('mail that requires TLS is refused with 5.7.30 by this host where the relay cannot promise it', async (t) => {
  const site = hostSite(t);
  const relay = await startRelay(t, { extensions: [...EXTENSIONS, 'REQUIRETLS'] });
  site.relays(relay.port);
  const asked = START.replace('\r\n', ' REQUIRETLS\r\n');
  await site.run('sendmail', ['-bs'], `${asked}x\r\n.\r\n${START}y\r\n.\r\nQUIT\r\n`);
  await site.run('sendmail', ['-O', 'requiretls=yes', 'c@relayed.test'], 'Subject: z\n');
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['b@relayed.test']);
  const refused = [...site.undelivered()].filter(([name]) => name.endsWith('.result'));
  assert.equal(refused.length, 2);
  for (const [, text] of refused) assert.match(text, /550 5\.7\.30 picorelay: /);
});

test('Symfony finds the id of its message in the answer', async (t) => {
  const site = hostSite(t);
  const { stdout } = await site.run('sendmail', ['-bs'], `${START}x\r\n.\r\nQUIT\r\n`);
  // What its transport looks for, word for word as it is documented to users: "Ok: queued as ID".
  const [, id = ''] = /^250 (?:\S+ )?Ok: queued as ([A-Z0-9._-]+)/im.exec(stdout) ?? [];
  assert.match(id, /^\d{8}T\d{6}\.\d{6}Z$/);
  assert.ok(site.queued()[0]?.startsWith(id));
});

test('the message is stored as it was meant, with what its header lacked', async (t) => {
  const site = hostSite(t);
  const body = 'Käse\r\n..\r\n..two\r\n';
  const input = `${START}Subject: x\r\nBcc: secret@relayed.test\r\n\r\n${body}.\r\nQUIT\r\n`;
  const { status } = await site.run('sendmail', ['-bs', '-F', 'Ann'], input);
  assert.equal(status, 0);
  const [text = ''] = stored(site);
  assert.match(text, /\r\nFrom: "Ann" <a@site\.test>\r\n/);
  assert.match(text, /\r\nMessage-ID: <[^>]+@host\.test>\r\n/);
  assert.match(text, /\r\nDate: /);
  assert.doesNotMatch(text, /secret/);
  assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), 'KÃ¤se\r\n.\r\n.two\r\n');
});

test('a large message goes through whole, with its dots', async (t) => {
  const site = hostSite(t);
  const lines = Array.from(
    { length: 60_000 },
    (_, index) => `${'.'.repeat(index % 3)}line ${index}`,
  );
  const stuffed = lines.map((line) => line.replace(/^\./, '..')).join('\r\n');
  const { status } = await site.run('sendmail', ['-bs'], `${START}\r\n${stuffed}\r\n.\r\nQUIT\r\n`);
  assert.equal(status, 0);
  const [text = ''] = stored(site);
  assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), `${lines.join('\r\n')}\r\n`);
});

test('input that ends within a message: nothing of it is queued, and the status says try again', async (t) => {
  const site = hostSite(t);
  const cut = await site.run('sendmail', ['-bs'], `${START}one\r\n.\r\n${START}two\r\n.`);
  assert.equal(cut.status, 75);
  assert.equal(cut.stderr, 'sendmail: the input ended within a message; it was not queued\n');
  assert.equal(site.queued().length, 1);
  const gone = await site.run('sendmail', ['-bs'], 'EHLO client.test\r\nQUI');
  assert.deepEqual([gone.status, gone.stderr], [0, '']);
});

test('a spool that cannot be made is told to the client, and the session goes on', async (t) => {
  const site = hostSite(t);
  site.control('spooldir', '/dev/null/spool');
  const { status, stdout } = await site.run(
    'sendmail',
    ['-bs'],
    `${START}x\r\n.\r\nNOOP\r\nQUIT\r\n`,
  );
  assert.equal(status, 0);
  assert.match(stdout, /354 .*\r\n451 4\.3\.0 ENOTDIR[^\r]*\r\n250 2\.0\.0 Ok\r\n221 /);
});

test('queued mail is sent while the session lasts', async (t) => {
  const site = hostSite(t);
  // The relay refuses connections: an attempt is made, and the entry waits for the next one.
  site.control('relay', 'smtp://127.0.0.1:1');
  const client = start(site, ['-bs', '-odi']);
  t.after(() => client.child.kill('SIGKILL'));
  client.child.stdin.write(`${START}x\r\n.\r\n`);
  const heard = await client.hear(5);
  assert.match(heard[4] ?? '', /queued as/);
  await waitFor('an attempt', () => site.queued().some((entry) => entry.endsWith('.spool')));
  client.child.stdin.write('QUIT\r\n');
  await client.hear(1);
  await client.end();
  assert.equal(client.child.exitCode, 0);
});

for (const options of [['--pipeline'], []]) {
  test(`swaks ${options.join('')} submits a message over a pipe`, {
    skip: skipWithoutProgram('swaks'),
  }, async (t) => {
    const site = hostSite(t);
    const command = `env PICORELAY_CONTROL=${site.env['PICORELAY_CONTROL']} ${programPath('sendmail')} -bs`;
    const finished = await run([
      ...['swaks', '--pipe', command, ...options, '--from', 'a@site.test'],
      ...['--to', 'b@relayed.test,c@relayed.test', '--body', 'first\n.a dot\nlast'],
    ]);
    assert.equal(finished.status, 0, `${finished.stdout}${finished.stderr}`);
    assert.deepEqual(envelopes(site), ['a@site.test -> b@relayed.test, c@relayed.test']);
    assert.match(stored(site)[0] ?? '', /\r\n\r\nfirst\r\n\.a dot\r\nlast\r\n/);
  });
}

interface Client {
  readonly child: ChildProcessWithoutNullStreams;
  /** Waits for so many lines of the server and takes them. */
  hear(count: number): Promise<string[]>;
  unheard(): string;
  errors(): string;
  /** Closes the server's input and waits for its end. */
  end(): Promise<void>;
}

function start(site: Site, args: readonly string[]): Client {
  const child = spawn(programPath('sendmail'), args, {
    env: site.env,
  });
  const closed = once(child, 'close');
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString('latin1');
  });
  return {
    child,
    hear: async (count) => {
      await waitFor(`${count} lines`, () => output.split('\r\n').length > count, {
        detail: () => `${output}${errors}`,
      });
      const lines = output.split('\r\n').slice(0, count);
      output = output.slice(lines.join('\r\n').length + (count > 0 ? 2 : 0));
      return lines;
    },
    unheard: () => output,
    errors: () => errors,
    end: async () => {
      child.stdin.end();
      await closed;
    },
  };
}

/** Each queued submission's text behind its envelope block. */
function stored(site: Site): string[] {
  return files(site).map((text) => text.slice(text.indexOf('\n\n') + 2));
}

/** `sender -> recipient, recipient` for each queued submission. */
function envelopes(site: Site): string[] {
  const all = files(site).map((text) => {
    const block = text.slice(0, text.indexOf('\n\n'));
    const [, sender] = /^sender: (.*)$/m.exec(block) ?? [];
    const recipients = [...block.matchAll(/^recipient: (\S+)/gm)].map(([, address]) => address);
    return `${sender} -> ${recipients.join(', ')}`;
  });
  return [...new Set(all)];
}

function files(site: Site): string[] {
  return site.queued().map((name) => readFileSync(join(site.spool, 'spool', name), 'latin1'));
}
