/** picorelay(8), from the commands as the command line has them. */
import { type Command, type Option, usageOf } from '../../src/admin/command.ts';
import { commands } from '../../src/admin/commands.ts';
import type { Block, Page } from './roff.ts';

const THEMES: Readonly<Record<Command['theme'], string>> = {
  setup: 'Setting up',
  sight: 'Seeing what happens',
  queue: 'The queue',
  service: 'Running',
};

export function commandPage(): Page {
  return {
    name: 'picorelay',
    section: 8,
    summary: 'look after a send-only mail relay',
    parts: [
      {
        title: 'SYNOPSIS',
        blocks: ['`picorelay` COMMAND [ARGUMENT ...]', '`picorelay` [COMMAND] `--help`'],
      },
      {
        title: 'DESCRIPTION',
        blocks: [
          'picorelay takes mail from programs of this host, which call it as `sendmail`, keeps it on disk, one file per recipient, and offers it to the mail server of a provider or company. What that server puts off is tried again; what it refuses lies in Undelivered beside its own words, and the sender is told.',
          'This command is for whoever looks after that. It works on the queue that the control files name (picorelay-control(5)) and needs the rights of root or of the user who owns it.',
        ],
      },
      {
        title: 'COMMANDS',
        blocks: Object.entries(THEMES).flatMap(([theme, heading]) => {
          const found = commands.filter((each) => each.theme === theme);
          return found.length === 0 ? [] : [{ heading }, ...found.map(commandBlock)];
        }),
      },
      {
        title: 'EXIT STATUS',
        blocks: [
          { term: '`0`', text: ['It did what was asked.'] },
          { term: '`64`', text: ['The command line is wrong; nothing was done.'] },
          { term: '`66`', text: ['No mail has that id.'] },
          { term: '`75`', text: ['It could not be done now; a line on standard error says why.'] },
          'Commands that end with other values say so above.',
        ],
      },
      {
        title: 'ENVIRONMENT',
        blocks: [
          {
            term: '`PICORELAY_CONTROL`',
            text: ['The control folder, in the place of /etc/picorelay.'],
          },
          { term: '`NO_COLOR`', text: ['Set to anything, it keeps colours from the terminal.'] },
          { term: '`TZ`', text: ['The zone that times are shown in.'] },
        ],
      },
      {
        title: 'FILES',
        blocks: [
          { term: '/etc/picorelay', text: ['The control files, picorelay-control(5).'] },
          { term: '/var/spool/picorelay', text: ['The queue, picorelay-spool(5).'] },
        ],
      },
    ],
    seeAlso: [
      'picorelay-cron(8)',
      'picorelay-send(8)',
      'picorelay-sendmail(8)',
      'picorelay-control(5)',
      'picorelay-spool(5)',
    ],
  };
}

function commandBlock(command: Command): Block {
  const positionals = Object.entries(command.positionals).map(([name, { describe, choices }]) => ({
    term: name,
    text: [`${sentence(describe)}${oneOf(choices)}`],
  }));
  const options = Object.entries(command.options).map(([name, option]) => ({
    term: optionTerm(name, option),
    text: [optionText(option)],
  }));
  return {
    term: `\`picorelay ${usageOf(command)}\``,
    text: [sentence(command.summary), ...command.text],
    inner: [...positionals, ...options],
  };
}

function optionTerm(name: string, option: Option): string {
  const value = option.type === 'boolean' ? '' : ` ${option.value}`;
  const letter = option.alias === undefined ? '' : `\`-${option.alias}\`${value}, `;
  return `${letter}\`--${name}\`${value}`;
}

function optionText(option: Option): string {
  const text = sentence(option.describe);
  if (option.type === 'boolean') return text;
  return `${text}${option.type === 'string' ? oneOf(option.choices) : ''}${option.default === undefined ? '' : ` Without it: ${option.default}.`}`;
}

function oneOf(choices: readonly string[] | undefined): string {
  return choices === undefined ? '' : ` One of ${choices.join(', ')}.`;
}

/** What a list has without a full stop, as a sentence. */
function sentence(text: string): string {
  const end = /[.…]$/.test(text) ? '' : '.';
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${end}`;
}
