/** The help of picorelay and of each command, made of the catalogue. Pure. */
import { type Command, type Option, type Positional, type Theme, usageOf } from './command.ts';
import { indent, WIDTH } from './layout.ts';

/** The themes as the help and the manual page title them, in this order. */
export const THEMES: Readonly<Record<Theme, string>> = {
  setup: 'Setting up',
  sight: 'Seeing how it does',
  queue: 'The queue',
  service: 'Running',
};

/** What `picorelay --help` prints. */
export function helpOfAll(commands: readonly Command[]): string {
  const lines = ['usage: picorelay COMMAND [OPTIONS]', '', 'Looks after picorelay and its queue.'];
  for (const theme of Object.keys(THEMES) as Theme[]) {
    const chapter = commands.filter((each) => each.theme === theme);
    if (chapter.length === 0) continue;
    lines.push('', `${THEMES[theme]}:`);
    for (const { name, summary } of chapter) lines.push(...row(name, summary, 15));
  }
  lines.push('', 'picorelay COMMAND --help tells more; picorelay --version, which one this is.');
  return `${lines.join('\n')}\n`;
}

/** What `picorelay COMMAND --help` prints. */
export function helpOf(command: Command): string {
  const { summary, text, positionals, options } = command;
  const lines = [
    `usage: picorelay ${usageOf(command)}${Object.keys(options).length > 0 ? ' [OPTIONS]' : ''}`,
    '',
    ...indent(0, `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`),
    ...text.flatMap((paragraph) => ['', ...indent(0, paragraph)]),
    '',
  ];
  for (const [name, each] of Object.entries(positionals)) {
    lines.push(...row(name, describedPositional(each), 22));
  }
  for (const [name, option] of Object.entries(options)) {
    lines.push(...row(optionWords(name, option), described(option), 22));
  }
  lines.push(...row('-h, --help', 'this help', 22));
  return `${lines.join('\n')}\n`;
}

/** As in `-v, --verbose` or `--from GLOB`. */
export function optionWords(name: string, option: Option): string {
  const short = option.alias === undefined ? '' : `-${option.alias}, `;
  return `${short}--${name}${option.type === 'boolean' ? '' : ` ${option.value}`}`;
}

/** What an option does, with its choices and its default. */
export function described(option: Option): string {
  const { describe } = option;
  if (option.type === 'boolean') return describe;
  const choices = option.type === 'string' ? choicesIn(option.choices) : '';
  const otherwise = option.default === undefined ? '' : ` (without it ${option.default})`;
  return `${describe}${choices}${otherwise}`;
}

export function describedPositional({ describe, choices }: Positional): string {
  return `${describe}${choicesIn(choices)}`;
}

function choicesIn(choices: readonly string[] | undefined): string {
  return choices === undefined ? '' : `: ${choices.join(', ')}`;
}

/** Words, and what they mean in a column beside them. */
function row(words: string, meaning: string, column: number): readonly string[] {
  const [first = '', ...more] = indent(column, meaning, WIDTH - 1);
  const head = `  ${words}`;
  return head.length < column - 1
    ? [`${head.padEnd(column)}${first.trimStart()}`, ...more]
    : [head, first, ...more];
}
