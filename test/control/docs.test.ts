import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { catalogue } from '../../src/control/catalogue.ts';
import { controlManual, shippedFiles } from '../../src/control/manual.ts';

test('docs/control.md is what the catalogue generates.', () => {
  assert.equal(readFileSync('docs/control.md', 'utf8'), controlManual());
});

test('The shipped control folder holds the defaults and nothing else.', () => {
  const shipped = shippedFiles();
  assert.deepEqual(readdirSync('control').sort(), [...shipped.keys()].sort());
  for (const [name, text] of shipped)
    assert.equal(readFileSync(join('control', name), 'utf8'), text);
});

test('No host name, relay or secret is shipped.', () => {
  const shipped = shippedFiles();
  assert.equal(shipped.get('queuelifetime'), '5d\n');
  for (const name of [
    'me',
    'helohost',
    'relay',
    'relayip',
    'minivars',
    'authuser',
    'authpassword',
  ]) {
    assert.ok(!shipped.has(name), name);
  }
});

test('The manual has one section for each file, and a secret is called one.', () => {
  const manual = controlManual();
  const headings = [...manual.matchAll(/^## (.*)$/gm)].map(([, name]) => name);
  assert.deepEqual(headings, Object.keys(catalogue));
  assert.match(manual, /## authpassword\n[^#]*Kind: secret/);
});

test('docs --check finds what --write mends.', () => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-docs-'));
  const program = fileURLToPath(new URL('../../packaging/docs.js', import.meta.url));
  const run = (flag: string) =>
    spawnSync(process.execPath, [program, flag], { cwd: folder, encoding: 'utf8' });
  try {
    assert.match(run('--check').stdout, /differs: docs\/control\.md/);
    assert.ok(!existsSync(join(folder, 'control')), '--check writes nothing');
    assert.equal(run('--write').status, 0);
    assert.equal(run('--check').status, 0);

    writeFileSync(join(folder, 'control/tls'), 'off\n');
    writeFileSync(join(folder, 'control/authpassword'), 'x\n');
    const { status, stdout } = run('--check');
    assert.equal(status, 1);
    assert.match(stdout, /^differs: control\/tls\nnot generated: control\/authpassword\n/);

    run('--write');
    assert.equal(run('--check').status, 0);
    assert.equal(readFileSync(join(folder, 'control/tls'), 'utf8'), 'required\n');
    assert.ok(!existsSync(join(folder, 'control/authpassword')));
    assert.equal(run('--other').status, 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
