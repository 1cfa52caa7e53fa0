// A process that takes the lock of the spool named on its command line, says so, and keeps it until
// its standard input ends.
import { takeLock } from '../../src/runner/lock.ts';
import { Spool } from '../../src/spool/spool.ts';

const lock = await takeLock(new Spool(process.argv[2] ?? '', process.pid));
process.stdout.write(lock === undefined ? 'refused\n' : 'taken\n');
process.stdin.resume();
await new Promise((resolve) => process.stdin.once('end', resolve));
await lock?.release();
