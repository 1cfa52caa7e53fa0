/**
 * What is generated from the catalogue: the manual page docs/control.md and the files of the shipped
 * control folder. Pure; packaging/docs.ts writes them and a test compares them.
 */
import { type Absent, type ControlFile, catalogue } from './catalogue.ts';

const INTRO = `# Control files

<!-- Generated from src/control/catalogue.ts by npm run docs. -->

picorelay is set up by a folder of small text files, /etc/picorelay unless a program is told another.
Each file holds one setting and is named after it. To change a setting, write the file:

    echo mail.example.com > /etc/picorelay/me
    echo smtps://alice@smtp.example.com > /etc/picorelay/relay

To go back to the default, remove it. Nothing has to be restarted: each program reads the files that
it needs when it starts. Only \`me\` has to be there.

- A **value** is the first line of its file, without the white space at its end; further lines do not
  count.
- A **list** has one item a line; empty lines and lines that start with \`#\` do not count.
- A **secret** is a value and **secrets** are a list that no message ever shows. Their file must be closed
  to others, and only its owner may write it; make it so before the secret goes in:

      install -m 640 /dev/null /etc/picorelay/authpassword
      cat > /etc/picorelay/authpassword

- The text is UTF-8. A value file has at most 64 KB, a list 1 MB. Links are followed.
- A duration is a number of seconds, or numbers with units: \`90\`, \`90s\`, \`15m\`, \`1h30m\`, \`5d\`, \`1w\`.

A file that cannot be used never loses mail: mail waits, and the log names the file, the line, what
stands there and what should.
`;

/** The text of docs/control.md. */
export function controlManual(): string {
  return `${INTRO}${Object.values(catalogue).map(section).join('')}`;
}

/**
 * The files of the shipped control folder, name and content: those with a default that a text
 * stands for.
 */
export function shippedFiles(): ReadonlyMap<string, string> {
  const shipped = new Map<string, string>();
  for (const { name, absent } of Object.values(catalogue)) {
    if ('text' in absent) shipped.set(name, `${absent.text}\n`);
  }
  return shipped;
}

function section({ name, kind, takes, help, absent }: ControlFile<unknown>): string {
  // Markdown would take the asterisks of cron fields for emphasis.
  const plain = takes.replaceAll('*', '\\*');
  return `
## ${name}

${help}

- Kind: ${kind}
- Takes: ${plain}
- Without it: ${without(absent)}
`;
}

function without(absent: Absent<unknown>): string {
  if ('text' in absent) return `\`${absent.text}\``;
  if ('file' in absent) return `the value of \`${absent.file.name}\``;
  return 'value' in absent ? absent.means : 'mail waits';
}
