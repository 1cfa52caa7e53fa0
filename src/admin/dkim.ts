/** picorelay dkim: the DNS records of the keys that sign. Shows no key's private half. */
import { keyRecord } from '../mail/dkim.ts';
import { readSigners } from '../runner/settings.ts';
import type { World } from './command.ts';

/** Octets that one string of a TXT record may have (RFC 1035 section 3.3.14). */
const STRING_LIMIT = 255;

/** @throws ControlError for a key that cannot be used */
export function dkim(_: unknown, { control, stdout, stderr }: World): number {
  const signers = readSigners(control);
  for (const { domain, selector, key } of signers) {
    const strings = keyRecord(key).match(new RegExp(`.{1,${STRING_LIMIT}}`, 'g')) ?? [];
    const text = strings.map((each) => `"${each}"`).join(' ');
    stdout.write(`${selector}._domainkey.${domain}. IN TXT ( ${text} )\n`);
  }
  if (signers.length === 0)
    stderr.write(`${control.folder}/dkim names no keys: nothing is signed\n`);
  return 0;
}
