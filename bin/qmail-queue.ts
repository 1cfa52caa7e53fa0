/**
 * qmail-queue: message on descriptor 0, envelope on descriptor 1, which is read, so nothing here may
 * print. The exit code says what happened; where a program of its own is to tell more, it is on
 * descriptor 6 (notqmail 1.09's exit 82 is not used: the codes say it all).
 */
import { openControl } from '../src/control/control.ts';
import { minutesEast } from '../src/control/host.ts';
import { readLimits } from '../src/control/limits.ts';
import { openRewriter } from '../src/control/rewriting.ts';
import { hostName, offerAtOnce } from '../src/inject/place.ts';
import { EXIT, queueMessage } from '../src/inject/qmail-queue.ts';
import { originTime } from '../src/mail/envelope.ts';
import { OverLimit } from '../src/mail/limits.ts';
import { EnvelopeError } from '../src/mail/qmail-envelope.ts';
import { becomeSubmitter } from '../src/spool/become.ts';
import { readPieces } from '../src/spool/input.ts';
import { Intake } from '../src/spool/intake.ts';
import { UnsafePath } from '../src/spool/path-owner.ts';

process.exit(main());

function main(): number {
  const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');
  let folder: string;
  try {
    folder = control.get('spooldir');
  } catch {
    return EXIT.configuration;
  }
  const origin = {
    uid: process.getuid?.() ?? 0,
    pid: process.pid,
    time: originTime(Date.now(), process.hrtime()),
    program: 'qmail-queue',
  };
  let bases: readonly string[];
  try {
    const straight = becomeSubmitter(folder);
    const spool = new Intake(folder, process.pid, token, straight);
    const host = hostName(control);
    const rewriter = openRewriter(control, {
      me: host,
      defaultHost: host,
      defaultDomain: undefined,
    });
    const zone = minutesEast(new Date(), process.env['TZ']);
    const { limits, troubles } = readLimits(control);
    for (const { text, file } of troubles) rewriter.warn(text, file);
    bases = queueMessage(readPieces(0), readPieces(1), spool, origin, host, zone, rewriter, limits);
  } catch (error) {
    return exitOf(error);
  }
  // It is queued, and there is nobody to tell what could not be done: cron will find it.
  offerAtOnce(control, folder, bases, {
    environment: process.env,
    node: process.execPath,
    bin: import.meta.dirname,
    now: Date.now(),
  });
  return EXIT.queued;
}

function exitOf(error: unknown): number {
  if (error instanceof EnvelopeError) {
    return error.kind === 'too long' ? EXIT.addressTooLong : EXIT.badEnvelope;
  }
  if (error instanceof OverLimit) {
    if (error.kind === 'disk') return EXIT.writeError;
    return error.passes ? EXIT.refusedForNow : EXIT.refused;
  }
  if (error instanceof UnsafePath) return EXIT.configuration;
  const syscall = error instanceof Error && 'syscall' in error ? error.syscall : undefined;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOMEM') return EXIT.outOfMemory;
  if (syscall === 'read') return EXIT.readError;
  if (syscall === 'mkdir' || code === 'ENOENT' || code === 'ENOTDIR') return EXIT.spoolMissing;
  if (syscall === 'open' || syscall === 'link') return EXIT.cannotMakeFile;
  return syscall === undefined && code === undefined ? EXIT.bug : EXIT.writeError;
}

/** What nobody can guess; node:crypto is loaded only where it is needed. */
function token(): string {
  return process.getBuiltinModule('node:crypto').randomBytes(16).toString('hex');
}
