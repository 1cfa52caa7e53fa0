/**
 * picorelay check: whether the keys of control/dkim can be used, and whether the DNS has their public halves.
 * Hostile input: the DNS.
 */
import { type Control, ControlError } from '../control/control.ts';
import { type DkimKey, keyRecord } from '../mail/dkim.ts';
import { openResolver } from '../relay/resolver.ts';
import { readSigners } from '../runner/settings.ts';
import { fromControlError } from './check-control.ts';
import { type Finding, failure, ok, warning } from './finding.ts';

export async function checkDkim(control: Control): Promise<readonly Finding[]> {
  try {
    const signers = readSigners(control);
    const servers = control.get('nameservers');
    return await Promise.all(signers.map(async (key) => await checkRecord(key, servers)));
  } catch (error) {
    if (error instanceof ControlError) return [fromControlError(error)];
    throw error;
  }
}

async function checkRecord(
  { domain, selector, key }: DkimKey,
  servers: readonly string[],
): Promise<Finding> {
  const name = `${selector}._domainkey.${domain}`;
  const found = await openResolver(servers).texts(name);
  if (found.kind === 'trouble') return warning(`${name}: ${found.reason}`);
  const wanted = publicKeyOf(keyRecord(key));
  const there = found.kind === 'found' ? found.records.map(publicKeyOf) : [];
  if (there.includes(wanted)) return ok(`mail of ${domain} is signed, and the DNS has ${name}`);
  return there.length === 0
    ? failure(`mail of ${domain} is signed, but the DNS has no ${name}`, 'picorelay dkim')
    : failure(`mail of ${domain} is signed by another key than ${name} has`, 'picorelay dkim');
}

/** The tag p= of a record (RFC 6376 section 3.6.1), without white space. */
function publicKeyOf(record: string): string | undefined {
  return /(?:^|;)\s*p\s*=([^;]*)/.exec(record.slice(0, 10_000))?.[1]?.replace(/\s/g, '');
}
