// Reports as Python's email package reads them.
import { spawnSync } from 'node:child_process';

export interface ReadReport {
  readonly type: string;
  readonly reportType: string | null;
  readonly fields: readonly (readonly [string, string])[];
  readonly defects: readonly string[];
  readonly parts: readonly string[];
  readonly text: string;
  /** The fields about the message, then those of each recipient. */
  readonly status: readonly (readonly (readonly [string, string])[])[];
  /** The third part, in latin1. */
  readonly original: string;
}

/** The `skip` option for a test that needs Python; in CI it has to be there. */
export function skipWithoutPython(): string | false {
  if (process.env['CI'] !== undefined) return false;
  const { status } = spawnSync('python3', ['--version']);
  return status === 0 ? false : 'there is no python3 to read the reports with';
}

export function readReports(messages: readonly Buffer[]): readonly ReadReport[] {
  const { status, stdout, stderr } = spawnSync('python3', ['test/bounce/read_report.py'], {
    input: JSON.stringify(messages.map((message) => message.toString('base64'))),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`read_report.py: ${stderr}`);
  return JSON.parse(stdout) as ReadReport[];
}

/** The body of the first field of that name. */
export function fieldOf(
  fields: readonly (readonly [string, string])[] | undefined,
  name: string,
): string | undefined {
  return fields?.find(([each]) => each.toLowerCase() === name.toLowerCase())?.[1];
}
