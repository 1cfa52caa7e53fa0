/**
 * The rules of rewriting as the control folder has them, for every program that takes mail in and for
 * reports. A file of theirs that cannot be used must not cost the mail: it goes its way without that
 * rule, and a note says so. Of the aliases nothing is read before a local name is met.
 */
import { type Aliases, NO_ALIASES, parseAliases } from '../mail/aliases.ts';
import { Rewriter } from '../mail/rewriting.ts';
import type { ControlName, ControlValues } from './catalogue.ts';
import { type Control, ControlError, readNamedFile } from './control.ts';

/** What the caller knows of this host already. */
export interface RewritingNames {
  readonly me: string;
  readonly defaultHost: string;
  readonly defaultDomain: string | undefined;
}

/** Never throws a ControlError: each trouble is a note. */
export function openRewriter(control: Control, names: RewritingNames): Rewriter {
  const troubles: { readonly text: string; readonly file: string }[] = [];
  function get<N extends ControlName>(name: N, otherwise: ControlValues[N]): ControlValues[N] {
    try {
      return control.get(name);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      troubles.push({ text: `not applied: ${error.message}`, file: name });
      return otherwise;
    }
  }
  const locals = get('locals', undefined) ?? [names.me.toLowerCase()];
  const rewriter: Rewriter = new Rewriter({
    locals: new Set([...locals, 'localhost', 'localhost.localdomain']),
    defaults: names,
    admin: get('adminaddr', undefined),
    aliases: () => readAliases(control, (problem) => rewriter.warn(problem)),
    readInclude: (path) => {
      try {
        return { text: readNamedFile(path) };
      } catch (error) {
        if (error instanceof ControlError) return { problem: error.message };
        throw error;
      }
    },
    masquerade: get('masquerade', undefined),
    masqueradeFrom: get('masqueradefrom', undefined),
    senders: get('sendermap', { entries: new Map() }),
    rewriteTo: get('rewriteto', 'complete'),
  });
  for (const { text, file } of troubles) rewriter.warn(text, file);
  return rewriter;
}

function readAliases(control: Control, warn: (problem: string) => void): Aliases | undefined {
  try {
    const path = control.get('aliases');
    return path === undefined ? undefined : parseAliases(path, readNamedFile(path));
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    warn(`no aliases: ${error.message}`);
    return NO_ALIASES;
  }
}
