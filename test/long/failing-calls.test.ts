// Makes each of the programs' system calls on files fail as on a full or a broken disk, by strace.
import { test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { RUNS, SUBMISSIONS } from '../support/scenarios.ts';
import { sweep } from '../support/sweep.ts';

for (const scenario of [...SUBMISSIONS, ...RUNS]) {
  test(`With a full or a broken disk at any system call no mail is lost: ${scenario.title}`, {
    skip: skipWithoutProgram('strace'),
  }, async (t) => {
    await sweep(t, scenario, ['ENOSPC', 'EIO']);
  });
}
