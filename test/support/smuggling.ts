// Messages that want to be two (VU#302671): a dot between line ends of all kinds, and behind it the commands of
// another transaction. However they are handed over, one message arrives.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Site } from './site.ts';

const ENDS = ['\n', '\r', '\r\n', '\r\r\n', '\n\r', '\r\n\r', '\0\n', '\r\0\n', '\n\0', '\r\n\0'];

/** Every line end before a dot by every line end behind it. */
export const TRICKS: readonly string[] = ENDS.flatMap((before) =>
  ENDS.map((behind) => `${before}.${behind}`),
);

/** Who would get the message that must not be. */
export const victim = 'dave@relayed.test';

function smuggled(trick: string): string {
  const end = trick.slice(trick.indexOf('.') + 1);
  const commands = ['MAIL FROM:<evil@site.test>', `RCPT TO:<${victim}>`, 'DATA', 'Subject: second'];
  // In the line ends of SMTP, and in those that did the trick.
  return ['\r\n', end]
    .map((each) => [...commands, '', 'second', ''].join(each) + trick.trimStart())
    .join(trick);
}

/** A body with these tricks, some of them over the edge of what programs read at once. */
function bodyOf(tricks: readonly string[]): string {
  return tricks
    .map((trick, index) => {
      const filling = index % 10 === 0 ? `${'x'.repeat(62)}\r\n`.repeat(1023) : '';
      return `${filling}first${trick}${smuggled(trick)}`;
    })
    .join('');
}

const header = (to: string): string =>
  `From: Web <www@site.test>\r\nTo: ${to}\r\nSubject: first\r\n\r\n`;

/**
 * Queues such messages for these recipients in turn, by every way in that takes somebody's text.
 * @returns how many
 */
export async function queueSmuggling(site: Site, to: string): Promise<number> {
  const all = header(to) + bodyOf(TRICKS);
  let count = 0;
  const submit = async (
    program: Parameters<Site['run']>[0],
    args: readonly string[],
    input: string,
  ): Promise<void> => {
    const done = await site.run(program, args, Buffer.from(input, 'latin1'));
    assert.deepEqual({ status: done.status, stderr: done.stderr }, { status: 0, stderr: '' });
    count++;
    assert.equal(site.queued().length, count, `${program} ${args.join(' ')}: one message`);
  };
  await submit('sendmail', ['-t', '-i', '-f', 'www@site.test'], all);
  await submit('sendmail', ['-oi', '-f', 'www@site.test', to], all);
  await submit('qmail-inject', ['-f', 'www@site.test', to], all);
  // Without -i a line of one dot is the end, and what follows is nothing: each trick has its own message.
  for (const trick of TRICKS) {
    await submit('sendmail', ['-t', '-f', 'www@site.test'], header(to) + bodyOf([trick]));
  }
  // The program behind it stuffs the dots of the lines that it knows.
  const stuffed = all.replaceAll('\r\n.', '\r\n..');
  const dialogue = ['EHLO x', 'MAIL FROM:<www@site.test>', `RCPT TO:<${to}>`, 'DATA'];
  const spoken = `${dialogue.join('\r\n')}\r\n${stuffed}\r\n.\r\nQUIT\r\n`;
  const session = await site.run('sendmail', ['-bs'], Buffer.from(spoken, 'latin1'));
  assert.equal(session.status, 0, session.stdout);
  assert.equal(session.stdout.match(/^250 2\.0\.0 Ok: queued as/gm)?.length, 1, session.stdout);
  assert.equal(session.stdout.match(/^5/gm), null, session.stdout);
  count++;
  // A file that somebody put into the queue by hand.
  mkdirSync(join(site.spool, 'spool'), { recursive: true });
  const name = `20261120T231501.123456Z:4242:www@site.test:${to}`;
  writeFileSync(join(site.spool, 'spool', name), all, 'latin1');
  count++;
  assert.equal(site.queued().length, count);
  return count;
}
