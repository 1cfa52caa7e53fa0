import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zoneMinutes } from '../../src/mail/zone.ts';
import { fc } from '../support/properties.ts';

const FOLDER = '/usr/share/zoneinfo';

/** North and south, odd offsets, negative summer time, rules of their own, none. */
const ZONES = [
  ...['UTC', 'Europe/Berlin', 'Europe/Dublin', 'America/New_York', 'America/St_Johns'],
  ...['Australia/Lord_Howe', 'Pacific/Chatham', 'America/Santiago', 'Asia/Kathmandu'],
  ...['Asia/Kolkata', 'Africa/Casablanca', 'Etc/GMT+12', 'Pacific/Kiritimati', 'America/Nuuk'],
];

/** What the runtime's own time zones say. */
function expected(zone: string, time: number): number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
  const text = format.formatToParts(time * 1000).find(({ type }) => type === 'timeZoneName')?.value;
  const [, sign, hours, minutes = '0'] = /^GMT(?:([+-])(\d\d)(?::(\d\d))?)?/.exec(text ?? '') ?? [];
  const size = Number(hours ?? 0) * 60 + Number(minutes);
  return sign === '-' ? -size : size;
}

const there = ZONES.filter((zone) => existsSync(join(FOLDER, zone)));

test('The offset is what the runtime knows of the zone, before the last change and after it.', (t) => {
  if (there.length === 0) {
    t.skip('this machine has no /usr/share/zoneinfo');
    return;
  }
  for (const zone of there) {
    const file = readFileSync(join(FOLDER, zone));
    // A day in each season of years that are in the table, and of years that only the rule covers.
    for (let year = 1975; year < 2060; year += 1) {
      // The two sources are edited apart: what a government decided of late may be in one of them only.
      if (zone === 'Africa/Casablanca' || (zone === 'America/Nuuk' && year > 2022)) continue;
      for (const month of [0, 3, 6, 9]) {
        const time = Date.UTC(year, month, 15, 12) / 1000;
        assert.equal(zoneMinutes(file, time), expected(zone, time), `${zone} ${year}-${month + 1}`);
      }
    }
  }
});

/** A file with this rule and no table. */
function fileOf(rule: string): Buffer {
  const header = Buffer.alloc(44);
  header.write('TZif2');
  header.writeUInt32BE(1, 36);
  header.writeUInt32BE(4, 40);
  const block = Buffer.concat([header, Buffer.alloc(10)]);
  return Buffer.concat([block, block, Buffer.from(`\n${rule}\n`)]);
}

const at = (text: string): number => Date.parse(text) / 1000;

const RULES: readonly (readonly [rule: string, time: string, minutes: number | undefined])[] = [
  ['UTC0', '2026-07-01T00:00:00Z', 0],
  ['<-03>3', '2026-07-01T00:00:00Z', -180],
  ['<+0545>-5:45', '2026-07-01T00:00:00Z', 345],
  ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-03-29T00:59:59Z', 60],
  ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-03-29T01:00:00Z', 120],
  ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-10-25T00:59:59Z', 120],
  ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-10-25T01:00:00Z', 60],
  ['EST5EDT,M3.2.0,M11.1.0', '2026-03-08T06:59:59Z', -300],
  ['EST5EDT,M3.2.0,M11.1.0', '2026-03-08T07:00:00Z', -240],
  ['AEST-10AEDT,M10.1.0,M4.1.0/3', '2026-01-01T00:00:00Z', 660],
  ['AEST-10AEDT,M10.1.0,M4.1.0/3', '2026-06-01T00:00:00Z', 600],
  ['IST-1GMT0,M10.5.0,M3.5.0/1', '2026-07-01T00:00:00Z', 60],
  ['IST-1GMT0,M10.5.0,M3.5.0/1', '2026-01-01T00:00:00Z', 0],
  ['<-02>2<-01>,M3.5.0/-1,M10.5.0/0', '2026-03-29T00:59:59Z', -120],
  ['<-02>2<-01>,M3.5.0/-1,M10.5.0/0', '2026-03-29T01:00:00Z', -60],
  // The 60th day is the 1st of March in both kinds of year; counted from 0 it is not.
  ['AAA0BBB,J60/0,J300/0', '2028-02-29T23:59:59Z', 0],
  ['AAA0BBB,J60/0,J300/0', '2028-03-01T00:00:00Z', 60],
  ['AAA0BBB,J60/0,J300/0', '2026-03-01T00:00:00Z', 60],
  ['AAA0BBB,59/0,300/0', '2028-02-29T00:00:00Z', 60],
  ['AAA0BBB,59/0,300/0', '2026-02-28T23:59:59Z', 0],
  ['nonsense', '2026-01-01T00:00:00Z', undefined],
  ['AAA0BBB,M13.9.9,J1', '2026-01-01T00:00:00Z', undefined],
];

test('What follows the last change is told by the rule at the end.', () => {
  for (const [rule, time, minutes] of RULES) {
    assert.equal(zoneMinutes(fileOf(rule), at(time)), minutes, `${rule} ${time}`);
  }
});

test('A file that is cut, old, empty or noise says nothing.', () => {
  const whole = fileOf('CET-1CEST,M3.5.0,M10.5.0/3');
  for (let length = 0; length < whole.length; length += 1) {
    assert.equal(zoneMinutes(whole.subarray(0, length), 0), undefined, `${length} bytes`);
  }
  const old = Buffer.from(whole);
  old.writeUInt8(0, 4);
  assert.equal(zoneMinutes(old, 0), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      const result = zoneMinutes(Buffer.concat([Buffer.from('TZif2'), noise]), 1e9);
      assert.ok(result === undefined || Number.isInteger(result));
    }),
  );
});
