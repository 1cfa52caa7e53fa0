import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AlertRoad, parseAlert } from '../../src/control/alert.ts';
import { fc } from '../support/properties.ts';

const read = (text: string) => parseAlert([{ number: 7, text }]);

test('Each way has its word.', () => {
  const table: [string, AlertRoad][] = [
    ['run logger -t mail', { kind: 'run', command: 'logger -t mail', json: false }],
    ['run-json  /opt/notify "a b"', { kind: 'run', command: '/opt/notify "a b"', json: true }],
    ['post https://h.test/x?k=1', { kind: 'post', url: 'https://h.test/x?k=1' }],
    ['post http://127.0.0.1:8080/x', { kind: 'post', url: 'http://127.0.0.1:8080/x' }],
    ['file /etc/motd.d/picorelay', { kind: 'file', path: '/etc/motd.d/picorelay' }],
  ];
  for (const [text, road] of table) assert.deepEqual(read(text), [road], text);
});

test('Anything else is the fault of its line.', () => {
  const bad = [
    'run',
    'logger',
    'mail root@h.test',
    'post http://h.test/',
    'post ftp://h.test/',
    'post https://user@h.test/',
    'post https://h.test/ x',
    'post https://::',
    'file etc/motd',
    'file /etc/\x1b[1m',
    'RUN x',
  ];
  for (const text of bad) assert.deepEqual(read(text), { problem: { number: 7, text } }, text);
});

test('Any line is ways or a problem, and a URL can be read.', () => {
  const text = fc
    .tuple(fc.constantFrom('run ', 'post https://', 'post http://[::1]', 'file /', ''), fc.string())
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, (line) => {
      const roads = read(line);
      if ('problem' in roads) return;
      for (const road of roads) if (road.kind === 'post') new URL(road.url);
    }),
    { numRuns: 1000 },
  );
});
