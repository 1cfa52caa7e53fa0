/** Turns between users, so that nobody's mail waits until all of another's is gone. Pure. */

/** Items that lie beside each other, of one user. */
export interface Parcel<T> {
  readonly user: string;
  readonly items: readonly T[];
}

/**
 * All items in the order in which they go out: in each round one parcel of each user. A user's own
 * parcels stay in their order, and within a round who came first is first.
 */
export function takeTurns<T>(parcels: readonly Parcel<T>[]): readonly T[] {
  const byUser = new Map<string, Parcel<T>[]>();
  for (const parcel of parcels) {
    const own = byUser.get(parcel.user);
    if (own === undefined) byUser.set(parcel.user, [parcel]);
    else own.push(parcel);
  }
  const order: T[] = [];
  let queues = [...byUser.values()];
  for (let round = 0; queues.length > 0; round++) {
    for (const queue of queues) order.push(...(queue[round]?.items ?? []));
    queues = queues.filter((queue) => queue.length > round + 1);
  }
  return order;
}
