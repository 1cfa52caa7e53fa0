import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { HEADER_LIMIT } from '../../src/mail/header.ts';
import type { SmtpService } from '../../src/sendmail/arguments.ts';
import { type Surroundings, serveSession } from '../../src/sendmail/session.ts';
import { Spool } from '../../src/spool/spool.ts';

const service: SmtpService = {
  mode: 'smtp',
  sender: undefined,
  fullName: undefined,
  immediate: undefined,
  verbose: false,
};

const START = 'MAIL FROM:<a@site.test>\r\nRCPT TO:<b@relayed.test>\r\nDATA\r\n';

interface Place {
  /** Each write, in order. */
  readonly written: string[];
  readonly warnings: string[];
  /** For each call of `queued`: the entries, and how many writes there had been. */
  readonly queued: { readonly bases: readonly string[]; readonly writes: number }[];
  readonly spool: string;
  entries(): string[];
  serve(
    input: Iterable<string>,
    changes?: Partial<Surroundings>,
    options?: Partial<Omit<SmtpService, 'mode'>>,
  ): number;
}

function makePlace(t: TestContext, files: Readonly<Record<string, string>> = {}): Place {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-session-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const spool = join(folder, 'spool');
  const all = { me: 'host.test', spooldir: spool, ...files };
  for (const [name, text] of Object.entries(all)) writeFileSync(join(folder, name), `${text}\n`);
  const place: Place = {
    written: [],
    warnings: [],
    queued: [],
    spool,
    entries: () => readdirSync(join(spool, 'spool')),
    serve: (input, changes = {}, options = {}) => {
      let time = 1_795_216_501_000_000;
      return serveSession(
        { ...service, ...options },
        {
          control: openControl(folder),
          input: (function* () {
            for (const piece of input) yield Buffer.from(piece, 'latin1');
          })(),
          write: (bytes) => {
            place.written.push(Buffer.from(bytes).toString('latin1'));
            return bytes.length;
          },
          openSpool: (path) => new Spool(path, 4242),
          caller: () => {
            time += 1_000_000;
            return {
              login: 'user',
              origin: { uid: 1000, pid: 4242, time, program: 'sendmail' },
              zoneMinutes: 0,
              hostName: () => 'system.test',
            };
          },
          queued: (bases) => place.queued.push({ bases, writes: place.written.length }),
          warn: (line) => place.warnings.push(line),
          ...changes,
        },
      );
    },
  };
  return place;
}

test('replies to commands that are read together are written together', (t) => {
  const place = makePlace(t);
  const status = place.serve([
    'EHLO client.test\r\n',
    START,
    `Subject: x\r\n\r\nhello\r\n.\r\n${START}`,
    'more\r\n.\r\nQUIT\r\nNOOP\r\n',
  ]);
  assert.equal(status, 0);
  assert.deepEqual(
    place.written.map((text) => text.match(/^\d{3}(?= )/gm)?.join(' ')),
    ['220', '250', '250 250 354', '250 250 250 354', '250 221'],
  );
  assert.match(place.written[3] ?? '', /^250 2\.0\.0 Ok: queued as 2026\S+:a@site\.test:b@relayed/);
  // The client knows of each message before the time for its sending is taken.
  assert.deepEqual(
    place.queued.map(({ bases, writes }) => [bases.length, writes]),
    [
      [1, 4],
      [1, 5],
    ],
  );
  assert.deepEqual(
    place.queued.flatMap(({ bases }) => bases),
    place.entries().sort(),
  );
  assert.deepEqual(place.warnings, []);
});

test('the header is completed, Bcc is removed, and addresses are completed, each one once', (t) => {
  const place = makePlace(t, { defaulthost: 'default.test' });
  const input =
    'MAIL FROM:<> RET=HDRS ENVID=x\r\nRCPT TO:<bob> NOTIFY=NEVER\r\nRCPT TO:<bob@default.test>\r\n' +
    'RCPT TO:<ann@relayed.test> ORCPT=rfc822;a@x.test\r\nDATA\r\n' +
    'Subject: x\r\nBcc: secret@relayed.test\r\n\r\n..text\r\n.\r\n';
  assert.equal(place.serve([input], {}, { sender: 'daemon', fullName: 'The Daemon' }), 0);
  const entries = place.entries();
  assert.equal(entries.length, 2);
  const [block = '', header = '', body] = readFileSync(
    join(place.spool, 'spool', entries[0] ?? ''),
    'latin1',
  )
    .replace('\n\n', '\r\n\r\n')
    .split('\r\n\r\n');
  assert.deepEqual(block.split('\n').slice(7), [
    'sender: ',
    'ret: HDRS',
    'envid: x',
    'recipient: bob@default.test NOTIFY=NEVER',
    'recipient: ann@relayed.test ORCPT=rfc822%3Ba@x.test',
  ]);
  assert.match(header, /^Received: .*uid 1000\) by host\.test/);
  assert.match(header, /\r\nSubject: x\r\nDate: .*\r\nMessage-ID: <.*@host\.test>\r\n/);
  assert.match(header, /\r\nFrom: "The Daemon" <daemon@default\.test>\r\n/);
  assert.doesNotMatch(header, /secret/);
  assert.equal(body, '.text\r\n');
});

test('a message that cannot be queued is answered with the reason, and the session goes on', (t) => {
  const failure = (code: string) => () => {
    throw Object.assign(new Error(`${code}: no luck`), { code });
  };
  const relative = makePlace(t, { spooldir: 'relative' });
  const table: readonly [Place, Surroundings['openSpool'] | undefined, RegExp][] = [
    [makePlace(t), failure('ENOSPC'), /^452 4\.3\.1 ENOSPC: no luck$/],
    [makePlace(t), failure('EDQUOT'), /^452 4\.3\.1 /],
    [makePlace(t), failure('EFBIG'), /^552 5\.3\.4 /],
    [makePlace(t), failure('EROFS'), /^451 4\.3\.0 EROFS: no luck$/],
    [relative, undefined, /^451 4\.3\.5 .*spooldir.* expected an absolute path/],
  ];
  for (const [place, openSpool, reply] of table) {
    const input = `${START}x\r\n.\r\nMAIL FROM:<evil@site.test>\r\n.\r\nRSET\r\nQUIT\r\n`;
    const status = place.serve([input], openSpool === undefined ? {} : { openSpool });
    const lines = place.written.join('').split('\r\n');
    assert.match(lines[4] ?? '', reply);
    assert.deepEqual(
      lines.slice(5).map((line) => line.slice(0, 3)),
      ['250', '500', '250', '221', ''],
    );
    assert.equal(status, 0);
    assert.deepEqual(place.queued, []);
  }
});

test('a spool that comes back serves the next message of the same session', (t) => {
  const place = makePlace(t);
  let tries = 0;
  const openSpool = (path: string): Spool => {
    tries += 1;
    if (tries <= 2) throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
    return new Spool(path, 4242);
  };
  place.serve([`${START}one\r\n.\r\n${START}two\r\n.\r\n`], { openSpool });
  assert.match(
    place.written.join(''),
    /\r\n451 4\.3\.0 EACCES\r\n[\s\S]*\r\n250 2\.0\.0 Ok: queued/,
  );
  assert.equal(place.entries().length, 1);
});

test('a header without an end is refused for good, and nothing of it stays', (t) => {
  const place = makePlace(t);
  const field = `X: ${'x'.repeat(60_000)}\r\n`;
  const fields = Array.from({ length: Math.ceil(HEADER_LIMIT / 60_000) }, () => field);
  place.serve([START, ...fields, '\r\ntext\r\n.\r\n', `${START}x\r\n.\r\nQUIT\r\n`]);
  assert.match(place.written.join(''), /\r\n554 5\.6\.0 the header is longer [\s\S]*queued as/);
  assert.equal(place.entries().length, 1);
  assert.deepEqual(readdirSync(join(place.spool, 'tmp')), []);
});

test('an input that ends within a message queues nothing and exits 75', (t) => {
  for (const cut of ['', 'Subject: x\r\n', `Subject: x\r\n\r\n${'text\r\n'.repeat(50_000)}.\r`]) {
    const place = makePlace(t);
    assert.equal(place.serve([`${START}one\r\n.\r\n`, START, cut]), 75);
    assert.equal(place.entries().length, 1);
    assert.deepEqual(readdirSync(join(place.spool, 'tmp')), []);
    assert.deepEqual(place.warnings, ['the input ended within a message; it was not queued']);
  }
});

test('a client that cannot be read from or written to ends the session, and what is queued is sent', (t) => {
  const gone = makePlace(t);
  let writes = 0;
  const write = (bytes: Uint8Array): number => {
    writes += 1;
    if (writes > 2) throw Object.assign(new Error('EPIPE: broken pipe'), { code: 'EPIPE' });
    return bytes.length;
  };
  assert.equal(gone.serve([START, 'x\r\n.\r\n', START, 'y\r\n.\r\n'], { write }), 74);
  assert.deepEqual(gone.warnings, ['writing to the client failed: EPIPE: broken pipe']);
  assert.deepEqual(
    gone.queued.map(({ bases }) => bases.length),
    [1],
  );
  assert.equal(gone.entries().length, 1);

  const broken = makePlace(t);
  const input = (function* () {
    yield Buffer.from(`${START}x\r\n.\r\n${START}`);
    throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
  })();
  assert.equal(broken.serve([], { input }), 75);
  assert.match(broken.warnings.join('\n'), /^reading from the client failed: EIO.*\n.*not queued$/);
  assert.equal(broken.entries().length, 1);
});

test('a client that reads slowly gets every octet of the replies', (t) => {
  const place = makePlace(t);
  let calls = 0;
  const write = (bytes: Uint8Array): number => {
    calls += 1;
    if (calls % 2 === 0) throw Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' });
    place.written.push(Buffer.from(bytes.subarray(0, 20)).toString('latin1'));
    return Math.min(bytes.length, 20);
  };
  assert.equal(place.serve(['HELP\r\nQUIT\r\n'], { write }), 0);
  assert.equal(
    place.written.join(''),
    '220 host.test ESMTP picorelay\r\n' +
      '214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT\r\n' +
      '221 2.0.0 host.test Bye\r\n',
  );
});

test('without a usable control/me mail is taken under the name of the system', (t) => {
  const place = makePlace(t, { me: 'not a host' });
  assert.equal(place.serve([`${START}x\r\n.\r\n`]), 0);
  assert.match(place.written[0] ?? '', /^220 system\.test ESMTP/);
  assert.match(place.warnings.join('\n'), /^queued, but nothing is sent until this is mended: /);
  assert.equal(place.entries().length, 1);
});
