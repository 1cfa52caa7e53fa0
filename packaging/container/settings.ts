/**
 * Makes the control folder of a container (PICORELAY_CONTROL) from what containers are given, each of
 * these before the ones that follow:
 *
 *   PICORELAY_RELAY=…        the text of the control file relay; underscores do not count
 *   PICORELAY_RELAY_FILE=…   the path of a file with that text
 *   /run/secrets/relay       the same; the name may begin with picorelay_ or picorelay-
 *   /etc/picorelay/relay     a control folder that was mounted
 *
 * Values are copied, because a secret has to be closed to other users and mounted ones seldom are. Ends
 * with 78 and a line for each fault where a variable names no control file or a value is malformed; no
 * line shows a value.
 *
 * The folder above is open to every user of the container, who may have put a folder or a link there
 * before. So the control folder has to be this process's alone, and each file is a new one that takes its
 * name by a rename: neither a link nor another name of a file leads this process, which may be root, to
 * a foreign one.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type ControlName, catalogue } from '../../src/control/catalogue.ts';
import { ControlError, openControl } from '../../src/control/control.ts';
import { makeFolder, putFile } from '../../src/spool/disk.ts';
import { HeldFolder } from '../../src/spool/held.ts';
import { UnsafePath } from '../../src/spool/path-owner.ts';

const MOUNTED = '/etc/picorelay';
const SECRETS = '/run/secrets';
const PREFIX = 'PICORELAY_';

// Behind a slash at its end a link would be followed.
const folder = resolve(process.env['PICORELAY_CONTROL'] ?? '/run/picorelay/control');
const problems: string[] = [];
const values = new Map<ControlName, { readonly text: string; readonly from: string }>();

for (const name of namesIn(MOUNTED)) take(name, name, join(MOUNTED, name));
for (const name of namesIn(SECRETS))
  take(name.replace(/^picorelay[_-]/, ''), name, join(SECRETS, name));
for (const [variable, text = ''] of Object.entries(process.env)) {
  const name = variable.slice(PREFIX.length);
  // Kubernetes tells of a service called picorelay by variables of this form.
  if (!variable.startsWith(PREFIX) || /^(CONTROL$|SERVICE_|PORT($|_))/.test(name)) continue;
  const plain = name.replaceAll('_', '').toLowerCase();
  const ofFile = plain.replace(/file$/, '');
  if (isControlName(plain)) values.set(plain, { text, from: variable });
  else if (ofFile !== plain && isControlName(ofFile)) take(ofFile, variable, text);
  else problems.push(`${variable}: no control file has this name (see docs/control.md)`);
}

/** Who runs this. */
const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };

/** What a held folder is called in errors. */
const HELD = /\/proc\/self\/fd\/\d+/g;

try {
  const held = openFolder();
  values.set('log', values.get('log') ?? { text: 'stderr', from: 'default' });
  if (!values.has('me')) {
    values.set('me', { text: hostname(), from: 'the host name' });
    say(`PICORELAY_ME is not set: the relay is greeted as ${JSON.stringify(hostname())}`);
  }
  for (const [name, { text }] of values) {
    if (lstatSync(held.at(name), { throwIfNoEntry: false })?.isDirectory() === true) {
      throw new UnsafePath(`${join(folder, name)} is a folder, not a control file: remove it`);
    }
    putFile(held.at(name), text.endsWith('\n') ? text : `${text}\n`, { mode: 0o600, ...own });
  }
  const control = openControl(folder);
  for (const [name, { from }] of values) {
    try {
      control.get(name);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      problems.push(`${from}: ${error.message}`);
    }
  }
} catch (error) {
  const said = (error instanceof Error ? error.message : String(error)).replaceAll(HELD, folder);
  const above = dirname(folder);
  problems.push(
    error instanceof UnsafePath
      ? said
      : `${said}. ${above} has to be a folder that is writable here and kept in memory: --tmpfs ${above}:mode=1777`,
  );
}
for (const problem of problems) say(problem);
if (problems.length > 0) process.exitCode = 78;

/**
 * Makes the control folder where it is missing, and holds it.
 * @throws UnsafePath where others can change it, and the system calls' errors
 */
function openFolder(): HeldFolder {
  makeFolder(folder, 0o700);
  const held = HeldFolder.open(folder);
  const { uid = -1, mode = 0 } = held?.held.status ?? {};
  if (held !== undefined && uid === own.uid && (mode & 0o022) === 0) return held;
  const fault =
    uid === own.uid
      ? 'is writable by other users'
      : `belongs to user id ${uid}, and user id ${own.uid} runs here`;
  throw new UnsafePath(`${folder} ${fault}: remove it, or name another folder in ${PREFIX}CONTROL`);
}

function take(name: string, from: string, path: string): void {
  if (!isControlName(name)) {
    // A folder of secrets holds others' too; a control folder's stranger is a misspelt setting.
    if (path.startsWith(MOUNTED)) problems.push(`${path}: no control file has this name`);
    return;
  }
  try {
    values.set(name, { text: readFileSync(path, 'utf8'), from });
  } catch (error) {
    problems.push(`${from}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** What lies in a folder that was mounted; `..data` and the like are Kubernetes' own. */
function namesIn(path: string): string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path).filter(
    (name) => !name.startsWith('.') && !lstatSync(join(path, name)).isDirectory(),
  );
}

function isControlName(name: string): name is ControlName {
  return Object.hasOwn(catalogue, name);
}

function say(text: string): void {
  process.stderr.write(`picorelay: ${text}\n`);
}
