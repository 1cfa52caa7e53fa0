// Incidents of other mail programs, tried on these: SECURITY.md names them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run, start, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** Local parts that a shell, an expansion or an alias would run; each leaves a file behind. */
const commands = (witness: string): readonly string[] => [
  `;touch ${witness};`,
  `|touch ${witness}`,
  `"|touch ${witness}"`,
  `\`touch ${witness}\``,
  `$(touch ${witness})`,
  `\${run{/usr/bin/touch ${witness}}}`,
  `\${run{\\x2Fusr\\x2Fbin\\x2Ftouch\\t${witness.replaceAll('/', '\\x2F')}}}`,
  `;for i in 0 1;do read r;done;touch ${witness};`,
  `x\ntouch ${witness}\n`,
  `-X${witness}`,
  `-be \${run{touch ${witness}}}`,
  `:include:|touch ${witness}`,
  witness,
  `> ${witness}`,
];

test('Commands in addresses, headers and replies are never run', async (t) => {
  const site = siteFor(t);
  const witness = join(site.folder, 'witness');
  const all = commands(witness);
  const relay = await startRelay(t, {
    script: ({ stage, line }) => {
      if (stage !== 'rcpt') return undefined;
      if (line.includes('later'))
        return `450-4.2.1 $(touch ${witness})\r\n450 4.2.1 \`touch ${witness}\`\r\n`;
      return line.includes('never') ? `550 5.1.1 ;touch ${witness};\r\n` : undefined;
    },
  });
  site.relays(relay.port);
  site.control('bounce', 'sender');
  site.control('adminaddr', 'admin@x.test');
  site.control('alert', `run cat > ${join(site.folder, 'alert')}`);
  site.control('alertafter', '0s');
  for (const each of all) {
    const header = each.replaceAll('\n', ' ');
    const text = `From: ${header}\nTo: ${header}\nSubject: ${header}\nX-Loop: ${header}\n\n${each}\n`;
    const forms = [each, `${each}@x.test`, `"${each}"@x.test`];
    const [, plain = '', quoted = ''] = forms;
    await site.run('sendmail', ['-f', quoted, '--', ...forms, 'a@x.test'], text);
    await site.run('sendmail', ['-F', each, '-t', `-f${plain}`], text);
    await site.run('qmail-inject', ['-f', plain, '--', ...forms, 'a@x.test'], text);
    const paths = forms.map((form) => `RCPT TO:<${form}>\r\n`).join('');
    const dialogue = `MAIL FROM:<${quoted}>\r\n${paths}RCPT TO:<b@x.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n`;
    await site.run('sendmail', ['-bs'], dialogue);
  }
  await site.run(
    'sendmail',
    ['-f', `"$(touch ${witness})"@x.test`, 'never@x.test', 'later@x.test'],
    LETTER,
  );
  for (let pass = 0; pass < 2; pass++)
    await site.run('picorelay', ['run', '--once'], '', { limit: 60_000 });
  for (const words of [['list'], ['digest'], ['check', 'spool', 'queue'], ['verify']]) {
    await site.run('picorelay', words);
  }
  assert.ok(relay.received.length > all.length, String(relay.received.length));
  assert.ok(site.names('Undelivered').length > 0);
  assert.ok(!readdirSync(site.folder).includes('witness'));
});

test('A line end in a parameter or an address adds no line to the spool file', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['first@x.test'], LETTER);
  const forged = 'x+0Auid: 0+0Arecipient: evil@x.test';
  const inputs = [
    `MAIL FROM:<a@x.test> ENVID=${forged.replaceAll(' ', '+20')}\r\nRCPT TO:<b@x.test> ORCPT=rfc822;${forged.replaceAll(' ', '+20')}\r\n`,
    'MAIL FROM:<a@x.test> AUTH=x+0Auid:+200\r\nRCPT TO:<b@x.test>\r\n',
    'MAIL FROM:<"a\\\nuid: 0"@x.test>\r\nRCPT TO:<b@x.test>\r\n',
    'MAIL FROM:<a@x.test>\r\nRCPT TO:<"b\nrecipient: evil@x.test"@x.test>\r\nRCPT TO:<b@x.test>\r\n',
    'MAIL FROM:<a@x.test> ENVID=x\ruid: 0\r\nRCPT TO:<b@x.test> ORCPT=rfc822;x\n\r\n',
  ];
  for (const input of inputs) {
    await site.run('sendmail', ['-bs'], `${input}DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n`);
  }
  for (const address of ['a@x.test\nuid: 0', 'a\r\nrecipient: evil@x.test', '"a\nuid: 0"@x.test']) {
    await site.run('sendmail', ['-f', address, '--', address, 'b@x.test'], LETTER);
    await site.run('qmail-inject', ['-f', address, '--', address, 'b@x.test'], LETTER);
  }
  const names = site.queued();
  assert.ok(names.length >= 2, names.join('\n'));
  for (const name of names) {
    const [block = ''] = readFileSync(join(site.spool, 'spool', name), 'latin1').split('\n\n', 1);
    const lines = block.split('\n');
    assert.equal(lines.filter((line) => /^uid: /.test(line)).length, 1, block);
    assert.ok(lines.includes(`uid: ${process.getuid?.()}`), block);
    assert.ok(!lines.some((line) => line.startsWith('recipient: evil@x.test')), block);
    assert.match(block, /^picorelay: 1\n(?:[a-z\d]+: .*\n?)+$/);
  }
});

test('Input without end is refused before it fills memory or disk', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['first@x.test'], LETTER);
  site.control('databytes', '4M');
  const before = site.queued();
  // The kernel kills whatever takes more than this, and a file may not become larger than that.
  const within = 'ulimit -f 40000; exec "$@"';
  for (const [source, command] of [
    ['yes "X-Header: x"', ['sendmail', 'a@x.test']],
    ['tr "\\0" x </dev/zero', ['sendmail', 'a@x.test']],
    ['echo; yes', ['sendmail', 'a@x.test']],
    ['echo To: a@x.test; echo; yes', ['sendmail', '-t']],
    ['yes a@x.test, | sed "1s/^/To: /;2,\\$s/^/ /"', ['sendmail', '-t']],
    ['echo; yes', ['qmail-inject', 'a@x.test']],
  ] as const) {
    const [program, ...words] = command;
    const line = `{ ${source}; } 2>/dev/null | sh -c '${within}' sh ${[programPath(program), ...words].join(' ')}`;
    const { status, stderr } = await run(['sh', '-c', line], { env: site.env, limit: 60_000 });
    assert.ok(status === 65 || status === 75 || status === 100, `${source}: ${status} ${stderr}`);
    assert.match(stderr, /^[^\n]+; nothing was queued\n$/, source);
  }
  assert.deepEqual(site.queued(), before);
  assert.deepEqual(site.names('tmp'), []);
});

test('A socket client that sends without end is refused, and the next one is served', async (t) => {
  const site = siteFor(t);
  site.control('databytes', '1M');
  const socket = join(site.folder, 'socket');
  const service = await start([programPath('picorelay'), 'run', '--socket', socket], {
    env: site.env,
  });
  t.after(() => service.stop());
  await waitFor('the socket', () => readdirSync(site.folder).includes('socket'), {
    detail: service.output,
  });
  const send = async (source: string): Promise<string> => {
    const script = join(site.folder, 'client.mjs');
    writeFileSync(
      script,
      `import net from 'node:net';
const socket = net.connect({ path: ${JSON.stringify(socket)}, allowHalfOpen: true });
socket.on('data', (data) => { process.stdout.write(data); });
socket.on('end', () => process.exit());
socket.on('error', () => process.exit());
process.stdin.pipe(socket);
`,
    );
    const line = `{ ${source}; } 2>/dev/null | "$0" ${script}`;
    return (await run(['sh', '-c', line, process.execPath], { limit: 60_000 })).stdout;
  };
  const envelope = "printf 'Fa@x.test\\0Tb@x.test\\0\\0'";
  assert.match(
    await send(`${envelope}; yes | head -c 50000000`),
    /^Dthe message is bigger than 1048576 octets/,
  );
  assert.match(await send('tr "\\0" T </dev/zero | head -c 50000000'), /^Dbad envelope/);
  assert.match(await send(`${envelope}; printf 'Subject: x\\n\\nx\\n'`), /^Kqueued/);
  assert.equal(queued(site), 1);
});

function queued(site: Site): number {
  return site.queued().length;
}
