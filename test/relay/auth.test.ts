import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import type { Login } from '../../src/relay/auth.ts';
import { SessionError } from '../../src/relay/connect.ts';
import { Session, type SessionOptions } from '../../src/relay/session.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { type Scripted, type Speaker, sessionOptions, startScripted } from '../support/scripted.ts';

const USER = 'alice@example.com';
const PASSWORD = 'sesame-öffne dich';

/** What a relay saw of a login, and what the transcript showed. */
interface Seen {
  readonly scripted: Scripted;
  readonly shown: readonly string[];
  readonly error: SessionError | undefined;
}

async function logIn(
  t: Parameters<typeof startScripted>[0],
  mechanisms: string,
  speaker: Speaker,
  login: Login,
  changes: Partial<SessionOptions> & { implicit?: Parameters<typeof startScripted>[1] } = {},
): Promise<Seen> {
  const { implicit, ...rest } = changes;
  const scripted = await startScripted(t, { offers: [`AUTH ${mechanisms}`], speaker, ...implicit });
  const shown: string[] = [];
  const options = sessionOptions({
    relay: {
      scheme: implicit === undefined ? 'smtp' : 'smtps',
      host: '127.0.0.1',
      port: scripted.port,
      user: undefined,
    },
    login,
    onLine: (side, line) => shown.push(`${side} ${line}`),
    ...rest,
  });
  let error: SessionError | undefined;
  try {
    await (await Session.open(options)).close();
  } catch (thrown) {
    assert.ok(thrown instanceof SessionError, String(thrown));
    error = thrown;
  }
  return { scripted, shown, error };
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** The lines behind EHLO and before QUIT. */
function said({ scripted }: Seen): readonly string[] {
  return scripted.lines.filter((line) => !/^(EHLO|QUIT)/.test(line));
}

/** A server of SCRAM-SHA-256 with its own arithmetic. */
function scramServer(
  password: string,
  binding?: (socket: TLSSocket) => Buffer,
  spoil = false,
): Speaker {
  let first = '';
  let server = '';
  let bound = '';
  const salt = Buffer.from('0123456789');
  const hmac = (key: Buffer, text: string): Buffer =>
    createHmac('sha256', key).update(text).digest();
  return (line, socket) => {
    const auth = /^AUTH SCRAM-SHA-256(?:-PLUS)? (.*)$/.exec(line);
    if (auth !== null) {
      const message = Buffer.from(auth[1] ?? '', 'base64').toString();
      const [, header = '', bare = ''] = /^(.*?,,)(.*)$/.exec(message) ?? [];
      bound = Buffer.concat([
        Buffer.from(header),
        binding?.(socket as TLSSocket) ?? Buffer.alloc(0),
      ]).toString('base64');
      first = bare;
      server = `${bare.slice(bare.indexOf('r='))}XYZ,s=${salt.toString('base64')},i=4096`;
      return `334 ${base64(server)}`;
    }
    const message = Buffer.from(line, 'base64').toString();
    const [, final = '', bindings, proof = ''] = /^((?:c=(.*?)),r=.*?),p=(.*)$/.exec(message) ?? [];
    if (final !== '') {
      const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256');
      const all = `${first},${server},${final}`;
      const key = hmac(salted, 'Client Key');
      const signature = hmac(createHash('sha256').update(key).digest(), all);
      const wanted = Buffer.from(key.map((octet, n) => octet ^ (signature[n] ?? 0)));
      if (bindings !== bound || proof !== wanted.toString('base64')) return '535 5.7.8 wrong';
      const mine = hmac(hmac(salted, spoil ? 'Other Key' : 'Server Key'), all);
      return `334 ${base64(`v=${mine.toString('base64')}`)}`;
    }
    return line === '' ? '235 2.7.0 welcome' : undefined;
  };
}

test('Each mechanism logs in, and the best one that is offered is used.', async (t) => {
  const plainText = base64(`\0${USER}\0${PASSWORD}`);
  const digest = createHmac('md5', PASSWORD).update('<1@relay>').digest('hex');
  const answers: Record<string, string> = {
    [`AUTH PLAIN ${plainText}`]: '235 ok',
    'AUTH LOGIN': '334 VXNlcm5hbWU6',
    [base64(USER)]: '334 UGFzc3dvcmQ6',
    [base64(PASSWORD)]: '235 ok',
    'AUTH CRAM-MD5': `334 ${base64('<1@relay>')}`,
    [base64(`${USER} ${digest}`)]: '235 ok',
  };
  const speaker: Speaker = (line) => answers[line];
  const table: [string, readonly string[]][] = [
    ['CRAM-MD5 LOGIN PLAIN', [`AUTH PLAIN ${plainText}`]],
    ['LOGIN CRAM-MD5', ['AUTH LOGIN', base64(USER), base64(PASSWORD)]],
    ['cram-md5', ['AUTH CRAM-MD5', base64(`${USER} ${digest}`)]],
  ];
  for (const [offered, lines] of table) {
    const seen = await logIn(t, offered, speaker, { user: USER, password: PASSWORD });
    assert.equal(seen.error, undefined, offered);
    assert.deepEqual(said(seen), lines);
  }
  const scram = await logIn(t, 'PLAIN SCRAM-SHA-1 SCRAM-SHA-256 LOGIN', scramServer(PASSWORD), {
    user: USER,
    password: () => Promise.resolve(PASSWORD),
  });
  assert.equal(scram.error, undefined);
  assert.match(said(scram)[0] ?? '', /^AUTH SCRAM-SHA-256 biws/);
});

test('A relay that does not know the password is found out by its SCRAM signature.', async (t) => {
  const login = { user: USER, password: PASSWORD };
  const spoiled = await logIn(
    t,
    'SCRAM-SHA-256 PLAIN',
    scramServer(PASSWORD, undefined, true),
    login,
  );
  assert.equal(spoiled.error?.stage, 'auth');
  assert.match(JSON.stringify(spoiled.error?.event), /signature is wrong/);
  const lazy = await logIn(
    t,
    'SCRAM-SHA-256 PLAIN',
    (line) => (line.startsWith('AUTH') ? '235 ok' : undefined),
    login,
  );
  assert.match(JSON.stringify(lazy.error?.event), /did not show/);
  for (const seen of [spoiled, lazy]) assert.ok(!said(seen).some((line) => line.includes('PLAIN')));
});

test('SCRAM is bound to the TLS connection, by each kind of binding.', {
  skip: noOpenssl,
}, async (t) => {
  const certificate = makeCertificate(['IP:127.0.0.1']);
  const login = { user: USER, password: PASSWORD };
  const bindings: ['TLSv1.2' | 'TLSv1.3', (socket: TLSSocket) => Buffer, RegExp][] = [
    [
      'TLSv1.3',
      (socket) => socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)),
      /^p=tls-exporter,,/,
    ],
    [
      'TLSv1.2',
      (socket) => {
        const own = socket.getX509Certificate();
        assert.ok(own !== undefined);
        return createHash('sha256').update(own.raw).digest();
      },
      /^p=tls-server-end-point,,/,
    ],
  ];
  for (const [version, binding, header] of bindings) {
    const implicit = { certificate, implicit: true, tls: { maxVersion: version } };
    const offers = 'SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN';
    const changes = { authorities: certificate.cert, implicit };
    const good = await logIn(t, offers, scramServer(PASSWORD, binding), login, changes);
    assert.equal(good.error, undefined, version);
    const [, first = ''] = /^AUTH SCRAM-SHA-256-PLUS (.*)$/.exec(said(good)[0] ?? '') ?? [];
    assert.match(Buffer.from(first, 'base64').toString(), header);
    // Somebody in between has another connection with the relay than with us.
    const between = scramServer(PASSWORD, () => Buffer.from('another connection'));
    const bad = await logIn(t, offers, between, login, changes);
    assert.match(JSON.stringify(bad.error?.event), /535/);
    assert.equal(said(bad).filter((line) => line.startsWith('AUTH')).length, 1);
    // Where binding is not offered, the relay is told that we could.
    const stripped = await logIn(t, 'SCRAM-SHA-256', scramServer(PASSWORD), login, changes);
    const [, plainFirst = ''] = /^AUTH SCRAM-SHA-256 (.*)$/.exec(said(stripped)[0] ?? '') ?? [];
    assert.match(Buffer.from(plainFirst, 'base64').toString(), /^y,,/);
  }
});

test('A refusal leads to another mechanism only where no account is put at risk.', async (t) => {
  const tried = (seen: Seen): string[] =>
    said(seen).flatMap((line) => (line.startsWith('AUTH') ? [line.split(' ')[1] ?? ''] : []));
  const table: [string, string, readonly string[]][] = [
    ['535 5.7.8 wrong', 'PLAIN LOGIN CRAM-MD5', ['PLAIN']],
    ['454 4.7.0 later', 'PLAIN LOGIN CRAM-MD5', ['PLAIN']],
    ['534 5.7.9 too weak', 'PLAIN LOGIN CRAM-MD5', ['PLAIN']],
    ['504 5.5.4 what', 'PLAIN LOGIN CRAM-MD5', ['PLAIN', 'LOGIN', 'CRAM-MD5']],
    ['501 5.5.2 what', 'PLAIN LOGIN', ['PLAIN', 'LOGIN']],
    ['534 5.7.9 too weak', 'SCRAM-SHA-256 LOGIN CRAM-MD5', ['SCRAM-SHA-256', 'LOGIN', 'CRAM-MD5']],
    // Refused before any proof: once more, and no more than that.
    ['535 5.7.8 wrong', 'SCRAM-SHA-256 LOGIN CRAM-MD5', ['SCRAM-SHA-256', 'LOGIN']],
  ];
  for (const [reply, offered, mechanisms] of table) {
    const speaker: Speaker = (line) => (line.startsWith('AUTH') ? reply : undefined);
    const seen = await logIn(t, offered, speaker, { user: USER, password: PASSWORD });
    assert.deepEqual(tried(seen), mechanisms, `${reply} to ${offered}`);
    assert.equal(seen.error?.stage, 'auth');
    assert.match(JSON.stringify(seen.error?.event), new RegExp(reply.slice(0, 3)));
  }
  // After LOGIN has said the password, 535 is the last word.
  const late: Speaker = (line) => {
    if (line === 'AUTH LOGIN' || line === base64(USER)) return '334 ';
    return line === base64(PASSWORD) ? '535 5.7.8 wrong' : undefined;
  };
  const seen = await logIn(t, 'LOGIN CRAM-MD5', late, { user: USER, password: PASSWORD });
  assert.deepEqual(tried(seen), ['LOGIN']);
});

test('A password that another host could hear is kept back; SCRAM and CRAM-MD5 are not.', {
  skip: noOpenssl,
}, async (t) => {
  const certificate = makeCertificate(['DNS:other.test']);
  const implicit = { certificate, implicit: true };
  const login = { user: USER, password: PASSWORD };
  // The name is resolved on this machine, and is no name for it.
  const relay = { scheme: 'smtps', host: '127.0.0.1', user: undefined } as const;
  const scripted = await startScripted(t, { ...implicit, speaker: () => '535 no' });
  const { authenticate, Mask } = await import('../../src/relay/auth.ts');
  const { Dialogue } = await import('../../src/relay/dialogue.ts');
  const { connectRelay } = await import('../../src/relay/connect.ts');
  const socket = await connectRelay(
    { ...relay, port: scripted.port },
    { verify: false, authorities: undefined },
    10,
  );
  const dialogue = new Dialogue(socket, () => undefined);
  await dialogue.reply(10);
  const circumstances = {
    host: 'relay.test',
    port: 25,
    secured: socket as TLSSocket,
    confidential: false,
    seconds: 10,
    mask: new Mask(),
  };
  const table: [string, RegExp][] = [
    ['PLAIN LOGIN', /kept back: the certificate is not verified/],
    ['OAUTHBEARER', /none of it can be used/],
    ['', /offers no AUTH/],
  ];
  for (const [offered, reason] of table) {
    await assert.rejects(authenticate(dialogue, login, { ...circumstances, offered }), (error) => {
      assert.ok(error instanceof SessionError && error.event.kind === 'closed');
      assert.match(error.event.reason, reason);
      return true;
    });
  }
  await assert.rejects(
    authenticate(dialogue, login, { ...circumstances, secured: undefined, offered: 'PLAIN' }),
    (error) => error instanceof SessionError && /no TLS/.test(JSON.stringify(error.event)),
  );
  assert.deepEqual(scripted.lines, []);
  const mechanism = authenticate(dialogue, login, { ...circumstances, offered: 'PLAIN CRAM-MD5' });
  await assert.rejects(mechanism, SessionError);
  assert.deepEqual(scripted.lines, ['AUTH CRAM-MD5']);
  dialogue.destroy();
});

test('Access tokens are used by both mechanisms, and one that is refused is asked for anew, once.', async (t) => {
  const asked: boolean[] = [];
  const login: Login = {
    user: USER,
    token: (fresh) => {
      asked.push(fresh);
      return Promise.resolve(fresh ? 'token-two' : 'token-one');
    },
  };
  const good = `AUTH XOAUTH2 ${base64(`user=${USER}\x01auth=Bearer token-two\x01\x01`)}`;
  let old = false;
  const speaker: Speaker = (line) => {
    if (line === good) return '235 ok';
    if (line.startsWith('AUTH')) {
      old = true;
      return `334 ${base64('{"status":"401"}')}`;
    }
    return old && line === '' ? '535 5.7.8 expired' : undefined;
  };
  const seen = await logIn(t, 'XOAUTH2 PLAIN', speaker, login);
  assert.equal(seen.error, undefined);
  assert.deepEqual(asked, [false, true]);

  const never = await logIn(
    t,
    'OAUTHBEARER XOAUTH2',
    (line) =>
      line.startsWith('AUTH') || line === 'AQ=='
        ? line === 'AQ=='
          ? '535 no'
          : '334 e30='
        : undefined,
    login,
  );
  assert.match(JSON.stringify(never.error?.event), /535/);
  assert.deepEqual(
    said(never).map((line) => line.split(' ')[1] ?? line),
    ['OAUTHBEARER', 'AQ==', 'OAUTHBEARER', 'AQ=='],
  );
});

test('A long first response waits for the relay to ask for it.', async (t) => {
  const token = 'x'.repeat(2000);
  const whole = base64(`user=${USER}\x01auth=Bearer ${token}\x01\x01`);
  const speaker: Speaker = (line) =>
    line === 'AUTH XOAUTH2' ? '334 ' : line === whole ? '235 ok' : undefined;
  const seen = await logIn(t, 'XOAUTH2', speaker, {
    user: USER,
    token: () => Promise.resolve(token),
  });
  assert.equal(seen.error, undefined);
  assert.deepEqual(said(seen), ['AUTH XOAUTH2', whole]);
});

test('EXTERNAL logs in by the certificate, with TLS only.', { skip: noOpenssl }, async (t) => {
  const certificate = makeCertificate(['IP:127.0.0.1']);
  const client = makeCertificate(['DNS:client.test']);
  let subject: string | undefined;
  const speaker: Speaker = (line, socket) => {
    subject = (socket as TLSSocket).getPeerX509Certificate?.()?.subjectAltName;
    return line === `AUTH EXTERNAL ${base64(USER)}` ? '235 ok' : undefined;
  };
  const tls = { requestCert: true, rejectUnauthorized: false };
  const seen = await logIn(
    t,
    'PLAIN EXTERNAL',
    speaker,
    { user: USER },
    {
      authorities: certificate.cert,
      certificate: { chain: client.cert, key: client.key },
      implicit: { certificate, implicit: true, tls },
    },
  );
  assert.equal(seen.error, undefined);
  assert.equal(subject, 'DNS:client.test');
  const bare = await logIn(t, 'PLAIN EXTERNAL', speaker, { user: USER });
  assert.match(JSON.stringify(bare.error?.event), /none of it can be used/);
});

test('Only mechanisms that are allowed are used, in the order given.', async (t) => {
  const login: Login = { user: USER, password: PASSWORD, mechanisms: ['LOGIN', 'PLAIN'] };
  const seen = await logIn(t, 'SCRAM-SHA-256 PLAIN LOGIN', () => undefined, login);
  assert.deepEqual(said(seen)[0], 'AUTH LOGIN');
  const bearer: Login = { user: USER, password: 'token', mechanisms: ['OAUTHBEARER'] };
  const speaker: Speaker = (line) => (line.startsWith('AUTH OAUTHBEARER') ? '235 ok' : undefined);
  assert.equal((await logIn(t, 'OAUTHBEARER PLAIN', speaker, bearer)).error, undefined);
});

test('No secret is shown, in any form, even where the relay repeats it.', async (t) => {
  const echo: Speaker = (line) =>
    /^(EHLO|QUIT)/.test(line)
      ? undefined
      : line.startsWith('AUTH') &&
          !line.includes('PLAIN') &&
          !line.includes('BEARER') &&
          !line.includes('XOAUTH') &&
          !line.includes('SCRAM')
        ? '334 '
        : `501 what is ${line} or ${PASSWORD}?`;
  const login = { user: USER, password: PASSWORD };
  const seens = [
    await logIn(t, 'PLAIN LOGIN CRAM-MD5', echo, login),
    await logIn(t, 'SCRAM-SHA-256 PLAIN', scramServer(PASSWORD), login),
    await logIn(t, 'XOAUTH2 OAUTHBEARER', echo, {
      user: USER,
      token: () => Promise.resolve(PASSWORD),
    }),
  ];
  for (const seen of seens) {
    const secrets = said(seen).flatMap((line) => {
      const response = line.replace(/^AUTH \S+ ?/, '');
      return response.length < 4 ? [] : [response, Buffer.from(response, 'base64').toString()];
    });
    const all = [...seen.shown, JSON.stringify(seen.error?.event ?? '')].join('\n');
    assert.match(all, /C AUTH \S+ \*\*\*|C \*\*\*/);
    for (const secret of [PASSWORD, base64(PASSWORD), ...secrets]) {
      assert.ok(!all.includes(secret), secret);
    }
  }
});

test('A secret that cannot be had is trouble of the site, in one line.', async (t) => {
  const login = { user: USER, password: () => Promise.reject(new Error('the command failed')) };
  const seen = await logIn(t, 'PLAIN', () => undefined, login);
  assert.deepEqual(seen.error?.event, { kind: 'closed', reason: 'the command failed' });
  assert.equal(seen.error?.stage, 'auth');
});

test('A relay that goes on asking is left.', async (t) => {
  const speaker: Speaker = (line) => (/^(EHLO|QUIT|\*)/.test(line) ? undefined : '334 YQ==');
  const seen = await logIn(t, 'LOGIN', speaker, { user: USER, password: PASSWORD });
  assert.equal(seen.error?.event.kind, 'malformed');
  assert.equal(seen.scripted.lines.at(-1), '*');
});
