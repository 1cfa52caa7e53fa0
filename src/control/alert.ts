/**
 * The syntax of control/alert: by which ways the administrator hears of trouble. Pure; nothing is run,
 * opened or written here.
 */
import { isLoopback, parseRelay } from './relay-url.ts';
import type { Line } from './retry.ts';

/** One way by which an alert goes out. */
export type AlertRoad =
  /** A line for the shell, which gets the alert on its standard input. */
  | { readonly kind: 'run'; readonly command: string; readonly json: boolean }
  /** An https URL, or an http one of this machine, which gets the alert as JSON. */
  | { readonly kind: 'post'; readonly url: string }
  /** A file that holds the alerts while they last. */
  | { readonly kind: 'file'; readonly path: string };

export const ALERT_EXAMPLES =
  'run COMMAND, run-json COMMAND, post https://URL or file /PATH, as in run logger -t mail or file /etc/motd.d/picorelay';

/** The lines of control/alert; `problem` is the line that is none. */
export function parseAlert(
  lines: readonly Line[],
): readonly AlertRoad[] | { readonly problem: Line } {
  const roads: AlertRoad[] = [];
  for (const line of lines) {
    const road = readRoad(line.text);
    if (road === undefined) return { problem: line };
    roads.push(road);
  }
  return roads;
}

function readRoad(text: string): AlertRoad | undefined {
  const [, word, rest = ''] = /^([a-z-]+)[ \t]+(\P{Cc}{1,4000})$/u.exec(text) ?? [];
  switch (word) {
    case 'run':
    case 'run-json':
      return { kind: 'run', command: rest, json: word === 'run-json' };
    case 'post':
      return isSafeUrl(rest) ? { kind: 'post', url: rest } : undefined;
    case 'file':
      return rest.startsWith('/') ? { kind: 'file', path: rest } : undefined;
    default:
      return undefined;
  }
}

/** Whether a URL is one that a secret may be sent to: https, or http to this machine. */
export function isSafeUrl(text: string): boolean {
  if (text.length > 1024 || /[^\x21-\x7e]/.test(text)) return false;
  const [, scheme, place = ''] = /^(https?):\/\/([^/?#@]+)(?:[/?][^#]*)?$/i.exec(text) ?? [];
  if (!URL.canParse(text)) return false;
  const server = parseRelay(`smtp://${place}`);
  if (scheme === undefined || 'problem' in server) return false;
  return scheme.toLowerCase() === 'https' || isLoopback(server.host);
}
