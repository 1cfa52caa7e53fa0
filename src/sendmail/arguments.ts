/**
 * The sendmail command line: what callers pass, by one table. Pure: argv in, an invocation out.
 *
 * Options that other sendmails use to read or write files (-C, -X, -O, -D, -o…) are taken and never
 * honoured, but for words of -o and -O that name no file: a web application that passes its users' text on must not open a file here (CVE-2016-10033).
 */
import { parseAddressList, parsePath } from '../mail/address.ts';

/** What to do with a message. */
export interface Delivery {
  readonly mode: 'deliver';
  /** -t: recipients from the header, added to those on the command line. */
  readonly fromHeader: boolean;
  /** -f or -r; the empty string is the null sender. */
  readonly sender: string | undefined;
  /** -F. */
  readonly fullName: string | undefined;
  /** Without -i a line with a lone dot ends the message. */
  readonly dotEnds: boolean;
  /** -od…; undefined leaves it to the control file. */
  readonly immediate: 'background' | 'wait' | 'off' | undefined;
  readonly verbose: boolean;
  /** Addresses as written, without those that could not be read. */
  readonly recipients: readonly string[];
  /** What was wrong with those that could not be read. */
  readonly problems: readonly string[];
  readonly notify: string | undefined;
  readonly ret: 'FULL' | 'HDRS' | undefined;
  /** In xtext. */
  readonly envid: string | undefined;
  /** -O requiretls=yes, as Postfix has it. */
  readonly requireTls: boolean;
}

/** What the messages of an SMTP session take from the command line. */
export interface SmtpService extends Pick<Delivery, 'immediate' | 'verbose'> {
  readonly mode: 'smtp';
  /** -f and -F: who stands in From where neither the message nor MAIL names anybody. */
  readonly sender: string | undefined;
  readonly fullName: string | undefined;
}

/** -bv: says what would become of these addresses. */
export interface Verification extends Pick<Delivery, 'recipients' | 'problems'> {
  readonly mode: 'verify';
}

/** -q: offers what waits to the relay now. */
export interface QueueRun {
  readonly mode: 'run';
  readonly verbose: boolean;
  /** The entries that hold this text, in lower case; undefined: all. */
  readonly match:
    | { readonly field: 'id' | 'sender' | 'recipient'; readonly text: string }
    | undefined;
  /** -q!…: those that do not. */
  readonly negated: boolean;
}

export type Invocation =
  | Delivery
  | QueueRun
  | SmtpService
  /** newaliases, hoststat, purgestat: nothing to do, exit 0. */
  | { readonly mode: 'nothing'; readonly word: string }
  | Verification
  | { readonly mode: 'list' }
  | { readonly mode: 'refuse'; readonly problem: string };

interface State {
  mode: 'deliver' | 'list' | 'verify' | 'smtp' | 'run' | 'aliases';
  fromHeader: boolean;
  sender: string | undefined;
  fullName: string | undefined;
  dotEnds: boolean;
  immediate: Delivery['immediate'];
  verbose: boolean;
  notify: string | undefined;
  ret: Delivery['ret'];
  envid: string | undefined;
  requireTls: boolean;
  problem: string | undefined;
  match: QueueRun['match'];
  negated: boolean;
}

/**
 * `none`: a flag, which may stand in a cluster. `value`: the rest of the word, or the next one.
 * `glued`: the rest of the word, which may be empty; never the next word.
 */
interface Option {
  readonly takes: 'none' | 'value' | 'glued';
  readonly apply?: (state: State, value: string) => void;
}

const ignored = (takes: Option['takes']): Option => ({ takes });

const sender: Option = {
  takes: 'value',
  apply: (state, value) => {
    const path = parsePath(value);
    if (path === undefined) state.problem = `the sender ${show(value)} is not an address`;
    else state.sender = path;
  },
};

const MODES: Readonly<Record<string, State['mode']>> = {
  m: 'deliver',
  p: 'list',
  v: 'verify',
  s: 'smtp',
  i: 'aliases',
};

const REFUSED: Readonly<Record<string, string>> = {
  d: 'picorelay runs no daemon; the queue is run by picorelay-cron',
  D: 'picorelay runs no daemon; the queue is run by picorelay-cron',
  t: 'there is no address test mode; try picorelay show',
  h: 'there is no host status to show',
  H: 'there is no host status to purge',
};

const MATCHES: Readonly<Record<string, NonNullable<QueueRun['match']>['field']>> = {
  I: 'id',
  S: 'sender',
  R: 'recipient',
};

const DELIVERIES: Readonly<Record<string, Delivery['immediate']>> = {
  i: 'wait',
  b: 'background',
  q: 'off',
  d: 'off',
};

/** Every option that sendmail(8) of any maker knows and that a caller passes. */
const OPTIONS: Readonly<Record<string, Option>> = {
  t: {
    takes: 'none',
    apply: (state) => {
      state.fromHeader = true;
    },
  },
  i: {
    takes: 'none',
    apply: (state) => {
      state.dotEnds = false;
    },
  },
  v: {
    takes: 'none',
    apply: (state) => {
      state.verbose = true;
    },
  },
  f: sender,
  r: sender,
  F: {
    takes: 'value',
    apply: (state, value) => {
      state.fullName = value;
    },
  },
  b: {
    takes: 'value',
    apply: (state, value) => {
      const mode = MODES[value];
      if (mode !== undefined) state.mode = mode;
      else state.problem = `-b${value}: ${REFUSED[value] ?? 'there is no such mode'}`;
    },
  },
  // An interval asks for a daemon elsewhere; here, and with qf or p behind it, the queue is run once.
  q: {
    takes: 'glued',
    apply: (state, value) => {
      state.mode = 'run';
      const [, not, letter = '', text = ''] = /^(!?)([ISR])(.*)$/s.exec(value) ?? [];
      const field = MATCHES[letter];
      if (field !== undefined && text === '') {
        state.problem = `-q${value}: expected a part of the ${field} right behind it`;
      } else if (field !== undefined) {
        state.match = { field, text: text.toLowerCase() };
        state.negated = not === '!';
      } else if (!/^(f|p?(\d+[smhdw])*\d*)$/.test(value)) {
        state.problem = `-q${show(value)}: expected nothing, a time, or -qI, -qS or -qR with a text`;
      }
    },
  },
  o: {
    takes: 'value',
    apply: (state, value) => {
      if (value === 'i') state.dotEnds = false;
      if (value.startsWith('d')) state.immediate = DELIVERIES[value.slice(1)] ?? state.immediate;
    },
  },
  // Of the long options this one alone, which opens no file.
  O: {
    takes: 'value',
    apply: (state, value) => {
      const [, answer] = /^requiretls=(yes|no)$/i.exec(value) ?? [];
      if (answer !== undefined) state.requireTls = answer.toLowerCase() === 'yes';
    },
  },
  N: {
    takes: 'value',
    apply: (state, value) => {
      const notify = value.toUpperCase();
      const known = /^(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY))*)$/.test(notify);
      if (known) state.notify = notify;
      else
        state.problem = `-N ${show(value)}: expected never, or a list of success, failure, delay`;
    },
  },
  R: {
    takes: 'value',
    apply: (state, value) => {
      const ret = value.toUpperCase();
      if (ret === 'FULL' || ret === 'HDRS') state.ret = ret;
      else state.problem = `-R ${show(value)}: expected full or hdrs`;
    },
  },
  V: {
    takes: 'value',
    apply: (state, value) => {
      if (/^[\x21-\x7e]{1,100}$/.test(value)) state.envid = toXtext(value);
      else
        state.problem = `-V ${show(value)}: expected up to 100 printable characters without a space`;
    },
  },
  // -e and its letters say how to report errors; a bare -e must not swallow the option after it.
  e: ignored('glued'),
  A: ignored('glued'),
  d: ignored('glued'),
  B: ignored('value'),
  C: ignored('value'),
  D: ignored('value'),
  h: ignored('value'),
  L: ignored('value'),
  M: ignored('value'),
  p: ignored('value'),
  X: ignored('value'),
  G: ignored('none'),
  I: {
    takes: 'none',
    apply: (state) => {
      state.mode = 'aliases';
    },
  },
  U: ignored('none'),
  c: ignored('none'),
  m: ignored('none'),
  n: ignored('none'),
  s: ignored('none'),
  x: ignored('none'),
};

/**
 * What a call of sendmail asks for.
 * @param program the name it was called by, without folder
 * @param argv the words after it
 */
export function parseInvocation(program: string, argv: readonly string[]): Invocation {
  if (program === 'newaliases' || program === 'hoststat' || program === 'purgestat') {
    return { mode: 'nothing', word: program };
  }
  const state: State = {
    mode: program === 'mailq' ? 'list' : 'deliver',
    fromHeader: false,
    sender: undefined,
    fullName: undefined,
    dotEnds: true,
    immediate: undefined,
    verbose: false,
    notify: undefined,
    ret: undefined,
    envid: undefined,
    requireTls: false,
    problem: undefined,
    match: undefined,
    negated: false,
  };
  const operands: string[] = [];
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === '--') {
      operands.push(...words);
      break;
    }
    // Options count until `--`, also after operands.
    if (word.startsWith('-') && word !== '-') applyWord(state, word, words);
    else operands.push(word);
    if (state.problem !== undefined) return { mode: 'refuse', problem: state.problem };
  }
  const { mode } = state;
  if (mode === 'aliases') return { mode: 'nothing', word: 'newaliases' };
  if (mode === 'smtp') {
    const { sender, fullName, immediate, verbose } = state;
    return { mode, sender, fullName, immediate, verbose };
  }
  if (mode === 'run') {
    const { verbose, match, negated } = state;
    return { mode, verbose, match, negated };
  }
  if (mode === 'verify') return { mode, ...readOperands(operands) };
  if (mode !== 'deliver') return { mode };
  return { ...state, ...readOperands(operands), mode };
}

/** One word of options: `-ti`, `-f x`, `-fx`, `-oi`; takes the value from the next word if need be. */
function applyWord(state: State, word: string, words: string[]): void {
  for (let at = 1; at < word.length; at++) {
    const letter = word.charAt(at);
    const option = Object.hasOwn(OPTIONS, letter) ? OPTIONS[letter] : undefined;
    if (option === undefined) {
      state.problem = `unknown option ${show(`-${letter}`)} in ${show(word)}`;
      return;
    }
    if (option.takes === 'none') {
      option.apply?.(state, '');
      continue;
    }
    const glued = word.slice(at + 1);
    const value = glued === '' && option.takes === 'value' ? words.shift() : glued;
    if (value === undefined) state.problem = `the option -${letter} needs a value`;
    else option.apply?.(state, value);
    return;
  }
}

/** Each operand is a recipient or a comma list of them. */
function readOperands(operands: readonly string[]): Pick<Delivery, 'recipients' | 'problems'> {
  const recipients: string[] = [];
  const problems: string[] = [];
  for (const operand of operands) {
    const list = parseAddressList(operand);
    recipients.push(...list.addresses);
    if (list.problem !== undefined) problems.push(list.problem);
  }
  return { recipients, problems };
}

/** xtext (RFC 3461 section 4): `+`, `=` and what is not printable as `+XX`. */
function toXtext(text: string): string {
  return text.replace(
    /[+=]/g,
    (char) => `+${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

function show(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
