/**
 * Sorts entries by their route and has a courier for each: routes are independent, so that one whose
 * relay is dead holds up nobody else. It leaves a paused route alone until its next probe.
 */
import { type Control, ControlError } from '../control/control.ts';
import {
  DEFAULT_ROUTE,
  isOneWay,
  type Route,
  type RouteTables,
  readTables,
  routeOf,
} from '../control/routing.ts';
import type { Log } from '../log/log.ts';
import { prefixOf } from '../spool/name.ts';
import type { Entry, Spool } from '../spool/spool.ts';
import type { Courier } from './courier.ts';
import { type Storm, StormGuard } from './guard.ts';
import { restsOf } from './rests.ts';
import type { Tally, World } from './settlement.ts';

/** So many routes are under way at a time. */
const ROUTES_AT_A_TIME = 20;

export interface Errand {
  /** Whether an entry past its lifetime is given up. */
  readonly mayExpire: boolean;
  /** Whether routes that are paused are probed before their time. */
  readonly probe: boolean;
  /** Whether the storm guard may hold mail back. */
  readonly guard: boolean;
  /** Asked before each message: true ends the delivery early, nothing is lost. */
  readonly stop: () => boolean;
  /**
   * Asked now and then: true leaves those routes alone that wait for a relay, and they go on by themselves.
   * Without it a delivery lasts as long as its slowest route.
   */
  readonly leave?: () => boolean;
}

export interface Delivered extends Readonly<Tally> {
  /** Entries of paused routes, which were not looked at, and what the storm guard holds back. */
  readonly held: readonly Entry[];
  /** Entries that were not offered, because the delivery ended early. */
  readonly rest: readonly Entry[];
  /** When the first of those routes is probed next, in milliseconds since 1970-01-01 UTC. */
  readonly probe: number;
  /** Whether entries wait for a route that an earlier delivery has left. */
  readonly behind: boolean;
}

/** Whether a delivery should be left is asked so often (milliseconds). */
const LOOK = 250;

/** How long a route has then to end its delivery, as it does between two messages (milliseconds). */
const GRACE = 1000;

/** When routes that were left alone are looked at again (milliseconds). */
const SLOW_LOOK = 2000;

/** Entries that go the same way. */
interface Load {
  readonly route: Route;
  readonly entries: Entry[];
}

export class Dispatcher {
  readonly #spool: Spool;
  readonly #control: Control;
  readonly #log: Log;
  readonly #world: World;
  readonly #couriers = new Map<string, Courier>();
  /** Routes that an earlier delivery has left alone, by name. */
  readonly #slow = new Map<string, Promise<void>>();
  /** What has come of them since it was asked. */
  #late: Tally = emptyTally();
  #lateFaults: unknown[] = [];
  /** Who submitted what, by the prefix of the names, as far as it was asked. */
  #users = new Map<string, string>();

  constructor(spool: Spool, control: Control, log: Log, world: World) {
    this.#spool = spool;
    this.#control = control;
    this.#log = log;
    this.#world = world;
  }

  /** Whether a session is open that another message could use. */
  get connected(): boolean {
    return [...this.#couriers.values()].some(({ connected }) => connected);
  }

  /** Why a route is paused, one line; undefined when none is. */
  get trouble(): string | undefined {
    return [...this.#couriers.values()].find(({ trouble }) => trouble !== undefined)?.trouble;
  }

  /** Whether routes are under way that a delivery has left. */
  get lags(): boolean {
    return this.#slow.size > 0;
  }

  /**
   * What came of routes that a delivery has left, once.
   * @throws what they failed at
   */
  takeLate(): Readonly<Tally> {
    const [late, faults] = [this.#late, this.#lateFaults];
    this.#late = emptyTally();
    this.#lateFaults = [];
    if (faults.length > 0) throw faults[0];
    return late;
  }

  /** One attempt at each of these entries. */
  async deliver(entries: readonly Entry[], errand: Errand): Promise<Delivered> {
    const now = this.#world.now();
    this.#forgetUsers(entries);
    const guard = errand.guard ? this.#guard() : undefined;
    const held: Entry[] = [];
    const loads: Load[] = [];
    let probe = Number.POSITIVE_INFINITY;
    let behind = false;
    for (const load of this.#loads(entries)) {
      if (this.#slow.has(load.route.name)) {
        behind = true;
        probe = Math.min(probe, now + SLOW_LOOK);
        held.push(...load.entries);
        continue;
      }
      const until = errand.probe ? 0 : this.#restsUntil(load.route, now);
      if (until <= now) {
        const admitted =
          guard === undefined ? load.entries : load.entries.filter((entry) => guard.admits(entry));
        if (admitted.length > 0) loads.push({ ...load, entries: admitted });
      } else {
        probe = Math.min(probe, until);
        held.push(...load.entries);
      }
    }
    const total = emptyTally();
    const rest: Entry[] = [];
    const faults: unknown[] = [];
    let left = false;
    const carry = async ({ route, entries: some }: Load): Promise<void> => {
      try {
        const courier = await this.#courierOf(route);
        const { tally, untaken } = await courier.deliver(some, errand.mayExpire, errand.stop);
        add(left ? this.#late : total, tally);
        if (!left) {
          guard?.giveBack(untaken);
          rest.push(...untaken);
        }
        await this.#spare(route, courier);
      } catch (error) {
        (left ? this.#lateFaults : faults).push(error);
      }
    };
    const under = new Map<string, Promise<void>>();
    const worker = async (): Promise<void> => {
      for (let load = loads.shift(); load !== undefined; load = loads.shift()) {
        const { name } = load.route;
        const carried = carry(load).finally(() => {
          under.delete(name);
          this.#slow.delete(name);
        });
        under.set(name, carried);
        await carried;
      }
    };
    const workers = Array.from({ length: Math.min(ROUTES_AT_A_TIME, loads.length) }, worker);
    if (!(await isDone(Promise.all(workers), errand.leave))) {
      left = true;
      for (const { entries: some } of loads.splice(0)) {
        guard?.giveBack(some);
        rest.push(...some);
      }
      for (const [name, carried] of under) this.#slow.set(name, carried);
      probe = Math.min(probe, now + SLOW_LOOK);
    }
    if (guard !== undefined) {
      held.push(...guard.held);
      for (const storm of guard.end()) await this.#tell(storm);
    }
    if (faults.length > 0) throw faults[0];
    return { ...total, held, rest, probe, behind };
  }

  /** Domains are many: the courier of one keeps its connections only while others keep few, and goes with them. */
  async #spare({ name, ...route }: Route, courier: Courier): Promise<void> {
    if (!('direct' in route)) return;
    const connected = [...this.#couriers.values()].filter((each) => each.connected);
    if (connected.length > ROUTES_AT_A_TIME) await courier.close();
    if (!courier.connected && courier.trouble === undefined) this.#couriers.delete(name);
  }

  /** Ends all sessions that nobody uses. */
  async close(): Promise<void> {
    await Promise.all([...this.#couriers.values()].map((courier) => courier.close()));
  }

  /** Ends all sessions, once the routes that were left are done. */
  async end(): Promise<void> {
    await Promise.all(this.#slow.values());
    await this.close();
  }

  #guard(): StormGuard {
    const userOf = (entry: Entry): string => this.#userOf(entry);
    return new StormGuard(this.#spool, this.#control, userOf, this.#world.now);
  }

  #userOf(entry: Entry): string {
    const prefix = prefixOf(entry.base);
    let user = this.#users.get(prefix);
    if (user === undefined) {
      user = this.#spool.submitterOf(entry);
      this.#users.set(prefix, user);
    }
    return user;
  }

  #forgetUsers(entries: readonly Entry[]): void {
    const there = new Set(entries.map(({ base }) => prefixOf(base)));
    this.#users = new Map([...this.#users].filter(([prefix]) => there.has(prefix)));
  }

  async #tell({ uid, limit, held, first }: Storm): Promise<void> {
    this.#log.heldBack(uid, held, limit);
    const { Reporter } = await import('../bounce/reporter.ts');
    const reporter = new Reporter(this.#spool, this.#control, this.#log, this.#world.now);
    reporter.heldBack(first, uid, held, limit);
  }

  #loads(entries: readonly Entry[]): Iterable<Load> {
    const tables = this.#tables();
    if (tables === undefined) return [{ route: DEFAULT_ROUTE, entries: [...entries] }];
    const loads = new Map<string, Load>();
    for (const entry of entries) {
      const addresses = this.#spool.addressesOf(entry);
      // Whoever opens the file says what is wrong with it.
      const route =
        addresses === undefined
          ? DEFAULT_ROUTE
          : routeOf(tables, addresses.sender, addresses.recipient);
      const load = loads.get(route.name) ?? { route, entries: [] };
      loads.set(route.name, load);
      load.entries.push(entry);
    }
    return loads.values();
  }

  /** Undefined where there is one route only, or where a table is malformed, as its courier will say. */
  #tables(): RouteTables | undefined {
    try {
      const tables = readTables(this.#control);
      return isOneWay(tables) ? undefined : tables;
    } catch (error) {
      if (error instanceof ControlError) return undefined;
      throw error;
    }
  }

  /** Until when a paused route is left alone; of a configuration that cannot be used, no relay is known. */
  #restsUntil({ name }: Route, now: number): number {
    if (this.#spool.records.routeTrouble(name) === undefined) return 0;
    const rests = [...restsOf(this.#spool, this.#control, name, now).values()];
    return rests.length === 0 ? 0 : Math.min(...rests.map(({ until }) => until));
  }

  async #courierOf(route: Route): Promise<Courier> {
    const known = this.#couriers.get(route.name);
    if (known !== undefined) return known;
    // Loaded only when there is something to send: most ticks of cron find nothing.
    const { Courier } = await import('./courier.ts');
    const userOf = (entry: Entry): string => this.#userOf(entry);
    const courier = new Courier(this.#spool, this.#control, this.#log, this.#world, route, userOf);
    this.#couriers.set(route.name, courier);
    return courier;
  }
}

function emptyTally(): Tally {
  return { relayed: 0, deferred: 0, refused: 0, left: 0 };
}

function add(total: Tally, tally: Readonly<Tally>): void {
  total.relayed += tally.relayed;
  total.deferred += tally.deferred;
  total.refused += tally.refused;
  total.left += tally.left;
}

/** Waits for the work, or until it is to be left and its grace is over. */
async function isDone(
  work: Promise<unknown>,
  leave: (() => boolean) | undefined,
): Promise<boolean> {
  let done = false;
  const watched = work.then(() => {
    done = true;
  });
  const within = async (milliseconds: number): Promise<void> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([watched, late]);
    clearTimeout(timer);
  };
  while (!done) {
    if (leave === undefined) await watched;
    else await within(LOOK);
    if (done || leave?.() !== true) continue;
    await within(GRACE);
    return done;
  }
  return true;
}
