import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LAYOUT_VERSION } from '../../src/spool/name.ts';
import { type MailFile, type Status, type Survey, verifySpool } from '../../src/spool/verify.ts';
import { NOW } from '../support/spool.ts';

const HOUR = 3_600_000;
const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@x.test';
const OTHER = '20261120T231502.000000Z:4242:root@host.test:ann@x.test';
const TAKING = '20261120T231501.123456Z:77:4711.99.taking';
/** Of the pids here only this one lives. */
const ALIVE = 88;

let inodes = 0;

function file(path: string, change: Partial<MailFile> = {}): MailFile {
  const [folder = '', ...name] = path.split('/');
  return {
    folder: folder as MailFile['folder'],
    name: name.join('/'),
    kind: 'file',
    mode: 0o600,
    uid: 1000,
    links: 1,
    file: `1:${++inodes}`,
    size: 100,
    changed: NOW - 2 * HOUR,
    ...change,
  };
}

const FOLDER: Status = { ...file('spool/x'), kind: 'folder', mode: 0o700 };

function survey(files: readonly MailFile[], change: Partial<Survey> = {}): Survey {
  return {
    now: NOW,
    uid: 1000,
    shared: false,
    version: LAYOUT_VERSION,
    folders: [{ name: 'spool', mode: 0o700, status: FOLDER }],
    wake: undefined,
    files,
    alive: new Set([ALIVE]),
    recorded: [],
    ...change,
  };
}

/** As `path: what mends it`, or `path: -` where nothing does. */
function found(it: Survey): string[] {
  return verifySpool(it).map(({ path, step, advice }) => {
    assert.ok((step === undefined) !== (advice === undefined), path);
    return `${path}: ${step?.do ?? '-'}`;
  });
}

const one = (links: number): Partial<MailFile> => ({ file: '1:one', links });

test('What is as it should be, or is somebody’s work of this moment, is no finding', () => {
  for (const files of [
    [],
    [file(`spool/${BASE}`)],
    [file(`spool/${BASE}:3.held`), file(`spool/${BASE}:.result`)],
    [file(`spool/${BASE}:1@20261121T000000Z.spool`), file(`spool/${OTHER}`)],
    [file(`spool/${BASE}`, one(2)), file(`spool/${OTHER}`, one(2))],
    [file(`spool/${BASE}:${ALIVE}.sending`, { unreadable: 'the file ends' })],
    [file(`Undelivered/${BASE}`), file(`Undelivered/${BASE}:.result`)],
    [file('corrupt/anything at all'), file('corrupt/anything at all:.reason')],
    // A result is written before the entry is renamed, and a listing can miss what moves.
    [file(`spool/${BASE}:.result`, { changed: NOW - 1000 })],
    [file('tmp/whatever', { changed: NOW - HOUR })],
    [file('unsplit/20261120T231501.123456Z:4242:root@host.test', { changed: NOW - 1000 })],
    [file(`unsplit/${TAKING.replace('99', String(ALIVE))}`)],
    // A network file system's own.
    [file('spool/.nfs000000000123abcd00000001')],
  ]) {
    assert.deepEqual(found(survey(files)), [], files.map(({ name }) => name).join());
  }
});

test('Each thing that can be wrong with a file has its step', () => {
  const rows: [MailFile[], string[]][] = [
    [[file('spool/core')], ['spool/core: set aside']],
    [[file('spool/.bob.swp')], ['spool/.bob.swp: set aside']],
    [[file(`spool/${BASE}:x.sending`)], [`spool/${BASE}:x.sending: set aside`]],
    [[file(`Undelivered/${BASE}:3.held`)], [`Undelivered/${BASE}:3.held: set aside`]],
    [[file(`spool/${BASE}`, { kind: 'link' })], [`spool/${BASE}: set entry aside`]],
    [[file(`spool/${BASE}`, { kind: 'folder' })], [`spool/${BASE}: set entry aside`]],
    [[file('tmp/dir', { kind: 'folder', changed: NOW })], ['tmp/dir: set aside']],
    [[file('unsplit/pipe', { kind: 'fifo' })], ['unsplit/pipe: set aside']],
    [[file(`spool/${BASE}`, { unreadable: 'bad' })], [`spool/${BASE}: set entry aside`]],
    [
      [file(`Undelivered/${BASE}`, { unreadable: 'bad' }), file(`Undelivered/${BASE}:.result`)],
      [`Undelivered/${BASE}: set aside`],
    ],
    [[file(`spool/${BASE}:99.sending`)], [`spool/${BASE}:99.sending: sweep`]],
    [
      [file('unsplit/20261120T231501.123456Z:4242:a')],
      ['unsplit/20261120T231501.123456Z:4242:a: sweep'],
    ],
    [[file('unsplit/x', { unreadable: 'bad' })], ['unsplit/x: set aside']],
    [[file(`unsplit/${TAKING}`)], [`unsplit/${TAKING}: sweep`]],
    [[file(`spool/${BASE}`, { mode: 0o666 })], [`spool/${BASE}: set mode`]],
    [[file(`spool/${BASE}`, { mode: 0o000, unreadable: 'EACCES' })], [`spool/${BASE}: set mode`]],
    [[file(`spool/${BASE}`, { uid: 0 })], [`spool/${BASE}: -`]],
    [[file('tmp/old', { changed: NOW - 37 * HOUR })], ['tmp/old: erase']],
    [[file(`spool/${BASE}:.result`)], [`spool/${BASE}:.result: erase`]],
    [[file(`Undelivered/${BASE}:.result`)], [`Undelivered/${BASE}:.result: set aside`]],
    [[file(`Undelivered/${BASE}`)], [`Undelivered/${BASE}: write reason`]],
    [[file('corrupt/x')], ['corrupt/x: write reason']],
    [[file(`spool/${BASE}`, { links: 2 })], [`spool/${BASE}: copy entry`]],
    [
      [file(`Undelivered/${BASE}`, { links: 3 }), file(`Undelivered/${BASE}:.result`)],
      [`Undelivered/${BASE}: copy file`],
    ],
  ];
  for (const [files, expected] of rows) assert.deepEqual(found(survey(files)), expected);
});

test('Of a mail in two states that stays which knows most, and bytes that differ are kept', () => {
  const name = (state: string): string => `spool/${BASE}${state}`;
  for (const [kept, other] of [
    [':1@20261121T000000Z.spool', ''],
    [':2@20261121T000000Z.spool', ':1@20261121T000000Z.spool'],
    [':0.held', ':9@20261121T000000Z.spool'],
    [':4.held', ':3.held'],
  ] as const) {
    assert.deepEqual(found(survey([file(name(other), one(2)), file(name(kept), one(2))])), [
      `${name(other)}: erase`,
    ]);
    assert.deepEqual(found(survey([file(name(kept)), file(name(other))])), [
      `${name(other)}: set entry aside`,
    ]);
  }
  // Whoever sends it decides what becomes of it.
  const sent = `:${ALIVE}.sending`;
  assert.deepEqual(found(survey([file(name(''), one(2)), file(name(sent), one(2))])), [
    `${name('')}: -`,
  ]);
});

test('The layout is judged before what lies in it, and one that is unknown is left alone', () => {
  const bad = file('spool/core');
  const folder = (status: Status | undefined): Partial<Survey> => ({
    folders: [{ name: 'spool', mode: 0o700, status }],
  });
  for (const [change, expected] of [
    [folder(undefined), ['spool: make folder', 'spool/core: set aside']],
    [folder({ ...FOLDER, kind: 'file' }), ['spool: set aside', 'spool/core: set aside']],
    [folder({ ...FOLDER, mode: 0o777 }), ['spool: set mode', 'spool/core: set aside']],
    [folder({ ...FOLDER, mode: 0o2700 }), ['spool/core: set aside']],
    [folder({ ...FOLDER, uid: 0 }), ['spool: -', 'spool/core: set aside']],
    [{ version: undefined }, ['version: write version', 'spool/core: set aside']],
    [{ version: '' }, ['version: write version', 'spool/core: set aside']],
    [{ version: '2\n' }, ['version: -']],
    [{ wake: { ...FOLDER, kind: 'file' } }, ['wake: set aside', 'spool/core: set aside']],
    [{ wake: { ...FOLDER, kind: 'fifo' } }, ['spool/core: set aside']],
    [{ recorded: [ALIVE, 99] }, ['spool/core: set aside', 'run/99: erase']],
  ] as const) {
    assert.deepEqual(found(survey([bad], change)), expected, JSON.stringify(change));
  }
});

test('Where the group may submit, its files are its own and readable for it', () => {
  const shared = { shared: true };
  for (const [change, expected] of [
    [{ mode: 0o640 }, []],
    [{ mode: 0o600 }, []],
    [{ mode: 0o640, uid: 1001 }, []],
    [{ mode: 0o600, uid: 1001 }, [`spool/${BASE}: -`]],
    [{ mode: 0o644 }, [`spool/${BASE}: set mode`]],
  ] as const) {
    assert.deepEqual(found(survey([file(`spool/${BASE}`, change)], shared)), expected);
  }
});
