/**
 * picorelay check: the doctor. Looks at the control folder, this host, the spool, the queue, the runner and
 * the relays; each line says ok, warning or failure and what mends it. Changes nothing and sends no mail.
 */
import { ControlError } from '../control/control.ts';
import type { Spool } from '../spool/spool.ts';
import { checkControl, fromControlError } from './check-control.ts';
import { checkDkim } from './check-dkim.ts';
import { checkHost, checkRunner } from './check-host.ts';
import { checkRelays } from './check-relay.ts';
import { checkQueue, checkSpool, ownerOf } from './check-spool.ts';
import { printJson, type World } from './command.ts';
import { AREAS, type Area, type Finding, type Level, printFinding, worstOf } from './finding.ts';
import { count, paint } from './layout.ts';
import { spoolOf } from './mails.ts';

interface Options {
  readonly areas: readonly string[];
  readonly quiet: boolean;
  readonly json: boolean;
}

/** What monitoring plugins end with. */
const STATUS: Readonly<Record<Level, number>> = { ok: 0, warning: 1, failure: 2 };

export async function check({ areas, quiet, json }: Options, world: World): Promise<number> {
  const wanted = AREAS.filter((area) => areas.length === 0 || areas.includes(area));
  const found: { readonly area: Area; readonly finding: Finding }[] = [];
  for (const area of wanted) {
    for (const finding of await findingsOf(area, world)) {
      found.push({ area, finding });
      if (!json && !(quiet && finding.level === 'ok')) printFinding(area, finding, world.stdout);
    }
  }
  const findings = found.map(({ finding }) => finding);
  const worst = worstOf(findings);
  if (json) {
    const shown = found.map(({ area, finding: { level, what, mend } }) => ({
      area,
      level,
      what,
      mend,
    }));
    printJson(world, { status: worst, findings: shown });
  } else if (!quiet) {
    const of = (level: Level): number => findings.filter((each) => each.level === level).length;
    const words = `${count(of('failure'), 'failure')}, ${count(of('warning'), 'warning')}, ${of('ok')} ok`;
    world.stdout.write(`${paint(world.stdout, 'bold', words)}\n`);
  }
  return STATUS[worst];
}

async function findingsOf(area: Area, world: World): Promise<readonly Finding[]> {
  const { control, uid, bin } = world;
  const now = world.now();
  let spool: Spool;
  try {
    spool = spoolOf(world);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    // Without a folder of its name there is nothing else to look at.
    return area === 'control'
      ? checkControl(control, { uid, gid: uid }, now)
      : area === 'spool'
        ? [fromControlError(error)]
        : [];
  }
  switch (area) {
    case 'control':
      return checkControl(control, ownerOf(spool.folder, uid), now);
    case 'host':
      return checkHost(control, spool, now, bin);
    case 'spool':
      return checkSpool(spool, control);
    case 'queue':
      return checkQueue(spool, control, now);
    case 'runner':
      return checkRunner(spool, now);
    case 'relay': {
      const findings = await checkRelays(control, spool, world.now);
      const told = new Set(findings.map(({ what }) => what));
      return [...findings, ...(await checkDkim(control)).filter(({ what }) => !told.has(what))];
    }
  }
}
