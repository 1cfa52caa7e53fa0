// A site whose spool belongs to a user of its own, for tests of what other users may do. Only root can be
// all of them.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Running, run, start } from './process.ts';
import { startRelay, type TestRelay } from './relay.ts';
import { makeSite, type Site } from './site.ts';
import { canStartNode, isRoot, programsForAll } from './users.ts';

export const asOther = isRoot ? false : 'only root can become another user';

/** A program that has nothing to say. */
export const QUIET = { status: 0, stdout: '', stderr: '' };
/** Users that need no name: the queue's, and three who submit. */
export const QUEUE = 61001;
export const WWW = 61033;
export const EVE = 61666;
export const BOB = 61002;

export interface Place {
  readonly site: Site;
  readonly bin: string;
  readonly relay: TestRelay;
  readonly incoming: string;
  /** Runs the queue once, as cron does. */
  cron(): Promise<void>;
  /** Starts a program that stays, and ends with the test, before the site goes. */
  start(command: readonly string[]): Promise<Running>;
}

/** A site whose spool belongs to a user of its own, laid out by a first run. */
export async function placeFor(t: TestContext, mode = 0o711): Promise<Place | undefined> {
  const site = makeSite();
  const running: Running[] = [];
  t.after(async () => {
    for (const each of running) await each.stop();
    site.remove();
  });
  if (!(await canStartNode(site, WWW))) {
    t.skip('node is not to be started by others');
    return undefined;
  }
  mkdirSync(site.spool);
  chownSync(site.spool, QUEUE, QUEUE);
  chmodSync(site.spool, mode);
  chmodSync(join(site.folder, 'log'), 0o666);
  chmodSync(site.folder, 0o755);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const bin = programsForAll(t);
  // As root, as cron does; what it loads later it has to load as the queue's user.
  const cron = async (): Promise<void> => {
    assert.deepEqual(await run([join(bin, 'picorelay-cron')], { env: site.env }), QUIET);
  };
  await cron();
  return {
    ...{ site, bin, relay, incoming: join(site.spool, 'incoming'), cron },
    start: async (command) => {
      const started = await start(command, { env: site.env });
      running.push(started);
      return started;
    },
  };
}
