// A large message takes no more memory than a small one. Peaks are the kernel's own (VmHWM, proc(5)).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeKey } from '../support/dkim.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const MEGABYTES = 100;
const LIMIT_KB = 120 * 1024;

/** A message of a hundred megabytes. */
function largeFile(site: Site): string {
  const path = join(site.folder, 'large');
  const fd = openSync(path, 'w');
  writeSync(fd, 'Subject: large\n\n');
  const piece = Buffer.from(
    `${'all work and no play, '.repeat(3)}\n`.repeat(15_420).slice(0, 1 << 20),
  );
  for (let n = 0; n < MEGABYTES; n++) writeSync(fd, piece);
  return path;
}

/** Runs a program with these files as its first descriptors: the exit status and the peak in KB. */
async function peakOf(
  site: Site,
  program: string,
  args: readonly string[],
  stdin: number | 'ignore',
  stdout: number | 'ignore',
): Promise<{ status: number | null; peak: number }> {
  const child = spawn(programPath(program), [...args], {
    env: site.env,
    stdio: [stdin, stdout, 'inherit'],
  });
  let peak = 0;
  const look = (): void => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'latin1');
      peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0));
    } catch {
      // It has ended.
    }
  };
  const timer = setInterval(look, 10);
  const [status] = (await once(child, 'close')) as [number | null];
  clearInterval(timer);
  return { status, peak };
}

function assertLow({ status, peak }: { status: number | null; peak: number }): void {
  assert.equal(status, 0);
  assert.ok(peak > 20 * 1024, `a peak of ${peak} KB was not measured`);
  assert.ok(peak < LIMIT_KB, `${Math.round(peak / 1024)} MB`);
}

test('A message of 100 MB passes through sendmail, qmail-queue and picorelay-cron in less than 120 MB', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, { keep: false });
  site.relays(relay.port);
  const path = largeFile(site);
  const envelope = join(site.folder, 'envelope');
  writeFileSync(envelope, 'Fjo@x.test\0Tb@x.test\0\0');

  await t.test('sendmail', async () => {
    assertLow(await peakOf(site, 'sendmail', ['-i', 'a@x.test'], openSync(path, 'r'), 'ignore'));
  });
  await t.test('qmail-queue', async () => {
    const [message, names] = [openSync(path, 'r'), openSync(envelope, 'r')];
    assertLow(await peakOf(site, 'qmail-queue', [], message, names));
  });
  await t.test('picorelay-cron', async () => {
    assertLow(await peakOf(site, 'picorelay-cron', [], 'ignore', 'ignore'));
    assert.deepEqual(relay.recipients().toSorted(), ['a@x.test', 'b@x.test']);
    for (const { size } of relay.received)
      assert.ok(size > MEGABYTES * 1_000_000, `${size} octets`);
  });
});

test('Nor does it when 100 MB are signed, and encoded for a relay without 8BITMIME', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, { keep: false, extensions: ['PIPELINING'] });
  site.relays(relay.port);
  const key = join(site.folder, 'key.pem');
  writeFileSync(key, makeKey('rsa').export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  site.control('dkim', `x.test s ${key}`);
  const path = largeFile(site);
  const head = 'From: jo@x.test\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n';
  const fd = openSync(path, 'r+');
  writeSync(fd, `${head}Content-Transfer-Encoding: 8bit\n\ngrün\n`);
  assertLow(await peakOf(site, 'sendmail', ['-i', 'a@x.test'], openSync(path, 'r'), 'ignore'));
  assertLow(await peakOf(site, 'picorelay-cron', [], 'ignore', 'ignore'));
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});
