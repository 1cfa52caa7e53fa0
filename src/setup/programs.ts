/**
 * How this build's programs are started on a host: by links to them, through a node that is named by its
 * absolute path, or as one executable. cron's PATH holds neither node nor /opt. Pure.
 */

export type Programs =
  /** Their first line names a node by absolute path. */
  | { readonly kind: 'direct'; readonly bin: string }
  /** Their first line looks for node in PATH, as in a package of npm's. */
  | { readonly kind: 'by-node'; readonly bin: string; readonly node: string }
  | { readonly kind: 'standalone'; readonly executable: string };

export type ProgramName =
  | 'sendmail'
  | 'qmail-queue'
  | 'qmail-inject'
  | 'picorelay'
  | 'picorelay-cron';

/** A name on the host that starts a program. */
export type Starter =
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'file'; readonly text: string };

/** What every starter that is a file begins with, behind its first line. */
const MARK = '// Starts a program of picorelay; made by picorelay init.';

/**
 * @param firstLine of bin/sendmail, without its end
 * @param executable of this process: node, or the programs themselves in one
 */
export function programsAt(
  bin: string,
  firstLine: string,
  executable: string,
  standalone: boolean,
): Programs {
  if (standalone) return { kind: 'standalone', executable };
  return /^#!\/usr\/bin\/env\b/.test(firstLine)
    ? { kind: 'by-node', bin, node: executable }
    : { kind: 'direct', bin };
}

export function starterOf(programs: Programs, name: ProgramName): Starter {
  switch (programs.kind) {
    case 'direct':
      return { kind: 'link', target: `${programs.bin}/${name}` };
    case 'standalone':
      return { kind: 'link', target: programs.executable };
    case 'by-node': {
      const path = JSON.stringify(`${programs.bin}/${name}`);
      return { kind: 'file', text: `#!${programs.node}\n${MARK}\nrequire(${path});\n` };
    }
  }
}

/** Whether a file on the host is a starter of some build of picorelay. */
export function isStarter(text: string): boolean {
  return text.split('\n', 2)[1] === MARK;
}

/** The words of a command line that starts a program whatever PATH says. */
export function commandOf(programs: Programs, name: ProgramName): readonly string[] {
  switch (programs.kind) {
    case 'direct':
      return [`${programs.bin}/${name}`];
    case 'standalone':
      return [programs.executable, name];
    case 'by-node':
      return [programs.node, `${programs.bin}/${name}`];
  }
}

/** What other users have to be able to read and run, for mail of theirs to be taken. */
export function neededBy(programs: Programs, node: string): readonly string[] {
  return programs.kind === 'standalone'
    ? [programs.executable]
    : [programs.kind === 'by-node' ? programs.node : node, `${programs.bin}/sendmail`];
}
