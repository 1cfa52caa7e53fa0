// What others have put where a container's control folder is made, before the container starts.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { differences, treeOf } from '../interop/tree.ts';
import { type Finished, run } from '../support/process.ts';
import { siteFor } from '../support/site.ts';
import { isRoot, NOBODY } from '../support/users.ts';

const settings = 'build/container/settings.js';
const text = 'not to be touched\n';

interface Place {
  /** Where the control folder is to be; nothing is there. */
  readonly control: string;
  /** A folder of somebody else, with a file in it. */
  readonly victim: string;
  readonly file: string;
  settle(options?: { readonly umask?: string; readonly control?: string }): Promise<Finished>;
  /** What is different of the victim's folder. */
  changes(): readonly string[];
}

/** A folder that every user may write, as /run/picorelay in a container. */
function place(t: TestContext): Place {
  const site = siteFor(t).folder;
  const open = join(site, 'run');
  const victim = join(site, 'others', 'victim');
  const file = join(victim, 'file');
  const control = join(open, 'control');
  mkdirSync(open);
  chmodSync(open, 0o1777);
  mkdirSync(victim, { recursive: true });
  chmodSync(victim, 0o750);
  writeFileSync(file, text, { mode: 0o640 });
  const tree = () => treeOf({ at: (path) => `${dirname(victim)}${path}` });
  const before = tree();
  return {
    control,
    victim,
    file,
    settle: async ({ umask = '022', control: other = control } = {}) =>
      await run(['sh', '-c', `umask ${umask}; exec "$0" "$1"`, process.execPath, settings], {
        env: { PICORELAY_CONTROL: other, PICORELAY_ME: 'app.test', PICORELAY_AUTHPASSWORD: 'hush' },
      }),
    changes: () => differences(before, tree()),
  };
}

function assertRefused({ status, stdout, stderr }: Finished, told: RegExp): void {
  assert.equal(status, 78, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, told);
  assert.match(
    stderr,
    /^picorelay: [^\n]*: remove it, or (?:name another folder in PICORELAY_CONTROL|put the folder itself there)\n$/,
  );
}

for (const [what, plant, told] of [
  [
    'a link to a folder',
    ({ victim, control }: Place) => symlinkSync(victim, control),
    /control is a symbolic link:/,
  ],
  [
    'a link to nothing',
    ({ victim, control }: Place) => symlinkSync(join(victim, 'new'), control),
    /control is a symbolic link:/,
  ],
  [
    'another name of a file',
    ({ file, control }: Place) => linkSync(file, control),
    /control is not a folder:/,
  ],
  [
    'a folder that others can write',
    ({ file, control }: Place) => {
      mkdirSync(control);
      chmodSync(control, 0o770);
      symlinkSync(file, join(control, 'me'));
    },
    /control is writable by other users:/,
  ],
] as const) {
  test(`${what} in the folder's place is refused and left alone`, async (t) => {
    const here = place(t);
    plant(here);
    const before = lstatSync(here.control);
    assertRefused(await here.settle(), told);
    assertRefused(await here.settle({ control: `${here.control}/` }), told);
    assert.deepEqual(here.changes(), []);
    assert.equal(lstatSync(here.control).ino, before.ino);
  });
}

test('A folder of another user is refused, also by root', { skip: !isRoot }, async (t) => {
  const here = place(t);
  mkdirSync(here.control, { mode: 0o700 });
  symlinkSync(here.file, join(here.control, 'me'));
  chownSync(here.control, NOBODY, NOBODY);
  assertRefused(
    await here.settle(),
    new RegExp(`control belongs to user id ${NOBODY}, and user id 0 runs here:`),
  );
  assert.deepEqual(here.changes(), []);
  assert.deepEqual(readdirSync(here.control), ['me']);
});

test('In its own folder no file is written through a name that was there before', async (t) => {
  const here = place(t);
  mkdirSync(here.control, { mode: 0o755 });
  symlinkSync(here.file, join(here.control, 'me'));
  linkSync(here.file, join(here.control, 'authpassword'));
  symlinkSync(join(here.victim, 'new'), join(here.control, 'log'));
  symlinkSync(here.file, join(here.control, 'me.picorelay-new'));
  linkSync(here.file, join(here.control, 'log.picorelay-new'));
  for (const umask of ['022', '077', '000', '277']) {
    const { status, stderr } = await here.settle({ umask });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    assert.deepEqual(here.changes(), []);
    const files = readdirSync(here.control).sort();
    assert.deepEqual(
      files.map((name) => [name, readFileSync(join(here.control, name), 'utf8')]),
      [
        ['authpassword', 'hush\n'],
        ['log', 'stderr\n'],
        ['me', 'app.test\n'],
      ],
    );
    for (const name of files) {
      const { mode, nlink } = lstatSync(join(here.control, name));
      assert.deepEqual([mode, nlink], [0o100600, 1], name);
    }
  }
  assert.equal(statSync(here.control).mode & 0o777, 0o755, 'what is there keeps its mode');
});

test('A folder that has a control file’s name is reported and stays', async (t) => {
  const here = place(t);
  mkdirSync(join(here.control, 'me'), { recursive: true });
  writeFileSync(join(here.control, 'me', 'file'), text);
  const { status, stderr } = await here.settle();
  assert.equal(status, 78);
  assert.match(
    stderr,
    /^picorelay: \S+\/run\/control\/me is a folder, not a control file: remove it$/m,
  );
  assert.doesNotMatch(stderr, /proc/);
  assert.equal(readdirSync(here.control).includes('.me.new'), false);
  assert.doesNotMatch(stderr, /hush/);
  assert.equal(readFileSync(join(here.control, 'me', 'file'), 'utf8'), text);
});
