// A host that exists only in a table, for plans.
import type { Account, Alternative, Diversion, Found, Host } from '../../src/setup/host.ts';

export interface FakeHost {
  readonly at?: Readonly<Record<string, Found>>;
  /** Paths below a folder that others than root decide on: who, or why nobody can be told. */
  readonly owners?: Readonly<Record<string, number | string>>;
  readonly users?: Readonly<Record<string, Account>>;
  readonly groups?: Readonly<Record<string, number>>;
  readonly tools?: readonly string[];
  readonly packages?: Readonly<Record<string, string>>;
  readonly diversions?: Readonly<Record<string, Diversion>>;
  readonly alternatives?: Readonly<Record<string, Alternative>>;
  readonly systemd?: boolean;
  readonly enabled?: readonly string[];
}

/** A folder of root's. */
export const folder: Extract<Found, { readonly kind: 'folder' }> = {
  kind: 'folder',
  mode: 0o755,
  uid: 0,
  gid: 0,
};

export function fakeHost(host: FakeHost): Host {
  return {
    at: (path) => host.at?.[path] ?? { kind: 'nothing' },
    pathOwner: (path) =>
      Object.entries(host.owners ?? {}).find(([above]) => path.startsWith(`${above}/`))?.[1] ?? 0,
    user: (name) => host.users?.[name],
    userName: (uid) => Object.entries(host.users ?? {}).find(([, each]) => each.uid === uid)?.[0],
    group: (name) => host.groups?.[name],
    hasTool: (name) => host.tools?.includes(name) ?? false,
    packageOf: (path) => host.packages?.[path],
    diversionOf: (path) => host.diversions?.[path],
    alternativeAt: (path) => host.alternatives?.[path],
    systemd: host.systemd ?? false,
    unitEnabled: (name) => host.enabled?.includes(name) ?? false,
  };
}
