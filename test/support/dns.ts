// A DNS server over UDP on loopback (RFC 1035), which knows the names of one test and no others.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import type { TestContext } from 'node:test';

export interface Records {
  readonly MX?: readonly (readonly [preference: number, host: string])[];
  readonly TXT?: readonly string[];
  readonly SRV?: readonly (readonly [
    priority: number,
    weight: number,
    port: number,
    host: string,
  ])[];
  /** IPv4 and IPv6. */
  readonly addresses?: readonly string[];
}

/** Records, a failure, or a server that does not answer. */
export type Zone = Readonly<Record<string, Records | 'SERVFAIL' | 'REFUSED' | 'SILENCE'>>;

export interface NameServer {
  /** As control/nameservers has it. */
  readonly address: string;
  /** What it knows from now on. */
  zone: Zone;
  /** Every question: name and type. */
  readonly questions: readonly string[];
}

const TYPES: Readonly<Record<number, string>> = {
  1: 'A',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
};
const CODES = { SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;

/** Starts a name server that ends with the test. */
export async function startNameServer(
  t: Pick<TestContext, 'after'>,
  zone: Zone,
): Promise<NameServer> {
  const socket = createSocket('udp4');
  const questions: string[] = [];
  socket.on('message', (query, { address, port }) => {
    const answer = answerTo(query, server.zone, questions);
    if (answer !== undefined) socket.send(answer, port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  const server: NameServer = {
    address: `127.0.0.1:${socket.address().port}`,
    zone,
    questions,
  };
  return server;
}

function answerTo(query: Buffer, zone: Zone, questions: string[]): Buffer | undefined {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += length + 1;
  }
  const name = labels.join('.').toLowerCase();
  const type = TYPES[query.readUInt16BE(at + 1)] ?? '?';
  questions.push(`${name} ${type}`);
  const known = zone[name];
  if (known === 'SILENCE') return undefined;
  const records = typeof known === 'object' ? recordsOf(known, type) : [];
  const code = typeof known === 'string' ? CODES[known] : known === undefined ? CODES.NXDOMAIN : 0;
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(0x8180 | code, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, query.subarray(12, at + 5), ...records]);
}

function recordsOf(
  { MX = [], TXT = [], SRV = [], addresses = [] }: Records,
  type: string,
): Buffer[] {
  switch (type) {
    case 'A':
      return addresses
        .filter((each) => !isIPv6(each))
        .map((each) => record(1, Buffer.from(each.split('.').map(Number))));
    case 'AAAA':
      return addresses.filter(isIPv6).map((each) => record(28, ipv6(each)));
    case 'MX':
      return MX.map(([preference, host]) => {
        const octets = Buffer.alloc(2);
        octets.writeUInt16BE(preference);
        return record(15, Buffer.concat([octets, nameOctets(host)]));
      });
    case 'SRV':
      return SRV.map(([priority, weight, port, host]) => {
        const octets = Buffer.alloc(6);
        octets.writeUInt16BE(priority);
        octets.writeUInt16BE(weight, 2);
        octets.writeUInt16BE(port, 4);
        return record(33, Buffer.concat([octets, nameOctets(host)]));
      });
    case 'TXT':
      return TXT.map((text) => {
        // Strings of at most 255 octets, one after the other.
        const strings = text.match(/.{1,255}/g) ?? [''];
        return record(
          16,
          Buffer.concat(
            strings.map((each) => Buffer.concat([Buffer.from([each.length]), Buffer.from(each)])),
          ),
        );
      });
    default:
      return [];
  }
}

/** A record of the name that was asked for, of class IN, good for a minute. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(60, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function nameOctets(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  const parts = labels.map((label) =>
    Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]),
  );
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function ipv6(text: string): Buffer {
  const [head = '', tail = ''] = text.split('::');
  const groups = (half: string): string[] => (half === '' ? [] : half.split(':'));
  const zeros = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(zeros).fill('0'), ...groups(tail)];
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}
