/**
 * The grid of test/dialogues/grid: each file is one stage of a conversation with a relay and says, for each
 * thing that the relay may do there, what becomes of the mail and how the spool looks afterwards.
 *
 *     # Title, and why.
 *     at: rcpt 1                 the answer at which it happens: greeting, ehlo, helo, starttls, tls, auth,
 *                                mail, rcpt, data, body (in the middle of the message), dot, rset, quit,
 *                                and which one of the conversation, 1 when not given
 *     offers: none | PIPELINING  what the relay offers; the whole file for each of them
 *     login: PLAIN               the mechanism; starttls: yes; lmtp: yes
 *     open: yes                  a message before this one leaves its transaction open
 *     octets: 8000000            of the message; where it matters, more than all buffers hold
 *     when 4xx, 452              for these events of the table EVENTS below:
 *         one: waiting 1, rcpt SAID      the state of the first recipient's entry; SAID is what was heard
 *         two: relayed                   of the second one's, as the first one's when not given
 *         route: paused, rcpt SAID       open when not given
 *                                    `STATE or STATE` where the network decides which of them
 *
 * A message to two recipients goes through a courier and a spool of their own. The relay is a real one as far
 * as it goes: it keeps to what it has answered, and what it is told out of turn is a fault.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { openControl } from '../../src/control/control.ts';
import { DEFAULT_ROUTE } from '../../src/control/routing.ts';
import { Log } from '../../src/log/log.ts';
import { Courier } from '../../src/runner/courier.ts';
import { parseName } from '../../src/spool/name.ts';
import type { Attempt } from '../../src/spool/result.ts';
import { Spool } from '../../src/spool/spool.ts';
import { type Certificate, makeCertificate } from './certificate.ts';
import { siteFor } from './site.ts';
import { envelopeTo, ORIGIN, TEXT } from './spool.ts';

/** What a relay may do instead of its usual answer. */
interface Event {
  /** As the spool's records tell it; undefined where nothing is wrong. */
  readonly said?: string;
  /** Octets to say, made of the usual reply; the empty string: none. */
  readonly say: (usual: string) => string;
  /** One byte at a time with so many milliseconds between. */
  readonly pace?: number;
  readonly ending?: 'close' | 'reset' | 'hang';
}

const reply = (text: string, ending?: Event['ending']): Event => ({
  said: /^\d{3}(?: [245]\.\d+\.\d+)?/.exec(text)?.[0] ?? '',
  say: () => `${text}\r\n`,
  ...(ending === undefined ? {} : { ending }),
});
const nonsense = (text: string): Event => ({ said: 'malformed', say: () => text });

/** Each file of the grid says what comes of each of them. */
export const EVENTS: Readonly<Record<string, Event>> = {
  'in bytes': { say: (usual) => usual, pace: 0 },
  'LF only': { say: (usual) => usual.replaceAll('\r\n', '\n') },
  'code alone': { say: (usual) => `${usual.slice(0, 3)}\r\n` },
  'many lines': { say: (usual) => `${`${usual.slice(0, 3)}-more\r\n`.repeat(100)}${usual}` },
  'says 550': { say: (usual) => `${usual.slice(0, 3)} 550 5.1.1 no such user\r\n` },
  'other code': { say: (usual) => `${usual.slice(0, 2)}9 well\r\n` },
  'closes after it': { said: 'closed', say: (usual) => usual, ending: 'close' },
  '2xx': reply('251 2.1.5 fine'),
  '3xx': reply('350 go on'),
  '4xx': reply('451 4.3.0 later'),
  '5xx': reply('550 5.1.1 no'),
  '421': reply('421 4.3.2 going down', 'close'),
  '421 stays': reply('421 4.3.2 going down', 'hang'),
  '432': reply('432 4.7.12 change your password'),
  '452': reply('452 4.5.3 too many'),
  '454': reply('454 4.7.0 temporary failure'),
  '500': reply('500 5.5.2 what'),
  '503': reply('503 5.5.1 out of order'),
  '530': reply('530 5.7.0 authentication required'),
  '535': reply('535 5.7.8 bad credentials'),
  '550 login': reply('550 5.7.1 authentication required'),
  '552 full': reply('552 5.2.2 mailbox full'),
  '552 many': reply('552 5.5.3 too many recipients'),
  '554': reply('554 5.5.1 no valid recipients'),
  'wrong class': reply('550 2.0.0 fine'),
  '5xx closes': reply('554 5.7.1 go away', 'close'),
  '1xx': nonsense('150 wait\r\n'),
  '600': nonsense('600 what\r\n'),
  'no code': nonsense('HTTP/1.1 400 Bad Request\r\n'),
  octets: nonsense('\0\x1b]0;x\x07\xff\xfe\r\n'),
  'mixed codes': nonsense('250-fine\r\n550 no\r\n'),
  'long line': nonsense(`250 ${'x'.repeat(3000)}\r\n`),
  'endless line': nonsense('x'.repeat(70_000)),
  'too many lines': nonsense('250-more\r\n'.repeat(9_000)),
  'half a reply': { said: 'closed', say: (usual) => usual.slice(0, 2), ending: 'close' },
  'half of the lines': {
    said: 'closed',
    say: (usual) => `${usual.slice(0, 3)}-more\r\n`,
    ending: 'close',
  },
  close: { said: 'closed', say: () => '', ending: 'close' },
  reset: { said: 'closed', say: () => '', ending: 'reset' },
  stall: { said: 'timeout', say: () => '', ending: 'hang' },
  drip: {
    said: 'timeout',
    say: (usual) => `${usual.slice(0, 3)}-one byte at a time, until the end of time\r\n`,
    pace: 60,
    ending: 'hang',
  },
};

/** One cell of the grid. */
export interface Case {
  readonly title: string;
  readonly at: string;
  readonly settings: ReadonlyMap<string, string>;
  readonly offers: readonly string[];
  readonly event: string;
  readonly expected: Expected;
}

interface Expected {
  readonly one: string;
  readonly two: string;
  readonly route: string;
}

const folder = join(process.cwd(), 'test', 'dialogues', 'grid');

/** All cases of all files. Throws where a file leaves an event out or has one twice. */
export function readGrid(): readonly { readonly file: string; readonly cases: readonly Case[] }[] {
  return readdirSync(folder)
    .sort()
    .map((file) => ({ file, cases: readCases(file, readFileSync(join(folder, file), 'utf8')) }));
}

function readCases(file: string, text: string): readonly Case[] {
  const settings = new Map<string, string>();
  const rows: { readonly events: readonly string[]; readonly states: Map<string, string> }[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const when = /^when (.*)$/.exec(line)?.[1];
    if (when !== undefined) {
      rows.push({ events: when.split(', '), states: new Map() });
      continue;
    }
    const [, name, value] = /^ *([a-z]+): (.*)$/.exec(line) ?? [];
    assert.ok(name !== undefined && value !== undefined, `${file}: what is "${line}"?`);
    (rows.at(-1)?.states ?? settings).set(name, value);
  }
  const told = rows.flatMap(({ events }) => events);
  const at = settings.get('at') ?? '';
  assert.deepEqual([...told].sort(), Object.keys(eventsAt(at)).sort(), `${file}: each event once`);
  return (settings.get('offers') ?? 'none').split(' | ').flatMap((offers) =>
    rows.flatMap(({ events, states }) =>
      events.map((event) => {
        const said = eventsAt(at)[event]?.said ?? '';
        const one = states.get('one') ?? '';
        const fill = (state: string): string => state.replaceAll('SAID', said);
        return {
          title: `${at}, ${event}${offers === 'none' ? '' : ` (${offers})`}`,
          at,
          settings,
          offers: offers === 'none' ? [] : offers.split(' '),
          event,
          expected: {
            one: fill(one),
            two: fill(states.get('two') ?? one),
            route: fill(states.get('route') ?? 'open'),
          },
        };
      }),
    ),
  );
}

/** In the TLS handshake there are no replies. */
const TLS_EVENTS: Readonly<Record<string, Event>> = {
  'plain reply': { said: 'closed', say: () => '250 fine\r\n' },
  'an alert': { said: 'closed', say: () => '\x15\x03\x03\x00\x02\x02\x28' },
  octets: { said: 'closed', say: () => '\0\0\0\0\0\0\0\0\0\0\0' },
  'half a record': { said: 'closed', say: () => '\x16\x03\x03\x40\x00', ending: 'close' },
  'other authority': { said: 'closed', say: () => '' },
  close: { said: 'closed', say: () => '', ending: 'close' },
  reset: { said: 'closed', say: () => '', ending: 'reset' },
  stall: { said: 'timeout', say: () => '', ending: 'hang' },
  'endless record': { said: 'timeout', say: () => '\x16\x03\x03\x40\x00xxxx', ending: 'hang' },
};

/** Before there is a conversation. */
const CONNECT_EVENTS: Readonly<Record<string, Event>> = {
  refused: { said: 'closed', say: () => '' },
  'unknown name': { said: 'closed', say: () => '' },
};

function eventsAt(at: string): Readonly<Record<string, Event>> {
  if (at === 'connect') return CONNECT_EVENTS;
  return at.startsWith('tls') ? TLS_EVENTS : EVENTS;
}

/** The control files with the deadlines of stages that have another name. */
const DEADLINES: Readonly<Record<string, string>> = {
  ehlo: 'helo',
  starttls: 'helo',
  tls: 'helo',
  auth: 'helo',
  rset: 'mail',
  body: 'block',
};

/** Plays one case and compares what has become of the mail. */
export async function playCase(t: TestContext, cell: Case): Promise<void> {
  const { settings, at, event } = cell;
  const site = siteFor(t);
  const relay = new EventRelay(cell);
  const port = await relay.listen(t);
  site.control(
    'relay',
    event === 'unknown name'
      ? `smtp://no-such-name.invalid:${port}`
      : `${settings.has('lmtp') ? 'lmtp' : 'smtp'}://127.0.0.1:${event === 'refused' ? 1 : port}`,
  );
  if (settings.has('starttls')) {
    const authority = join(site.folder, 'authority');
    site.control('../authority', own().cert);
    site.control('tlscafile', authority);
    site.control('tls', 'required');
  }
  const mechanism = settings.get('login');
  if (mechanism !== undefined) {
    site.control('authuser', 'user');
    site.control('authpassword', 'password');
  }
  const [stage = ''] = at.split(' ');
  const slow = ['stall', 'drip', '421 stays', 'endless record'].includes(event);
  // Where nothing is to run into a deadline, none is near however busy the machine is. In the handshake
  // the whole of it has one, because single bytes put off the others.
  const single = event === 'drip' && ['greeting', 'ehlo', 'helo', 'starttls'].includes(stage);
  const deadline = single ? 'session' : (DEADLINES[stage] ?? stage);
  if (slow) site.control(`timeout${deadline}`, '1s');

  const spool = new Spool(site.spool, process.pid);
  t.after(() => spool.leave());
  const octets = Number(settings.get('octets') ?? 0);
  const message = [Buffer.from(TEXT), Buffer.alloc(octets, `${'x'.repeat(62)}\r\n`)];
  if (settings.has('open')) {
    const first = envelopeTo('nobody@there.test');
    spool.submit(first, { ...ORIGIN, time: ORIGIN.time - 1 }, message);
  }
  const envelope = envelopeTo('one@there.test', 'two@there.test');
  const [one = '', two = ''] = spool.submit(envelope, ORIGIN, message);
  const log: string[] = [];
  const talk: string[] = [];
  const courier = new Courier(
    spool,
    openControl(`${site.folder}/control`),
    new Log('text', (line) => log.push(line)),
    {
      // So long after the submission that a time to come is one, and nothing is too old.
      now: () => ORIGIN.time / 1000 + 60_000,
      random: () => 0,
      stop: new AbortController().signal,
      transcript: () => (side, line) => talk.push(`${side}: ${line}`),
    },
    DEFAULT_ROUTE,
    () => '0',
  );
  await courier.deliver(spool.list().entries, true, () => false);
  await courier.close();
  const state = (base: string): string => stateOf(spool, base, relay.taken);
  const trouble = spool.records.routeTrouble(DEFAULT_ROUTE.name);
  const actual: Expected = {
    one: state(one),
    two: state(two),
    route: trouble === undefined ? 'open' : `paused, ${heard(trouble)}`,
  };
  const told = `${talk.join('\n')}\n${log.join('\n')}`;
  for (const part of ['one', 'two', 'route'] as const) {
    const either = cell.expected[part].split(' or ');
    assert.ok(either.includes(actual[part]), `${part}: ${actual[part]}, not ${either}\n${told}`);
  }
  assert.deepEqual(relay.faults, [], told);
  assert.ok(relay.happened || at === 'connect', `it came to that\n${told}`);
  for (const each of ['tmp', 'incoming', 'corrupt']) assert.deepEqual(site.names(each), [], each);
  assert.deepEqual(
    site.names('spool').filter((name) => name.endsWith('.sending')),
    [],
    'no claim is left',
  );
}

/** What the spool says of an entry. */
function stateOf(spool: Spool, base: string, taken: readonly string[]): string {
  const address = base.split(':').at(-1) ?? '';
  const copies = taken.filter((to) => to === address).length;
  const undelivered = existsSync(join(spool.folder, 'Undelivered', base));
  const names = readdirSync(join(spool.folder, 'spool')).map((name) => parseName(name));
  const entry = names.find((name) => name.kind === 'entry' && name.base === base);
  if (undelivered) {
    assert.equal(entry, undefined, 'an entry is in one place');
    assert.equal(copies, 0, 'what the relay took is not undelivered');
    const last = spool.history(base, 'Undelivered').at(-1);
    return last === undefined ? 'Undelivered' : `Undelivered, ${heard(last)}`;
  }
  if (entry === undefined) {
    assert.equal(copies, 1, `the relay has ${address} once`);
    return 'relayed';
  }
  assert.ok(entry.kind === 'entry');
  const last = spool.history(base).at(-1);
  const doubt = last?.lines.some((line) => line.includes('possible duplicate')) ?? false;
  if (!doubt) assert.equal(copies, 0, `the relay does not have ${address}`);
  if (last === undefined) {
    assert.notEqual(entry.state.kind, 'sending');
    return 'queued';
  }
  assert.ok(entry.state.kind === 'waiting', JSON.stringify(entry.state));
  assert.ok(entry.state.due > ORIGIN.time / 1000 + 60_000, 'it is due later');
  return `waiting ${entry.state.attempts}, ${heard(last)}${doubt ? ', possible duplicate' : ''}`;
}

function heard({ stage, lines: [first = ''] }: Attempt): string {
  const code = /^[2-5]\d\d(?![^ -])(?:[ -][245]\.\d+\.\d+)?/.exec(first)?.[0].replace('-', ' ');
  if (code !== undefined) return `${stage} ${code}`;
  if (first.startsWith('no answer within')) return `${stage} timeout`;
  return `${stage} ${first.startsWith('not an SMTP reply') ? 'malformed' : 'closed'}`;
}

let certificates: { readonly own: Certificate; readonly other: Certificate } | undefined;
function own(): Certificate {
  certificates ??= { own: makeCertificate(), other: makeCertificate() };
  return certificates.own;
}

/** A relay that does as it should, but for one thing once. */
class EventRelay {
  /** Who got a message that it answered with 2xx for. */
  readonly taken: string[] = [];
  readonly faults: string[] = [];
  happened = false;
  readonly #case: Case;
  readonly #counts = new Map<string, number>();
  #socket: Socket | undefined;
  /** Below TLS. */
  #plain: Socket | undefined;
  #input = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #ended = false;
  /** Reads no more. */
  #deaf = false;
  #from: string | undefined;
  #to: string[] = [];

  constructor(cell: Case) {
    this.#case = cell;
  }

  async listen(t: TestContext): Promise<number> {
    const sockets: Socket[] = [];
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      sockets.push(socket);
      void this.#converse(socket).catch((error: unknown) => {
        this.faults.push(`the relay failed: ${String(error)}`);
        socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return (server.address() as AddressInfo).port;
  }

  async #converse(socket: Socket): Promise<void> {
    this.#from = undefined;
    this.#to = [];
    this.#take(socket);
    let goOn = await this.#answer('greeting', '220 relay.test');
    while (goOn !== undefined) {
      const line = await this.#line();
      if (line === undefined) break;
      goOn = await this.#command(line);
    }
    if (!this.#deaf) this.#socket?.end();
  }

  /** Reads this socket from now on. */
  #take(socket: Socket): void {
    this.#socket = socket;
    this.#input = Buffer.alloc(0);
    this.#ended = false;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#input = Buffer.concat([this.#input, chunk]);
      this.#wake();
    });
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        if (this.#socket === socket) this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Undefined ends the connection; else the code of the answer. */
  async #command(line: string): Promise<number | undefined> {
    const { offers, settings } = this.#case;
    const verb = line.split(/[ :]/, 1)[0] ?? '';
    if (this.#input.length > 0 && !offers.includes('PIPELINING')) {
      this.faults.push(`something is said before ${verb} is answered`);
    }
    switch (verb) {
      case 'EHLO':
      case 'LHLO': {
        if (settings.has('noehlo')) return await this.#answer('ehlo', '500 5.5.1 what');
        const secured = this.#socket instanceof TLSSocket;
        const login = settings.get('login');
        const all = [
          'relay.test',
          ...(settings.has('starttls') && !secured ? ['STARTTLS'] : offers),
          ...(login === undefined ? [] : [`AUTH ${login}`]),
        ];
        const lines = all.map((offer, n) => `250${n < all.length - 1 ? '-' : ' '}${offer}`);
        return await this.#answer('ehlo', lines.join('\r\n'));
      }
      case 'HELO':
        return await this.#answer('helo', '250 relay.test');
      case 'STARTTLS': {
        const code = await this.#answer('starttls', '220 go on');
        return isTwo(code) ? await this.#secure() : code;
      }
      case 'AUTH':
        return await this.#login(line);
      case 'MAIL': {
        const usual = this.#from === undefined ? '250 ok' : '503 5.5.1 one at a time';
        const code = await this.#answer('mail', usual);
        if (isTwo(code)) this.#from = line;
        return code;
      }
      case 'RCPT': {
        const to = /^RCPT TO:<(.*)>$/.exec(line)?.[1] ?? '';
        const known = to !== 'nobody@there.test';
        const usual = known ? '250 ok' : '550 5.1.1 no such user';
        const code = await this.#answer('rcpt', this.#from ? usual : '503 5.5.1 MAIL first');
        if (isTwo(code)) this.#to.push(to);
        return code;
      }
      case 'DATA': {
        const usual = this.#to.length > 0 ? '354 go on' : '503 5.5.1 RCPT first';
        const code = await this.#answer('data', usual);
        return code !== undefined && code >= 300 && code < 400 ? await this.#message() : code;
      }
      case 'BDAT': {
        const size = Number(/^BDAT (\d+) LAST$/.exec(line)?.[1]);
        return (await this.#skip(size)) ? await this.#end() : undefined;
      }
      case 'RSET':
        this.#from = undefined;
        this.#to = [];
        return await this.#answer('rset', '250 ok');
      case 'QUIT':
        await this.#answer('quit', '221 bye');
        return undefined;
      default:
        this.faults.push(`an unknown command: ${JSON.stringify(line.slice(0, 80))}`);
        return await this.#answer('other', '500 5.5.1 what');
    }
  }

  async #login(line: string): Promise<number | undefined> {
    const [, mechanism = ''] = line.split(' ');
    const challenges: Readonly<Record<string, readonly string[]>> = {
      PLAIN: [],
      LOGIN: ['VXNlcm5hbWU6', 'UGFzc3dvcmQ6'],
      'CRAM-MD5': ['PDFAcmVsYXkudGVzdD4='],
    };
    for (const challenge of challenges[mechanism] ?? []) {
      const code = await this.#answer('auth', `334 ${challenge}`);
      if (code !== 334) return code;
      if ((await this.#line()) === undefined) return undefined;
    }
    return await this.#answer('auth', '235 welcome');
  }

  async #secure(): Promise<number | undefined> {
    const plain = this.#socket;
    assert.ok(plain !== undefined);
    const event = this.#eventNow('tls');
    if (event !== undefined && this.#case.event !== 'other authority') {
      // What comes before the client has begun is another matter: somebody injecting.
      await this.#more();
      return await this.#perform(event, '');
    }
    plain.pause();
    plain.removeAllListeners('data');
    if (this.#input.length > 0) plain.unshift(this.#input);
    own();
    const key = event === undefined ? certificates?.own : certificates?.other;
    this.#plain = plain;
    this.#take(new TLSSocket(plain, { isServer: true, ...key }));
    return 220;
  }

  /** A message up to its final dot. */
  async #message(): Promise<number | undefined> {
    const event = this.#eventNow('body');
    if (event !== undefined) {
      await this.#more();
      const code = await this.#perform(event, '250 fine\r\n');
      // What was said is the answer; the rest of the message is not looked at.
      if (code !== undefined) while (await this.#more()) this.#input = Buffer.alloc(0);
      return undefined;
    }
    const END = '\r\n.\r\n';
    if (this.#input.length < 3) await this.#more();
    let end = this.#input.indexOf('.\r\n') === 0 ? 0 : this.#input.indexOf(END);
    while (end < 0) {
      this.#input = this.#input.subarray(-END.length);
      if (!(await this.#more())) return undefined;
      end = this.#input.indexOf(END);
    }
    this.#input = this.#input.subarray(end + (end === 0 ? 3 : END.length));
    return await this.#end();
  }

  /** The answers to the end of a message; what was taken is the client's to forget. */
  async #end(): Promise<number | undefined> {
    const to = this.#to;
    this.#from = undefined;
    this.#to = [];
    if (to.length === 0) return await this.#answer('dot', '503 5.5.1 nobody is to get it');
    let code: number | undefined;
    for (const each of this.#case.settings.has('lmtp') ? to : [to]) {
      code = await this.#answer('dot', '250 taken');
      if (isTwo(code)) this.taken.push(...(typeof each === 'string' ? [each] : each));
      if (code === undefined) break;
    }
    return code;
  }

  /** The event, where it is due at this answer. */
  #eventNow(stage: string): Event | undefined {
    const count = (this.#counts.get(stage) ?? 0) + 1;
    this.#counts.set(stage, count);
    const [at, which = '1'] = this.#case.at.split(' ');
    if (stage !== at || count !== Number(which) || this.happened) return undefined;
    this.happened = true;
    return eventsAt(this.#case.at)[this.#case.event];
  }

  /** The code that was said, usual or not; undefined where the connection is of no more use. */
  async #answer(stage: string, usual: string): Promise<number | undefined> {
    const event = this.#eventNow(stage);
    if (event !== undefined) return await this.#perform(event, `${usual}\r\n`);
    this.#socket?.write(`${usual}\r\n`);
    return Number(usual.slice(0, 3));
  }

  async #perform(event: Event, usual: string): Promise<number | undefined> {
    const socket = this.#socket;
    const bytes = Buffer.from(event.say(usual), 'latin1');
    if (event.pace === undefined) {
      if (bytes.length > 0) socket?.write(bytes);
    } else {
      for (const byte of bytes) {
        if (this.#ended) break;
        socket?.write(Buffer.from([byte]));
        if (event.pace > 0) await setTimeout(event.pace);
        else for (let turn = 0; turn < 2; turn++) await setImmediate();
      }
    }
    const code = Number(/^\d{3}/.exec(bytes.toString('latin1'))?.[0] ?? 0);
    if (event.ending === 'close') socket?.end();
    if (event.ending === 'reset') (this.#plain ?? socket)?.resetAndDestroy();
    if (event.ending === 'hang') {
      this.#deaf = true;
      socket?.pause();
    }
    if (event.ending === undefined) return code;
    if (event.ending === 'close' && isTwo(code) && event.say(usual) === usual) return code;
    return undefined;
  }

  async #line(): Promise<string | undefined> {
    let end = this.#input.indexOf('\r\n');
    while (end < 0) {
      if (!(await this.#more())) return undefined;
      end = this.#input.indexOf('\r\n');
    }
    const text = this.#input.toString('utf8', 0, end);
    this.#input = this.#input.subarray(end + 2);
    return text;
  }

  async #skip(count: number): Promise<boolean> {
    let left = count;
    while (left > this.#input.length) {
      left -= this.#input.length;
      this.#input = Buffer.alloc(0);
      if (!(await this.#more())) return false;
    }
    this.#input = this.#input.subarray(left);
    return true;
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const before = this.#input.length;
    while (this.#input.length === before && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#input.length > before;
  }
}

function isTwo(code: number | undefined): boolean {
  return code !== undefined && code >= 200 && code < 300;
}
