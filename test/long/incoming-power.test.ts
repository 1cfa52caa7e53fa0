// The promise of exit 0 to a user without rights, over a power cut: what a file system had handed to its
// device by then is copied, and mounted as after a restart. (He cannot sync the folder that he may not
// list, but his file once more after its rename: decision 11.)
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { asOther, QUEUE, QUIET, WWW } from '../support/place.ts';
import { must, run, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';
import { asUser, canStartNode, programsForAll } from '../support/users.ts';

const LETTER = 'Subject: s\n\nb\n';

/** A spool on a file system of its own. */
interface Disk {
  /** Cuts the power: what is not on the device by now is gone. */
  cutPower(): Promise<void>;
  unmount(): Promise<void>;
}

async function mountSpool(t: TestContext, site: Site, kind: string): Promise<Disk | undefined> {
  const [disk, copy] = [join(site.folder, 'disk'), join(site.folder, 'copy')];
  writeFileSync(disk, '');
  truncateSync(disk, 400 * 1024 * 1024);
  mkdirSync(site.spool);
  // Another test may have made a mount name space meanwhile, which keeps what was unmounted here; xfs then
  // refuses a second file system of this id.
  const options = kind === 'xfs' ? 'loop,nouuid' : 'loop';
  const mount = (image: string) => run(['mount', '-o', options, image, site.spool]);
  const made = await run([`mkfs.${kind}`, '-q', disk]).catch(() => undefined);
  if (made?.status !== 0 || (await mount(disk)).status !== 0) {
    assert.notEqual(process.env['CI'], 'true', `no ${kind} can be made and mounted`);
    t.skip(`no ${kind} can be made and mounted here`);
    return undefined;
  }
  return {
    cutPower: async () => {
      await must(['cp', '--sparse=always', disk, copy]);
      await must(['umount', site.spool]);
      await must(['mv', copy, disk]);
      const { status, stderr } = await mount(disk);
      assert.equal(status, 0, stderr);
    },
    unmount: async () => {
      const { status, stderr } = await run(['umount', site.spool]);
      // Where it could not be mounted again, that is what is told.
      if (!stderr.includes('not mounted')) assert.equal(status, 0, stderr);
    },
  };
}

for (const kind of ['ext4', 'xfs', 'btrfs']) {
  test(`What a user without rights was told to be accepted outlives a power cut on ${kind}`, {
    skip: asOther,
  }, async (t) => {
    const site = siteFor(t);
    const bin = programsForAll(t);
    if (!(await canStartNode(site, WWW))) {
      t.skip('node is not to be started by others');
      return;
    }
    const disk = await mountSpool(t, site, kind);
    if (disk === undefined) return;
    // Not a hook of the test: hooks run in their order, and the site goes first.
    try {
      chownSync(site.spool, QUEUE, QUEUE);
      chmodSync(site.spool, 0o711);
      chmodSync(join(site.folder, 'log'), 0o666);
      const cron = () => run([join(bin, 'picorelay-cron')], { env: site.env });
      await cron();
      const incoming = join(site.spool, 'incoming');
      for (const to of [['a@x.test'], ['b@x.test', 'c@x.test']]) {
        const sent = await asUser(site, WWW, [join(bin, 'sendmail'), ...to], LETTER);
        assert.deepEqual(sent, QUIET);
        await disk.cutPower();
        assert.equal(readdirSync(incoming).filter((name) => !name.startsWith('.')).length, 1);
        // No relay is named: it is taken over and waits. The lock of the runner before came back.
        await waitFor('the take-over', async () => {
          await cron();
          return readdirSync(incoming).length === 0;
        });
        await disk.cutPower();
        assert.deepEqual(readdirSync(incoming), []);
        assert.deepEqual(
          site.names('unsplit').filter((name) => name.endsWith('.taking')),
          [],
        );
      }
      assert.deepEqual(
        site
          .queued()
          .map((name) => name.split(':')[3])
          .toSorted(),
        ['a@x.test', 'b@x.test', 'c@x.test'],
      );
      const relay = await startRelay(t);
      site.relays(relay.port);
      await waitFor('both mails', async () => {
        await run([join(bin, 'picorelay'), 'run', '--once'], { env: site.env });
        return relay.received.length >= 2;
      });
      assert.equal(relay.received.length, 2);
      assert.deepEqual(site.names('spool'), []);
    } finally {
      await disk.unmount();
    }
  });
}
