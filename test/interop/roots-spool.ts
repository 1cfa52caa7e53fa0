// A host on which root has run sendmail before anything was set up, so that the spool is root's, and how it is
// told that a program of root's was not led astray.
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Finished } from '../support/process.ts';
import { installCheckout, picorelay } from './checkout.ts';
import { type Fresh, freshRoot } from './fresh.ts';
import { lookAtVictims, makeVictims, unmountBelow } from './tricks.ts';

export const SPOOL = '/var/spool/picorelay';
export const CONTROL = '/etc/picorelay';
export const BIN = '/opt/picorelay/bin';
export const LETTER = 'Subject: tea\n\nat four\n';

export const INIT = [picorelay, 'init', '--yes', '--skip-test', '--schedule', 'none'];

/** A host with the programs, settings and victims on it, and no spool yet. */
export async function rootsHost(t: TestContext): Promise<Fresh> {
  const fresh = await freshRoot(t);
  installCheckout(fresh);
  writeSettings(fresh);
  makeVictims(fresh);
  return fresh;
}

export function writeSettings(fresh: Fresh): void {
  for (const [name, text] of [
    ['me', 'host.test'],
    ['relay', 'smtp://127.0.0.1:9'],
    ['immediate', 'off'],
    ['log', '/var/log/picorelay.log'],
  ] as const) {
    fresh.write(join(CONTROL, name), `${text}\n`);
  }
}

/** What rootsSpool submits, as `waiting` lists it. */
export const ALL_MAIL = [
  'root@host.test to of-root@x.test',
  'root@host.test to too@x.test',
  'tester@host.test to of-user@x.test',
];

/** Sender and recipient of each mail that waits, once the new owner has run the queue. */
export async function waiting(fresh: Fresh): Promise<readonly string[]> {
  const asRelay = { user: 'relay' };
  await fresh.run([`${BIN}/picorelay-cron`], asRelay);
  const list = await fresh.must([picorelay, 'list', '--json'], asRelay);
  const { entries } = JSON.parse(list) as {
    readonly entries: readonly { readonly sender: string; readonly recipient: string }[];
  };
  return entries.map(({ sender, recipient }) => `${sender} to ${recipient}`).sort();
}

/** What rootsSpool made the first time. */
const KEPT = '/srv/spool-of-root';

/** A spool of root's, as root's first call of sendmail makes it, with a mail of root's and one of a user's. */
export async function rootsSpool(fresh: Fresh): Promise<void> {
  await removeTree(fresh, SPOOL);
  if (!existsSync(fresh.at(KEPT))) {
    const letter = { input: LETTER };
    await fresh.must([`${BIN}/sendmail`, 'of-root@x.test', 'too@x.test'], letter);
    // The relay is down: a route is paused, and the runner's files are there.
    await fresh.must([`${BIN}/picorelay-cron`]);
    await fresh.must([`${BIN}/sendmail`, 'of-user@x.test'], { ...letter, user: 'tester' });
    await fresh.must(['mv', SPOOL, KEPT]);
  }
  await fresh.must(['cp', '-a', KEPT, SPOOL]);
}

/** A queue of msmtpq in a home folder, and the command that imports it. */
export const QUEUE = '/home/tester/queue';
const SETTINGS_OF_QUEUE = '/home/tester/msmtprc';
export const IMPORT = [
  ...[picorelay, 'import', 'msmtp', '--from', SETTINGS_OF_QUEUE, '--queue', QUEUE],
  ...['--yes', '--skip-test', '--schedule', 'none'],
];

/** Makes that queue anew, with one mail in it. */
export async function makeQueue(fresh: Fresh): Promise<void> {
  await removeTree(fresh, QUEUE);
  fresh.write(SETTINGS_OF_QUEUE, 'account default\nhost 127.0.0.1\nport 9\nfrom a@x.test\n');
  fresh.write(`${QUEUE}/one.msmtp`, '-f a@x.test -- bob@x.test\n');
  fresh.write(`${QUEUE}/one.mail`, LETTER);
}

/** Removes a folder and what a test has mounted in it. */
export async function removeTree(fresh: Fresh, folder: string): Promise<void> {
  await unmountBelow(fresh, folder);
  rmSync(fresh.at(folder), { recursive: true, force: true });
}

/** One clear line for each trouble, and never a stack. */
export function assertClear({ status, stderr }: Finished, statuses: readonly number[]): void {
  assert.ok(statuses.includes(status ?? -1), `exit ${status}: ${stderr}`);
  assert.doesNotMatch(stderr, /^ {4}at /m);
  if (status !== 0) assert.match(stderr, /^[\w-]+: [^\n]{10,500}\n/);
}

/** Runs something and holds that no victim was touched. */
export async function harmless<T>(
  fresh: Fresh,
  what: string,
  action: () => Promise<T>,
): Promise<T> {
  const before = lookAtVictims(fresh);
  const result = await action();
  assert.deepEqual(Object.fromEntries(lookAtVictims(fresh)), Object.fromEntries(before), what);
  return result;
}
