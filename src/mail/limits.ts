/**
 * What a submission may be and take, and the error of one that is or takes more. Pure. The doors read
 * the limits from the control folder and the spool keeps to them; what this program submits itself, as
 * reports, has none.
 */

/** How much of the disk stays free: octets, or a percentage of all there is. */
export type Floor = { readonly octets: number } | { readonly percent: number };

/** Without a limit each number is Infinity. */
export interface Limits {
  /** Octets of a message in wire form, with what is added to its header. */
  readonly size: number;
  /** Recipients that one submission names. */
  readonly recipients: number;
  /** Entries in the queue that one user has submitted, and octets of their messages. */
  readonly userEntries: number;
  readonly userOctets: number;
  readonly floor: Floor;
}

export const NO_LIMITS: Limits = {
  size: Number.POSITIVE_INFINITY,
  recipients: Number.POSITIVE_INFINITY,
  userEntries: Number.POSITIVE_INFINITY,
  userOctets: Number.POSITIVE_INFINITY,
  floor: { octets: 0 },
};

/** A submission over a limit: nothing of it is queued. */
export class OverLimit extends Error {
  override name = 'OverLimit';
  readonly kind: 'size' | 'recipients' | 'user' | 'disk';

  constructor(kind: OverLimit['kind'], message: string) {
    super(message);
    this.kind = kind;
  }

  /** Whether the same submission would be taken later. */
  get passes(): boolean {
    return this.kind === 'user' || this.kind === 'disk';
  }
}

export function tooBig({ size }: Limits): OverLimit {
  return new OverLimit(
    'size',
    `the message is bigger than ${size} octets, the limit of control/databytes`,
  );
}

/**
 * To be asked with what the submitter names, before aliases make more of it.
 * @throws OverLimit
 */
export function checkRecipients({ recipients }: Limits, named: number): void {
  if (named > recipients) {
    throw new OverLimit(
      'recipients',
      `${named} recipients are more than control/maxrecipients allows (${recipients})`,
    );
  }
}

/** What a file system has left, in its own blocks (statfs(2)). */
export interface Room {
  readonly bsize: number;
  readonly blocks: number;
  readonly bavail: number;
  /** Zero where the file system makes inodes as they are needed. */
  readonly files: number;
  readonly ffree: number;
}

/** So many files have to be possible still, where the file system counts them. */
const LEAST_FILES = 100;

/** Why there is too little room for new mail, one phrase; undefined when there is enough. */
export function shortage(room: Room, floor: Floor): string | undefined {
  const least = 'octets' in floor ? floor.octets : (floor.percent / 100) * room.blocks * room.bsize;
  if (least === 0) return undefined;
  const free = room.bavail * room.bsize;
  if (free < least)
    return `${formatSize(free)} are free on the disk, less than ${formatSize(least)}`;
  const files = 'octets' in floor ? LEAST_FILES : (floor.percent / 100) * room.files;
  if (room.files > 0 && room.ffree < files) return `${room.ffree} inodes are free on the disk`;
  return undefined;
}

const UNITS = ['', 'K', 'M', 'G', 'T'] as const;

/**
 * A number of octets as people write it: `1000`, `10M`; K, M, G and T are powers of 1024. Undefined for
 * any other text, and for what a number cannot hold exactly.
 */
export function parseSize(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,15})([KMGTkmgt]?)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const size = Number(digits) * 1024 ** UNITS.indexOf(unit.toUpperCase() as (typeof UNITS)[number]);
  return Number.isSafeInteger(size) ? size : undefined;
}

/** The same in the other direction, rounded down to three digits or so. */
export function formatSize(octets: number): string {
  const power = Math.min(
    UNITS.length - 1,
    Math.max(0, Math.floor(Math.log2(Math.max(1, octets)) / 10)),
  );
  return `${Math.floor(octets / 1024 ** power)}${UNITS[power]}`;
}
