/**
 * What was done to a message on its way from its caller into the queue, and why: kept in the entry,
 * shown by `picorelay show` and `picorelay explain`. The text may hold what a message brought in: who
 * shows it escapes it.
 */
export interface Note {
  /**
   * `completed`: something was missing and was added. `removed`: a field that never goes out.
   * `rewritten`: an address was replaced. `repaired`: no relay could have taken it as it was.
   * `trouble`: a rule could not be followed.
   */
  readonly kind: 'completed' | 'removed' | 'rewritten' | 'repaired' | 'trouble';
  readonly text: string;
  /** The control file that wanted it so; undefined where the standards do. */
  readonly file?: string;
}

/** The notes that are kept with the message, in one line each: what is usual is not among them. */
export function keptNotes(notes: readonly Note[]): readonly string[] {
  const kept = notes.filter(({ kind }) => kind !== 'completed' && kind !== 'removed');
  return [...new Set(kept.map(formatNote))];
}

/** A note in one line. */
export function formatNote({ kind, text, file }: Note): string {
  return `${kind}: ${text}${file === undefined ? '' : ` (control/${file})`}`;
}
