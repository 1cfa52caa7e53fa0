// Builds the Debian package with dpkg-deb alone, from what is built.
//   node packaging/deb.mjs                 picorelay_VERSION_all.deb, which wants nodejs >= 20.19 (Debian 13 has it)
//   node packaging/deb.mjs --standalone    picorelay-standalone_VERSION_ARCH.deb, which needs no node (Debian 12)
//   … --out FOLDER --version VERSION --fast (packs badly: for tests)
// Prints the path of the package.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const { values: options } = parseArgs({
  options: {
    standalone: { type: 'boolean', default: false },
    fast: { type: 'boolean', default: false },
    out: { type: 'string', default: join(root, 'build') },
    version: { type: 'string', default: about.version },
  },
});
const { standalone } = options;
const out = resolve(options.out);
process.chdir(root);

const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' };
const name = standalone ? 'picorelay-standalone' : 'picorelay';
const architecture = standalone ? ARCHITECTURES[process.arch] : 'all';
const MAINTAINER = 'The picorelay authors <picorelay@localhost>';
/** Where the programs lie; what stands in PATH are links. */
const HOME = 'usr/lib/picorelay';
const LINKS = {
  'usr/bin/picorelay': 'picorelay',
  'usr/bin/picorelay-cron': 'picorelay-cron',
  'usr/bin/picorelay-send': 'picorelay-send',
  'usr/bin/qmail-inject': 'qmail-inject',
  'usr/sbin/qmail-queue': 'qmail-queue',
  'usr/sbin/sendmail': 'sendmail',
  'usr/lib/sendmail': 'sendmail',
  'usr/bin/mailq': 'sendmail',
  'usr/bin/newaliases': 'sendmail',
};

/** Where each shell looks for completions. */
const COMPLETIONS = {
  bash: 'usr/share/bash-completion/completions/picorelay',
  zsh: 'usr/share/zsh/vendor-completions/_picorelay',
  fish: 'usr/share/fish/vendor_completions.d/picorelay.fish',
};

/** Names that a page of the manual has besides its own. */
const PAGE_LINKS = {
  'sendmail.8': 'picorelay-sendmail.8',
  'mailq.8': 'picorelay-sendmail.8',
  'newaliases.8': 'picorelay-sendmail.8',
  'qmail-queue.8': 'picorelay-qmail-queue.8',
  'qmail-inject.8': 'picorelay-qmail-inject.8',
};

run(process.execPath, ['packaging/prepare.mjs']);
if (standalone) run(process.execPath, ['packaging/standalone.mjs']);
const tree = mkdtempSync(join(tmpdir(), 'picorelay-deb-'));
try {
  chmodSync(tree, 0o755);
  if (standalone) putStandalone();
  else putPrograms();
  for (const [path, program] of Object.entries(LINKS)) {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    symlinkSync(relative(dirname(path), join(HOME, 'bin', program)), join(tree, path));
  }
  mkdirSync(join(tree, 'etc/picorelay'), { recursive: true });
  put('etc/cron.d/picorelay', readFileSync('packaging/debian/cron.d'));
  for (const unit of readdirSync('packaging/systemd')) {
    put(`usr/lib/systemd/system/${unit}`, readFileSync(join('packaging/systemd', unit)));
  }
  putDocuments();
  putControl();
  closeModes(tree);
  mkdirSync(out, { recursive: true });
  const path = join(out, `${name}_${options.version}_${architecture}.deb`);
  // Owners are root, times are the last commit's: the same sources make the same package.
  const packing = options.fast ? ['-Zgzip', '-z1'] : ['-Zxz'];
  run('dpkg-deb', ['--root-owner-group', ...packing, '--build', tree, path], {
    SOURCE_DATE_EPOCH: commitTime(),
  });
  console.log(path);
} finally {
  rmSync(tree, { recursive: true, force: true });
}

/** The programs as npm run build makes them, for Debian's node, with the packages that they load. */
function putPrograms() {
  for (const file of readdirSync('bin').filter((each) => !each.endsWith('.ts'))) {
    const text = readFileSync(join('bin', file), 'utf8');
    put(
      `${HOME}/bin/${file}`,
      text.replace(/^#!.*/, '#!/usr/bin/node'),
      lstatSync(join('bin', file)).mode,
    );
  }
  cpSync('dist', join(tree, HOME, 'dist'), {
    recursive: true,
    filter: (path) => !path.endsWith('.code'),
  });
  for (const file of ['package.json', 'packaging/code.cjs', 'packaging/code.mjs']) {
    put(`${HOME}/${file}`, readFileSync(file));
  }
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    // Nested ones come with the packages that they are nested in.
    if (path === '' || dev || path.lastIndexOf('node_modules/') > 0) continue;
    cpSync(path, join(tree, HOME, path), {
      recursive: true,
      filter: (each) => !/\.map$|\/\.npmignore$/.test(each),
    });
  }
}

function putStandalone() {
  const folder = 'build/standalone';
  mkdirSync(join(tree, HOME), { recursive: true });
  cpSync(folder, join(tree, HOME, 'bin'), { recursive: true, verbatimSymlinks: true });
}

function putDocuments() {
  for (const page of readdirSync('man')) {
    const section = page.at(-1);
    put(`usr/share/man/man${section}/${page}.gz`, packed(readFileSync(join('man', page))));
  }
  for (const [name, page] of Object.entries(PAGE_LINKS)) {
    symlinkSync(`${page}.gz`, join(tree, `usr/share/man/man8/${name}.gz`));
  }
  for (const [shell, path] of Object.entries(COMPLETIONS)) {
    put(path, run(`${standalone ? 'build/standalone' : 'bin'}/picorelay`, ['completion', shell]));
  }
  const folder = `usr/share/doc/${name}`;
  for (const file of ['README.md', ...readdirSync('docs').map((each) => `docs/${each}`)]) {
    if (lstatSync(file).isFile()) put(`${folder}/${basename(file)}`, readFileSync(file));
  }
  put(`${folder}/CHANGELOG.md.gz`, packed(readFileSync('CHANGELOG.md')));
  const date = new Date(Number(commitTime()) * 1000).toUTCString().replace('GMT', '+0000');
  const entry = `  * CHANGELOG.md.gz tells what is new.\n\n -- ${MAINTAINER}  ${date}\n`;
  put(
    `${folder}/changelog.gz`,
    packed(`${name} (${options.version}) unstable; urgency=medium\n\n${entry}`),
  );
  put(`${folder}/copyright`, copyright());
  cpSync('control', join(tree, folder, 'examples/control'), { recursive: true });
}

function packed(bytes) {
  return gzipSync(bytes, { level: 9 });
}

function copyright() {
  const own = readFileSync('LICENSE', 'utf8');
  const inside = standalone
    ? 'The program holds the runtime of bun (https://bun.sh, MIT and others) and the packages\nnodemailer, proper-lockfile, cron-parser, luxon and yargs with theirs (MIT-0, MIT, ISC).'
    : `The packages in /${HOME}/node_modules have their licenses beside them.`;
  return `${own}\n${inside}\n`;
}

function putControl() {
  for (const script of ['postinst', 'prerm', 'postrm']) {
    put(`DEBIAN/${script}`, readFileSync(`packaging/debian/${script}`), 0o755);
  }
  put('DEBIAN/conffiles', '/etc/cron.d/picorelay\n');
  put('DEBIAN/triggers', standalone ? '' : 'interest-noawait /usr/bin/node\n');
  const other = standalone ? 'picorelay' : 'picorelay-standalone';
  const fields = {
    Package: name,
    Version: options.version,
    Architecture: architecture,
    Maintainer: MAINTAINER,
    'Installed-Size': kilobytes(tree),
    Depends: standalone ? 'adduser, libc6' : 'adduser, nodejs (>= 20.19)',
    Recommends: 'cron | systemd-sysv, ca-certificates',
    Provides: 'mail-transport-agent',
    Conflicts: `mail-transport-agent, ${other}`,
    Replaces: `mail-transport-agent, ${other}`,
    Section: 'mail',
    Priority: 'optional',
    Description: `send-only mail relay that never loses an accepted mail
 Programs on this host hand mail to sendmail; picorelay keeps it on disk, one
 file per recipient, and offers it to the mail server of a provider or company.
 What that server puts off is tried again; what it refuses is kept beside the
 server's own words, and the sender is told. No daemon has to run, nothing is
 setuid, and the configuration is a folder of one-line files.
 .
 ${standalone ? 'This package holds a runtime of its own and needs no nodejs.' : 'Where nodejs is older than 20.19, picorelay-standalone needs none.'}`,
  };
  put(
    'DEBIAN/control',
    Object.entries(fields)
      .map(([field, value]) => `${field}: ${value}\n`)
      .join(''),
  );
}

function put(path, content, mode = 0o644) {
  mkdirSync(join(tree, dirname(path)), { recursive: true });
  writeFileSync(join(tree, path), content, { mode });
  chmodSync(join(tree, path), mode);
}

/** The umask and modes of whoever builds this are not the package's. */
function closeModes(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isSymbolicLink()) continue;
    const program = !path.includes('/node_modules/') && (lstatSync(path).mode & 0o100) !== 0;
    chmodSync(path, entry.isDirectory() || program ? 0o755 : 0o644);
    if (entry.isDirectory()) closeModes(path);
  }
}

function kilobytes(folder) {
  let sum = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isDirectory())
      sum += Math.ceil(lstatSync(join(entry.parentPath, entry.name)).size / 1024);
  }
  return sum;
}

/** Seconds since 1970 of the last commit; of the change log's file where there is no repository. */
function commitTime() {
  const git = spawnSync('git', ['log', '-1', '--format=%ct'], { encoding: 'utf8' });
  if (git.status === 0) return git.stdout.trim();
  return String(Math.floor(lstatSync('CHANGELOG.md').mtimeMs / 1000));
}

function run(command, args, env = {}) {
  const done = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  if (done.status === 0) return done.stdout;
  console.error(`picorelay: ${command} failed${done.error ? `: ${done.error.message}` : ''}`);
  process.exit(1);
}
