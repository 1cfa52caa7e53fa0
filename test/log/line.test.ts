// Lines of the log, read back in the forms that they have in files, syslog and the journal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLogLine } from '../../src/log/line.ts';
import { Log, type LogFormat } from '../../src/log/log.ts';
import { escapeText } from '../../src/mail/text.ts';
import { fc } from '../support/properties.ts';

const NOW = Date.UTC(2026, 10, 21, 6, 30);

function written(format: LogFormat, write: (log: Log) => void): string {
  let text = '';
  write(
    new Log(format, (line) => {
      text = line;
    }),
  );
  return text;
}

const PREFIXES: readonly (readonly [name: string, prefix: string, time: number | undefined])[] = [
  ['a file', '2026-11-21T06:29:59.123Z ', NOW - 877],
  ['the journal', '2026-11-21T07:29:59+0100 host picorelay[77]: ', NOW - 1000],
  ['syslog with ISO time', '2026-11-21T06:29:59.123456+00:00 host picorelay: ', NOW - 877],
  ['standard error', 'picorelay: ', undefined],
];

for (const [name, prefix, time] of PREFIXES) {
  test(`A line of ${name} is read`, () => {
    const text = written('text', (log) =>
      log.deferred(
        {
          id: 'A:1:a@x:b@x',
          from: '',
          to: 'b@x',
          relay: 'smtp://r',
          stage: 'rcpt',
          said: '450 4.2.1 a=b "no"',
        },
        2,
        '2026-11-21T07:00:00Z',
      ),
    );
    assert.deepEqual(parseLogLine(prefix + text, NOW), {
      time,
      event: 'deferred',
      fields: {
        id: 'A:1:a@x:b@x',
        from: '',
        to: 'b@x',
        relay: 'smtp://r',
        stage: 'rcpt',
        said: "450 4.2.1 a=b 'no'",
        attempts: '2',
        next: '2026-11-21T07:00:00Z',
      },
    });
  });
}

test('A stamp of syslog without a year is of this year, or of last year where it would lie ahead', () => {
  const yearOf = (line: string): number | undefined => {
    const time = parseLogLine(line, NOW)?.time;
    return time === undefined ? undefined : new Date(time).getUTCFullYear();
  };
  assert.equal(yearOf('Nov 20 06:00:00 host picorelay: refused id=x'), 2026);
  assert.equal(yearOf('Dec 20 06:00:00 host picorelay[5]: refused id=x'), 2025);
  assert.equal(yearOf('Nov  5 06:00:00 host picorelay: refused id=x'), 2026);
});

test('What is logged reads back in both formats', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (said, relay) => {
      const attempted = { id: 'x', from: 'a', to: 'b', relay, stage: 'dot', said } as const;
      const json = written('json', (log) => log.refused(attempted));
      const line = `{"time":"2026-11-21T06:00:00.000Z",${json.slice(1)}`;
      assert.equal(parseLogLine(line, NOW)?.fields['said'], escapeText(said));
      const text = written('text', (log) => log.refused(attempted));
      const parsed = parseLogLine(`2026-11-21T06:00:00.000Z ${text}`, NOW);
      assert.equal(parsed?.fields['said'], escapeText(said).replaceAll('"', "'"));
      assert.equal(parsed?.fields['relay'], escapeText(relay).replaceAll('"', "'"));
      assert.equal(parsed?.fields['id'], 'x');
    }),
  );
});

test('Lines of others are none of ours, and nothing makes the parser throw', () => {
  for (const line of [
    '',
    '{}',
    '{"event":5}',
    'Nov 21 06:00:00 host postfix/smtp[5]: ABC: to=<a@x.test>, relay=none, status=deferred',
    'Nov 21 06:00:00 host kernel: picorelay is no event',
  ]) {
    assert.equal(parseLogLine(line, NOW), undefined, line);
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (line) => {
      parseLogLine(line, NOW);
      parseLogLine(`x picorelay: ${line}`, NOW);
    }),
  );
});
