// A million and more hostile inputs for the parsers: none may throw but for what its docstring names, and
// none may read differently because of where the input was cut. The seed is fixed unless FUZZ_SEED says
// another; a failure prints the input that fast-check has made small.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { catalogue } from '../../src/control/catalogue.ts';
import { parseRetry } from '../../src/control/retry.ts';
import { mapAddresses, parseAddressList, parsePath } from '../../src/mail/address.ts';
import { HeaderTooLong, readHeader } from '../../src/mail/header.ts';
import { EnvelopeError, parseEnvelope } from '../../src/mail/qmail-envelope.ts';
import { mailboxOf } from '../../src/mail/raw-address.ts';
import { MalformedReply, ReplyParser } from '../../src/mail/reply.ts';
import { checkWindows, mayRelay } from '../../src/queue/schedule.ts';
import { parseInvocation } from '../../src/sendmail/arguments.ts';
import { BadBlock, formatBlock, parseBlock } from '../../src/spool/block.ts';
import { addressOf, formatName, parseBase, parseName, parseTaking } from '../../src/spool/name.ts';
import { parseOwner } from '../../src/spool/owner.ts';
import { parseAttempts } from '../../src/spool/result.ts';
import * as hostile from '../corpus/hostile.ts';
import { fc, SEED } from '../support/properties.ts';

/** How much of the usual number is tried. */
const PART = Number(process.env['FUZZ_PART'] ?? 1);
let total = 0;

/** An input of the corpus with pieces put in, cut out or doubled; or nothing but pieces. */
function inputs({ corpus, pieces }: hostile.Seeds): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...pieces) },
    { weight: 1, arbitrary: fc.string({ maxLength: 5, unit: 'binary' }) },
  );
  const edit = fc.tuple(fc.nat(999), fc.nat(8), piece);
  const mutated = fc
    .tuple(fc.constantFrom(...corpus), fc.array(edit, { maxLength: 4 }))
    .map(([start, edits]) =>
      edits.reduce((text, [place, cut, put]) => {
        const at = Math.floor((place / 1000) * (text.length + 1));
        return text.slice(0, at) + put + text.slice(at + cut);
      }, start),
    );
  return fc.oneof(
    mutated,
    fc.array(piece, { maxLength: 16 }).map((parts) => parts.join('')),
  );
}

/** Each input of the corpus as it is, then `count` of its offspring. */
function fuzz(
  t: TestContext,
  seeds: hostile.Seeds,
  wanted: number,
  check: (input: string, cut: number) => void,
): void {
  const count = Math.ceil(wanted * PART);
  for (const input of seeds.corpus) check(input, 3);
  fc.assert(fc.property(inputs(seeds), fc.nat(40), check), {
    numRuns: count,
    seed: SEED,
    endOnFailure: true,
  });
  total += count + seeds.corpus.length;
  t.diagnostic(`${count + seeds.corpus.length} inputs, seed ${SEED}`);
}

/** What the action gives, or the error's name; any other error than those named is thrown. */
function outcomeOf(
  action: () => unknown,
  ...allowed: readonly (new (
    ...args: never[]
  ) => Error)[]
): unknown {
  try {
    return action();
  } catch (error) {
    if (error instanceof Error && allowed.some((each) => error instanceof each)) return error.name;
    throw error;
  }
}

/** The bytes in two pieces, as a pipe may deliver them. */
function* inTwo(bytes: Buffer, cut: number): Generator<Uint8Array, void, undefined> {
  yield bytes.subarray(0, cut);
  yield bytes.subarray(cut);
}

test('Addresses', (t) => {
  fuzz(t, hostile.ADDRESSES, 150_000, (text) => {
    const { addresses } = parseAddressList(text);
    for (const address of addresses) assert.doesNotMatch(address, /[\0\r\n]/);
    assert.equal(
      mapAddresses(text, (address) => address),
      text,
    );
    parsePath(text);
    mailboxOf(text);
  });
});

test('Headers', (t) => {
  fuzz(t, hostile.HEADERS, 150_000, (text, cut) => {
    const bytes = Buffer.from(text, 'latin1');
    const read = (pieces: Iterable<Uint8Array>): unknown => {
      const { fields, repairs } = readHeader(pieces[Symbol.iterator]() as Iterator<Uint8Array>);
      for (const { raw } of fields) assert.doesNotMatch(raw, /\0|\r(?!\n)|(?<!\r)\n|\n(?![ \t])/);
      return { fields, repairs };
    };
    const whole = outcomeOf(() => read([bytes]), HeaderTooLong);
    assert.deepEqual(
      outcomeOf(() => read(inTwo(bytes, cut)), HeaderTooLong),
      whole,
    );
  });
});

test('Envelope blocks', (t) => {
  fuzz(t, hostile.BLOCKS, 150_000, (text) => {
    const block = outcomeOf(() => parseBlock(text), BadBlock);
    if (typeof block === 'string') return;
    const { envelope, origin } = block as ReturnType<typeof parseBlock>;
    const { notes: _, ...bare } = origin;
    const again = parseBlock(formatBlock(envelope, bare).trimEnd());
    assert.deepEqual(again.envelope, envelope);
  });
});

test('Entry names', (t) => {
  fuzz(t, hostile.NAMES, 200_000, (name) => {
    const parsed = parseName(name);
    parseTaking(name);
    addressOf(name);
    if (parsed.kind === 'foreign') return;
    assert.doesNotMatch(name, /[/\0\n]|^\./);
    const base = parseBase(parsed.base);
    assert.ok(base);
    if (parsed.kind === 'entry') assert.equal(formatName(parsed.base, parsed.state), name);
  });
});

test('Replies', (t) => {
  fuzz(t, hostile.REPLIES, 150_000, (text, cut) => {
    const bytes = Buffer.from(text, 'latin1');
    const read = (pieces: Iterable<Uint8Array>): unknown => {
      const parser = new ReplyParser();
      const replies = [];
      for (const piece of pieces) {
        if (parser.failure !== undefined) break;
        const found = outcomeOf(() => parser.push(piece), MalformedReply);
        if (typeof found !== 'string') replies.push(...(found as ReturnType<typeof parser.push>));
      }
      return { replies, failed: parser.failure !== undefined };
    };
    assert.deepEqual(read(inTwo(bytes, cut)), read([bytes]));
  });
});

test('Lines of control/retry, cron windows among them', (t) => {
  let windows = 0;
  fuzz(t, hostile.RETRIES, 60_000, (text) => {
    const lines = text.split('\n').map((line, index) => ({ number: index + 1, text: line.trim() }));
    const plan = parseRetry(lines);
    if ('problem' in plan || checkWindows(plan) !== undefined) return;
    windows += plan.windows.length;
    mayRelay(plan, { now: new Date(1_795_216_501_000), lastRun: undefined });
  });
  t.diagnostic(`${windows} good windows among them`);
  assert.ok(windows > 0);
});

test('The envelope on the descriptor 1 of qmail-queue', (t) => {
  fuzz(t, hostile.ENVELOPES, 150_000, (text, cut) => {
    const bytes = Buffer.from(text, 'latin1');
    const whole = outcomeOf(() => parseEnvelope([bytes]), EnvelopeError);
    assert.deepEqual(
      outcomeOf(() => parseEnvelope(inTwo(bytes, cut)), EnvelopeError),
      whole,
    );
  });
});

test('Results and records of owners', (t) => {
  fuzz(t, hostile.RESULTS, 50_000, (text) => {
    for (const { time, lines } of parseAttempts(text)) {
      assert.ok(Number.isFinite(time));
      for (const line of lines) assert.ok(!line.includes('\n'));
    }
    parseOwner(text);
  });
});

test('Command lines of sendmail', (t) => {
  fuzz(t, hostile.ARGUMENTS, 100_000, (text) => {
    parseInvocation('sendmail', text.split('\t'));
  });
});

test('Every control file', (t) => {
  const files = Object.values(catalogue);
  fuzz(t, hostile.CONTROLS, 6000, (text) => {
    const lines = text.split('\n').map((line, index) => ({ number: index + 1, text: line.trim() }));
    for (const { kind, parse } of files) {
      parse(kind === 'list' || kind === 'secrets' ? lines : lines.slice(0, 1));
    }
  });
});

test('That were a million inputs and more', (t) => {
  t.diagnostic(`${total} inputs in all`);
  assert.ok(total > 1_000_000 * PART);
});
