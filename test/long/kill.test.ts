// Kills each program at each of its system calls on files and on the relay's connection, by strace.
import { test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { RUNS, SUBMISSIONS } from '../support/scenarios.ts';
import { sweep } from '../support/sweep.ts';

for (const scenario of [...SUBMISSIONS, ...RUNS]) {
  test(`Killed at any system call, no mail is lost or doubled unseen: ${scenario.title}`, {
    skip: skipWithoutProgram('strace'),
  }, async (t) => {
    await sweep(t, scenario, ['KILL']);
  });
}
