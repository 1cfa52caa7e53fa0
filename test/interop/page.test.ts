// The page of picorelay status --html, as headless Chromium shows it.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';
import { skipWithoutProgram } from './require.ts';

const BROWSER = 'chromium-headless-shell';

test('Chromium draws the page as it is meant, and has nothing to complain of', {
  skip: skipWithoutProgram(BROWSER),
}, async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later')) return '450 4.2.1 <script>document.title="x"</script>';
      return line.startsWith('RCPT TO:<never') ? '550 5.1.1 no' : undefined;
    },
  });
  site.relays(relay.port);
  await site.run('sendmail', ['later@x.test', 'never@x.test', 'ok@x.test'], 'Subject: x\n\n');
  await site.run('picorelay-cron');
  const file = join(site.folder, 'status.html');
  const made = await site.run('picorelay', ['status', '--html', file]);
  assert.equal(made.status, 0, made.stderr);
  const shot = join(site.folder, 'shot.png');
  const flags = [
    '--no-sandbox',
    '--disable-gpu',
    '--enable-logging=stderr',
    '--window-size=900,1200',
  ];
  const chromium = async (
    ...more: readonly string[]
  ): Promise<{ stdout: string; stderr: string }> => {
    const done = await run([BROWSER, ...flags, ...more, `file://${file}`], {
      env: { HOME: site.folder },
    });
    assert.equal(done.status, 0, done.stderr);
    assert.doesNotMatch(done.stderr, /CONSOLE|Refused to|ERR_/);
    return done;
  };
  const { stdout: dom } = await chromium('--dump-dom');
  assert.match(dom, /<title>picorelay on client\.test<\/title>/);
  // What the parser made of it: bars in the plot, texts as text, no element that came with a reply.
  assert.match(dom, /<svg[^>]*>[\s\S]*<rect class="good"[\s\S]*<\/svg>/);
  assert.match(dom, /&lt;script&gt;/);
  assert.doesNotMatch(dom, /<script/);
  await chromium(`--screenshot=${shot}`);
  const pixels = picture(readFileSync(shot));
  // The colours of relayed, put off and refused are to be seen.
  for (const [name, colour] of [
    ['relayed', [0x2e, 0x8b, 0x57]],
    ['put off', [0xd9, 0x9a, 0x1c]],
    ['refused', [0xc4, 0x45, 0x3c]],
  ] as const) {
    assert.ok(has(pixels, colour) > 200, name);
  }
  writeFileSync(file, '<script>console.error("seen")</script>');
  await assert.rejects(chromium('--dump-dom'), /CONSOLE/, 'a complaint would be seen');
});

interface Picture {
  readonly bytes: Buffer;
  readonly channels: number;
}

/** The pixels of a PNG of eight bits a channel, its filters undone (RFC 2083 section 6). */
function picture(png: Buffer): Picture {
  const width = png.readUInt32BE(16);
  const channels = png[25] === 6 ? 4 : 3;
  const parts: Buffer[] = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT')
      parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  const bytes = Buffer.alloc((raw.length / (stride + 1)) * stride);
  for (let row = 0; row * (stride + 1) < raw.length; row++) {
    const filter = raw[row * (stride + 1)];
    for (let n = 0; n < stride; n++) {
      const left = n < channels ? 0 : (bytes[row * stride + n - channels] ?? 0);
      const up = row === 0 ? 0 : (bytes[(row - 1) * stride + n] ?? 0);
      const corner =
        row === 0 || n < channels ? 0 : (bytes[(row - 1) * stride + n - channels] ?? 0);
      const add = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter ?? 0] ?? 0;
      bytes[row * stride + n] = ((raw[row * (stride + 1) + 1 + n] ?? 0) + add) & 255;
    }
  }
  return { bytes, channels };
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const [l, u, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (l <= u && l <= c) return left;
  return u <= c ? up : corner;
}

/** How many pixels have exactly this colour. */
function has(
  { bytes, channels }: Picture,
  [red, green, blue]: readonly [number, number, number],
): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += channels) {
    if (bytes[at] === red && bytes[at + 1] === green && bytes[at + 2] === blue) count++;
  }
  return count;
}
