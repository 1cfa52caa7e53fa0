// Keys for DKIM, made when the test runs, and dkimpy's judgement on what was signed by them.
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { resolve } from 'node:path';
import { type DkimKey, keyRecord } from '../../src/mail/dkim.ts';

/** Debian's own, which has the module. */
const PYTHON = '/usr/bin/python3';

/** Why these tests are skipped, or false. In CI they fail instead. */
export const noDkimpy: string | false =
  process.env['CI'] === undefined && spawnSync(PYTHON, ['-c', 'import dkim, nacl']).status !== 0
    ? 'dkimpy is missing; as root: apt-get install python3-dkim'
    : false;

export function makeKey(kind: 'rsa' | 'ed25519', bits = 2048): KeyObject {
  return kind === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: bits }).privateKey
    : generateKeyPairSync('ed25519').privateKey;
}

/** The verdict on each message: `good` for each signature, with semicolons between. */
export function verify(
  messages: readonly Uint8Array[],
  keys: readonly Pick<DkimKey, 'domain' | 'selector' | 'key'>[],
): readonly string[] {
  const records = Object.fromEntries(
    keys.map(({ domain, selector, key }) => [`${selector}._domainkey.${domain}`, keyRecord(key)]),
  );
  const input = JSON.stringify({
    records,
    messages: messages.map((each) => Buffer.from(each).toString('base64')),
  });
  const { status, stdout, stderr } = spawnSync(PYTHON, [resolve('test/mail/verify_dkim.py')], {
    input,
    encoding: 'utf8',
    maxBuffer: 1e8,
  });
  if (status !== 0) throw new Error(stderr);
  return stdout.trimEnd().split('\n');
}
