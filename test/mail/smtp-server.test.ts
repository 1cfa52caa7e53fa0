import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Envelope } from '../../src/mail/envelope.ts';
import {
  COMMAND_LINE_LIMIT,
  FAULT_LIMIT,
  SmtpServer,
  type SmtpServerOptions,
} from '../../src/mail/smtp-server.ts';
import { answers, type Dialogue, readDialogues } from '../support/dialogue.ts';
import { fc } from '../support/properties.ts';

/** A client's view of a session, and what the server's driver got to do. */
interface Session {
  replies: string;
  readonly messages: { readonly envelope: Envelope; data: string; end: string }[];
  closed: boolean;
}

const lenient: SmtpServerOptions = {
  host: 'host.test',
  lineEnds: 'lenient',
  recipientLimit: 100,
  sizeLimit: undefined,
};
const strict: SmtpServerOptions = { ...lenient, lineEnds: 'strict' };

type Outcome = readonly [code: number, enhanced: string, text: string];

class Driver {
  readonly session: Session = { replies: '', messages: [], closed: false };
  readonly #server: SmtpServer;
  readonly #settle: Outcome;

  constructor(options: SmtpServerOptions, settle: Outcome = [250, '2.0.0', 'Ok: queued as BASE']) {
    this.#server = new SmtpServer(options);
    this.#settle = settle;
    this.#run();
  }

  push(octets: Uint8Array): void {
    this.#server.push(octets);
    this.#run();
  }

  end(): Session {
    this.#server.end();
    this.#run();
    return this.session;
  }

  #run(): void {
    const { session } = this;
    for (;;) {
      const event = this.#server.next();
      const current = session.messages.at(-1);
      switch (event.kind) {
        case 'read':
          return;
        case 'reply':
          session.replies += event.text;
          break;
        case 'begin':
          session.messages.push({ envelope: event.envelope, data: '', end: '' });
          break;
        case 'piece':
          if (current !== undefined) current.data += Buffer.from(event.bytes).toString('latin1');
          break;
        case 'complete':
          if (current !== undefined) current.end = 'complete';
          this.#server.settle(...this.#settle);
          break;
        case 'abandon':
          // How much of it was seen before depends on the chunks.
          if (current !== undefined)
            Object.assign(current, { end: current.end + event.reason, data: '' });
          break;
        case 'close':
          session.closed = true;
          return;
      }
    }
  }
}

function converse(input: string | Buffer, options = lenient, chunk?: number): Session {
  const octets = typeof input === 'string' ? Buffer.from(input, 'latin1') : input;
  const driver = new Driver(options);
  for (let at = 0; at < octets.length && !driver.session.closed; at += chunk ?? octets.length) {
    driver.push(octets.subarray(at, at + (chunk ?? octets.length)));
  }
  return driver.end();
}

/** The reply lines behind the greeting. */
function repliesTo(input: string, options = lenient): string[] {
  return converse(input, options).replies.trimEnd().split('\r\n').slice(1);
}

const START = 'MAIL FROM:<a@site.test>\r\nRCPT TO:<b@relayed.test>\r\nDATA\r\n';

function optionsOf({ options }: Dialogue): SmtpServerOptions {
  const size = options.get('size');
  return {
    host: 'host.test',
    lineEnds: options.has('strict') ? 'strict' : 'lenient',
    recipientLimit: Number(options.get('recipients') ?? 100),
    sizeLimit: size === undefined ? undefined : Number(size),
  };
}

for (const dialogue of readDialogues()) {
  test(`the dialogue ${dialogue.name} goes as written, step by step and octet by octet`, () => {
    for (const size of [Number.POSITIVE_INFINITY, 1, 3]) {
      const driver = new Driver(optionsOf(dialogue));
      for (const { send, answer } of dialogue.steps) {
        const before = send.length === 0 ? 0 : driver.session.replies.length;
        for (let at = 0; at < send.length; at += size) {
          driver.push(send.subarray(at, Math.min(at + size, send.length)));
        }
        const lines = driver.session.replies.slice(before).split('\r\n');
        assert.equal(lines.pop(), '');
        assert.ok(answers(answer, lines), `${send}\n${lines.join('\n')}`);
      }
      const queued = driver
        .end()
        .messages.filter(({ end }) => end === 'complete')
        .map(({ envelope: { sender, recipients } }) => {
          return `${sender} -> ${recipients.map(({ address }) => address).join(', ')}`;
        });
      assert.deepEqual(queued, dialogue.queued);
    }
  });

  test(`the dialogue ${dialogue.name} is answered alike when all of it is pipelined`, () => {
    const session = converse(
      Buffer.concat(dialogue.steps.map(({ send }) => send)),
      optionsOf(dialogue),
    );
    const lines = session.replies.trimEnd().split('\r\n');
    assert.ok(
      answers(
        dialogue.steps.flatMap(({ answer }) => answer),
        lines,
      ),
      session.replies,
    );
    assert.ok(session.closed);
  });
}

test('dots are taken off, and everything else of a message comes out as it went in', () => {
  const table: readonly [wire: string, data: string][] = [
    ['.\r\n', ''],
    ['\r\n.\r\n', '\r\n'],
    ['..\r\n.\r\n', '.\r\n'],
    ['...\r\n.\r\n', '..\r\n'],
    ['.x\r\n.\r\n', 'x\r\n'],
    ['a.\r\n.\r\n', 'a.\r\n'],
    ['a\r\n..\r\n..b\r\nc\r\n.\r\n', 'a\r\n.\r\n.b\r\nc\r\n'],
    ['\0\x80\xff\r\n.\r\n', '\0\x80\xff\r\n'],
    [`${'x'.repeat(5000)}\r\n.\r\n`, `${'x'.repeat(5000)}\r\n`],
  ];
  for (const options of [lenient, strict]) {
    for (const [wire, data] of table) {
      for (const chunk of [undefined, 1, 2, 3]) {
        const { messages, replies } = converse(`${START}${wire}QUIT\r\n`, options, chunk);
        assert.deepEqual(
          messages.map((message) => [message.data, message.end]),
          [[data, 'complete']],
        );
        assert.match(replies, /queued as BASE\r\n221 /);
      }
    }
  }
});

test('a smuggled end of data ends nothing where DATA ended in CRLF', () => {
  const smuggled = 'MAIL FROM:<evil@site.test>\r\nRCPT TO:<x@site.test>\r\nDATA\r\nevil\r\n.\r\n';
  const table: readonly [variant: string, kept: string][] = [
    ['\n.\n', '\n.\n'],
    ['\r.\r', '\r.\r'],
    ['\r\n.\r', '\r\n\r'],
    ['\n.\r\n', '\n.\r\n'],
    ['\r\r\n.\r\r\n', '\r\r\n\r\r\n'],
    ['\r\n.\n', '\r\n\n'],
    ['\r.\r\n', '\r.\r\n'],
    ['\n.\r', '\n.\r'],
    ['\r\n\0.\r\n', '\r\n\0.\r\n'],
  ];
  for (const [variant, kept] of table) {
    const input = Buffer.from(`${START}text${variant}${smuggled}QUIT\r\n`, 'latin1');
    for (const options of [strict, lenient]) {
      const whole = converse(input, options);
      const text = `text${kept}MAIL FROM:<evil@site.test>\r\nRCPT TO:<x@site.test>\r\nDATA\r\nevil\r\n`;
      assert.deepEqual(
        whole.messages.map(({ data }) => data),
        [text],
        `${options.lineEnds} ${JSON.stringify(variant)}`,
      );
      for (let split = 1; split < input.length; split += 1) {
        const driver = new Driver(options);
        driver.push(input.subarray(0, split));
        driver.push(input.subarray(split));
        assert.deepEqual(driver.end(), whole, `${JSON.stringify(variant)} at ${split}`);
      }
    }
  }
});

test('where DATA ended in a LF alone, a line of one dot between such ends the data', () => {
  for (const end of ['\n.\n', '\n.\r\n', '\r\n.\n', '\r\n.\r\n']) {
    const input = Buffer.from(`${START.replaceAll('\r\n', '\n')}text${end}QUIT\n`, 'latin1');
    const { messages } = converse(input, lenient);
    assert.deepEqual(
      messages.map(({ data }) => data),
      [`text${end.slice(0, end.indexOf('.'))}`],
    );
  }
});

test('REQUIRETLS is offered to local programs only, and kept', () => {
  for (const [options, answer] of [
    [lenient, '250 2.1.0 Ok'],
    [strict, '555 5.5.4 A parameter is not known'],
  ] as const) {
    const driver = new Driver(options);
    driver.push(
      Buffer.from('EHLO x\r\nMAIL FROM:<a@site.test> REQUIRETLS\r\nRCPT TO:<b@x.test>\r\nDATA\r\n'),
    );
    const { replies, messages } = driver.session;
    assert.equal(/^250[ -]REQUIRETLS\r$/m.test(replies), options === lenient);
    assert.ok(replies.includes(`${answer}\r\n`), replies);
    assert.deepEqual(
      messages.map(({ envelope }) => envelope.requireTls),
      options === lenient ? [true] : [],
    );
  }
});

test('the parameters of MAIL and RCPT are checked and kept', () => {
  const ok = '250 2.1.0 Ok';
  const table: readonly [parameters: string, answer: string][] = [
    ['', ok],
    [' SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ314159', ok],
    ['\tbody=7bit   ret=hdrs ', ok],
    [' SIZE=', '501 5.5.4 The parameters cannot be read'],
    [' SIZE', '501 5.5.4 The value of SIZE cannot be taken'],
    [' SIZE=many', '501 5.5.4 The value of SIZE cannot be taken'],
    [' BODY=BINARYMIME', '501 5.5.4 The value of BODY cannot be taken'],
    [' SMTPUTF8=yes', '501 5.5.4 The value of SMTPUTF8 cannot be taken'],
    [' RET=ALL', '501 5.5.4 The value of RET cannot be taken'],
    [' ENVID=a+2Bb+3D', ok],
    [' ENVID=a+2', '501 5.5.4 The value of ENVID cannot be taken'],
    [' ENVID=a+2b', '501 5.5.4 The value of ENVID cannot be taken'],
    [' ENVID=a+0Ab', '501 5.5.4 The value of ENVID cannot be taken'],
    [` ENVID=${'+41'.repeat(100)}`, ok],
    [` ENVID=${'x'.repeat(101)}`, '501 5.5.4 The value of ENVID cannot be taken'],
    [' RET=FULL RET=FULL', '501 5.5.4 The parameters cannot be read'],
    [' AUTH=<>', '555 5.5.4 A parameter is not known'],
    [' NOTIFY=NEVER', '555 5.5.4 A parameter is not known'],
    [' __proto__', '501 5.5.4 The parameters cannot be read'],
    [' constructor', '555 5.5.4 A parameter is not known'],
    ['SIZE=1', '501 5.5.4 The parameters cannot be read'],
  ];
  for (const [parameters, answer] of table) {
    assert.deepEqual(repliesTo(`MAIL FROM:<a@site.test>${parameters}\r\n`), [answer], parameters);
  }
  const rcpt: readonly [parameters: string, answer: string][] = [
    [' NOTIFY=NEVER', '250 2.1.5 Ok'],
    [' NOTIFY=success,Failure,DELAY ORCPT=rfc822;b+2Bc@relayed.test', '250 2.1.5 Ok'],
    [' NOTIFY=NEVER,DELAY', '501 5.5.4 The value of NOTIFY cannot be taken'],
    [' NOTIFY=', '501 5.5.4 The parameters cannot be read'],
    [' NOTIFY', '501 5.5.4 The value of NOTIFY cannot be taken'],
    [' ORCPT=b@relayed.test', '501 5.5.4 The value of ORCPT cannot be taken'],
    [' ORCPT=rfc822;b+@relayed.test', '501 5.5.4 The value of ORCPT cannot be taken'],
    [` ORCPT=rfc822;${'x'.repeat(500)}`, '501 5.5.4 The value of ORCPT cannot be taken'],
    [' SIZE=1', '555 5.5.4 A parameter is not known'],
  ];
  for (const [parameters, answer] of rcpt) {
    const input = `MAIL FROM:<a@site.test>\r\nRCPT TO:<b@relayed.test>${parameters}\r\n`;
    assert.deepEqual(repliesTo(input), [ok, answer], parameters);
  }
  const { messages } = converse(
    'MAIL FROM:<a@site.test> RET=hdrs ENVID=x+2By SIZE=3\r\n' +
      'RCPT TO:<b@relayed.test> notify=failure,delay ORCPT=rfc822;B@relayed.test\r\n' +
      'RCPT TO:<c@relayed.test>\r\nDATA\r\n.\r\n',
  );
  assert.deepEqual(messages[0]?.envelope, {
    sender: 'a@site.test',
    ret: 'HDRS',
    envid: 'x+2By',
    recipients: [
      { address: 'b@relayed.test', notify: 'FAILURE,DELAY', orcpt: 'rfc822;B@relayed.test' },
      { address: 'c@relayed.test' },
    ],
  });
});

test('paths are read as clients write them', () => {
  const table: readonly [path: string, sender: string | undefined][] = [
    ['<>', ''],
    ['<root>', 'root'],
    ['<a@site.test>', 'a@site.test'],
    [' <a@site.test>', 'a@site.test'],
    ['a@site.test', 'a@site.test'],
    ['<@one.test,@two.test:a@site.test>', 'a@site.test'],
    ['<"a b>"@site.test>', '"a b>"@site.test'],
    ['<"a\\">"@site.test>', '"a\\">"@site.test'],
    ['<a@site.test', undefined],
    ['<a@site.test,b@site.test>', undefined],
    ['<a@site.test>x', undefined],
    ['<a b@site.test>', undefined],
    ['', undefined],
    ['<k\xc3\xa4se@site.test>', undefined],
    ['<k\xc3\xa4se@site.test> SMTPUTF8', 'käse@site.test'],
  ];
  for (const [path, sender] of table) {
    const { messages, replies } = converse(
      `MAIL FROM:${path}\r\nRCPT TO:<b@relayed.test>\r\nDATA\r\n.\r\n`,
    );
    assert.equal(messages[0]?.envelope.sender, sender, `${path}\n${replies}`);
  }
  assert.deepEqual(
    repliesTo(
      'MAIL FROM:<\xc3\xa4@site.test>\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<\xc3\xa4@x.test>\r\n',
    ),
    [
      '553 5.6.7 The address needs SMTPUTF8 with MAIL',
      '250 2.1.0 Ok',
      '501 5.1.3 A recipient cannot be empty',
      '553 5.6.7 The address needs SMTPUTF8 with MAIL',
    ],
  );
});

test('a command line at the limit is read, and one octet more is passed over to its end', () => {
  for (const chunk of [undefined, 1, 1000]) {
    const fits = `NOOP ${'x'.repeat(COMMAND_LINE_LIMIT - 7)}\r\n`;
    assert.equal(fits.length, COMMAND_LINE_LIMIT);
    const { replies } = converse(`${fits}x${fits}QUIT\r\n`, lenient, chunk);
    assert.deepEqual(replies.trimEnd().split('\r\n').slice(1), [
      '250 2.0.0 Ok',
      '500 5.5.2 Line too long',
      '221 2.0.0 host.test Bye',
    ]);
  }
});

test('a megabyte of garbage gets a short answer', () => {
  const size = 1024 * 1024;
  const table: readonly [line: string, answers: number][] = [
    ['x', 0],
    ['\0\r', 0],
    ['x\n', FAULT_LIMIT],
    ['\n', FAULT_LIMIT],
    [`${'x'.repeat(COMMAND_LINE_LIMIT)}\r\n`, FAULT_LIMIT],
  ];
  for (const [line, count] of table) {
    const session = converse(line.repeat(size / line.length), lenient, 65_536);
    const lines = session.replies.trimEnd().split('\r\n').slice(1);
    assert.equal(lines.length, count);
    if (count > 0) assert.equal(lines.at(-1), '421 4.7.0 host.test Too many errors');
  }
});

test('a bad address is no fault, and a queued message wipes the faults out', () => {
  const faults = 'x\r\n'.repeat(FAULT_LIMIT - 1);
  const bad = 'RCPT TO:<a@@b>\r\n'.repeat(100);
  const start = START.replace('DATA', `${bad}DATA`);
  const input = `${faults}${start}.\r\n${faults}NOOP\r\nx\r\nNOOP\r\n`;
  assert.deepEqual(repliesTo(input).slice(-2), [
    '250 2.0.0 Ok',
    '421 4.7.0 host.test Too many errors',
  ]);
  const refusing = new Driver(lenient, [451, '4.3.0', 'Not now']);
  refusing.push(Buffer.from(`${faults}${START}.\r\nx\r\n`));
  assert.match(refusing.session.replies, /451 4\.3\.0 Not now\r\n421 /);
});

test('a refused message is answered in one printable line, and the next one is taken', () => {
  const text = `disk\r\nfull \x1b[2J ä ${'x'.repeat(2000)}`;
  const driver = new Driver(lenient, [452, '4.3.1', text]);
  driver.push(Buffer.from(`${START}a\r\n.\r\n${START}b\r\n.\r\nQUIT\r\n`));
  const lines = driver.end().replies.split('\r\n');
  const refused = lines.filter((line) => line.startsWith('452 4.3.1 disk??full ?[2J ? xxx'));
  assert.equal(refused.length, 2);
  assert.ok(lines.every((line) => /^[ -~]{0,510}$/.test(line)));
});

test('the end of the stream abandons a message and passes over half a command', () => {
  assert.deepEqual(converse('QUIT').messages, []);
  assert.doesNotMatch(converse('QUIT').replies, /221/);
  for (const cut of ['', 'text', 'text\r\n', 'text\r\n.', 'text\r\n.\r', '.x']) {
    const { messages, replies, closed } = converse(`${START}${cut}`);
    assert.equal(messages[0]?.end, 'end', JSON.stringify(cut));
    assert.match(replies, /354 [^\r]*\r\n$/);
    assert.ok(closed);
  }
});

test('a message over the size limit is abandoned once, whatever follows', () => {
  const options = { ...lenient, sizeLimit: 10 };
  for (const chunk of [undefined, 1, 7]) {
    const { messages, replies } = converse(
      `${START}${'x'.repeat(100)}\r\n..\r\n.\r\n${START}12345678\r\n.\r\n${START}12345678901`,
      options,
      chunk,
    );
    assert.deepEqual(
      messages.map(({ end, data }) => [end, data]),
      [
        ['size', ''],
        ['complete', '12345678\r\n'],
        ['size', ''],
      ],
    );
    assert.match(replies, /552 5\.3\.4 The message is bigger than 10 octets\r\n250 2\.1\.0/);
  }
});

test('the driver hears of its own mistakes', () => {
  const server = new SmtpServer(lenient);
  assert.throws(() => server.settle(250, '2.0.0', 'Ok'), /no message/);
  server.push(Buffer.from(`${START}.\r\n`));
  assert.throws(() => server.push(Buffer.from('x')), /not used up/);
  for (let kind = ''; kind !== 'complete'; kind = server.next().kind);
  assert.throws(() => server.next(), /not been settled/);
});

/** Octets of which many are, or nearly are, what the server looks for. */
const hostile = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(START, 'DATA\r\n', '\r\n.\r\n', '.\r\n', '\n.\n') },
      { weight: 4, arbitrary: fc.constantFrom('\r', '\n', '.', '\r\n', '..', ' ', '\0', 'QUIT') },
      {
        weight: 4,
        arbitrary: fc.constantFrom(
          'MAIL FROM:',
          'RCPT TO:',
          '<a@b.test>',
          '<',
          '"',
          '\\',
          ' SIZE=',
        ),
      },
      { weight: 1, arbitrary: fc.constantFrom('x'.repeat(COMMAND_LINE_LIMIT), 'RSET\r\n') },
      {
        weight: 3,
        arbitrary: fc.uint8Array({ maxLength: 12 }).map((a) => Buffer.from(a).toString('latin1')),
      },
    ),
    { maxLength: 24 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

test('no octets make it throw, and where they are split makes no difference', () => {
  fc.assert(
    fc.property(
      hostile,
      fc.constantFrom(strict, lenient, { ...lenient, sizeLimit: 8, recipientLimit: 1 }),
      fc.array(fc.nat({ max: 40 }), { maxLength: 30 }),
      (octets, options, sizes) => {
        const whole = converse(octets, options);
        assert.deepEqual(converse(octets, options, 1), whole);
        const driver = new Driver(options);
        let at = 0;
        for (const size of [...sizes, octets.length]) {
          driver.push(octets.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual(driver.end(), whole);
        assert.match(whole.replies, /^(?:[2-5]\d\d[ -][ -~]{0,508}\r\n)+$/);
      },
    ),
    { numRuns: 2000 },
  );
});

test('what a client stuffs and ends by the rules comes out as it was', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('.', 'a', '\r', '\n', '\0') }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      (lines, chunk) => {
        for (const options of [strict, lenient]) {
          // In lenient mode a LF is a line end, so there is none within a line.
          const text = options === strict ? lines : lines.map((line) => line.replace(/\n/g, ''));
          const data = text.map((line) => `${line}\r\n`).join('');
          const stuffed = data.replace(/(^|\r\n)\./g, '$1..');
          const session = converse(`${START}${stuffed}.\r\n`, options, chunk);
          assert.deepEqual(
            session.messages.map((message) => message.data),
            [data],
          );
        }
      },
    ),
  );
});
