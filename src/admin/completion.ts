/**
 * picorelay completion: the scripts by which bash, zsh and fish complete the command line, made from the
 * commands, and the ids that these scripts ask for. Addresses in ids come escaped (spool/name.ts): a shell
 * that offers one can do nothing else with it.
 */
import { parseBase, showPart } from '../spool/name.ts';
import type { Command, Completion, Option, World } from './command.ts';
import { queuedMails, shortIds, spoolOf, undeliveredMails } from './mails.ts';

const SHELLS: Readonly<Record<string, (commands: readonly Command[]) => string>> = {
  bash,
  zsh,
  fish,
};

export async function completion(
  { what }: { readonly what: string },
  world: World,
  commands: readonly Command[],
): Promise<number> {
  if (what === 'queued' || what === 'undelivered' || what === 'entry') printIds(what, world);
  else world.stdout.write(SHELLS[what]?.(commands) ?? '');
  return 0;
}

/** One id a line, behind a tab from whom to whom. */
function printIds(which: 'queued' | 'undelivered' | 'entry', world: World): void {
  const spool = spoolOf(world);
  const queued = queuedMails(spool);
  const refused = undeliveredMails(spool);
  const bases = [...queued, ...refused].map(({ base }) => base);
  const ids = shortIds(() => bases);
  const wanted = { queued, undelivered: refused, entry: [...queued, ...refused] }[which];
  for (const { base } of wanted) {
    const name = parseBase(base);
    const described = `${showPart(name?.sender ?? '')} to ${showPart(name?.recipient ?? '')}`;
    world.stdout.write(`${ids(base)}\t${described.replaceAll(/\s/g, ' ')}\n`);
  }
}

/** What a shell offers for the words of a command: these words, or what it finds; undefined: nothing. */
function wordsOf({ positionals }: Command): readonly string[] | Completion | undefined {
  const word = Object.values(positionals).find(({ choices, completes }) => choices ?? completes);
  return word?.choices ?? word?.completes;
}

const isFile = (completes: readonly string[] | Completion | undefined): boolean =>
  completes === 'file' || completes === 'folder';

function flagsOf(name: string, { alias }: Option): readonly string[] {
  return alias === undefined ? [`--${name}`] : [`--${name}`, `-${alias}`];
}

function bash(commands: readonly Command[]): string {
  const values = commands.flatMap((command) =>
    Object.entries(command.options).flatMap(([name, option]) => {
      if (option.type === 'boolean') return [];
      const pattern = flagsOf(name, option)
        .map((flag) => `${command.name}:${flag}`)
        .join('|');
      return [`    ${pattern}) ${bashOffer(option)}; return ;;`];
    }),
  );
  const words = commands.flatMap((command) => {
    const completes = wordsOf(command);
    if (completes === undefined) return [];
    const offer = isFile(completes)
      ? 'mapfile -t COMPREPLY < <(compgen -f -- "$word")'
      : typeof completes === 'string'
        ? `_picorelay_ids "$1" ${completes} "$word"`
        : `mapfile -t COMPREPLY < <(compgen -W '${completes.join(' ')}' -- "$word")`;
    return [`    ${command.name}) ${offer} ;;`];
  });
  const options = commands.map(
    ({ name, options: known }) =>
      `    ${name}) options='${Object.keys(known)
        .map((each) => `--${each}`)
        .join(' ')}' ;;`,
  );
  // Ids are compared, never expanded: compgen -W would.
  return `# bash completion of picorelay, by: picorelay completion bash
_picorelay_ids() {
  local id
  while IFS=$'\\t' read -r id _; do
    [[ $id != "$3"* ]] || COMPREPLY+=("$id")
  done < <("$1" completion "$2" 2> /dev/null)
}

_picorelay() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]} options=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '${commands.map(({ name }) => name).join(' ')} --help --version' -- "$word")
    return
  fi
  case $command:$before in
${values.join('\n')}
  esac
  case $command in
${options.join('\n')}
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$word")
    return
  fi
  case $command in
${words.join('\n')}
  esac
}
complete -F _picorelay picorelay
`;
}

function bashOffer(option: Option): string {
  if (option.type === 'string' && option.choices !== undefined) {
    return `mapfile -t COMPREPLY < <(compgen -W '${option.choices.join(' ')}' -- "$word")`;
  }
  if (option.type === 'string' && isFile(option.completes)) {
    return `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -${option.completes === 'file' ? 'f' : 'd'} -- "$word")`;
  }
  return ':';
}

function zsh(commands: readonly Command[]): string {
  const list = commands.map(({ name, summary }) => `    ${single(`${name}:${summary}`)}`);
  const cases = commands.map((command) => {
    const options = Object.entries(command.options).map(([name, option]) =>
      zshOption(name, option),
    );
    const completes = wordsOf(command);
    const words =
      completes === undefined
        ? []
        : [
            isFile(completes)
              ? "'*:file:_files'"
              : typeof completes === 'string'
                ? // Behind a space the function gets these words and no others.
                  `'*:id: _picorelay_ids ${completes}'`
                : `'*:word:(${completes.join(' ')})'`,
          ];
    return `    ${command.name}) _arguments -S : ${[...options, "'(-h --help)'{-h,--help}'[shows the help]'", ...words].join(' ')} ;;`;
  });
  return `#compdef picorelay
# zsh completion of picorelay, by: picorelay completion zsh
_picorelay_ids() {
  local -a ids
  ids=(\${(f)"$($program completion $1 2> /dev/null)"})
  ids=(\${\${ids//:/\\\\:}//$'\\t'/:})
  _describe -t ids id ids
}

_picorelay() {
  local program=$words[1] state
  local -a commands context line
  commands=(
${list.join('\n')}
  )
  _arguments -C '(-)'{-h,--help}'[shows the help]' '(-)--version[shows the version]' '1: :->command' '*:: :->words'
  case $state in
    command) _describe -t commands command commands; return ;;
    words) ;;
    *) return ;;
  esac
  case $words[1] in
${cases.join('\n')}
  esac
}

if [[ $funcstack[1] == _picorelay ]]; then _picorelay "$@"; else compdef _picorelay picorelay; fi
`;
}

function zshOption(name: string, option: Option): string {
  const text = option.describe.replaceAll(/[[\]]/g, '\\$&').replaceAll(':', '\\:');
  const action =
    option.type === 'boolean'
      ? ''
      : option.type === 'string' && option.choices !== undefined
        ? `:${option.value}:(${option.choices.join(' ')})`
        : `:${option.value}:${option.type === 'string' && isFile(option.completes) ? '_files' : ''}`;
  const flags = flagsOf(name, option);
  if (flags.length === 1) return single(`${flags[0]}[${text}]${action}`);
  return `${single(`(${flags.join(' ')})`)}{${flags.join(',')}}${single(`[${text}]${action}`)}`;
}

function fish(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const here = `complete -c picorelay -n '__fish_seen_subcommand_from ${command.name}'`;
    const options = Object.entries(command.options).map(([name, option]) => {
      const letter = option.alias === undefined ? '' : ` -s ${option.alias}`;
      return `${here}${letter} -l ${name}${fishValue(option)} -d ${fishQuoted(option.describe)}`;
    });
    const completes = wordsOf(command);
    const words =
      completes === undefined
        ? []
        : [
            isFile(completes)
              ? `${here} -F`
              : typeof completes === 'string'
                ? `${here} -a '(picorelay completion ${completes} 2> /dev/null)'`
                : `${here} -a '${completes.join(' ')}'`,
          ];
    return [
      `complete -c picorelay -n __fish_use_subcommand -a ${command.name} -d ${fishQuoted(command.summary)}`,
      ...options,
      ...words,
    ];
  });
  return `# fish completion of picorelay, by: picorelay completion fish
complete -c picorelay -f
complete -c picorelay -s h -l help -d 'shows the help'
complete -c picorelay -n __fish_use_subcommand -l version -d 'shows the version'
${lines.join('\n')}
`;
}

function fishValue(option: Option): string {
  if (option.type === 'boolean') return '';
  if (option.type === 'number') return ' -x';
  if (option.choices !== undefined) return ` -x -a '${option.choices.join(' ')}'`;
  return isFile(option.completes) ? ' -r -F' : ' -x';
}

/** A word for a POSIX shell. */
function single(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A word for fish, where a backslash counts between quotes. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
