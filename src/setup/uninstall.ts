/**
 * From what was done and what the host is now: what is taken back, what stays and why. Pure; the host is
 * only asked. What somebody else has put in a place since stays.
 */
import type { Host } from './host.ts';
import { isStarter } from './programs.ts';
import type { Made, Words } from './steps.ts';

/** One change to the host that takes something back. */
export type Undo =
  | { readonly kind: 'erase'; readonly path: string }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'undivert'; readonly path: string; readonly to: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | {
      readonly kind: 'alternative';
      readonly group: string;
      readonly target: string;
      readonly chosen: string | undefined;
    }
  | { readonly kind: 'spool'; readonly path: string; readonly user: string }
  | { readonly kind: 'user' | 'group'; readonly name: string }
  | { readonly kind: 'units'; readonly names: Words }
  | { readonly kind: 'reload' };

export interface Removal {
  readonly undos: readonly { readonly undo: Undo; readonly of: Made | undefined }[];
  /** What stays, each with the reason; `ours` is what a later uninstall may still take back. */
  readonly stays: readonly { readonly made: Made; readonly why: string; readonly ours: boolean }[];
}

/** What is known of the queue; undefined where there is none. */
export interface QueueState {
  /** Mails that wait, and those in Undelivered. */
  readonly waiting: number;
  readonly undelivered: number;
  /** Files in corrupt/ and others that are no mail. */
  readonly odd: number;
}

/**
 * @param purge whether settings, logs and an empty queue go too
 * @param settings the names of files in the control folder that are picorelay's
 */
export function planRemoval(
  made: readonly Made[],
  host: Host,
  queue: QueueState | undefined,
  purge: boolean,
  settings: (folder: string) => readonly string[],
): Removal {
  const undos: { undo: Undo; of: Made | undefined }[] = [];
  const stays: { made: Made; why: string; ours: boolean }[] = [];
  const kept = new Set<string>();
  const undo = (step: Undo, of?: Made): void => {
    undos.push({ undo: step, of });
  };
  const keep = (each: Made, why: string): void => {
    stays.push({ made: each, why, ours: true });
  };
  const leave = (each: Extract<Made, { readonly path: string }>): void => {
    kept.add(each.path);
    stays.push({ made: each, why: 'somebody else’s by now', ours: false });
  };
  const full =
    queue !== undefined && queue.waiting + queue.undelivered + queue.odd > 0 ? queue : undefined;
  const keepsQueue = queue !== undefined && (!purge || full !== undefined);
  for (const each of [...made].reverse()) {
    switch (each.kind) {
      case 'units':
        if (host.systemd) undo({ kind: 'units', names: each.names }, each);
        break;
      case 'link': {
        const found = host.at(each.path);
        if (found.kind === 'nothing') break;
        if (found.kind === 'link' && found.target === each.target) {
          undo({ kind: 'erase', path: each.path }, each);
        } else {
          leave(each);
        }
        break;
      }
      case 'file': {
        const found = host.at(each.path);
        if (found.kind === 'nothing') break;
        const foreign = each.role === 'starter' && found.kind === 'file' && !isStarter(found.text);
        if (found.kind !== 'file' || foreign) {
          leave(each);
        } else if (each.role === 'log' && !purge) {
          keep(each, 'a log; --purge removes it');
        } else if (each.role === 'control' && !purge) {
          keep(each, 'a setting; --purge removes it');
        } else {
          undo({ kind: 'erase', path: each.path }, each);
        }
        break;
      }
      case 'divert':
        if (kept.has(each.path)) keep(each, `${each.path} is still there`);
        else if (host.diversionOf(each.path)?.to === each.to) {
          undo({ kind: 'undivert', path: each.path, to: each.to }, each);
        }
        break;
      case 'aside':
        if (kept.has(each.path)) keep(each, `${each.path} is still there`);
        else if (host.at(each.to).kind !== 'nothing') {
          undo({ kind: 'rename', from: each.to, to: each.path }, each);
        }
        break;
      case 'alternative':
        undo(
          { kind: 'alternative', group: each.group, target: each.target, chosen: each.chosen },
          each,
        );
        break;
      case 'folder': {
        if (host.at(each.path).kind !== 'folder') break;
        const files = settings(each.path);
        if (files.length > 0 && !purge) {
          keep(each, 'the settings; --purge removes them');
          break;
        }
        // Also those that were written by hand later.
        for (const name of files) {
          const path = `${each.path}/${name}`;
          if (!undos.some(({ undo: { ...step } }) => 'path' in step && step.path === path)) {
            undo({ kind: 'erase', path });
          }
        }
        undo({ kind: 'folder', path: each.path }, each);
        break;
      }
      case 'spool':
        if (host.at(each.path).kind !== 'folder') break;
        if (!keepsQueue) undo({ kind: 'spool', path: each.path, user: each.user }, each);
        else
          keep(each, full === undefined ? 'the queue, empty; --purge removes it' : sayQueue(full));
        break;
      case 'user':
      case 'group':
        if ((each.kind === 'user' ? host.user : host.group)(each.name) === undefined) break;
        if (keepsQueue) keep(each, 'owns the queue');
        else undo({ kind: each.kind, name: each.name }, each);
        break;
    }
  }
  if (host.systemd && made.some(({ kind }) => kind === 'units')) undo({ kind: 'reload' });
  return { undos, stays };
}

function sayQueue({ waiting, undelivered, odd }: QueueState): string {
  const parts = [
    ...(waiting > 0 ? [`${waiting} waiting`] : []),
    ...(undelivered > 0 ? [`${undelivered} in Undelivered`] : []),
    ...(odd > 0 ? [`${odd} that could not be read`] : []),
  ];
  return `holds mail: ${parts.join(', ')}`;
}

/** What is taken back, in words. */
export function sayUndo(undo: Undo): string {
  switch (undo.kind) {
    case 'erase':
    case 'folder':
      return `${undo.path} removed`;
    case 'undivert':
      return `${undo.path} is the packages' again (dpkg-divert)`;
    case 'rename':
      return `${undo.from} renamed to ${undo.to}`;
    case 'alternative':
      return `${undo.group} without ${undo.target} (update-alternatives)`;
    case 'spool':
      return `queue in ${undo.path} removed, it was empty`;
    case 'user':
    case 'group':
      return `${undo.kind} ${undo.name} removed`;
    case 'units':
      return `${undo.names.join(', ')} stopped and disabled`;
    case 'reload':
      return 'systemd has read its units again';
  }
}

/** What stays, in words. */
export function sayMade(made: Made): string {
  if ('path' in made) return made.path;
  return 'name' in made ? `${made.kind} ${made.name}` : made.kind;
}
