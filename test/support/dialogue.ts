// The server's dialogues in test/dialogues/server: what a client sends and what it has to hear.
//   # …                     a remark
//   ! strict, ! size N, ! recipients N   an option of the server
//   C: text                 the client sends the line with CRLF
//   C> text                 the client sends just this; \r \n \\ \xNN stand for octets
//   S: text                 the server answers this line; a * at its end stands for anything
//   Q: sender -> a, b       the message that was ended last is queued with this envelope
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = 'test/dialogues/server';

export interface Step {
  readonly send: Buffer;
  /** The lines of the answer, without line ends. */
  readonly answer: readonly string[];
}

export interface Dialogue {
  readonly name: string;
  readonly options: ReadonlyMap<string, string>;
  /** The first one sends nothing and hears the greeting. */
  readonly steps: readonly Step[];
  /** `sender -> a, b`, one for each queued message. */
  readonly queued: readonly string[];
}

export function readDialogues(): readonly Dialogue[] {
  return readdirSync(folder).sort().map(readDialogue);
}

export function readDialogue(name: string): Dialogue {
  const options = new Map<string, string>();
  const queued: string[] = [];
  const steps: { send: Buffer; answer: string[] }[] = [{ send: Buffer.alloc(0), answer: [] }];
  for (const line of readFileSync(join(folder, name), 'utf8').split('\n')) {
    const kind = line.slice(0, 2);
    const text = line.slice(3);
    const last = steps[steps.length - 1];
    if (kind === 'C:' || kind === 'C>') {
      const octets = kind === 'C:' ? Buffer.from(`${text}\r\n`) : unescapeOctets(text);
      if (last === undefined || last.answer.length > 0) steps.push({ send: octets, answer: [] });
      else last.send = Buffer.concat([last.send, octets]);
    } else if (kind === 'S:') {
      last?.answer.push(text);
    } else if (kind === 'Q:') {
      queued.push(text);
    } else if (kind.startsWith('!')) {
      const [option = '', value = ''] = line.slice(2).split(' ');
      options.set(option, value);
    } else if (line !== '' && !line.startsWith('#')) {
      throw new Error(`${name}: what is "${line}"?`);
    }
  }
  return { name, options, steps, queued };
}

/** Whether the lines that came are those that the dialogue has. */
export function answers(expected: readonly string[], lines: readonly string[]): boolean {
  return (
    expected.length === lines.length &&
    expected.every((text, index) => {
      const line = lines[index] ?? '';
      return text.endsWith('*') ? line.startsWith(text.slice(0, -1)) : line === text;
    })
  );
}

function unescapeOctets(text: string): Buffer {
  const octets = text.replace(/\\(?:x([\da-f]{2})|(.))/g, (_, hex?: string, letter?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return letter === 'r' ? '\r' : letter === 'n' ? '\n' : (letter ?? '');
  });
  return Buffer.from(octets, 'latin1');
}
