// Who can change what a path leads to, on real folders of several users. Only root can make these.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathOwner, UnsafePath } from '../../src/spool/path-owner.ts';
import { makeFolder } from '../support/spool.ts';
import { isRoot } from '../support/users.ts';

const ANN = 12_001;
const BOB = 12_002;
const SYSTEM_GROUP = 50;
const USERS_GROUP = 100;

/** Folders below a folder of root: path, owner, group and mode. */
const FOLDERS: readonly (readonly [path: string, uid: number, gid: number, mode: number])[] = [
  ['root', 0, 0, 0o755],
  ['root/inner', 0, 0, 0o755],
  ['ann', ANN, ANN, 0o755],
  ['ann/bob', BOB, BOB, 0o755],
  ['ann/root', 0, 0, 0o755],
  ['tmp', 0, 0, 0o1777],
  ['tmp/ann', ANN, ANN, 0o755],
  ['tmp/root', 0, 0, 0o755],
  ['open', 0, 0, 0o777],
  ['staff', 0, SYSTEM_GROUP, 0o2775],
  ['people', 0, ANN, 0o775],
  ['users', 0, USERS_GROUP, 0o775],
];

/** Links: path, target and owner. */
const LINKS: readonly (readonly [path: string, target: string, uid: number])[] = [
  ['link', 'root/inner', 0],
  ['up', 'root/../root/inner', 0],
  ['anns-link', 'root', ANN],
  ['tmp/link', '../root', ANN],
  ['ann/to-bob', 'bob', ANN],
  ['loop', 'loop', 0],
];

const EXPECTED: Readonly<Record<string, number | RegExp>> = {
  '': 0,
  root: 0,
  'root/inner/file': 0,
  'root/missing/file': 0,
  ann: 0,
  'ann/file': ANN,
  'ann/missing/file': ANN,
  'ann/root/file': ANN,
  'ann/bob': ANN,
  'ann/bob/file': /user ids 12001 and 12002 can both change/,
  'ann/to-bob/file': /user ids 12001 and 12002 can both change/,
  'tmp/ann': 0,
  'tmp/ann/file': ANN,
  'tmp/root/file': 0,
  'tmp/missing': /every user can create files in .*\/tmp: choose/,
  'tmp/file': /every user can create files in .*\/tmp: choose/,
  'open/file': /every user can replace .*: chmod o-w/,
  'staff/file': 0,
  'people/file': /members of group 12001 can replace .*: chmod g-w/,
  'users/file': /members of group 100 can replace/,
  'link/file': 0,
  'up/file': 0,
  'anns-link/file': ANN,
  'tmp/link/file': ANN,
  'root/../ann/file': ANN,
  'ann/../root/file': ANN,
  'loop/file': /too many symbolic links/,
};

test('The owner of a path is the only user but root who can change where it leads', {
  skip: isRoot ? false : 'only root can make folders of other users',
}, (t) => {
  const top = makeFolder(t);
  for (const [path, uid, gid, mode] of FOLDERS) {
    mkdirSync(join(top, path));
    chownSync(join(top, path), uid, gid);
    chmodSync(join(top, path), mode);
  }
  writeFileSync(join(top, 'tmp/file'), '');
  for (const [path, target, uid] of LINKS) {
    symlinkSync(target, join(top, path));
    lchownSync(join(top, path), uid, uid);
  }
  for (const [path, expected] of Object.entries(EXPECTED)) {
    const whole = `${top}/${path}`;
    if (typeof expected === 'number') assert.equal(pathOwner(whole).uid, expected, path);
    else {
      assert.throws(
        () => pathOwner(whole),
        (error) => error instanceof UnsafePath && expected.test(error.message),
        path,
      );
    }
  }
  assert.equal(pathOwner(`${top}/up/file`).real, join(top, 'root/inner/file'));
  assert.equal(pathOwner(`${top}/tmp/missing`, 'new').uid, 0);
  assert.throws(() => pathOwner(`${top}/tmp/missing/file`, 'new'), UnsafePath);
});
