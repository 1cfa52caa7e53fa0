// The same as foreign-files.test.ts while root is at work: the program is stopped after each of its calls on the
// spool, users swap whatever their rights let them swap, and it goes on.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { picorelay } from '../interop/checkout.ts';
import type { Fresh } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import {
  ALL_MAIL,
  harmless,
  IMPORT,
  INIT,
  makeQueue,
  QUEUE,
  removeTree,
  rootsHost,
  rootsSpool,
  SPOOL,
  waiting,
  writeSettings,
} from '../interop/roots-spool.ts';
import { TESTER, VICTIM_FILE, VICTIM_FOLDER } from '../interop/tricks.ts';
import { type Running, waitFor } from '../support/process.ts';

/**
 * Each user makes what his rights let him make, and swaps what they let him swap. Hard links are made by root
 * where the user could make a file, because the kernel may keep users from linking what is not theirs.
 */
const SWAPS = `
for user in tester relay; do
  id $user > /dev/null 2>&1 || continue
  as="setpriv --reuid=$user --regid=$user --clear-groups -- sh -c"
  $as '
    for folder in FOLDERS; do
      [ -w $folder ] || continue
      mkdir -p $folder/dir-$0
      for name in link-$0 .link-$0 dir-$0/link; do ln -s ${VICTIM_FOLDER} $folder/$name; done
    done' $user 2> /dev/null
  for folder in FOLDERS; do
    [ ! -d $folder/dir-$user ] || ln ${VICTIM_FILE} $folder/hard-$user 2> /dev/null
  done
  $as '
    n=0
    for folder in FOLDERS; do
      n=$((n + 1))
      [ -w \${folder%/*} ] || continue
      mv -T $folder $folder.away-$0 || continue
      case $((n % 2)) in
        0) ln -s ${VICTIM_FOLDER} $folder ;;
        1) mkdir -m 777 $folder; ln -s ${VICTIM_FILE} $folder/version ;;
      esac
    done' $user 2> /dev/null
done
exit 0
`;

/**
 * Loaded into the program before its first line: counts its calls of node:fs that concern certain folders,
 * by a path or by a descriptor of theirs, and stops it after one of them. A call that repeats an earlier one is
 * not counted. The last line of what it says is the count.
 */
const HOOK = String.raw`
const fs = require('node:fs');
const folders = process.env.STOP_IN.split(' ');
const at = Number(process.env.STOP_AT);
const { writeSync } = fs;
const seen = new Set();
const concerns = (word) =>
  typeof word === 'string' &&
  (word.startsWith('/proc/self/fd/') || folders.some((folder) => word === folder || word.startsWith(folder + '/')));
for (const [name, call] of Object.entries(fs)) {
  if (typeof call !== 'function' || !name.endsWith('Sync')) continue;
  fs[name] = (...words) => {
    const word = words.find(concerns);
    const kind = name + ' ' + String(word).replace(/\d+/g, 'N');
    const fresh = word !== undefined && !seen.has(kind);
    if (fresh) seen.add(kind);
    const mine = seen.size === at;
    try {
      return call(...words);
    } finally {
      if (fresh && mine) {
        writeSync(2, 'stopped ' + process.pid + ' after ' + name + ' ' + words[0] + '\n');
        process.kill(process.pid, 'SIGSTOP');
      }
    }
  };
}
require('node:module').syncBuiltinESMExports();
process.on('exit', () => writeSync(2, 'calls ' + seen.size + '\n'));
`;

interface Steps {
  readonly folders: readonly string[];
  readonly prepare: (fresh: Fresh) => Promise<void>;
  readonly command: readonly string[];
  readonly statuses: readonly number[];
}

/** How many calls a program makes on the folders of a sweep. */
async function countCalls(fresh: Fresh, { prepare, ...steps }: Steps): Promise<number> {
  fresh.write('/opt/stop.cjs', HOOK);
  await prepare(fresh);
  const { status, stderr } = await fresh.run(stopping(steps, 0));
  assert.equal(status, 0, stderr);
  const calls = Number(/^calls (\d+)$/m.exec(stderr)?.[1]);
  assert.ok(calls > 10, `only ${calls} calls on these folders`);
  return calls;
}

/** The program, stopped after one of its calls. */
function stopping({ folders, command }: Pick<Steps, 'folders' | 'command'>, at: number): string[] {
  return [
    ...['env', 'NODE_OPTIONS=--require /opt/stop.cjs', `STOP_IN=${folders.join(' ')}`],
    ...[`STOP_AT=${at}`, ...command],
  ];
}

/**
 * Starts the program and waits until it has stopped.
 * @returns with its process id inside; undefined where it has ended without coming to the call
 */
async function startStopping(
  t: TestContext,
  fresh: Fresh,
  steps: Steps,
  at: number,
): Promise<{ readonly running: Running; readonly pid: string | undefined }> {
  const running = await fresh.start(stopping(steps, at));
  t.after(() => running.stop());
  const said = (): string | undefined => /^stopped (\d+) after/m.exec(running.output())?.[1];
  const pid = await waitFor(`call ${at}`, () => said() ?? running.ended(), {
    detail: running.output,
  });
  if (typeof pid !== 'string') return { running, pid: undefined };
  // nsenter stops when its child does, and has that go on with it.
  const stats = [fresh.at(`/proc/${pid}/stat`), `/proc/${running.pid}/stat`];
  await waitFor('the stop', () => stats.every((stat) => / T /.test(readFileSync(stat, 'latin1'))));
  return { running, pid };
}

async function sweep(t: TestContext, fresh: Fresh, steps: Steps): Promise<void> {
  const calls = await countCalls(fresh, steps);
  const script = SWAPS.replaceAll('FOLDERS', steps.folders.join(' '));
  for (let at = 1; at <= calls; at++) {
    await steps.prepare(fresh);
    await harmless(fresh, `after call ${at} of ${calls}`, async () => {
      const { running, pid } = await startStopping(t, fresh, steps, at);
      if (pid !== undefined) {
        await fresh.must(['sh', '-c', script]);
        process.kill(running.pid, 'SIGCONT');
      }
      await waitFor('the end', () => running.ended(), { detail: running.output });
      const lines = running.output().split('\n');
      const own = lines.filter((line) => !/^(?:stopped|calls) /.test(line)).join('\n');
      assert.ok(steps.statuses.includes(Number(running.status())), `${running.status()}: ${own}`);
      assert.doesNotMatch(own, /^ {4}at /m);
    });
  }
  t.diagnostic(`stopped after each of ${calls} calls`);
}

const PARTS = ['', '/tmp', '/unsplit', '/spool', '/Undelivered', '/corrupt', '/routes', '/run'];
const FOLDERS = [...PARTS, '/incoming', '/run/bounces', '/run/users'].map((name) => SPOOL + name);

const OF_INIT: Steps = {
  folders: FOLDERS,
  prepare: rootsSpool,
  command: INIT,
  statuses: [0, 75, 77, 78],
};

test('init, while users swap what they can', { skip: skipWithout('fresh') }, async (t) => {
  const fresh = await rootsHost(t);
  await sweep(t, fresh, OF_INIT);
});

test('init that was killed is continued by the next one', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const fresh = await rootsHost(t);
  const calls = await countCalls(fresh, OF_INIT);
  let killed = 0;
  for (let at = 1; at <= calls; at++) {
    await rootsSpool(fresh);
    const { running, pid } = await startStopping(t, fresh, OF_INIT, at);
    if (pid !== undefined) {
      killed++;
      await fresh.must(['sh', '-c', `kill -KILL ${pid}`]);
      process.kill(running.pid, 'SIGCONT');
    }
    await waitFor('the end', () => running.ended(), { detail: running.output });
    // A lock of a dead process is taken over after two seconds, which need not pass here.
    await fresh.must([
      'sh',
      '-c',
      `cd ${SPOOL}/run; ! [ -e runner.lock ] || touch -d @1 runner.lock`,
    ]);
    const what = `killed after call ${at}: ${running.output()}`;
    const next = await fresh.run(INIT);
    assert.equal(next.status, 0, `${what}\n${next.stderr}`);
    assert.doesNotMatch(next.stdout, /still belongs to root/, what);
    const roots = await fresh.must(['find', SPOOL, '-user', 'root']);
    assert.equal(roots, '', what);
    assert.deepEqual(await waiting(fresh), ALL_MAIL, what);
  }
  assert.ok(killed > calls / 2, `killed at ${killed} of ${calls} calls`);
});

test('uninstall, while users swap what they can', { skip: skipWithout('fresh') }, async (t) => {
  const fresh = await rootsHost(t);
  await sweep(t, fresh, {
    folders: FOLDERS,
    prepare: async () => {
      await removeTree(fresh, SPOOL);
      writeSettings(fresh);
      await fresh.must(INIT);
    },
    command: [picorelay, 'uninstall', '--purge', '--yes'],
    statuses: [0, 75, 77],
  });
});

test('import, while users swap what they can', { skip: skipWithout('fresh') }, async (t) => {
  const fresh = await rootsHost(t);
  await fresh.must(INIT);
  await sweep(t, fresh, {
    folders: [QUEUE, `${QUEUE}/.taken-by-picorelay`],
    prepare: async () => {
      await fresh.must(['sh', '-c', `rm -rf ${QUEUE}?*`]);
      await makeQueue(fresh);
      await fresh.must(['chown', '-R', `${TESTER}:${TESTER}`, '/home/tester']);
    },
    command: IMPORT,
    statuses: [0, 66, 75, 77],
  });
});
