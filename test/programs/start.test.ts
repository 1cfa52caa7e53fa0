// What starts a program: the code that V8 made of it is kept beside it, and nothing that is wrong with
// that file may change what the program does. Code that was forged shows whether it was used: V8 takes
// it for the program's, since of the source it compares the length only.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { must, run } from '../support/process.ts';
import { siteFor } from '../support/site.ts';

interface Copy {
  /** The path of the kept code. */
  readonly code: string;
  /** Puts code there that V8 accepts and that makes the program call itself otherwise. */
  forge(): Promise<void>;
  /** The name that the program gives itself in the Received field of a message it takes now. */
  name(): Promise<string | undefined>;
}

/** A copy of the built sendmail that a test may spoil. */
function copyFor(t: TestContext): Copy {
  const site = siteFor(t);
  const at = (path: string): string => join(site.folder, path);
  mkdirSync(at('dist'));
  cpSync('bin', at('bin'), { recursive: true });
  symlinkSync(resolve('node_modules'), at('node_modules'));
  const file = readdirSync('dist').find((each) => /^sendmail-\w+\.cjs$/.test(each)) ?? '';
  for (const each of [file, `${file}.code`]) {
    cpSync(join('dist', each), at(`dist/${each}`), { preserveTimestamps: true });
  }
  const code = at(`dist/${file}.code`);
  const message = 'Subject: s\n\nb\n';
  let sent = 0;
  return {
    code,
    forge: async () => {
      const forged = at('dist/forged');
      const source = readFileSync(at(`dist/${file}`), 'latin1');
      writeFileSync(forged, source.replaceAll('(picorelay ', '(elsewhere '), 'latin1');
      await must(
        [process.execPath, 'packaging/code.cjs', forged, at('bin/sendmail'), 'forged@x.test'],
        { env: site.env, input: message },
      );
      cpSync(`${forged}.code`, code);
    },
    name: async () => {
      sent += 1;
      const to = `a${sent}@x.test`;
      const done = await run([at('bin/sendmail'), to], { env: site.env, input: message });
      assert.deepEqual(done, { status: 0, stdout: '', stderr: '' });
      const entry = site.names('spool').find((each) => each.endsWith(to)) ?? '';
      const text = readFileSync(join(site.spool, 'spool', entry), 'latin1');
      return /^Received: \((\w+) sendmail/m.exec(text)?.[1];
    },
  };
}

const SPOILT: readonly (readonly [title: string, spoil: (code: string) => void])[] = [
  ['is missing', (code) => rmSync(code)],
  ['is empty', (code) => truncateSync(code, 0)],
  [
    'is a folder',
    (code) => {
      rmSync(code);
      mkdirSync(code);
    },
  ],
  ['is cut short', (code) => truncateSync(code, 70_001)],
  ['is there once', (code) => truncateSync(code, readFileSync(code).length / 2)],
  ['is noise', (code) => writeFileSync(code, Buffer.alloc(200_000, 0x5a))],
];

for (const [title, spoil] of SPOILT) {
  test(`A program whose kept code ${title} works`, async (t) => {
    const copy = copyFor(t);
    spoil(copy.code);
    assert.equal(await copy.name(), 'picorelay');
  });
}

test('Kept code is used when nothing speaks against it', async (t) => {
  const copy = copyFor(t);
  await copy.forge();
  assert.equal(await copy.name(), 'elsewhere');
});

const DOUBTFUL: typeof SPOILT = [
  ['its group may write', (code) => chmodSync(code, 0o664)],
  ['everybody may write', (code) => chmodSync(code, 0o646)],
  ['is older than the program', (code) => utimesSync(code, 1, 1)],
  [
    'is damaged in one copy',
    (code) => {
      const bytes = readFileSync(code);
      const at = Math.floor(bytes.length / 3);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      writeFileSync(code, bytes);
    },
  ],
  [
    'belongs to somebody else',
    (code) => {
      if (process.getuid?.() === 0) chownSync(code, 65534, 65534);
      else chmodSync(code, 0o666);
    },
  ],
];

for (const [title, spoil] of DOUBTFUL) {
  test(`Kept code that ${title} is not used`, async (t) => {
    const copy = copyFor(t);
    await copy.forge();
    spoil(copy.code);
    assert.equal(await copy.name(), 'picorelay');
  });
}

test('A submission loads no part of node that a bare start does not have', async (t) => {
  const site = siteFor(t);
  const list = join(site.folder, 'list.cjs');
  writeFileSync(
    list,
    "process.on('exit', () => require('node:fs').writeSync(2, process.moduleLoadList.join('\\n')));",
  );
  const env = { ...site.env, NODE_OPTIONS: `--require=${list}` };
  const loaded = async (command: readonly string[]): Promise<Set<string>> => {
    const { stderr } = await run(command, { env, input: 'Subject: s\n\nb\n' });
    return new Set(stderr.split('\n').filter((each) => each.startsWith('NativeModule ')));
  };
  const bare = await loaded([process.execPath, list]);
  const submission = await loaded([resolve('bin/sendmail'), 'a@x.test']);
  assert.ok(bare.has('NativeModule fs'));
  assert.equal(site.queued().length, 1);
  // vm takes the kept code, os knows the name of the user who calls.
  const more = [...submission].filter((each) => !bare.has(each) && !each.includes(' internal/'));
  assert.deepEqual(
    more.filter((each) => !['NativeModule os', 'NativeModule vm'].includes(each)),
    [],
  );
});
