/** picorelay explain: what sendmail would do with a message, and why. */
import { hostname } from 'node:os';
import { originTime } from '../mail/envelope.ts';
import { parseInvocation } from '../sendmail/arguments.ts';
import { explain as explainMessage, printExplanation } from '../sendmail/explain.ts';
import { Rejected } from '../sendmail/submit.ts';
import { readPieces } from '../spool/input.ts';
import { CommandError, EX_USAGE, printJson, type World } from './command.ts';

export function explain(
  { words, json }: { readonly words: readonly string[]; readonly json: boolean },
  world: World,
): number {
  const invocation = parseInvocation('sendmail', words);
  if (invocation.mode !== 'deliver') {
    throw new CommandError(
      EX_USAGE,
      'problem' in invocation ? invocation.problem : 'explain wants one message',
    );
  }
  const caller = {
    login: world.login(),
    origin: {
      uid: world.uid,
      pid: world.pid,
      time: originTime(world.now(), process.hrtime()),
      program: 'sendmail',
    },
    zoneMinutes: world.zoneMinutes,
    hostName: hostname,
  };
  try {
    const explanation = explainMessage(invocation, readPieces(0), world.control, caller);
    if (json) printJson(world, explanation);
    else world.stdout.write(printExplanation(explanation));
    return 0;
  } catch (error) {
    if (!(error instanceof Rejected)) throw error;
    throw new CommandError(error.status, `sendmail would refuse this: ${error.message}`);
  }
}
