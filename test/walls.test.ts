import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

/** The layers of docs/INTERNALS.md: a folder imports only from folders of a lower layer. */
const LAYERS: Readonly<Record<string, number>> = {
  'src/mail': 0,
  'src/control': 1,
  'src/spool': 1,
  'src/log': 1,
  'src/queue': 2,
  'src/relay': 2,
  'src/bounce': 2,
  'src/runner': 3,
  'src/sendmail': 4,
  'src/inject': 4,
  'src/listen': 4,
  'src/setup': 4,
  'src/migrate': 5,
  'src/admin': 6,
  bin: 7,
};

/** Dependencies that one file alone may load. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  nodemailer: ['src/relay/session.ts'],
  'proper-lockfile': ['src/runner/lock.ts'],
  'cron-parser': ['src/queue/schedule.ts'],
  yargs: ['bin/picorelay.ts'],
};

const NETWORK = ['net', 'tls', 'http', 'https', 'http2', 'dns', 'dgram'].map(
  (name) => `node:${name}`,
);

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

const sources = ['bin', 'src'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name)),
);
const texts = new Map(sources.map((file) => [file, readFileSync(file, 'utf8')]));

const imports: readonly Import[] = [...texts].flatMap(([file, text]) =>
  [
    ...text.matchAll(/^(?:import|export)( type)? [^;]*?from '([^']+)'/gms),
    ...text.matchAll(/()\bimport\('([^']+)'\)/g),
    ...text.matchAll(/()getBuiltinModule\('([^']+)'\)/g),
  ].map((match) => ({
    file,
    target: resolve(file, match[2] ?? ''),
    typeOnly: match[1] !== undefined && match[1] !== '',
  })),
);

function resolve(file: string, target: string): string {
  return target.startsWith('.') ? normalize(join(dirname(file), target)) : target;
}

test('a folder imports only from folders of a lower layer', () => {
  const wrong = imports.filter(({ file, target }) => {
    if (!target.startsWith('src/') && !target.startsWith('bin/')) return false;
    const from = LAYERS[dirname(file)];
    const to = LAYERS[dirname(target)];
    assert.notEqual(from, undefined, `${dirname(file)} has no layer`);
    assert.notEqual(to, undefined, `${dirname(target)} has no layer`);
    return dirname(file) !== dirname(target) && (from ?? 0) <= (to ?? 0);
  });
  assert.deepEqual(wrong, []);
});

test('no module imports itself by a detour', () => {
  const graph = new Map(
    sources.map((file) => [
      file,
      imports.filter((each) => each.file === file && !each.typeOnly).map(({ target }) => target),
    ]),
  );
  const cycles: string[] = [];
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      return;
    }
    for (const next of graph.get(file) ?? []) walk(next, [...path, file]);
  };
  for (const file of sources) walk(file, []);
  assert.deepEqual(cycles, []);
});

test('each dependency is loaded by one file', () => {
  const loaded = imports.filter(({ target }) => !/^(node:|src\/|bin\/|package\.json)/.test(target));
  for (const { file, target } of loaded) {
    const home = Object.entries(HOMES).find(
      ([name]) => target === name || target.startsWith(`${name}/`),
    );
    assert.ok(home?.[1].includes(file), `${file} loads ${target}`);
  }
});

test('only relay/ opens connections and only listen/ takes them', () => {
  const users = imports.filter(({ target }) => NETWORK.includes(target)).map(({ file }) => file);
  const outside = [...new Set(users)].filter((file) => !file.startsWith('src/relay/'));
  // A FIFO is read through a socket object; nothing is connected there.
  assert.deepEqual(outside.sort(), [
    'src/listen/door.ts',
    'src/listen/metrics.ts',
    'src/runner/wake.ts',
  ]);
  for (const file of outside) {
    assert.doesNotMatch(texts.get(file) ?? '', /\b(connect|createConnection)\(/, file);
  }
  for (const file of sources.filter((each) => !each.startsWith('src/listen/'))) {
    assert.doesNotMatch(texts.get(file) ?? '', /\.listen\(|\bcreateServer\(/, file);
  }
});

test('only spool/disk.ts changes files', () => {
  const calls =
    /\b(?:write|writev|appendFile|writeFile|rename|unlink|link|symlink|mkdir|rmdir|rm|truncate|ftruncate|utimes|chmod|chown|copyFile|fsync|fdatasync|createWriteStream)(?:Sync)?\b(?=\()/;
  const users = [...texts].flatMap(([file, text]) =>
    text.split('\n').flatMap((line) => {
      const match = /\bfs\.(\w+)\(/.exec(line);
      return match !== null && calls.test(`${match[1]}(`) ? [`${file}: ${line.trim()}`] : [];
    }),
  );
  const elsewhere = users.filter((each) => !each.startsWith('src/spool/disk.ts: '));
  // What a program says on its own standard output and standard error is no file of ours.
  assert.deepEqual(
    elsewhere.filter((each) => !/^bin\/[\w-]+\.ts: fs\.writeSync\([12], /.test(each)),
    [],
  );
  const named = imports.filter(
    ({ target }) => target === 'node:fs' || target === 'node:fs/promises',
  );
  for (const { file } of named) {
    assert.doesNotMatch(
      texts.get(file) ?? '',
      /import \{[^}]*\b(write|append|rename|unlink|link|mkdir|rm|copy)\w*[^}]*\} from 'node:fs/,
      `${file} imports a writing function by name`,
    );
  }
});

test('no file is read as UTF-8 by node itself', () => {
  // Where the close fails, its own way of reading text ends the process instead of throwing.
  for (const [file, text] of texts) {
    assert.doesNotMatch(text, /readFileSync\([^;]*(?:, |encoding: )'utf-?8'/, file);
  }
});

test('only bin/ touches arguments, environment, clock, randomness and exit', () => {
  const touches =
    /\bprocess\.(argv|env|exit|exitCode|stdin|stdout|stderr)\b|\bDate\.now\(\)|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b/;
  const wrong = [...texts].flatMap(([file, text]) =>
    file.startsWith('bin/')
      ? []
      : text.split('\n').flatMap((line) => (touches.test(line) ? [`${file}: ${line.trim()}`] : [])),
  );
  assert.deepEqual(wrong, []);
});

/** Of the bundler's metadata: what each source file imports. */
type Inputs = Readonly<
  Record<
    string,
    { readonly imports: readonly { readonly path: string; readonly kind: string }[] } | undefined
  >
>;

/** What a program loads before its first line runs: sources, builtins and packages. */
function staticReach(program: string): Set<string> {
  const inputs = JSON.parse(readFileSync('build/meta.json', 'utf8')) as Inputs;
  const reached = new Set<string>();
  const walk = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const each of inputs[path]?.imports ?? []) {
      if (each.kind === 'import-statement') walk(each.path);
    }
  };
  assert.ok(inputs[`bin/${program}.ts`], `the build knows no ${program}`);
  walk(`bin/${program}.ts`);
  return reached;
}

for (const program of ['sendmail', 'qmail-queue', 'qmail-inject']) {
  test(`${program} loads nothing at its start that a submission does not need`, () => {
    const builtins = [...staticReach(program)].filter((path) => !/^(bin|src)\//.test(path));
    assert.deepEqual(builtins.sort(), ['node:buffer', 'node:fs', 'node:path']);
    const ofTheQueue =
      /^src\/spool\/(?:spool|records|owner|result|verify|survey|mend|takeover)\.ts$/;
    assert.deepEqual(
      [...staticReach(program)].filter((path) => ofTheQueue.test(path)),
      [],
    );
  });
}

test('a plain submission does not load the SMTP server', () => {
  const loaded = [...staticReach('sendmail')];
  assert.ok(loaded.includes('src/sendmail/submit.ts'));
  assert.deepEqual(
    loaded.filter((path) => /smtp-server|session/.test(path)),
    [],
  );
});

test('no source file is called utils or types', () => {
  assert.deepEqual(
    sources.filter((file) => /(^|\/)(utils?|types|helpers|index)(\.ts|\/)/.test(file)),
    [],
  );
});
