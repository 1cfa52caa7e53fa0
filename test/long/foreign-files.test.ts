// Programs that run as root change no owner, mode or content outside the spool, whatever users put in their way:
// symbolic links, hard links, swapped folders and mounts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  createWriteStream,
  existsSync,
  linkSync,
  lstatSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { picorelay } from '../interop/checkout.ts';
import type { Fresh } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import {
  ALL_MAIL,
  assertClear,
  BIN,
  CONTROL,
  harmless,
  IMPORT,
  INIT,
  LETTER,
  makeQueue,
  QUEUE,
  removeTree,
  rootsHost,
  rootsSpool,
  SPOOL,
  waiting,
  writeSettings,
} from '../interop/roots-spool.ts';
import {
  ALL_TRICKS,
  FOLDER_TRICKS,
  TESTER,
  TRICKS,
  unmountBelow,
  VICTIM_FILE,
  VICTIM_FOLDER,
} from '../interop/tricks.ts';
import { type Finished, waitFor } from '../support/process.ts';

const FOLDERS = ['tmp', 'unsplit', 'spool', 'Undelivered', 'corrupt', 'routes', 'run', 'incoming'];

/** Whether a program has the spool or something in it open. */
async function isSpoolOpen(fresh: Fresh): Promise<boolean> {
  const look = `ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q ' -> ${SPOOL}'`;
  return (await fresh.run(['sh', '-c', look])).status === 0;
}

test('init hands over what belongs to the spool, and nothing that users left in it', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  for (const trick of ALL_TRICKS) {
    await t.test(`${trick} in incoming/`, async () => {
      await rootsSpool(fresh);
      await TRICKS[trick](fresh, `${SPOOL}/incoming/x`);
      await TRICKS[trick](fresh, `${SPOOL}/incoming/.hidden`);
      const done = await harmless(fresh, trick, () => fresh.run(INIT));
      await unmountBelow(fresh, SPOOL);
      // A mount cannot be taken away by a take-over, and a mounted file is somebody's.
      assertClear(done, trick === 'a mounted file' ? [75] : [0]);
      if (done.status !== 0) return;
      assert.deepEqual(await waiting(fresh), ALL_MAIL);
      const owners = await fresh.must(['find', SPOOL, '-printf', '%U %y %P\n']);
      const relay = lstatSync(fresh.at(SPOOL)).uid;
      assert.match(owners, /^\d+ p wake$/m);
      // What a user left in incoming/ and is no submission keeps its owner.
      const others = owners.split('\n').filter((line) => !line.startsWith(`${relay} `));
      assert.deepEqual(
        others.filter((line) => line !== '' && !/ incoming\/(?:x|\.hidden)/.test(line)),
        [],
      );
      const again = await fresh.must(INIT);
      assert.doesNotMatch(again, /^done/m);
    });
  }
});

test('No program works as root in a spool folder that is a link, a mount or another user’s', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  for (const trick of FOLDER_TRICKS) {
    for (const folder of [...FOLDERS, 'run/bounces']) {
      await t.test(`${trick} replaces ${folder}`, async () => {
        await rootsSpool(fresh);
        const path = join(SPOOL, folder);
        rmSync(fresh.at(path), { recursive: true, force: true });
        await TRICKS[trick](fresh, path);
        const done = await harmless(fresh, folder, () => fresh.run(INIT));
        assertClear(done, [75]);
        assert.match(done.stderr, new RegExp(`${path} (?:is|belongs)`));
        assert.equal(lstatSync(fresh.at(SPOOL)).uid, 0, 'nothing is given away');
        const programs = [
          [`${BIN}/picorelay-cron`],
          [`${BIN}/sendmail`, 'bob@x.test'],
          [`${BIN}/qmail-inject`, 'bob@x.test'],
          [picorelay, 'verify', '--repair'],
          [picorelay, 'remove', '--all', '--yes'],
        ].slice(0, folder === 'tmp' ? undefined : 1);
        if (folder.includes('/')) return;
        for (const command of programs) {
          const what = command.join(' ');
          const run = () => fresh.run(command, { input: LETTER });
          const refused = await harmless(fresh, what, run);
          assertClear(refused, [75, 78, 111]);
          assert.match(refused.stderr, new RegExp(`${path} (?:is|belongs)`), what);
        }
      });
    }
  }
  await unmountBelow(fresh, SPOOL);
});

test('A file with a hard link outside the spool keeps its owner and mode', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  const entry = '20260101T000000.000000Z:1:a@host.test:b@x.test';
  const places = ['spool', 'Undelivered', 'unsplit', 'corrupt', 'tmp', 'run', 'routes'];
  for (const folder of places) {
    await rootsSpool(fresh);
    await TRICKS['a hard link'](fresh, join(SPOOL, folder, entry));
    const repaired = await harmless(fresh, folder, () =>
      fresh.run([picorelay, 'verify', '--repair']),
    );
    assertClear(repaired, [0, 1]);
    rmSync(fresh.at(join(SPOOL, folder, entry)), { force: true });
    await TRICKS['a hard link'](fresh, join(SPOOL, folder, entry));
    const given = await harmless(fresh, folder, () => fresh.run(INIT));
    const path = `${SPOOL}/${folder}/${entry}`;
    if (['spool', 'Undelivered', 'unsplit'].includes(folder)) {
      assertClear(given, [75]);
      assert.match(given.stderr, new RegExp(`${path} has a hard link outside the spool: run`));
      assert.equal(lstatSync(fresh.at(SPOOL)).uid, 0, 'nothing is given away');
    } else {
      assertClear(given, [0]);
      assert.match(given.stdout, new RegExp(`^note +${path} still belongs to root`, 'm'));
    }
  }
});

test('init waits for a submission of root’s, and hands over what it leaves', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  for (const [title, beginning] of [
    ['before its message', ''],
    ['within its message', `${LETTER}${'x'.repeat(70)}\n`.repeat(30_000)],
  ] as const) {
    await t.test(title, async () => {
      await rootsSpool(fresh);
      const pipe = `/tmp/${title.replaceAll(' ', '-')}`;
      await fresh.must(['mkfifo', pipe]);
      const slow = await fresh.start([
        ...['sh', '-c', `exec ${BIN}/sendmail -i slow@x.test < ${pipe}`],
      ]);
      const input = createWriteStream(fresh.at(pipe));
      input.write(beginning);
      await once(input, 'open');
      await waitFor('sendmail in the spool', () => isSpoolOpen(fresh));
      const refused = await fresh.run(INIT);
      assertClear(refused, [75]);
      assert.match(refused.stderr, /process \d+ still works in \S+ as root: stop it first/);
      input.end(LETTER);
      await waitFor('the end of sendmail', slow.ended);
      assert.deepEqual([slow.status(), slow.output()], [0, '']);
      assertClear(await fresh.run(INIT), [0]);
      assert.deepEqual(await waiting(fresh), [...ALL_MAIL, 'root@host.test to slow@x.test'].sort());
      await slow.stop();
    });
  }
});

test('Root refuses a spool that other users can change', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  const spools: Readonly<Record<string, (path: string) => void>> = {
    'shared with a group, and root’s': (path) => {
      chownSync(path, 0, TESTER);
      chmodSync(path, 0o2711);
    },
    'open to everybody': (path) => chmodSync(path, 0o777),
    'with an open folder': (path) => chmodSync(join(path, 'tmp'), 0o770),
    'with an incoming/ that is not sticky': (path) => chmodSync(join(path, 'incoming'), 0o733),
  };
  for (const [title, change] of Object.entries(spools)) {
    await rootsSpool(fresh);
    change(fresh.at(SPOOL));
    for (const program of ['sendmail', 'picorelay-cron']) {
      const words = program === 'sendmail' ? ['bob@x.test'] : [];
      const refused = await fresh.run([`${BIN}/${program}`, ...words], { input: LETTER });
      assertClear(refused, [75, 78]);
      assert.match(refused.stderr, /: chmod|chmod g-s/, title);
    }
    const checked = await fresh.run([picorelay, 'check', 'spool']);
    const said = checked.stdout.replace(/\s+/g, ' ');
    assert.match(said, /failure spool .*(?:can change it|shared with|everybody may)/, title);
  }
  for (const [title, path] of [
    ['a folder of a user on the way', '/home/tester/spool'],
    ['a link of a user on the way', '/home/tester/link/spool'],
  ] as const) {
    rmSync(fresh.at('/home/tester/link'), { force: true });
    symlinkSync('/srv', fresh.at('/home/tester/link'));
    chownSync(fresh.at('/home/tester'), TESTER, TESTER);
    fresh.write(join(CONTROL, 'spooldir'), `${path}\n`);
    const refused = await harmless(fresh, title, () =>
      fresh.run([`${BIN}/sendmail`, 'bob@x.test'], { input: LETTER }),
    );
    assertClear(refused, [78]);
    assert.match(refused.stderr, /user id 2000 can change where this path leads/);
    const init = await harmless(fresh, title, () => fresh.run(INIT));
    assertClear(init, [78]);
    assert.match(init.stderr, /user id 2000 can change where this path leads/);
  }
  assert.ok(!existsSync(fresh.at('/srv/spool')));
});

test('Root writes a log, an alert, a page or a socket only where no user can redirect it', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  const home = '/home/tester';
  for (const [name, text] of [
    ['log', `${home}/log`],
    ['alert', `file ${home}/alert`],
    ['alertafter', '0s'],
  ] as const) {
    fresh.write(join(CONTROL, name), `${text}\n`);
  }
  await fresh.must([`${BIN}/sendmail`, 'of-root@x.test'], { input: LETTER });
  symlinkSync(VICTIM_FILE, fresh.at(`${home}/log`));
  linkSync(fresh.at(VICTIM_FILE), fresh.at(`${home}/alert`));
  symlinkSync(VICTIM_FOLDER, fresh.at(`${home}/link`));
  const run = (...command: readonly string[]): Promise<Finished> =>
    harmless(fresh, command.join(' '), () => fresh.run(command));
  const { status, stderr } = await run(`${BIN}/picorelay-cron`);
  assert.equal(status, 0, stderr);
  const refused = 'user id 2000 can change where this path leads';
  assert.match(stderr, new RegExp(`log file: ${home}/log: ${refused}`));
  assert.match(stderr, new RegExp(`control/alert: file ${home}/alert: [^\\n]*${refused}`));
  const socket = await run(picorelay, 'run', '--socket', `${home}/socket`);
  assertClear(socket, [75]);
  assert.match(socket.stderr, new RegExp(`^picorelay: ${home}/socket: ${refused}`));
  assertClear(await run(picorelay, 'status', '--html', `${home}/link/page.html`), [75, 77]);
  assertClear(await run(picorelay, 'status', '--html', `${home}/page.html`), [0]);
  assert.equal(lstatSync(fresh.at(`${home}/page.html`)).uid, TESTER);
  assertClear(await run(picorelay, 'metrics', '--file', `${home}/link/metrics`), [75, 77]);
});

test('uninstall removes only what belongs to the spool', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  const purge = [picorelay, 'uninstall', '--purge', '--yes'];
  for (const trick of ALL_TRICKS) {
    for (const places of [
      ['tmp/x', 'run/x', 'spool/x:.result', 'wake', 'x'],
      ['tmp', 'routes'],
      ['run', 'corrupt'],
    ]) {
      await removeTree(fresh, SPOOL);
      writeSettings(fresh);
      await fresh.must(INIT);
      for (const place of places) {
        const path = join(SPOOL, place);
        rmSync(fresh.at(path), { recursive: true, force: true });
        await TRICKS[trick](fresh, path);
      }
      const what = `${trick} as ${places.join(', ')}`;
      const gone = await harmless(fresh, what, () => fresh.run(purge));
      assertClear(gone, [0, 75]);
    }
  }
  await unmountBelow(fresh, SPOOL);
});

test('import reads a queue as the owner of its folder', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  for (const trick of ALL_TRICKS) {
    for (const place of ['.taken-by-picorelay', 'one.msmtp', 'one.mail', '']) {
      await makeQueue(fresh);
      const path = join(QUEUE, place);
      rmSync(fresh.at(path), { recursive: true, force: true });
      await TRICKS[trick](fresh, path);
      chownSync(fresh.at('/home/tester'), TESTER, TESTER);
      const done = await harmless(fresh, `${trick} as ${place}`, () => fresh.run(IMPORT));
      assertClear(done, [0, 64, 66, 75]);
    }
  }
  await unmountBelow(fresh, QUEUE);
});
