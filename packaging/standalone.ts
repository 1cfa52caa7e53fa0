/**
 * All programs in one: which of them it is, its name says (a link called sendmail), or its first word
 * (`picorelay-standalone sendmail -t`). packaging/standalone.mjs makes it an executable that needs no
 * node. A runner is started as `EXECUTABLE FOLDER/picorelay-cron`, which is the second way.
 */
import fs from 'node:fs';
import { basename } from 'node:path';

const sendmail = (): Promise<unknown> => import('../bin/sendmail.ts');

/** By name; the other names of sendmail are those that it knows itself by. */
const PROGRAMS = new Map<string, () => Promise<unknown>>([
  ['sendmail', sendmail],
  ['mailq', sendmail],
  ['newaliases', sendmail],
  ['hoststat', sendmail],
  ['purgestat', sendmail],
  ['send-mail', sendmail],
  ['rmail', sendmail],
  ['qmail-queue', () => import('../bin/qmail-queue.ts')],
  ['qmail-inject', () => import('../bin/qmail-inject.ts')],
  ['picorelay', () => import('../bin/picorelay.ts')],
  ['picorelay-cron', () => import('../bin/picorelay-cron.ts')],
  ['picorelay-send', () => import('../bin/picorelay-send.ts')],
]);

const words = process.argv.slice(2);
let name = basename(process.argv0);
if (!PROGRAMS.has(name)) name = basename(words.shift() ?? '');
process.argv = [process.execPath, name, ...words];

const start = PROGRAMS.get(name);
if (start === undefined) {
  fs.writeSync(
    2,
    `usage: picorelay-standalone PROGRAM [ARGUMENT...], or by a link of the program's name\nPrograms: ${[...PROGRAMS.keys()].join(' ')}\n`,
  );
  process.exit(64);
}
await start();
