// Folders of the spool that go, become something else or cannot be written to while a service works as another
// user: nothing is lost or doubled, each trouble is told in one clear line, and all goes its way afterwards.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Running, start, waitFor } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { makeSite, programPath, type Site } from '../support/site.ts';
import { asUser, isRoot, NOBODY, programsForAll } from '../support/users.ts';

const LETTER = 'Subject: tea\n\nat four\n';
const BASE = '20261120T231501.000000Z:4242:root@host.test:hostile@x.test';

const FOLDERS = ['tmp', 'unsplit', 'spool', 'Undelivered', 'corrupt', 'run', 'routes', 'incoming'];

interface Trouble {
  readonly make: (path: string) => void;
  readonly undo: (path: string) => void;
}

const TROUBLES: Readonly<Record<string, Trouble>> = {
  'taken away': {
    make: (path) => renameSync(path, `${path}.away`),
    undo: (path) => giveBack(path),
  },
  'replaced by a file': {
    make: (path) => {
      renameSync(path, `${path}.away`);
      writeFileSync(path, 'in its place');
    },
    undo: (path) => {
      if (statSync(path).isFile()) rmSync(path);
      giveBack(path);
    },
  },
  'read-only': {
    make: (path) => chmodSync(path, 0o500),
    undo: (path) => chmodSync(path, path.endsWith('incoming') ? 0o1733 : 0o700),
  },
};

/** What was made in its place meanwhile stays in it. */
function giveBack(path: string): void {
  if (existsSync(path)) {
    for (const name of readdirSync(path)) {
      const to = join(`${path}.away`, name);
      rmSync(to, { recursive: true, force: true });
      renameSync(join(path, name), to);
    }
    rmdirSync(path);
  }
  renameSync(`${path}.away`, path);
}

/** A site whose queue a service looks after that is not root. */
async function serve(t: TestContext): Promise<{
  site: Site;
  relay: TestRelay;
  service: Running;
  submit: (to: string) => Promise<{ status: number | null; stderr: string }>;
}> {
  const site = makeSite();
  const relay = await startRelay(t, {
    script: ({ stage, line }) =>
      stage === 'rcpt' && line.includes('never') ? '550 5.1.1 nobody' : undefined,
  });
  site.relays(relay.port);
  site.control('retry', '1s');
  site.control('immediate', 'background');
  const bin = isRoot ? programsForAll(t) : undefined;
  const program = (name: string): string =>
    bin === undefined ? programPath(name) : join(bin, name);
  if (isRoot) {
    chmodSync(site.folder, 0o755);
    mkdirSync(site.spool);
    for (const path of [site.spool, join(site.folder, 'log')]) chownSync(path, NOBODY, NOBODY);
  }
  const drop = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];
  const service = await start([...(isRoot ? drop : []), program('picorelay'), 'run'], {
    env: site.env,
  });
  t.after(async () => {
    await service.stop();
    site.remove();
  });
  await waitFor('the service', () => site.names('run').includes('runner'), {
    detail: service.output,
  });
  const submit = async (to: string) =>
    isRoot
      ? await asUser(site, NOBODY, [program('sendmail'), to], LETTER)
      : await site.run('sendmail', [to], LETTER);
  return { site, relay, service, submit };
}

/** A mail that cannot be read. */
function putBad(site: Site): void {
  const path = join(site.spool, 'spool', BASE);
  writeFileSync(path, 'picorelay: 2\n\n', { mode: 0o600 });
  if (isRoot) chownSync(path, NOBODY, NOBODY);
}

function wake(site: Site): void {
  try {
    writeFileSync(join(site.spool, 'wake'), 'w', { flag: 'r+' });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
}

for (const [trouble, { make, undo }] of Object.entries(TROUBLES)) {
  for (const folder of FOLDERS) {
    test(`${folder}/ is ${trouble} while a service runs: no mail is lost or doubled`, async (t) => {
      const { site, relay, service, submit } = await serve(t);
      const path = join(site.spool, folder);
      assert.equal((await submit('first@x.test')).status, 0);
      const isOut = (): boolean =>
        relay.recipients().includes('first@x.test') && site.queued().length === 0;
      await waitFor('the first mail', isOut, { detail: () => service.output() + site.log() });
      make(path);
      if (folder !== 'spool') putBad(site);
      const accepted: string[] = [];
      for (const to of ['second@x.test', 'never@x.test', 'third@x.test']) {
        const { status, stderr } = await submit(to);
        if (status === 0) accepted.push(to);
        else {
          assert.ok(status === 75 || status === 77 || status === 73, `${status}: ${stderr}`);
          assert.match(stderr, /^sendmail: [^\n]+; nothing was queued\n$/);
        }
        assert.ok(stderr.trimEnd().split('\n').length <= 1, stderr);
        wake(site);
      }
      undo(path);
      const done = (): boolean => {
        wake(site);
        const wanted = accepted.filter((to) => !to.startsWith('never'));
        const refused = accepted.length - wanted.length;
        const kept = site.names('Undelivered').filter((name) => !name.endsWith(':.result'));
        return (
          wanted.every((to) => relay.recipients().includes(to)) &&
          kept.length === refused &&
          site.queued().length === 0 &&
          (folder === 'spool' || site.names('corrupt').includes(`${BASE}:.reason`))
        );
      };
      await waitFor('all that was accepted', done, {
        detail: () => [service.output(), site.log(), ...site.queued(), ...accepted].join('\n'),
      });
      assert.equal(service.ended(), false, service.output());
      const got = relay.recipients();
      assert.equal(new Set(got).size, got.length, `twice: ${got.join()}`);
      const faults = site
        .log()
        .split('\n')
        .filter((line) => line.includes('fault '));
      for (const line of faults) assert.match(line, /fault said="?[^\n]{10,700}$/);
      // Told when it begins, not at each look.
      const said = faults.map((line) => line.replace(/^.*fault /, ''));
      assert.ok(said.length <= 12, said.join('\n'));
      assert.equal(
        (
          await waitFor('a clean spool', async () => {
            const { status, stdout } = await site.run('picorelay', ['verify', '--repair']);
            return status === 0 ? { stdout } : undefined;
          })
        ).stdout.includes('not mended'),
        false,
      );
    });
  }
}
