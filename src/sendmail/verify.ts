/**
 * sendmail -bv: what would become of addresses, in the shape in which sendmail says it. Nothing is
 * sent, queued or connected to. Hostile input: the addresses.
 */
import type { Control } from '../control/control.ts';
import { openRewriter } from '../control/rewriting.ts';
import { isMailbox } from '../mail/address.ts';
import { escapeText } from '../mail/text.ts';
import type { Verification } from './arguments.ts';
import { hostNames } from './submit.ts';
import { waysOf } from './ways.ts';

const EX_OK = 0;
const EX_USAGE = 64;
const EX_NOUSER = 67;

/**
 * @param hostName the system's host name
 * @returns for standard output a line for each address that would get mail or cannot be read, for
 *   standard error lines about the control folder, and 67 where an address cannot be read
 */
export function verify(
  { recipients, problems }: Verification,
  control: Control,
  hostName: () => string,
): { readonly output: string; readonly problem: readonly string[]; readonly status: number } {
  if (recipients.length + problems.length === 0) {
    return { output: '', problem: ['-bv: name the addresses to verify'], status: EX_USAGE };
  }
  const said: string[] = [];
  const rewriter = openRewriter(control, hostNames(control, hostName, said));
  const lines: string[] = [];
  let status = EX_OK;
  for (const recipient of new Set(recipients)) {
    for (const { address } of rewriter.recipients([{ address: recipient }])) {
      if (isMailbox(address)) {
        const host = hostFor(control, address);
        lines.push(`${address}... deliverable: mailer relay, ${host}user ${address}`);
      } else {
        lines.push(`${recipient}... this is no address that can be used`);
        status = EX_NOUSER;
      }
    }
  }
  for (const problem of problems) {
    lines.push(`${problem}... this is no address`);
    status = EX_NOUSER;
  }
  for (const { kind, text } of rewriter.notes) if (kind === 'trouble') said.push(text);
  return { output: lines.map((line) => `${escapeText(line)}\n`).join(''), problem: said, status };
}

/** The relay that is tried first; nothing while there is none, for the addresses were asked about. */
function hostFor(control: Control, address: string): string {
  const ways = waysOf(control, '', [address]);
  const host = 'problem' in ways ? undefined : ways[0]?.host;
  return host === undefined ? '' : `host ${host}, `;
}
