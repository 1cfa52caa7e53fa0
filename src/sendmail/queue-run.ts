/** `sendmail -q`: which entries a queue run is about. Pure. */
import { parseBase, prefixOf, showPart } from '../spool/name.ts';
import type { Entry } from '../spool/spool.ts';
import type { QueueRun } from './arguments.ts';

/**
 * The entries that the run is to offer now, those on hold left out. A pattern is a part of the queue
 * id, of the sender or of the recipient, as sendmail's -qI, -qS and -qR have it; capitals do not matter.
 * @returns base names
 */
export function entriesOf(entries: readonly Entry[], { match, negated }: QueueRun): string[] {
  return entries
    .filter(({ state }) => state.kind === 'new' || state.kind === 'waiting')
    .map(({ base }) => base)
    .filter(
      (base) => match === undefined || textOf(base, match.field).includes(match.text) !== negated,
    );
}

function textOf(base: string, field: NonNullable<QueueRun['match']>['field']): string {
  const name = parseBase(base);
  switch (field) {
    case 'id':
      return prefixOf(base).toLowerCase();
    case 'sender':
      return showPart(name?.sender ?? '').toLowerCase();
    case 'recipient':
      return showPart(name?.recipient ?? '').toLowerCase();
  }
}
