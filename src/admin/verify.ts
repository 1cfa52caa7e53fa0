/** picorelay verify: the fsck of the spool. */
import { setTimeout as sleep } from 'node:timers/promises';
import { escapeText } from '../mail/text.ts';
import { admissionOf } from '../runner/admission.ts';
import { hasCode } from '../spool/disk.ts';
import { takeStep } from '../spool/mend.ts';
import { UnsafePath } from '../spool/path-owner.ts';
import type { Spool } from '../spool/spool.ts';
import { surveySpool } from '../spool/survey.ts';
import { Takeover } from '../spool/takeover.ts';
import { type Finding, verifySpool } from '../spool/verify.ts';
import { printJson, type World } from './command.ts';
import { count, paint } from './layout.ts';
import { withQueue } from './queue.ts';

/** A finding is one when it is there this much later, too (milliseconds): mail moves meanwhile. */
const SECOND_LOOK = 300;

/** One step may bring the next to light: a folder that could not be read, a file under a wrong mode. */
const MOST_ROUNDS = 5;

/** What became of a finding. */
export interface Outcome {
  readonly finding: Finding;
  readonly mended: boolean;
  /** Why it could not be mended. */
  readonly trouble?: string;
}

export async function verify(
  { repair, json }: { readonly repair: boolean; readonly json: boolean },
  world: World,
): Promise<number> {
  return await withQueue(world, async ({ spool }) => {
    const sweep = (): void => {
      spool.sweep(world.now());
      new Takeover(spool).run(world.now(), admissionOf(world.control));
    };
    const pause = async (): Promise<void> => await sleep(SECOND_LOOK);
    const hands: Hands = { now: world.now, sweep, pause };
    const found = await look(spool, hands);
    const outcomes = repair
      ? await mend(spool, found, hands)
      : found.map((finding): Outcome => ({ finding, mended: false }));
    const left = outcomes.filter(({ mended }) => !mended).length;
    if (json) printJson(world, { findings: outcomes.map(viewOf) });
    else {
      for (const outcome of outcomes) world.stdout.write(`${lineOf(outcome, world)}\n`);
      world.stdout.write(`${summaryOf(outcomes.length, left, repair)}\n`);
    }
    return left === 0 ? 0 : 1;
  });
}

/** What verifying takes of the world. */
export interface Hands {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: () => number;
  /** What a runner does before each look at the queue. */
  readonly sweep: () => void;
  /** Between two looks. */
  readonly pause: () => Promise<void>;
}

/** What is wrong at two moments. */
export async function look(
  spool: Spool,
  { now, pause }: Pick<Hands, 'now' | 'pause'>,
): Promise<readonly Finding[]> {
  const seen = findingsOf(spool, now());
  if (seen.length === 0) return seen;
  await pause();
  const again = new Set(findingsOf(spool, now()).map(keyOf));
  return seen.filter((finding) => again.has(keyOf(finding)));
}

function findingsOf(spool: Spool, now: number): readonly Finding[] {
  try {
    return verifySpool(surveySpool(spool, now));
  } catch (error) {
    // No spool yet: nothing is wrong with it.
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Takes the steps of these findings, and of what they bring to light. */
export async function mend(
  spool: Spool,
  first: readonly Finding[],
  hands: Hands,
): Promise<readonly Outcome[]> {
  const outcomes = new Map<string, Outcome>();
  let found = first;
  for (let round = 0; found.length > 0 && round < MOST_ROUNDS; round++) {
    let progress = false;
    for (const finding of found) {
      const { step } = finding;
      let trouble = finding.advice;
      try {
        if (step !== undefined) takeStep(spool, step, hands.now(), hands.sweep);
      } catch (error) {
        const told = error instanceof UnsafePath || (error instanceof Error && 'code' in error);
        if (!told) throw error;
        trouble = error.message;
      }
      const mended = trouble === undefined;
      progress ||= mended;
      outcomes.set(keyOf(finding), { finding, mended, ...(mended ? {} : { trouble }) });
    }
    found = await look(spool, hands);
    if (!progress) break;
  }
  // What is still there was not mended, whatever its step said, and what is gone was.
  const left = new Map(found.map((finding) => [keyOf(finding), finding]));
  const all = new Map([...outcomes].map(([key, { finding }]) => [key, finding]));
  return [...new Map([...all, ...left])].map(([key, finding]) => {
    const trouble = outcomes.get(key)?.trouble;
    const mended = !left.has(key);
    return { finding, mended, ...(mended || trouble === undefined ? {} : { trouble }) };
  });
}

function keyOf({ path, problem }: Finding): string {
  return `${path}\n${problem}`;
}

function lineOf({ finding, mended, trouble }: Outcome, { stdout }: World): string {
  const { path, problem, step, advice } = finding;
  const what = `${escapeText(path)}: ${escapeText(problem)}`;
  if (mended) return `${what}: ${paint(stdout, 'green', 'mended')}`;
  const how = trouble ?? advice ?? (step === undefined ? undefined : '--repair mends it');
  return how === undefined ? what : `${what}; ${escapeText(how)}`;
}

function viewOf({ finding, mended, trouble }: Outcome): object {
  const { path, problem, step, advice } = finding;
  const hint = trouble ?? advice;
  return {
    path: escapeText(path),
    problem: escapeText(problem),
    mendable: step !== undefined,
    mended,
    ...(hint === undefined ? {} : { advice: escapeText(hint) }),
  };
}

function summaryOf(all: number, left: number, repair: boolean): string {
  if (all === 0) return 'Nothing is wrong with the spool';
  const found = count(all, 'finding');
  if (!repair) return found;
  return left === 0 ? `${found}, all mended` : `${found}, ${left} not mended`;
}
