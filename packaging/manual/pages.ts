/** All manual pages: path in man/ and text. */
import { commandPage } from './commands.ts';
import { controlPage } from './control.ts';
import { programPages } from './programs.ts';
import { formatPage } from './roff.ts';
import { spoolPage } from './spool.ts';

/** Of the pages' last change of substance: a page has to have a date. */
const DATE = '2026-11-21';

export function manualPages(version: string): ReadonlyMap<string, string> {
  const pages = [commandPage(), ...programPages(), controlPage(), spoolPage()];
  return new Map(
    pages.map((page) => [
      `man/${page.name}.${page.section}`,
      formatPage(page, `picorelay ${version}`, DATE),
    ]),
  );
}
