/** picorelay-control(5), from the catalogue of control files. */
import { type Absent, type ControlFile, catalogue } from '../../src/control/catalogue.ts';
import type { Block, Page } from './roff.ts';

export function controlPage(): Page {
  return {
    name: 'picorelay-control',
    section: 5,
    summary: 'control files of picorelay',
    parts: [
      {
        title: 'DESCRIPTION',
        blocks: [
          'picorelay is set up by a folder of small text files, /etc/picorelay unless `PICORELAY_CONTROL` names another. Each file holds one setting and is named after it. To change a setting, write the file; to go back to the default, remove it. Nothing has to be restarted.',
          {
            example:
              'echo mail.example.com > /etc/picorelay/me\necho smtps://alice@smtp.example.com > /etc/picorelay/relay',
          },
          'A value is the first line of its file, without the white space at its end. A list has one item a line; empty lines and lines that start with `#` do not count. A secret is a value, and secrets are a list, that no message ever shows; its file must be closed to others before the secret goes in:',
          {
            example:
              'install -m 640 /dev/null /etc/picorelay/authpassword\ncat > /etc/picorelay/authpassword',
          },
          'The text is UTF-8. A value file has at most 64 KB, a list 1 MB. Links are followed. A duration is a number of seconds, or numbers with units: 90, 90s, 15m, 1h30m, 5d, 1w.',
          'A file that cannot be used never loses mail: mail waits, and the log names the file, the line, what stands there and what should.',
        ],
      },
      { title: 'FILES', blocks: Object.values(catalogue).map(fileBlock) },
    ],
    seeAlso: ['picorelay(8)', 'picorelay-spool(5)'],
  };
}

function fileBlock({ name, kind, takes, help, absent }: ControlFile<unknown>): Block {
  return {
    term: `\`${name}\` (${kind})`,
    text: [help, `Takes ${takes}.`, `Without it: ${without(absent)}.`],
  };
}

function without(absent: Absent<unknown>): string {
  if ('text' in absent) return `\`${absent.text}\``;
  if ('file' in absent) return `the value of \`${absent.file.name}\``;
  return 'value' in absent ? absent.means : 'mail waits';
}
