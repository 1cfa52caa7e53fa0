// npm start, the first thing that a stranger sees: each of its steps does what its title says.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { must } from '../support/process.ts';

test('The demonstration shows what it promises', async (t) => {
  const output = await must([process.execPath, 'build/demo.js', 'jo@example.org'], {
    input: 'Subject: of mine\n\nHello.\n',
  });
  const [, folder = ''] = /Where things lie\n +(\/\S+)/.exec(output) ?? [];
  t.after(() => rmSync(folder, { recursive: true }));
  const steps = output.split(/^(?=\d\. |Where things lie)/m).slice(1);
  const promises = [
    /^1\. [\s\S]*^ {3}spool\/\S+:jo@example\.org$/m,
    /^2\. [\s\S]*^ {3}relayed jo@example\.org by smtp:/m,
    /^3\. [\s\S]*^ {3}Subject: of mine$/m,
    /^4\. [\s\S]*paused: [\s\S]*2 mails in the queue/m,
    /^5\. [\s\S]*Mail queue is empty/m,
    /^6\. [\s\S]*Undelivered\/\S+:nobody@example\.org\n[\s\S]*550 5\.1\.1/m,
    /^Where things lie[\s\S]*what the relay got \(4 messages\)/m,
  ];
  for (const [index, promise] of promises.entries()) assert.match(steps[index] ?? output, promise);
});
