/**
 * picorelay metrics: the overview in the text format of Prometheus (version 0.0.4), for the textfile folder
 * of node_exporter, standard output, or HTTP.
 */
import { actAsFolderOwner } from '../spool/become.ts';
import { publishFile } from '../spool/disk.ts';
import type { World } from './command.ts';
import { spoolOf } from './mails.ts';
import { type Overview, overviewOf } from './overview.ts';
import { hostOf } from './status.ts';

export function metrics({ file }: { readonly file: string | undefined }, world: World): number {
  const text = metricsNow(world);
  if (file === undefined) world.stdout.write(text);
  else actAsFolderOwner(file, () => publishFile(file, text, world.pid));
  return 0;
}

/** The metrics as of now, read anew. */
export function metricsNow(world: World): string {
  return formatMetrics(overviewOf(spoolOf(world), hostOf(world), world.now()));
}

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Each metric with its help and type. */
export function formatMetrics(overview: Overview): string {
  const { queue, undelivered, corrupt, total, paused, heldBack, runner, time } = overview;
  const now = Date.parse(time);
  const since = (when: string | undefined): number =>
    when === undefined ? 0 : Math.max(0, (now - Date.parse(when)) / 1000);
  const states = ['new', 'waiting', 'held', 'sending'] as const;
  const all: readonly (readonly [string, 'gauge' | 'counter', string, readonly Sample[]])[] = [
    [
      'queue_mails',
      'gauge',
      'Mails in the queue, one for each recipient, by their state.',
      states.map((state) => ({ labels: { state }, value: queue[state] })),
    ],
    ['queue_bytes', 'gauge', 'Octets of the mails in the queue.', [{ value: queue.octets }]],
    [
      'queue_oldest_seconds',
      'gauge',
      'Age of the oldest mail in the queue, 0 without one.',
      [{ value: since(queue.oldest) }],
    ],
    ['undelivered_mails', 'gauge', 'Mails in Undelivered.', [{ value: undelivered.mails }]],
    ['corrupt_files', 'gauge', 'Files that could not be read.', [{ value: corrupt }]],
    ['relayed_total', 'counter', 'Mails that a relay took.', [{ value: total.relayed }]],
    ['deferred_total', 'counter', 'Tries that were put off.', [{ value: total.deferred }]],
    [
      'refused_total',
      'counter',
      'Mails that were refused or given up.',
      [{ value: total.refused }],
    ],
    [
      'users_held_back',
      'gauge',
      'Users whose mail the storm guard holds back.',
      [{ value: heldBack.length }],
    ],
    [
      'routes_paused',
      'gauge',
      'Routes that take no mail at the moment.',
      [{ value: paused.length }],
    ],
    [
      'route_paused_seconds',
      'gauge',
      'How long a route has been paused, and at which stage of the dialogue.',
      paused.map(({ route, stage, time: began }) => ({
        labels: { route, stage },
        value: since(began),
      })),
    ],
    [
      'runner_seen_timestamp_seconds',
      'gauge',
      'When a runner was last at work, 0 before the first.',
      [{ value: runner === undefined ? 0 : Date.parse(runner) / 1000 }],
    ],
  ];
  return all
    .filter(([, , , samples]) => samples.length > 0)
    .flatMap(([name, type, help, samples]) => [
      `# HELP picorelay_${name} ${help}`,
      `# TYPE picorelay_${name} ${type}`,
      ...samples.map(({ labels, value }) => `picorelay_${name}${formatLabels(labels)} ${value}`),
    ])
    .map((line) => `${line}\n`)
    .join('');
}

function formatLabels(labels: Sample['labels']): string {
  if (labels === undefined) return '';
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
