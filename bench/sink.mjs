// The relay that everything is sent to, and the long line before it: sink.c and delay.c, each in a process of
// its own so that it does not wait for ours.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

/** Compiles one of the programs in C; returns its path. */
export function compile(name) {
  mkdirSync('build', { recursive: true });
  const path = resolve('build', `bench-${name}`);
  const done = spawnSync('gcc', ['-O2', '-o', path, `bench/${name}.c`], { stdio: 'inherit' });
  if (done.status !== 0) throw new Error('gcc is needed');
  return path;
}

/**
 * @param options of sink.c
 * @param delay milliseconds of a round trip
 */
export async function startSink(options = [], delay = 0) {
  const sink = start([compile('sink'), ...options]);
  const port = Number(await sink.line());
  const line = delay > 0 ? start([compile('delay'), String(delay), String(port)]) : undefined;
  const front = line === undefined ? port : Number(await line.line());
  return {
    port: front,
    url: `smtp://127.0.0.1:${front}`,
    /** What came since it was asked last; times in nanoseconds of the monotonic clock. */
    async count() {
      sink.say('\n');
      const [messages, octets, connections, first, last] = (await sink.line()).split(' ');
      return {
        messages: Number(messages),
        octets: Number(octets),
        connections: Number(connections),
        seconds: Number(BigInt(last) - BigInt(first)) / 1e9,
        first: BigInt(first),
        last: BigInt(last),
      };
    },
    stop() {
      line?.stop();
      sink.stop();
    },
  };
}

function start([program, ...args]) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const waiting = [];
  const heard = [];
  lines.on('line', (text) => {
    const next = waiting.shift();
    if (next === undefined) heard.push(text);
    else next(text);
  });
  return {
    say: (text) => child.stdin.write(text),
    line: () =>
      heard.length > 0
        ? Promise.resolve(heard.shift())
        : new Promise((done) => {
            waiting.push(done);
          }),
    stop: () => child.kill(),
    ended: once(child, 'exit'),
  };
}
