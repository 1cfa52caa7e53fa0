// Certificates for TLS servers of the tests, made by openssl when the test runs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Why these tests are skipped, or false. In CI they fail instead. */
export const noOpenssl: string | false =
  process.env['CI'] === undefined && spawnSync('openssl', ['version']).error !== undefined
    ? 'openssl is missing'
    : false;

/** A self-signed certificate for these names, `DNS:…` or `IP:…`. */
export function makeCertificate(
  names: readonly string[],
  kind: readonly string[] = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-cert-'));
  const [cert, key] = [join(folder, 'cert'), join(folder, 'key')];
  try {
    const alternative = `subjectAltName=${names.join(',')}`;
    const args = ['req', '-x509', '-nodes', '-days', '2', '-subj', '/CN=test', ...kind];
    const made = spawnSync('openssl', [
      ...args,
      '-addext',
      alternative,
      '-out',
      cert,
      '-keyout',
      key,
    ]);
    if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
    return { cert: readFileSync(cert, 'latin1'), key: readFileSync(key, 'latin1') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
