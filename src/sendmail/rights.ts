/** What a user hears who may submit but not look at the queue. */
import fs from 'node:fs';
import { groupName, loginName } from '../control/host.ts';

/** One line, for `mailq` and `sendmail -q`; what was submitted is not in danger. */
export function notForYou(folder: string, action: 'look at' | 'run'): string {
  const status = fs.statSync(folder, { throwIfNoEntry: false });
  if (status === undefined) return `only its owner may ${action} the queue`;
  const owner = status.uid === 0 ? [] : [loginName(status.uid)];
  const members =
    (status.mode & 0o2000) !== 0 && action === 'look at'
      ? [`members of group ${groupName(status.gid)}`]
      : [];
  const who = ['root', ...owner, ...members];
  const last = who.pop();
  const all = who.length === 0 ? last : `${who.join(', ')} and ${last}`;
  const advice =
    action === 'look at' ? 'what you sent is safe there; try sudo mailq' : 'cron does each minute';
  return `only ${all} may ${action} the queue; ${advice}`;
}
