// The kept corpus of messages: the same ones on every machine and in every run, made instead of stored
// because some are large. New kinds go to the end of a list, so that the others stay as they are.

export interface Sample {
  /** Letters, digits and hyphens; no two samples have the same. */
  readonly name: string;
  /** The message as a caller writes it: any line ends, any octets. */
  readonly bytes: Buffer;
  /**
   * Where its long lines can only be folded, as between the parts of a multipart: what arrives has the
   * same text but for white space.
   */
  readonly folds: boolean;
}

/** All samples, one after the other: the largest has 10 MB. */
export function* makeCorpus(): Generator<Sample, void, undefined> {
  for (const [name, text] of Object.entries(PLAIN)) yield sample(name, text);
  for (const [name, text] of Object.entries(FOLDED)) yield { ...sample(name, text), folds: true };
  for (const [ending, lineEnd] of Object.entries(LINE_ENDS)) {
    for (const [name, text] of Object.entries(LINE_END_BODIES)) {
      yield sample(`${ending}-${name}`, text.replaceAll('\n', lineEnd));
    }
  }
  for (const length of [997, 998, 999, 1000, 1998, 65_535, 65_536, 200_000]) {
    yield sample(`line-of-${length}`, `${HEAD}\n${'x'.repeat(length)}\nend\n`);
    yield sample(`crlf-line-of-${length}`, `${HEAD}\r\n${words(length)}\r\nend\r\n`);
    yield sample(`line-of-${length}-without-end`, `${HEAD}\n${words(length)}`);
    yield sample(`utf8-line-of-${length}`, `${HEAD}\n${GREETING.repeat(length / 8)}\nend\n`);
    yield sample(`field-of-${length}`, `${HEAD}X-Long: ${words(length)}\n\ntext\n`);
  }
  for (let seed = 1; seed <= 150; seed += 1) {
    const tree = new Tree(seed);
    const text = `${HEAD}${seed % 5 === 0 ? '' : 'MIME-Version: 1.0\n'}${tree.entity(0)}`;
    const lineEnd = seed % 3 === 0 ? '\r\n' : '\n';
    yield { ...sample(`tree-${seed}`, text.replaceAll('\n', lineEnd)), folds: tree.folds };
  }
  yield sample('line-of-10-mb', `${HEAD}\n${words(10 * 1024 * 1024)}\n`);
  yield sample('base64-line-of-4-mb', `${HEAD}${base64Head()}${base64(3 * 1024 * 1024)}\n`);
}

function sample(name: string, text: string): Sample {
  return { name, bytes: Buffer.from(text, 'latin1'), folds: false };
}

/** UTF-8 as latin1, one character for one octet. */
function octets(text: string): string {
  return Buffer.from(text).toString('latin1');
}

const HEAD = 'From: ann@example.org\nTo: bob@example.com\nSubject: sample\n';
const GREETING = octets('Grüße – ');
const LONG = words(3000);

/** Words that no line break can be told from, `length` octets of them. */
function words(length: number): string {
  return 'all work = and -- no. play? '.repeat(length / 28 + 1).slice(0, length);
}

function base64(size: number): string {
  return Buffer.from(words(size), 'latin1').toString('base64');
}

function base64Head(type = 'application/octet-stream'): string {
  return `Content-Type: ${type}\nContent-Transfer-Encoding: base64\n\n`;
}

function mixed(...parts: string[]): string {
  const head = `${HEAD}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=frontier\n\n`;
  return `${head}${parts.map((part) => `--frontier\n${part}\n`).join('')}--frontier--\n`;
}

const LINE_ENDS = { lf: '\n', crlf: '\r\n', cr: '\r', crcrlf: '\r\r\n', 'crlf-nul': '\0\r\n' };

const LINE_END_BODIES: Readonly<Record<string, string>> = {
  text: `${HEAD}\nline one\nline two\n\nline four\n`,
  dots: `${HEAD}\n.\n..\n. .\n.text\n\n.\n`,
  long: `${HEAD}\n${LONG}\n${LONG}\n`,
  'eight-bit': `${HEAD}\n${GREETING}\n`,
  'header-only': HEAD,
};

const PLAIN: Readonly<Record<string, string>> = {
  empty: '',
  'one-line-end': '\n',
  'one-octet': 'x',
  'body-only': '\nno header at all\n',
  'body-only-without-blank-line': 'no header at all\nand no blank line\n',
  'header-only': HEAD,
  'header-only-without-line-end': HEAD.trimEnd(),
  'header-and-blank-line': `${HEAD}\n`,
  'missing-blank-line': `${HEAD}the body begins here\nand goes on\n`,
  'missing-blank-line-long': `${HEAD}the body begins here ${LONG}\nand goes on\n`,
  'mbox-line': `From ann@example.org Sat Nov 21 00:00:00 2026\n${HEAD}\ntext\n`,
  'mbox-line-in-body': `${HEAD}\nFrom here on\n>From there\n`,
  'mbox-line-and-long-text': `From ann Sat Nov 21 00:00:00 2026\n${HEAD}\n${LONG}\n`,
  'nul-octets': `${HEAD}\na\0b\0\0c\n\0\n`,
  'nul-octets-in-header': `Sub\0ject: a\0b\nTo: bob@example.com\n\ntext\n`,
  'bare-cr': `${HEAD}\nprogress 1\rprogress 2\rdone\n`,
  'line-ends-mixed': `${HEAD}\none\r\ntwo\nthree\rfour\r\r\nfive`,
  'white-space-at-line-end': `${HEAD}\none \ntwo\t\n ${LONG} \n\t${LONG}\t\n`,
  'white-space-line-long': `${HEAD}\n${' '.repeat(2000)}\n${'\t'.repeat(2000)}x\n`,
  'equals-line-long': `${HEAD}\n${'='.repeat(2000)}\n`,
  'dots-line-long': `${HEAD}\n${'.'.repeat(2000)}\n.\n`,
  'control-characters-long': `${HEAD}\n${'\x01\x02\x0b\x0c\x1b[0m\x7f'.repeat(300)}\n`,
  'date-and-id-given': `Date: Sat, 21 Nov 2026 00:00:00 +0000\nMessage-ID: <a@b.example>\n${HEAD}\nx\n`,
  'bcc-given': `${HEAD}Bcc: secret@example.com,\n other@example.com\n\ntext\n`,
  'from-missing': 'To: bob@example.com\n\ntext\n',
  'from-empty': 'From:\nTo: bob@example.com\n\ntext\n',
  'names-in-odd-case': 'FROM: a@example.org\ndAtE: Sat, 21 Nov 2026 00:00:00 +0000\n\ntext\n',
  'fields-removed': `Return-Path: <x@example.org>\nContent-Length: 5\n${HEAD}\ntext\n`,
  'eight-bit-utf8': `${HEAD}\n${GREETING}\n`,
  'eight-bit-latin1': `${HEAD}\nGr\xfc\xdfe\n`,
  'eight-bit-utf8-broken': `${HEAD}\n${GREETING}\xc3\n\x28\n`,
  'eight-bit-all': `${HEAD}\n${Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i)).join('')}\n`,
  'eight-bit-in-header-only': `${HEAD}X-Note: ${GREETING}\n\ntext\n`,
  'eight-bit-in-header-and-body': `${HEAD}X-Note: ${GREETING}\n\n${GREETING}\n`,
  'eight-bit-charset-missing': `${HEAD}MIME-Version: 1.0\nContent-Type: text/html\n\n<p>${GREETING}\n`,
  'eight-bit-charset-missing-parameters': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; format=flowed;\n delsp=yes\n\n${GREETING}\n`,
  'eight-bit-charset-given': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n${GREETING}\n`,
  'eight-bit-charset-without-version': `${HEAD}Content-Type: text/plain; charset=utf-8\n\n${GREETING}\n`,
  'eight-bit-said-7bit': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n${GREETING}\n`,
  'eight-bit-multipart-said-7bit': mixed(
    `Content-Type: text/plain; charset=utf-8\n\n${GREETING}\n`,
  ).replace('MIME-Version', 'Content-Transfer-Encoding: 7bit\nMIME-Version'),
  'eight-bit-type-not-valid': `${HEAD}MIME-Version: 1.0\nContent-Type: text\n\n${GREETING}\n`,
  'eight-bit-type-empty': `${HEAD}MIME-Version: 1.0\nContent-Type:\n\n${GREETING}\n`,
  'eight-bit-quote-open': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; name="a\n\n${GREETING}\n`,
  'eight-bit-long': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n${GREETING.repeat(300)}\n`,
  'eight-bit-latin1-long': `${HEAD}\n${'Gr\xfc\xdfe '.repeat(400)}\n`,
  'encoding-given-twice': `${HEAD}MIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit\n\n${LONG}\n`,
  'encoding-unknown': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 7-bit\n\n${LONG}\n`,
  'encoding-folded': `${HEAD}MIME-Version: 1.0\nContent-Transfer-Encoding:\n 7bit\n\n${LONG}\n`,
  'html-long': `${HEAD}MIME-Version: 1.0\nContent-Type: text/html; charset=us-ascii\n\n<p>${LONG}</p>\n`,
  'quoted-printable': `${HEAD}MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe =\nend=20\n`,
  'quoted-printable-long': `${HEAD}MIME-Version: 1.0\nContent-Transfer-Encoding: Quoted-Printable\n\n${'Gr=C3=BC=C3=9Fe --b '.repeat(200)}=\nend=20\n`,
  'quoted-printable-escapes-long': `${HEAD}MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n${'=3D'.repeat(2000)}\n`,
  'base64-long': `${HEAD}MIME-Version: 1.0\n${base64Head()}${base64(5000)}\n`,
  'base64-text-long': `${HEAD}MIME-Version: 1.0\n${base64Head('text/plain')}${base64(5000)}\n`,
  'base64-lines-of-both-kinds': `${HEAD}MIME-Version: 1.0\n${base64Head()}${base64(57)}\n${base64(3000)}\n${base64(56)}\n`,
  'base64-with-blanks-long': `${HEAD}MIME-Version: 1.0\n${base64Head()}${base64(3000).replace(/.{60}/g, '$& ')}\n`,
  'data-long': `${HEAD}MIME-Version: 1.0\nContent-Type: application/pdf\n\n%PDF\n${'\x80\xff\x01=-'.repeat(400)}\n%%EOF\n`,
  'data-in-parts-long': mixed(
    `Content-Type: image/png\nContent-Transfer-Encoding: binary\n\n\x89PNG\n${'\x90\x91\x92'.repeat(500)}\n`,
    `Content-Type: text/plain\n\nafter it\n`,
  ),
  'data-in-parts-ends-long': mixed(`Content-Type: image/png\n\n${'\x90\x91'.repeat(600)}`),
  'parts-long': mixed(
    `Content-Type: text/plain\n\n${LONG}\n`,
    `\n${LONG}`,
    `Content-Type: text/html\n\n<p>${LONG}\n`,
  ),
  'parts-empty': mixed('', '\n', 'Content-Type: text/plain\n', 'Content-Type: text/plain\n\n'),
  'parts-empty-and-long': mixed('', '\n', 'Content-Type: text/plain', `\n${LONG}`),
  'part-missing-blank-line-long': mixed(`Content-Type: text/plain\nthe body ${LONG}\n`),
  'boundary-with-blanks': mixed('\none\n', `\n${LONG}\n`).replaceAll(
    '--frontier\n',
    '--frontier \t\n',
  ),
  'boundary-like-line': mixed(`\n--frontier2\n--frontie\n--frontier-\n${LONG}\n`),
  'boundary-in-long-line': mixed(
    `\n${'x'.repeat(75)}--frontier\n${`${'y'.repeat(64)}--frontier `.repeat(20)}\n`,
  ),
  'boundary-quoted': mixed(`\n${LONG}\n`).replace('=frontier', '="frontier"'),
  'boundary-missing-end': mixed('\none\n', `\n${LONG}\n`).replace('--frontier--\n', ''),
  'boundary-missing-end-data': mixed(
    `Content-Type: image/png\n\n${'\x90\x91'.repeat(600)}\n`,
  ).replace('--frontier--\n', ''),
  'boundary-wrong': mixed('\none\n', '\ntwo\n').replace('=frontier', '=another'),
  'boundary-none': mixed('\none\n', '\ntwo\n').replace('; boundary=frontier', ''),
  'preamble-and-epilogue': `${mixed('\none\n').replace('\n--f', '\nThis is MIME.\n--f')}after\n--frontier\nno part\n`,
  'signed-long': mixed(`\n${LONG}\n`, 'Content-Type: application/pgp-signature\n\nabc=\n').replace(
    'mixed;',
    'signed; micalg=pgp-sha256;\n protocol="application/pgp-signature";',
  ),
  'signed-short': mixed('\ntext \n', 'Content-Type: application/pgp-signature\n\nabc=\n').replace(
    'mixed;',
    'signed; micalg=pgp-sha256;\n protocol="application/pgp-signature";',
  ),
  'message-long': mixed(`Content-Type: message/rfc822\n\n${HEAD}\n${LONG}\n`),
  'message-in-message-long': mixed(
    `Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\n${HEAD}\n${LONG}\n`,
  ),
  'message-header-long': mixed(`Content-Type: message/rfc822\n\n${HEAD}X-Long: ${LONG}\n\ntext\n`),
  'message-alone-long': `${HEAD}MIME-Version: 1.0\nContent-Type: message/rfc822\n\n${HEAD}\n${LONG}\n`,
  'digest-long': mixed(`\n${HEAD}\n${LONG}\n`, `\n${HEAD}\nshort\n`).replace('mixed', 'digest'),
  'part-header-long': mixed(
    `X-Long: ${LONG}\nContent-Type: text/plain;\n name="${'n '.repeat(600)}"\n\ntext\n`,
  ),
  'field-with-blanks-long': `${HEAD}X-Long: a${' '.repeat(3000)}b\nX-Longer: ${'a  '.repeat(800)}\n\ntext\n`,
  'references-long': `${HEAD}References: ${'<20261121.0123456789@host.example> '.repeat(120)}\n\ntext\n`,
  'field-folded-often': `${HEAD}X-Long:${'\n word'.repeat(800)}\n\n${LONG}\n`,
  'boundary-continued': mixed(`\n${LONG}\n`, 'Content-Type: text/html\n\n<p>\n').replace(
    ' boundary=frontier',
    '\n boundary*0="fron"; boundary*1=tier',
  ),
  'boundary-continued-encoded': mixed(`\n${LONG}\n`).replace(
    'boundary=frontier',
    "boundary*0*=us-ascii'en'%66ron; boundary*1=tier",
  ),
  'boundary-encoded': mixed(`\n${LONG}\n`).replace(
    'boundary=frontier',
    "boundary*=us-ascii''%66rontier",
  ),
  'charset-encoded': `${HEAD}MIME-Version: 1.0\nContent-Type: text/plain; charset*=us-ascii''utf-8\nContent-Transfer-Encoding: 8bit\n\n${GREETING}\n`,
};

/** Long lines that nothing but a fold can mend. */
const FOLDED: Readonly<Record<string, string>> = {
  'preamble-long': mixed('\none\n').replace('\n--f', `\n${LONG}\n--f`),
  'epilogue-long': `${mixed('\none\n')}${LONG}\n`,
  'preamble-like-boundary-long': mixed('\none\n').replace(
    '\n--f',
    `\n--frontier${' '.repeat(2000)}x\n--f`,
  ),
  'boundary-wrong-long': mixed(`\n${LONG}\n`, '\ntwo\n').replace('=frontier', '=another'),
  'boundary-none-long': mixed(`\n${LONG}\n`, '\ntwo\n').replace('; boundary=frontier', ''),
  'boundary-too-long': mixed(`\n${LONG}\n`).replaceAll('frontier', 'f'.repeat(400)),
  'delivery-status-long': mixed(
    `Content-Type: message/delivery-status\n\nReporting-MTA: dns; a.example\n\nFinal-Recipient: rfc822; b@c.example\nDiagnostic-Code: smtp; ${LONG}\n`,
  ),
  'word-in-field-long': `${HEAD}X-Long: ${'x'.repeat(3000)}\n\ntext\n`,
  'nested-too-deep-long': nested(40, `\n${LONG}\n`),
  'nested-deep-long': nested(30, `\n${LONG}\n`),
};

function nested(depth: number, body: string): string {
  let text = body;
  for (let level = depth; level > 0; level -= 1) {
    text = `Content-Type: multipart/mixed; boundary=level${level}x\n\n--level${level}x\n${text}\n--level${level}x--\n`;
  }
  return `${HEAD}MIME-Version: 1.0\n${text}`;
}

/** A MIME tree that a seed decides. */
class Tree {
  #state: number;
  #boundaries = 0;
  #folds = false;

  constructor(seed: number) {
    this.#state = seed;
  }

  get folds(): boolean {
    return this.#folds;
  }

  /** Content fields, blank line and body of an entity. */
  entity(depth: number): string {
    const kinds = depth < 4 ? 10 : 8;
    const kind = depth === 0 ? 9 : this.#below(kinds);
    switch (kind) {
      case 0:
        return `Content-Type: text/plain; charset=us-ascii\n\n${this.#lines('plain text ')}`;
      case 1:
        return `Content-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n\n${this.#lines(GREETING)}`;
      case 2:
        return `Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n${this.#lines('=C3=BC-')}`;
      case 3:
        return `${base64Head('image/jpeg')}${this.#base64()}`;
      case 4:
        return `Content-Type: application/octet-stream; name=a\nContent-Transfer-Encoding: binary\n\n${this.#lines('\x80\x81-\xff')}`;
      case 5:
        return `\n${this.#lines('no header ')}`;
      case 6:
        return `Content-Disposition: inline\n\n${this.#lines('-- ')}`;
      case 7:
        return `Content-Type: text/plain\nX-Long: ${words(this.#below(3) * 1000)}\n\n${this.#lines('x')}`;
      case 8:
        return `Content-Type: message/rfc822\n\n${HEAD}${this.entity(depth + 1)}`;
      default:
        return this.#multipart(depth);
    }
  }

  #multipart(depth: number): string {
    this.#boundaries += 1;
    const boundary = `=_part-${this.#boundaries}-of.tree`;
    const subtype = ['mixed', 'alternative', 'related', 'signed', 'report'][this.#below(5)];
    let text = `Content-Type: multipart/${subtype};\n boundary="${boundary}"\n\n`;
    if (this.#below(3) === 0) text += `${this.#between()}\n`;
    for (let parts = 1 + this.#below(4); parts > 0; parts -= 1) {
      text += `--${boundary}\n${this.entity(depth + 1)}\n`;
    }
    if (this.#below(6) > 0) text += `--${boundary}--\n`;
    if (this.#below(3) === 0) text += `${this.#between()}\n`;
    return text;
  }

  #between(): string {
    const long = this.#below(8) === 0;
    if (long) this.#folds = true;
    return long ? LONG : 'not a part';
  }

  #lines(word: string): string {
    let text = '';
    for (let lines = this.#below(5); lines >= 0; lines -= 1) {
      text += `${word.repeat(this.#below(4) === 0 ? 1200 : this.#below(7))}\n`;
    }
    return this.#below(2) === 0 ? text : text.trimEnd();
  }

  #base64(): string {
    const text = base64(100 + this.#below(4000));
    return this.#below(2) === 0 ? text : `${text.replace(/.{76}/g, '$&\n')}\n`;
  }

  /** A whole number from 0 to `limit` - 1, by a linear congruential generator. */
  #below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_103_515_245) + 12_345) >>> 0;
    return (this.#state >>> 8) % limit;
  }
}
