/**
 * Tells the administrator of trouble by the ways of control/alert. What was told is remembered in the
 * spool before it goes out, so that no two runners tell it, and a way that hangs holds up nobody: the
 * runner waits for it only after it has let go of the queue.
 */
import type { AlertRoad } from '../control/alert.ts';
import type { ControlValues } from '../control/catalogue.ts';
import { type Control, ControlError } from '../control/control.ts';
import { isDirectName } from '../control/routing.ts';
import type { Log } from '../log/log.ts';
import { type Floor, NO_LIMITS } from '../mail/limits.ts';
import {
  type Condition,
  formatNews,
  fullDisk,
  heldBack,
  heldUp,
  heldUpDomains,
  type News,
  newsAsJson,
  newsOf,
  type Refusals,
  refusalsAfter,
  refusedMail,
  type Told,
} from '../queue/alert.ts';
import { parsePaces } from '../queue/rate.ts';
import { hasCode, replaceText } from '../spool/disk.ts';
import { requireRootsPath } from '../spool/path-owner.ts';
import type { Spool } from '../spool/spool.ts';
import { runCommand } from './command.ts';
import { endingSecrets } from './secrets.ts';
import { readWay } from './settings.ts';

/** What an absent control/alertafter means, in seconds. */
const USUAL_PATIENCE = 900;

/** How long a command may take, in seconds. */
const DEADLINE = 30;

/** What is kept in the spool between two looks. */
interface Memory {
  readonly told: readonly Told[];
  readonly refusals?: Refusals | undefined;
}

export class Alarm {
  readonly #spool: Spool;
  readonly #log: Log;
  readonly #now: () => number;
  #telling: Promise<void> | undefined;

  constructor(spool: Spool, log: Log, now: () => number) {
    this.#spool = spool;
    this.#log = log;
    this.#now = now;
  }

  /**
   * Looks what is wrong now and begins to tell what is new.
   * @param refused how many entries the pass before refused
   */
  look(control: Control, refused: number): void {
    const before = readMemory(this.#spool);
    const roads = valueOr(control, 'alert', []);
    const now = this.#now();
    const secrets = endingSecrets(control, now);
    if (roads.length === 0 && before === undefined && secrets.length === 0) return;
    const refusals =
      refused === 0 && this.#spool.listUndelivered().length === 0
        ? undefined
        : refusalsAfter(before?.refusals, refused, now);
    const conditions = [
      ...this.#conditions(control, refusals, before?.told ?? [], now),
      ...secrets,
    ];
    const news = newsOf(before?.told ?? [], conditions, now);
    const memory: Memory = { told: news.told, refusals };
    if (JSON.stringify(memory) !== JSON.stringify(before)) this.#remember(memory);
    if (news.begun.length === 0 && news.over.length === 0) return;
    for (const { key, summary } of news.begun) {
      const [kind, name] = key.split(' ');
      if (kind === 'secret') this.#log.expiring(name ?? '', summary);
    }
    const earlier = this.#telling;
    this.#telling = (async () => {
      await earlier;
      await this.#tell(control, roads, news);
    })();
  }

  /** A disk that is full is no reason to be silent about it: better told twice than not at all. */
  #remember(memory: Memory): void {
    try {
      writeMemory(this.#spool, memory);
    } catch (error) {
      if (!hasCode(error, 'ENOSPC', 'EDQUOT', 'EROFS', 'EIO')) throw error;
      this.#log.fault(error instanceof Error ? error.message : String(error));
    }
  }

  /** Waits for what is being told; each way has its deadline. Never throws. */
  async end(): Promise<void> {
    await this.#telling;
  }

  #conditions(
    control: Control,
    refusals: Refusals | undefined,
    told: readonly Told[],
    now: number,
  ): readonly Condition[] {
    const after = valueOr(control, 'alertafter', USUAL_PATIENCE) * 1000;
    const paused = [...this.#spool.records.pausedRoutes()];
    const [domains, relays] = [true, false].map((direct) =>
      paused.filter(([route]) => isDirectName(route) === direct),
    );
    return [
      ...(relays ?? []).flatMap(([route, trouble]) => heldUp(route, trouble, after, now) ?? []),
      ...[heldUpDomains(domains ?? [], after, now) ?? []].flat(),
      ...this.#lasting(told, now, valueOr(control, 'spoolfree', NO_LIMITS.floor)),
      ...[...parsePaces(this.#spool.records.readRates())].flatMap(([uid, { held }]) =>
        held === undefined ? [] : [heldBack(uid, held)],
      ),
      ...(refusals === undefined ? [] : [refusedMail(refusals)]),
    ];
  }

  /** What began when it was first seen. */
  #lasting(told: readonly Told[], now: number, floor: Floor): readonly Condition[] {
    const shortage = this.#spool.shortage(floor);
    if (shortage === undefined) return [];
    const condition = fullDisk(shortage, now);
    const before = told.find(({ key }) => key === condition.key);
    return [before ?? condition];
  }

  async #tell(control: Control, roads: readonly AlertRoad[], news: News): Promise<void> {
    const results = await Promise.all(
      roads.map(async (road) => await this.#take(control, road, news)),
    );
    if (results.includes(true) || roads.length === 0) return;
    const deaf = new Set(news.begun.map(({ key }) => key));
    const memory = readMemory(this.#spool) ?? { told: [] };
    const told = memory.told.map((each) => (deaf.has(each.key) ? { ...each, heard: false } : each));
    this.#remember({ ...memory, told });
  }

  /** Whether the way worked. */
  async #take(control: Control, road: AlertRoad, news: News): Promise<boolean> {
    const host = valueOr(control, 'me', 'this host');
    try {
      switch (road.kind) {
        case 'run': {
          const input = road.json ? newsAsJson(host, news) : formatNews(host, news);
          await runCommand(road.command, { input, seconds: DEADLINE });
          return true;
        }
        case 'file':
          requireRootsPath(road.path);
          replaceText(road.path, formatNews(host, { begun: news.told, over: [] }));
          return true;
        case 'post': {
          const url = new URL(road.url);
          const { post } = await import('../relay/http.ts');
          const way = readWay(control);
          const { status } = await post(url, 'application/json', newsAsJson(host, news), way);
          if (status < 200 || status > 299) throw new Error(`HTTP status ${status}`);
          return true;
        }
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#log.fault(`control/alert: ${nameOf(road)}: ${reason}`);
      return false;
    }
  }
}

/** A malformed control file holds up all mail, and that is to be told all the same. */
function valueOr<N extends 'alert' | 'alertafter' | 'me' | 'spoolfree'>(
  control: Control,
  name: N,
  fallback: ControlValues[N],
): ControlValues[N] {
  try {
    return control.get(name);
  } catch (error) {
    if (error instanceof ControlError) return fallback;
    throw error;
  }
}

/** A URL may hold a secret behind its host. */
function nameOf(road: AlertRoad): string {
  switch (road.kind) {
    case 'run':
      return `run ${road.command}`;
    case 'file':
      return `file ${road.path}`;
    case 'post':
      return `post ${new URL(road.url).origin}`;
  }
}

function readMemory(spool: Spool): Memory | undefined {
  const text = spool.records.readAlerts();
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (isMemory(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  // Cut short by a crash: what lasts is told once more.
  return { told: [] };
}

function writeMemory(spool: Spool, memory: Memory): void {
  spool.records.writeAlerts(`${JSON.stringify(memory)}\n`);
}

function isMemory(value: unknown): value is Memory {
  if (typeof value !== 'object' || value === null || !('told' in value)) return false;
  const { told, refusals } = value as { told: unknown; refusals?: unknown };
  return (
    Array.isArray(told) &&
    told.every((each: unknown) => hasTypes(each, TOLD)) &&
    (refusals === undefined || hasTypes(refusals, { first: 'number', last: 'number' }))
  );
}

const TOLD = { key: 'string', since: 'number', summary: 'string', at: 'number', heard: 'boolean' };

function hasTypes(value: unknown, types: Readonly<Record<string, string>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const fields = new Map<string, unknown>(Object.entries(value));
  return Object.entries(types).every(([name, type]) => typeof fields.get(name) === type);
}
