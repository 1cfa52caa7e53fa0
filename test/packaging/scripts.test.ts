// The shell scripts that are shipped: packages' own, the container's and the examples for supervisors.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { skipWithoutProgram } from '../interop/require.ts';
import { run } from '../support/process.ts';

const scripts = readdirSync('packaging', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .filter((path) => /^#!(\/bin\/sh|\/sbin\/openrc-run)\n/.test(readFileSync(path, 'utf8')));

test('Every script is one that a shell takes', async () => {
  assert.ok(scripts.length >= 7, scripts.join(' '));
  for (const path of scripts) {
    assert.deepEqual(await run(['sh', '-n', path]), { status: 0, stdout: '', stderr: '' }, path);
  }
});

test('shellcheck finds nothing in them', { skip: skipWithoutProgram('shellcheck') }, async () => {
  // OpenRC reads the variables of its scripts.
  const done = await run(['shellcheck', '--shell=sh', '--exclude=SC2034', ...scripts]);
  assert.deepEqual(done, { status: 0, stdout: '', stderr: '' });
});
