// Files of another program that exist only in a table.
import type { Files, Translation } from '../../src/migrate/translation.ts';

export function fakeFiles(texts: Readonly<Record<string, string>>): Files {
  return {
    read: (path) => texts[path],
    names: (folder) =>
      Object.keys(texts)
        .filter(
          (path) => path.startsWith(`${folder}/`) && !path.slice(folder.length + 1).includes('/'),
        )
        .map((path) => path.slice(folder.length + 1))
        .sort(),
  };
}

/** The control files that were made, as an object. */
export function settingsOf({ settings }: Translation): Readonly<Record<string, string>> {
  return Object.fromEntries(settings);
}

/** What was not taken. */
export function dropped({ lines }: Translation): readonly string[] {
  return lines.filter(({ name }) => name === undefined).map(({ source }) => source);
}
