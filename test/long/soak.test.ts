// Ten thousand submissions, twice, by eight callers at once and by every way in, to a relay that puts off, refuses,
// closes, stalls and restarts, while callers and runners are killed at random. In the end the ledger has
// to add up to the last mail. SOAK_MAILS says another number; what is random comes from the seed, but for
// the order in which processes get on.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { randomFrom } from '../support/crash.ts';
import { type Running, start, waitFor } from '../support/process.ts';
import { CLOSE, type Script, SILENCE, startRelay, type TestRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const MAILS = Number(process.env['SOAK_MAILS'] ?? 10_000);
const CALLERS = 8;
const SENDER = 'root@client.test';

/** What its caller was told of a mail; `nothing`: the caller was killed, or the connection lost. */
type Told = 'queued' | 'refused' | 'nothing';

interface Mail {
  readonly to: readonly string[];
  told: Told;
}

class Soak {
  readonly site: Site;
  readonly mails: Mail[] = [];
  readonly kills = { callers: 0, runners: 0, relays: 0 };
  readonly ways = new Map<string, number>();
  readonly #random: () => number;
  readonly #t: TestContext;
  readonly #received: TestRelay[] = [];
  #relay: TestRelay | undefined;
  #port = 0;
  #service: Running | undefined;
  #left = MAILS;

  constructor(t: TestContext, seed: number) {
    this.#t = t;
    this.#random = randomFrom(seed);
    this.site = siteFor(t);
    for (const [name, text] of Object.entries({
      retry: '1s 2s',
      linger: '1s',
      connections: '4',
      timeoutgreeting: '2s',
      timeouthelo: '2s',
      timeoutmail: '2s',
      timeoutrcpt: '2s',
      timeoutdata: '2s',
      timeoutdot: '2s',
    })) {
      this.site.control(name, text);
    }
  }

  async run(): Promise<void> {
    await this.#openRelay(this.#moody);
    this.site.relays(this.#port);
    await this.#openService();
    const callers = Promise.all(Array.from({ length: CALLERS }, () => this.#call()));
    let busy = true;
    const trouble = this.#trouble(() => busy);
    try {
      await callers;
    } finally {
      busy = false;
      await trouble;
      await this.#killService();
    }
    await this.#relay?.stop();
    await this.#openRelay(this.#strict);
  }

  /** Everything that any of the relays took. */
  received(): ReadonlyMap<string, number> {
    const count = new Map<string, number>();
    for (const relay of this.#received) {
      for (const to of relay.recipients()) count.set(to, (count.get(to) ?? 0) + 1);
    }
    return count;
  }

  /** Runs the queue in peace until nothing waits. */
  async drain(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      this.#forgive();
      const lock = join(this.site.spool, 'run', 'runner.lock');
      const past = Date.now() / 1000 - 10;
      if (existsSync(lock)) utimesSync(lock, past, past);
      const { status, stderr } = await this.site.run('picorelay', ['run', '--once'], '', {
        limit: 300_000,
      });
      assert.equal(status, 0, stderr);
      if (this.site.queued().length + this.site.names('unsplit').length === 0) return;
    }
  }

  /** What the relay says for good: nobody with this name. */
  readonly #strict: Script = ({ stage, line }) =>
    stage === 'rcpt' && line.includes('<gone') ? '550 5.1.1 no such user' : undefined;

  readonly #moody: Script = (asked) => {
    const { stage } = asked;
    const dice = this.#random();
    if (stage === 'rcpt' && dice < 0.03) return '450 4.2.1 mailbox busy';
    if (stage === 'dot' && dice < 0.02) return '451 4.3.0 not now';
    if (stage === 'greeting' && dice < 0.05) return '421 4.3.2 too busy';
    if (dice < 0.001) return CLOSE;
    if (dice < 0.0015) return SILENCE;
    return this.#strict(asked);
  };

  async #openRelay(script: Script): Promise<void> {
    this.#relay = await startRelay(this.#t, { script, port: this.#port, keep: false });
    this.#port = this.#relay.port;
    this.#received.push(this.#relay);
  }

  get #door(): string {
    return join(this.site.folder, 'door');
  }

  async #openService(): Promise<void> {
    this.#service = await start([programPath('picorelay'), 'run', '--socket', this.#door], {
      env: this.site.env,
    });
  }

  async #killService(): Promise<void> {
    const service = this.#service;
    if (service === undefined) return;
    process.kill(service.pid, 'SIGKILL');
    await waitFor('the end of the runner', () => service.ended());
    await service.stop();
  }

  /** Relays rest for minutes after trouble, for which no soak has the time. */
  #forgive(): void {
    for (const name of readdirSync(join(this.site.spool, 'routes'))) {
      rmSync(join(this.site.spool, 'routes', name), { force: true });
    }
  }

  async #trouble(busy: () => boolean): Promise<void> {
    while (busy()) {
      await delay(500 + 2500 * this.#random());
      if (existsSync(join(this.site.spool, 'routes'))) this.#forgive();
      const dice = this.#random();
      if (dice < 0.4) {
        this.kills.runners++;
        await this.#killService();
        const lock = join(this.site.spool, 'run', 'runner.lock');
        const past = Date.now() / 1000 - 10;
        if (existsSync(lock)) utimesSync(lock, past, past);
        await this.#openService();
      } else if (dice < 0.6) {
        this.kills.relays++;
        await this.#relay?.stop();
        await delay(200 * this.#random());
        await this.#openRelay(this.#moody);
      }
    }
  }

  /** One caller: a mail after the other, until all are submitted. */
  async #call(): Promise<void> {
    while (this.#left > 0) {
      const dice = this.#random();
      if (dice < 0.015) await this.#program('sendmail');
      else if (dice < 0.03) await this.#program('qmail-queue');
      else if (dice < 0.05) await this.#session();
      else await this.#socket();
    }
  }

  #next(way: string): { readonly mail: Mail; readonly text: string } {
    this.#left--;
    this.ways.set(way, (this.ways.get(way) ?? 0) + 1);
    const number = this.mails.length;
    const names = this.#random() < 0.8 ? ['a'] : ['a', 'b', 'c'];
    const to = names.map((name) => {
      const gone = this.#random() < 0.01 ? 'gone.' : '';
      return `${gone}${name}.${number}@x.test`;
    });
    const mail: Mail = { to, told: 'nothing' };
    this.mails.push(mail);
    const lines = this.#random() < 0.02 ? 3000 : 3;
    return { mail, text: `Subject: ${number}\n\n${`${'x'.repeat(70)}\n`.repeat(lines)}` };
  }

  async #socket(): Promise<void> {
    const { mail, text } = this.#next('the socket');
    const envelope = `F${SENDER}\0${mail.to.map((address) => `T${address}\0`).join('')}\0`;
    for (let tries = 0; tries < 200; tries++) {
      const answer = await this.#ask(Buffer.from(envelope + text));
      if (answer === undefined) {
        // The service is just being restarted: nothing was sent.
        await delay(25);
        continue;
      }
      mail.told = answer.startsWith('K') ? 'queued' : answer === '' ? 'nothing' : 'refused';
      return;
    }
    mail.told = 'refused';
  }

  /** The answer; empty when the connection was lost, undefined when there was none. */
  async #ask(bytes: Buffer): Promise<string | undefined> {
    const socket = connect({ path: this.#door, allowHalfOpen: true });
    let answer = '';
    let connected = false;
    socket.on('connect', () => {
      connected = true;
      if (this.#random() < 0.002) {
        this.kills.callers++;
        socket.write(bytes.subarray(0, Math.floor(bytes.length * this.#random())));
        setTimeout(() => socket.destroy(), 5 * this.#random());
      } else {
        socket.end(bytes);
      }
    });
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    socket.on('error', () => undefined);
    // An error is followed by the end, too.
    await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    return connected ? answer : undefined;
  }

  async #program(name: 'sendmail' | 'qmail-queue'): Promise<void> {
    const { mail, text } = this.#next(name);
    const args = name === 'sendmail' ? ['-i', '-f', SENDER, '--', ...mail.to] : [];
    const child = spawn(programPath(name), args, {
      env: this.site.env,
      stdio: ['pipe', name === 'sendmail' ? 'ignore' : 'pipe', 'ignore'],
    });
    const [input, output] = child.stdio;
    for (const stream of [input, output]) stream?.on('error', () => undefined);
    input?.end(text);
    if (output !== null && 'end' in output && typeof output.end === 'function') {
      const envelope = mail.to.map((address) => `T${address}\0`).join('');
      output.end(`F${SENDER}\0${envelope}\0`);
    }
    const ended = once(child, 'close');
    if (this.#random() < 0.2) {
      await delay(80 * this.#random());
      if (child.kill('SIGKILL')) this.kills.callers++;
    }
    const [status] = (await ended) as [number | null];
    mail.told = status === 0 ? 'queued' : status === null ? 'nothing' : 'refused';
  }

  /** Some mails in one SMTP session with sendmail -bs. */
  async #session(): Promise<void> {
    const child = spawn(programPath('sendmail'), ['-bs'], {
      env: this.site.env,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    // What it says last is not read, so that its output does not close.
    const ended = once(child, 'exit');
    child.stdin.on('error', () => undefined);
    const replies = (async function* (): AsyncGenerator<string, void, undefined> {
      let rest = '';
      for await (const chunk of child.stdout) {
        const lines = (rest + String(chunk)).split('\r\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (/^\d{3}(?: |$)/.test(line)) yield line;
      }
    })();
    const say = async (line: string): Promise<string> => {
      if (line !== '') child.stdin.write(line);
      const { value } = await replies.next();
      return value ?? '';
    };
    await say('');
    await say('EHLO client.test\r\n');
    const killAt = this.#random() < 0.3 ? Math.floor(10 * this.#random()) : -1;
    for (let n = 0; n < 10; n++) {
      const { mail, text } = this.#next('sendmail -bs');
      if (n === killAt) {
        const ms = 10 * this.#random();
        setTimeout(() => child.kill('SIGKILL'), ms);
        this.kills.callers++;
      }
      await say(`MAIL FROM:<${SENDER}>\r\n`);
      for (const address of mail.to) await say(`RCPT TO:<${address}>\r\n`);
      await say('DATA\r\n');
      const answer = await say(`${text.replaceAll('\n', '\r\n')}.\r\n`);
      mail.told = answer.startsWith('2') ? 'queued' : answer === '' ? 'nothing' : 'refused';
      if (answer === '') break;
    }
    child.stdin.end('QUIT\r\n');
    await ended;
  }
}

for (const seed of [20_261_121, 20_261_122]) {
  test(`${MAILS} submissions among kills and a moody relay: the ledger adds up, seed ${seed}`, async (t) => {
    const soak = new Soak(t, seed);
    await soak.run();
    await soak.drain();
    const { site, mails } = soak;
    const received = soak.received();
    const queued = site.queued();
    const undelivered = new Set(
      site.names('Undelivered').flatMap((name) => /:([^:]+@x\.test)$/.exec(name)?.[1] ?? []),
    );
    const doubt =
      / (?:interrupted id=\S+:(\S+@x\.test) |relayed id=\S+ .* to=(\S+) .* duplicate=possible)/g;
    const recorded = new Set([...site.log().matchAll(doubt)].map(([, a, b]) => a ?? b ?? ''));
    const sum = {
      queued: 0,
      refused: 0,
      nothing: 0,
      recipients: 0,
      once: 0,
      twice: 0,
      undelivered: 0,
    };
    const wrong: string[] = [];
    for (const { to, told } of mails) {
      sum[told]++;
      const got = to.map(
        (address) => (received.get(address) ?? 0) + (undelivered.has(address) ? 1 : 0),
      );
      const what = `${to.join(' ')} (told: ${told}): ${got.join(' ')}`;
      const none = got.every((count) => count === 0);
      if (!none && got.includes(0)) wrong.push(`part of a mail: ${what}`);
      if (told === 'queued' && none) wrong.push(`lost: ${what}`);
      if (told === 'refused' && !none) wrong.push(`queued: ${what}`);
      for (const [n, address] of to.entries()) {
        const count = got[n] ?? 0;
        if (told === 'queued') sum.recipients++;
        if (count > 0 && undelivered.has(address) !== address.startsWith('gone')) {
          wrong.push(`in the wrong place: ${what}`);
        }
        if (count > 1 && !recorded.has(address)) wrong.push(`twice without a record: ${what}`);
        if (undelivered.has(address)) sum.undelivered++;
        else if (count === 1) sum.once++;
        else if (count > 1) sum.twice++;
      }
    }
    const ways = [...soak.ways].map(([way, count]) => `${count} by ${way}`).join(', ');
    t.diagnostic(`seed ${seed}: ${mails.length} mails: ${ways}`);
    t.diagnostic(
      `killed: ${soak.kills.callers} callers, ${soak.kills.runners} runners; the relay restarted ${soak.kills.relays} times`,
    );
    t.diagnostic(
      `told: ${sum.queued} queued (${sum.recipients} recipients), ${sum.refused} refused, ${sum.nothing} nothing; ` +
        `recipients received once: ${sum.once}, twice and on record: ${sum.twice}, Undelivered: ${sum.undelivered}, still queued: ${queued.length}`,
    );
    assert.deepEqual(wrong, []);
    assert.deepEqual(queued, []);
    assert.deepEqual(site.names('corrupt'), []);
    assert.ok(soak.kills.runners > 0 && soak.kills.callers > 0 && sum.queued > MAILS * 0.8);
  });
}
