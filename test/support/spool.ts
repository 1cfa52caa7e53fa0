// A spool of its own for one test, and the values that most tests of it need.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Envelope, Origin } from '../../src/mail/envelope.ts';
import { formatOwner, type Owner, ownerOf } from '../../src/spool/owner.ts';
import type { Attempt } from '../../src/spool/result.ts';
import { type Entry, Spool } from '../../src/spool/spool.ts';
import { watch } from './syscalls.ts';

/** 2026-11-20T23:15:01Z */
export const NOW = 1_795_216_501_000;

export const ORIGIN: Origin = { uid: 1000, pid: 4242, time: NOW * 1000 + 123_456, program: 'test' };

export const TEXT = 'Subject: hello\r\n\r\nworld\r\n';

export const DEFERRED: Attempt = {
  time: NOW,
  outcome: 'deferred',
  stage: 'rcpt',
  relay: 'smtp://relay.test:25',
  lines: ['450 4.2.1 mailbox busy'],
};

/** A folder that goes when the test ends. */
export function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-spool-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A spool of this process with its layout. */
export function makeSpool(t: TestContext, pid = process.pid): Spool {
  const spool = new Spool(join(makeFolder(t), 'mail'), pid);
  watch(spool.folder, () => spool.makeLayout());
  return spool;
}

export function envelopeTo(first: string, ...others: readonly string[]): Envelope {
  return {
    sender: 'root@host.test',
    recipients: [{ address: first }, ...others.map((address) => ({ address }))],
  };
}

/** Submits TEXT, gives the entries' base names. */
export function submit(spool: Spool, first: string, ...others: readonly string[]): string[] {
  return [...spool.submit(envelopeTo(first, ...others), ORIGIN, [Buffer.from(TEXT)])];
}

/** The one entry of a spool. */
export function only(spool: Spool): Entry {
  const [entry, ...others] = spool.list().entries;
  if (entry === undefined || others.length > 0) throw new Error('not one entry');
  return entry;
}

/** The names in a folder of the spool, sorted. */
export function namesIn(spool: Spool, folder: string): string[] {
  return readdirSync(join(spool.folder, folder)).sort();
}

export function textOf(spool: Spool, ...path: readonly string[]): string {
  return readFileSync(join(spool.folder, ...path), 'latin1');
}

/** The message of an entry by its whole file name. */
export function messageOf(spool: Spool, folder: 'spool' | 'Undelivered', name: string): string {
  const base = name.split(':').slice(0, 4).join(':');
  const message = spool.look(base, folder, name);
  try {
    let text = '';
    for (const piece of message.pieces()) text += Buffer.from(piece).toString('latin1');
    return text;
  } finally {
    message.close();
  }
}

/** Leaves the record that an owner of this pid would have left who is gone. */
export function writeOwner(
  spool: Spool,
  pid: number,
  change: Partial<Owner> = { start: '1' },
): void {
  const owner = ownerOf(process.pid);
  if (owner === undefined) throw new Error('no /proc');
  writeFileSync(join(spool.folder, 'run', String(pid)), formatOwner({ ...owner, pid, ...change }));
}
