/** The control folder of PicoQmail or qmail, whose files mostly mean the same here. Pure. */
import { type ControlName, catalogue } from '../control/catalogue.ts';
import { type Files, type Translation, Translator } from './translation.ts';

/** Files of qmail that have the name of a control file and another meaning, or another form. */
const DIFFERENT = new Set(['virtualdomains', 'rcpthosts']);

/** Files of another name. */
const RENAMED: Readonly<Record<string, ControlName>> = {
  concurrencyremote: 'connections',
  timeoutremote: 'timeoutdot',
};

/** Values in octets or seconds where 0 has a meaning of its own are taken as they are. */
export function translateQmail(files: Files, folder: string): Translation {
  const translator = new Translator();
  for (const name of files.names(folder)) {
    const text = files.read(`${folder}/${name}`);
    if (text === undefined) continue;
    const known = Object.hasOwn(catalogue, name) && !DIFFERENT.has(name);
    const target = known ? (name as ControlName) : RENAMED[name];
    const body = text.trimEnd();
    if (target === undefined) translator.drop(name, 'no counterpart');
    else if (catalogue[target].kind === 'list' || catalogue[target].kind === 'secrets') {
      translator.set(`${name}: ${body.split('\n').length} lines`, target, body);
    } else {
      const [line = ''] = body.split('\n', 1);
      if (line.trim() === '') continue;
      const secret = catalogue[target].kind === 'secret';
      translator.set(secret ? name : `${name}: ${line.trim()}`, target, line.trim());
    }
  }
  return translator.finish();
}
